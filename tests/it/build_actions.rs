//! Caches in the cache of GitHub's Actions (`type=gha`), which testkit plays: both protocols, branches, and everything
//! that can go wrong on the way. What is asked is seen by the service, so its refusals are part of what is expected.

use hako_testkit::{ActionsCache, Fault, GITHUB_TOKEN, Host};

use super::build_cache::{build, forget};

const PROTOCOLS: [&str; 2] = ["1", "2"];

/// Steps that never come to the same twice; with a stage beside the target's, which has a layer that the image has not,
/// and files in a cache mount.
const DOCKERFILE: &str = "FROM busybox AS made\n\
    RUN --mount=type=cache,target=/kept cat /proc/sys/kernel/random/uuid > /stamp; touch /only; cp /stamp /kept/stamp\n\
    FROM busybox\nCOPY --from=made /stamp /stamp\nRUN cat /proc/sys/kernel/random/uuid > /later\n";

fn prepared(host: &Host) {
    forget(host);
    host.run("rm -rf ctx && mkdir ctx").success();
    host.write("ctx/Dockerfile", DOCKERFILE);
}

/// What a runner of GitHub's has in its environment.
fn runner(cache: &ActionsCache, protocol: &str, token: &str) -> String {
    let address = cache.address();
    match protocol {
        "1" => format!("ACTIONS_RUNTIME_TOKEN={token} ACTIONS_CACHE_URL={address}/"),
        _ => format!("ACTIONS_RUNTIME_TOKEN={token} ACTIONS_CACHE_SERVICE_V2=true ACTIONS_RESULTS_URL={address}/"),
    }
}

fn main_branch(cache: &ActionsCache) -> String {
    cache.token(&[("refs/heads/main", 3)], true)
}

/// The same as attributes.
fn place(cache: &ActionsCache, protocol: &str) -> String {
    let url = if protocol == "1" { "url" } else { "url_v2" };
    format!("type=gha,{url}={},token={}", cache.address(), main_branch(cache))
}

/// Everything was asked as it has to be.
fn assert_obeyed(seen: &[String]) {
    let refused: Vec<_> = seen.iter().filter(|line| line.contains(" 4")).collect();
    assert!(refused.is_empty() && !seen.is_empty(), "{refused:?} of {seen:?}");
}

/// Neither what the daemon writes down nor what it remembers has a word of it.
fn assert_hushed(host: &Host, token: &str) {
    assert!(!host.daemon().log().contains(token));
    let root = host.daemon().data_root();
    host.run(&format!("grep -rlF {token} {root}/build; hako builder history logs | grep -cF {token}")).says("0");
    host.run(&format!("hako builder history inspect | grep -cF {token}; true")).says("0");
}

#[test]
fn a_runners_cache_keeps_every_step_and_the_files_of_cache_mounts_for_another_machine() {
    let host = own_host!("busybox");
    let other = host.second_daemon("other", &[]);
    host.load_into("busybox", &format!("-H {}", other.address()));
    for protocol in PROTOCOLS {
        let cache = ActionsCache::open(&host);
        let token = main_branch(&cache);
        let runner = runner(&cache, protocol, &token);
        prepared(&host);
        let line = format!("{runner} hako build -q -t one --cache-to type=gha,mode=max,mounts=true ctx");
        let first = host.run(&line).success().text().to_owned();
        let stamp = host.run("docker run --rm one cat /stamp /later").success().text().to_owned();
        assert_obeyed(&cache.seen());
        assert_hushed(&host, &token);
        // Another machine does no step again.
        let elsewhere = format!("{runner} DOCKER_HOST={} hako build", other.address());
        host.run(&format!("{elsewhere} -q -t one --cache-from type=gha ctx")).success();
        host.run(&format!("docker -H {} run --rm one cat /stamp /later", other.address())).says(&stamp);
        assert_obeyed(&cache.seen());
        // The files of cache mounts are there, too.
        host.write("ctx/mount", "FROM busybox\nRUN --mount=type=cache,target=/kept cat /kept/stamp | tee /seen\n");
        forget(&host);
        host.run(&format!("{runner} hako build --progress plain -f ctx/mount --cache-from type=gha ctx 2>&1"))
            .success()
            .says("importing cache manifest from gha:")
            .says(stamp.lines().next().unwrap_or_default());
        // Nor does this one do a step again, and it leaves nothing twice but the index.
        forget(&host);
        let both = "--cache-from type=gha --cache-to type=gha,mode=max";
        host.run(&format!("{runner} hako build -q -t one {both} ctx")).success().says(&first);
        let seen = cache.seen();
        assert_obeyed(&seen);
        let taken = ["POST caches 201", "POST CreateCacheEntry 200"];
        assert_eq!(seen.iter().filter(|line| taken.contains(&line.as_str())).count(), 1, "{seen:?}");
        let keys = cache.keys();
        let indexes = keys.iter().filter(|key| key.contains("index-buildkit-1-"));
        let numbers: Vec<_> = indexes.filter_map(|key| key.split('#').nth(1)).collect();
        assert_eq!(numbers, ["1", "2"], "{keys:?}");
        host.run(&format!("docker -H {0} rmi one && hako -H {0} builder prune -af", other.address())).success();
    }
}

