//! exec: a second process in a container.

use expect_test::expect;

#[test]
fn a_second_process_shares_the_container() {
    let host = host!();
    host.run("docker run -d --name web --hostname box busybox sh -c 'echo mine > /file; exec sleep 100'").success();
    host.run("docker exec web sh -c 'cat /file; hostname; cat /proc/1/comm'").shows(expect![[r#"
        mine
        box
        sleep
    "#]]);
    host.run("docker exec web sh -c 'exit 6'").code(6);
}

#[test]
fn its_streams_and_input_are_its_own() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let shown = host.run("docker exec web sh -c 'echo out; echo err >&2'");
    assert_eq!((shown.stdout(), shown.stderr()), ("out\n", "err\n"));
    host.run_with_input("docker exec -i web tr a-z A-Z", b"words\n").shows(expect![[r#"
        WORDS
    "#]]);
    host.run("docker logs web").shows(expect![[""]]);
}

#[test]
fn environment_user_and_directory_can_be_given() {
    let host = host!();
    host.run("docker run -d --name web -e A=1 busybox sleep 100").success();
    host.run("docker exec -e B=2 -u www-data -w /tmp web sh -c 'echo $A $B; id -un; pwd'").shows(expect![[r#"
        1 2
        www-data
        /tmp
    "#]]);
}

#[test]
fn a_user_that_is_not_there_is_refused_before_anybody_attaches() {
    let host = own_host!("busybox");
    host.run("docker run -d --name web busybox sleep 100").success();
    for (user, why) in [
        ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
        ("0:nosuch", "unable to find group nosuch: no matching entries in group file"),
    ] {
        let body = format!(r#"{{"User": "{user}", "Cmd": ["true"]}}"#);
        let refused = host.api("POST", "/v1.50/containers/web/exec", &body);
        assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(why)));
        host.run(&format!("docker exec -u {user} web true")).code(1).says(why);
    }
    host.run("docker exec -u 4711:4712 web id -g").shows(expect![[r#"
        4712
    "#]]);
}

#[test]
fn what_cannot_be_run_ends_with_126_or_127() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    // 127 by Docker's own documentation, 126 by its daemon until 28.
    host.run("docker exec web nosuch; test $? -ge 126")
        .success()
        .says("exec: \"nosuch\": executable file not found in $PATH");
    host.run("docker exec web /etc/passwd").code(126).says("permission denied");
    host.run("docker exec nosuch true").shows(expect![[r#"
        ! Error response from daemon: No such container: nosuch
        exit 1
    "#]]);
    host.run("docker stop -t 0 web").success();
    host.run("docker exec web true").code(1).says("is not running");
}

#[test]
fn detached_it_goes_on_alone() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("docker exec -d web sh -c 'sleep 0.2; touch /done'").shows(expect![[""]]);
    host.wait_until("the file", |host| host.run("docker exec web ls /done"), |shown| shown.text() == "/done");
}

#[test]
fn a_terminal_has_the_windows_size() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let terminal = host.terminal("docker exec -it web sh");
    terminal.wait_for("/ # ").type_keys("until stty size | grep '24 80'; do usleep 10000; done; echo first\r");
    terminal.wait_for("\nfirst");
    terminal.resize(31, 101);
    terminal.type_keys("until stty size | grep '31 101'; do usleep 10000; done; echo second\r");
    terminal.wait_for("\nsecond");
    terminal.type_keys("exit 3\r");
    terminal.end().code(3);
}

#[test]
fn it_ends_with_its_container() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let session = host.spawn("docker exec web sh -c 'echo ready; sleep 100'");
    session.wait_for("ready");
    host.run("docker kill web").success();
    session.end().code(137);
}

#[test]
fn many_at_once_do_not_mix() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("for n in $(seq 20); do docker exec web sh -c \"echo $n; exit $n\" > out$n || test $? = $n || echo status of $n & done; wait; cat out* | sort -n | tr '\\n' ' '")
        .shows(expect![[r#"
            1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
        "#]]);
}
