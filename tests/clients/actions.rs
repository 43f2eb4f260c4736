//! Docker's Buildx and Compose with caches in GitHub's Actions (`type=gha`), which testkit plays: on the daemon, and by
//! the driver `remote`. They fill in what a runner has in its environment themselves.

use hako_testkit::{ActionsCache, Host, needs, require};

use super::buildx;

const DOCKERFILE: &str = "FROM busybox AS made\nRUN cat /proc/sys/kernel/random/uuid > /stamp; touch /only\n\
    FROM busybox\nCOPY --from=made /stamp /stamp\nRUN cat /proc/sys/kernel/random/uuid > /later\n";

fn forget(host: &Host) {
    host.run("docker images -q --no-trunc | grep -v $(docker images -q --no-trunc busybox) | xargs -r docker rmi -f >/dev/null")
        .success();
    host.run("hako builder prune -af >/dev/null; hako builder du | tail -1").says("0B");
}

#[test]
fn buildx_and_compose_share_caches_in_githubs_actions() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    // What Buildx writes down of its builders is this machine's own.
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    host.run(&format!("{config}mkdir -p config ctx")).success();
    host.write("ctx/Dockerfile", DOCKERFILE);
    let docker = format!("DOCKER_CONFIG=$PWD/config {}", docker.display());
    host.run(&format!("{docker} buildx create --name own --driver remote $DOCKER_HOST")).success();
    let cache = ActionsCache::open(&host);
    let (address, token) = (cache.address(), cache.token(&[("refs/heads/main", 3)], true));
    let runner = format!("ACTIONS_RUNTIME_TOKEN={token} ACTIONS_CACHE_URL={address}/ ");
    // Buildx learned of the newer protocol late; the attributes were always passed on.
    let newer = format!(",url={address},url_v2={address},token={token}");
    for (place, scope) in [("", "older"), (newer.as_str(), "newer")] {
        let cache_of = |flag: &str| format!("--{flag} type=gha,scope={scope}{place}");
        let build = |builder: &str, flags: &str| {
            let line = format!("{runner}{docker} buildx build --builder {builder} --progress plain {flags} ctx 2>&1");
            host.run(&line).success().says_not(&token).text().to_owned()
        };
        forget(&host);
        let shown = build("default", &format!("-t one {},mode=max", cache_of("cache-to")));
        assert!(shown.contains("exporting to GitHub Actions Cache"), "{shown}");
        let stamps = host.run("docker run --rm one cat /stamp /later").success().text().to_owned();
        forget(&host);
        // By another driver, and then back.
        let shown = build("own", &format!("{} -o type=local,dest=out{scope}", cache_of("cache-from")));
        assert!(shown.contains("importing cache manifest from gha:"), "{shown}");
        host.run(&format!("cat out{scope}/stamp out{scope}/later")).success().says(&stamps);
        forget(&host);
        build("own", &format!("{},mode=max {} -o type=local,dest=x", cache_of("cache-to"), cache_of("cache-from")));
        forget(&host);
        build("default", &format!("-t one {}", cache_of("cache-from")));
        host.run("docker run --rm one cat /stamp /later").success().says(&stamps);
    }
    // What cannot be left fails the build, unless that is said not to matter.
    let wrong = format!("{docker} buildx build --cache-to type=gha,url={address},token={token}x");
    host.run(&format!("{wrong} ctx 2>&1")).code(1).says("the cache service answers 401").says_not(&token);
    host.run(&format!("{wrong},ignore-error=true ctx")).success();
    let refused: Vec<String> = cache.seen().into_iter().filter(|line| line.contains(" 4")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    if host.run(&format!("{docker} compose version")).stdout().is_empty() {
        return;
    }
    let build = "build: {context: ctx, cache_from: ['type=gha,scope=older'], cache_to: ['type=gha,scope=composed']}";
    host.write("compose.yaml", format!("services: {{web: {{image: composed, {build}}}}}\n"));
    forget(&host);
    let stamps = host.run(&format!("{runner}{docker} compose build && docker run --rm composed cat /stamp /later"));
    forget(&host);
    let shown = host.run(&format!("{runner}{docker} buildx build -q -t one --cache-from type=gha,scope=composed ctx"));
    shown.success();
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let expected = last(stamps.success().text());
    host.run("docker run --rm one cat /stamp /later").success().says(&expected);
    assert!(cache.keys().iter().any(|key| key.contains("index-composed-1-")), "{:?}", cache.keys());
}