#[test]
fn two_machines_that_leave_the_same_at_once_do_not_hinder_each_other() {
    let host = own_host!("busybox");
    let other = host.second_daemon("other", &[]);
    host.load_into("busybox", &format!("-H {}", other.address()));
    for protocol in PROTOCOLS {
        let cache = ActionsCache::open(&host);
        let to = format!("--cache-to {},mode=max", place(&cache, protocol));
        prepared(&host);
        host.write("ctx/Dockerfile", "FROM busybox\nCOPY large /\nRUN touch -d @1000000000 /one\n");
        host.run("head -c 20000000 /dev/urandom > ctx/large").success();
        let line = format!(
            "true; hako build -q {to} ctx & one=$!; hako -H {} build -q {to} ctx & wait $! && wait $one",
            other.address()
        );
        host.run(&line).success();
        let keys = cache.keys();
        let last = keys.iter().filter_map(|key| key.split_once("index-buildkit-1-")?.1.split('#').nth(1));
        assert_eq!(last.collect::<Vec<_>>(), ["1", "2"], "{keys:?}");
        assert!(!keys.iter().any(|key| key.contains("buildkit-blob-") && key.contains('#')), "{keys:?}");
    }
}

#[test]
fn only_mode_max_keeps_the_stages_that_an_image_has_no_layers_of() {
    let host = own_host!("busybox");
    let cache = ActionsCache::open(&host);
    let place = place(&cache, "2");
    prepared(&host);
    let first = build(&host, &format!("--cache-to {place},scope=min --cache-to {place},scope=max,mode=max"));
    let again = |scope: &str, flags: &str| {
        forget(&host);
        let line = format!("hako build --why -q {flags} --cache-from {place},scope={scope} ctx");
        host.run(&line).success().stdout().to_owned()
    };
    assert!(again("min", "").contains(&first));
    let shown = again("min", "--target made");
    assert!(shown.contains("this step was never done here"), "{shown}");
    assert!(!again("max", "--target made").contains("this step was never done here"));
    assert_obeyed(&cache.seen());
}

#[test]
fn a_branch_takes_from_those_that_it_may_read_and_leaves_in_its_own() {
    let host = own_host!("busybox");
    for protocol in PROTOCOLS {
        let cache = ActionsCache::open(&host);
        let of = |grants: &[(&str, u64)]| runner(&cache, protocol, &cache.token(grants, true));
        let main = of(&[("refs/heads/main", 3)]);
        let request = of(&[("refs/pull/1/merge", 3), ("refs/heads/main", 1)]);
        let run = |runner: &str, flags: &str| host.run(&format!("{runner} hako build -q {flags} ctx"));
        prepared(&host);
        let first = run(&main, "--cache-to type=gha,mode=max").success().text().to_owned();
        forget(&host);
        // A pull request takes from the branch that it is for, and adds to it what is its own.
        assert_eq!(run(&request, "--cache-from type=gha").success().text(), first);
        host.run("echo 'RUN cat /proc/sys/kernel/random/uuid > /last' >> ctx/Dockerfile").success();
        let own = run(&request, "--cache-from type=gha --cache-to type=gha,mode=max,ignore-error=true")
            .success()
            .text()
            .to_owned();
        let keys = cache.keys();
        let of_main = keys.iter().filter(|key| key.starts_with("refs/heads/main ")).count();
        let of_request: Vec<_> = keys.iter().filter(|key| key.starts_with("refs/pull/1/merge ")).collect();
        // One layer and an index: the others are there already, in what it may read.
        assert_eq!((of_main, of_request.len()), (keys.len() - 2, 2), "{keys:?}");
        forget(&host);
        assert_eq!(run(&request, "--cache-from type=gha").success().text(), own);
        forget(&host);
        assert_ne!(run(&main, "--cache-from type=gha").success().text(), own);
        // What may only read leaves nothing, and says so.
        let reader = of(&[("refs/heads/main", 1)]);
        run(&reader, "--cache-to type=gha").code(1).says("lets nothing be saved");
        // Caches of other names are others.
        forget(&host);
        assert_ne!(run(&request, "--cache-from type=gha,scope=other").success().text(), own);
        assert_obeyed(&cache.seen());
    }
}

