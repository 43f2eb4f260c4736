//! Registries that want tokens: who gets them for a build, and that passwords stay with the person.

use hako_testkit::{Host, needs, require};

/// A registry at 5000 that wants tokens, with an image `localhost:5000/base` in it, and `config.json` with our password.
fn serve(host: &Host) {
    crate::registry::serve(host, 5001, "");
    host.write("service.py", include_str!("../clients/token_service.py"));
    host.run("python3 service.py 5000 > service.log 2>&1 < /dev/null &").success();
    host.wait_until("the token service", |host| host.run("cat tokens.ready"), |shown| shown.text() == "yes");
    host.run("docker tag busybox localhost:5001/base && docker push -q localhost:5001/base").success();
    host.run("mkdir -p me ctx").success();
    // me:hush
    host.write("me/config.json", r#"{"auths": {"localhost:5000": {"auth": "bWU6aHVzaA=="}}}"#);
    host.write("ctx/Dockerfile", "FROM localhost:5000/base\nCOPY Dockerfile /\n");
}

/// Who asked the token service, each once.
fn asked(host: &Host) -> String {
    host.run("cut -d' ' -f1-3 tokens.log | sort -u; rm tokens.log").success().text().to_owned()
}

#[test]
fn tokens_are_got_here_and_passwords_stay() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    serve(&host);
    let build = "hako --config me build";
    // Without a password there is no base.
    host.run("hako --config nobody build ctx").code(1);
    asked(&host);
    host.run(&format!("{build} --push -t localhost:5000/made ctx")).success();
    assert_eq!(asked(&host), "GET hako-cli hush");
    host.run("cat me/.token_seed").success().says("localhost:5000").says("Seed");
    // The next session proves that it is the same person's, and has the tokens from before.
    host.run(&format!("{build} --pull --push -t localhost:5000/made ctx")).success();
    host.run("test ! -e tokens.log").success();
    // Somebody else does not.
    host.run("hako --config nobody build --pull ctx").code(1);
    assert_eq!(asked(&host), "GET hako -");
    // A builder elsewhere asks in the same way.
    let other = host.second_daemon("other", &[]);
    host.run(&format!("hako --config me buildx create --name far --driver remote {}", other.address())).success();
    host.run(&format!("{build} --builder far --pull --push -t localhost:5000/far ctx")).success();
    assert_eq!(asked(&host), "GET hako-cli hush");
}