#[test]
fn large_layers_go_and_come_in_pieces_and_go_on_where_they_broke_off() {
    let host = own_host!("busybox");
    for protocol in PROTOCOLS {
        let cache = ActionsCache::open(&host);
        let place = place(&cache, protocol);
        prepared(&host);
        host.run("head -c 70000000 /dev/urandom > ctx/large && echo 'COPY large /' >> ctx/Dockerfile").success();
        let first = build(&host, &format!("--cache-to {place}"));
        let seen = cache.seen();
        assert_obeyed(&seen);
        let count = |line: &str| seen.iter().filter(|one| *one == line).count();
        match protocol {
            "1" => assert!(count("PATCH caches 204") >= 3 + 2, "{seen:?}"),
            _ => assert_eq!((count("PUT blob block 201"), count("PUT blob blocklist 201")), (3, 1), "{seen:?}"),
        }
        forget(&host);
        cache.fault(Fault::Stale(1));
        cache.fault(Fault::Cut(3));
        assert_eq!(build(&host, &format!("--cache-from {place}")), first);
        let seen = cache.seen();
        assert!(seen.iter().any(|line| line == "GET blob 206"), "{seen:?}");
        assert_eq!(seen.iter().filter(|line| line.ends_with(" 403")).count(), 1, "{seen:?}");
    }
}

#[test]
fn a_service_that_asks_for_patience_is_given_it() {
    let host = own_host!("busybox");
    let cache = ActionsCache::open(&host);
    let place = place(&cache, "2");
    prepared(&host);
    cache.fault(Fault::Busy(3));
    let first = build(&host, &format!("--cache-to {place}"));
    forget(&host);
    cache.fault(Fault::Busy(5));
    assert_eq!(build(&host, &format!("--cache-from {place}")), first);
    let seen = cache.seen();
    assert_eq!(seen.iter().filter(|line| line.ends_with(" busy")).count(), 8, "{seen:?}");
    // As long as it is allowed to take.
    cache.fault(Fault::Busy(1000));
    let to = format!("hako build -q --cache-to {place},timeout=6s");
    host.run(&format!("{to} ctx")).code(1).says("the cache service lets nobody in for now: too many requests");
    host.run(&format!("{to},ignore-error=true ctx")).success();
}

#[test]
fn with_a_list_of_keys_nobody_asks_for_each_of_them() {
    let host = own_host!("busybox");
    let cache = ActionsCache::open(&host);
    prepared(&host);
    let asked = |token: &str| {
        let to = format!("{},mode=max,repository=own/app,api_url={}", place(&cache, "1"), cache.address());
        build(&host, &format!("--cache-to {to},ghtoken={token}"));
        let seen = cache.seen();
        let count = |line: &str| seen.iter().filter(|one| *one == line).count();
        let found = count("GET cache 204") + count("GET cache 200");
        (count("GET keys 200"), found, count("POST caches 201"))
    };
    // Only the index is looked for; blobs are taken without a question.
    let (lists, found, taken) = asked(GITHUB_TOKEN);
    assert_eq!((lists, found), (1, 1));
    assert_eq!(asked(GITHUB_TOKEN), (1, 1, 1));
    // Without the list each is asked for.
    assert_eq!(asked("wrong"), (0, taken, 1));
}

#[test]
fn what_is_interrupted_is_taken_by_nobody_and_does_not_stand_in_the_way() {
    let host = own_host!("busybox");
    for protocol in PROTOCOLS {
        let cache = ActionsCache::open(&host);
        let place = place(&cache, protocol);
        prepared(&host);
        cache.fault(Fault::Gone(7));
        let token = main_branch(&cache);
        let to = format!("hako build -q --cache-to {place},mode=max");
        host.run(&format!("{to} ctx")).code(1).says("buildkit-blob-1-sha256:").says_not(&token).says_not("sig=");
        assert_hushed(&host, &token);
        cache.mend();
        let keys = cache.keys();
        assert!(!keys.iter().any(|key| key.contains("index-")), "{keys:?}");
        // Keys that somebody has taken and left are skipped; there is a moment in which he may still come.
        let first = build(&host, &format!("--cache-to {place},mode=max"));
        assert!(
            cache.keys().iter().any(|key| key.contains("buildkit-blob-") && key.ends_with("#1")),
            "{:?}",
            cache.keys()
        );
        forget(&host);
        assert_eq!(build(&host, &format!("--cache-from {place}")), first);
    }
}

#[test]
fn what_is_wrong_is_not_taken() {
    let host = own_host!("busybox");
    for protocol in PROTOCOLS {
        let cache = ActionsCache::open(&host);
        let place = place(&cache, protocol);
        prepared(&host);
        let first = build(&host, &format!("--cache-to {place},mode=max"));
        let again = || {
            forget(&host);
            host.run(&format!("hako build --progress plain --cache-from {place} ctx 2>&1")).success().text().to_owned()
        };
        // A layer of other bytes: its step is done again.
        cache.spoil("buildkit-blob-");
        let shown = again();
        assert!(!shown.contains(&first) && shown.contains("in the cache of gha:buildkit cannot be used"), "{shown}");
        cache.spoil("buildkit-blob-");
        assert!(again().contains(&first));
        // An index that is none, that is too large, or that comes damaged.
        let index = cache.replace("index-", b"{\"layers\": 7}");
        assert!(again().contains("the cache of gha:buildkit is unreadable"));
        cache.replace("index-", &vec![b' '; 17 << 20]);
        let shown = again();
        assert!(shown.contains("it has more than 16777216 bytes"), "{shown}");
        cache.replace("index-", &index);
        cache.fault(Fault::Spoiled);
        assert!(again().contains("is unreadable"));
        cache.mend();
        // A cache that is not there, or that does not know us, is told, and the build goes on.
        let strangers = ActionsCache::open(&host).token(&[("refs/heads/main", 3)], true);
        let late = cache.token(&[("refs/heads/main", 3)], false);
        let from = |token: &str| {
            let url = if protocol == "1" { "url" } else { "url_v2" };
            format!("type=gha,{url}={},token={token}", cache.address())
        };
        for (token, complaint) in [
            (&strangers, "the cache service answers 401: the token is none of ours"),
            (&late, "cache token expired at "),
            (&"hush".to_owned(), "invalid token for github actions cache: it is no JSON web token"),
        ] {
            let run = |flag: &str| host.run(&format!("hako build --progress plain {flag} {} ctx 2>&1", from(token)));
            run("--cache-from").success().says(complaint).says_not(token);
            run("--cache-to").code(1).says(complaint).says_not(token);
            assert_hushed(&host, token);
        }
    }
}

#[test]
fn outside_of_a_runner_such_caches_are_left_out() {
    let host = own_host!("busybox");
    prepared(&host);
    host.run("hako build -q --cache-from type=gha --cache-to type=gha,mode=max ctx")
        .success()
        .says("WARNING: the cache type=gha is left out: it needs token and url");
    let cache = ActionsCache::open(&host);
    let refused = |options: &str, text: &str| {
        let line = format!("hako build -q --cache-to {},{options} ctx", place(&cache, "1"));
        host.run(&line).code(1).says(text);
    };
    refused("timeout=soon", "failed to parse timeout \"soon\"");
    refused("mode=most", "invalid mode=most in --cache-to");
    refused("compression=zstd", "with compression is not built yet");
}

#[test]
fn bake_and_compose_share_it_too() {
    let host = own_host!("busybox");
    let cache = ActionsCache::open(&host);
    let runner = runner(&cache, "2", &main_branch(&cache));
    prepared(&host);
    host.write(
        "docker-bake.json",
        r#"{"target": {"default": {"context": "ctx", "tags": ["baked"],
            "cache-to": ["type=gha,mode=max"], "cache-from": ["type=gha"]}}}"#,
    );
    host.run(&format!("{runner} hako buildx bake --progress quiet")).success();
    // Nobody is told the token by a look at what would be built.
    host.run(&format!("{runner} hako buildx bake --print")).success().says("\"gha\"").says_not("token");
    let stamps =
        |name: &str| host.run(&format!("docker run --rm {name} cat /stamp /later")).success().text().to_owned();
    let first = stamps("baked");
    host.write(
        "compose.yaml",
        "services: {web: {image: composed, build: {context: ctx, cache_from: [type=gha], cache_to: ['type=gha,scope=own']}}}\n",
    );
    forget(&host);
    host.run(&format!("{runner} hako compose build -q")).success();
    assert_eq!(stamps("composed"), first);
    assert!(cache.keys().iter().any(|key| key.contains("index-own-1-")), "{:?}", cache.keys());
    assert_obeyed(&cache.seen());
}
