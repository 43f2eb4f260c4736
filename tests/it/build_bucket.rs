//! Caches in a bucket of Amazon's S3 (`type=s3`), which testkit plays. The bucket sees whether requests are signed, and
//! what is asked.

use hako_testkit::{Bucket, Host, KEY, SECRET, SESSION};

use super::build_cache::{build, forget};

/// Steps that never come to the same twice, with a stage beside the target's and files in a cache mount.
const DOCKERFILE: &str = "FROM busybox AS made\n\
    RUN --mount=type=cache,target=/kept cat /proc/sys/kernel/random/uuid > /stamp; touch /only; cp /stamp /kept/stamp\n\
    FROM busybox\nCOPY --from=made /stamp /stamp\nRUN cat /proc/sys/kernel/random/uuid > /later\n";

fn prepared(host: &Host) {
    forget(host);
    host.run("rm -rf ctx && mkdir ctx").success();
    host.write("ctx/Dockerfile", DOCKERFILE);
}

fn place(bucket: &Bucket) -> String {
    format!(
        "type=s3,bucket=box,region=eu-test-1,endpoint_url=http://{},use_path_style=true,access_key_id={KEY},secret_access_key={SECRET},session_token={SESSION}",
        bucket.address()
    )
}

fn assert_obeyed(seen: &[String]) {
    let refused: Vec<_> = seen.iter().filter(|line| line.contains(" 4") && !line.starts_with("HEAD ")).collect();
    let denied = seen.iter().any(|line| line.ends_with(" 403"));
    assert!(refused.is_empty() && !denied && !seen.is_empty(), "{seen:?}");
}

/// Neither what the daemon writes down nor what it remembers has a word of it.
fn assert_hushed(host: &Host) {
    let root = host.daemon().data_root();
    for secret in [SECRET, SESSION] {
        assert!(!host.daemon().log().contains(secret));
        host.run(&format!("grep -rlF {secret} {root}/build; hako builder history logs | grep -cF {secret}")).says("0");
        host.run(&format!("hako builder history inspect | grep -cF {secret}; true")).says("0");
    }
}

#[test]
fn a_bucket_keeps_every_step_and_the_files_of_cache_mounts_for_another_machine() {
    let host = own_host!("busybox");
    let bucket = Bucket::open(&host);
    let other = host.second_daemon("other", &[]);
    host.load_into("busybox", &format!("-H {}", other.address()));
    prepared(&host);
    // Who asks is found in the environment of the client, and the bucket in the host's name.
    host.run(
        "{ cat /etc/hosts; echo 127.0.0.1 box.s3.test; } > hosts && mount --bind hosts /etc/hosts && mkdir -p home/.aws",
    )
    .success();
    let port = bucket.address().rsplit(':').next().unwrap_or_default().to_owned();
    let variables = format!(
        "AWS_ACCESS_KEY_ID={KEY} AWS_SECRET_ACCESS_KEY={SECRET} AWS_SESSION_TOKEN={SESSION} AWS_REGION=eu-test-1"
    );
    let cache = format!("type=s3,bucket=box,endpoint_url=http://s3.test:{port},prefix=my/,name=a;b");
    let line = format!("{variables} hako build -q -t one --cache-to '{cache},mode=max,mounts=true' ctx");
    let first = host.run(&line).success().text().to_owned();
    assert_hushed(&host);
    let stamps = host.run("docker run --rm one cat /stamp /later").success().text().to_owned();
    let keys = bucket.keys();
    for key in ["my/manifests/a", "my/manifests/b"] {
        assert!(keys.iter().any(|one| one == key), "{keys:?}");
    }
    assert!(keys.iter().filter(|key| key.starts_with("my/blobs/sha256:")).count() >= 4, "{keys:?}");
    // The other machine's client has a file of credentials, and does no step again.
    host.write(
        "home/.aws/credentials",
        format!(
            "[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\naws_session_token = {SESSION}\n"
        ),
    );
    let elsewhere = format!("HOME=$PWD/home AWS_REGION=eu-test-1 hako -H {} build", other.address());
    host.run(&format!("{elsewhere} -q -t one --cache-from '{cache}' ctx")).success();
    host.run(&format!("docker -H {} run --rm one cat /stamp /later", other.address())).says(&stamps);
    // Nor does this one, which leaves nothing twice but the document.
    forget(&host);
    assert_obeyed(&bucket.seen());
    let at_address = place(&bucket);
    let again =
        format!("--cache-from {at_address},prefix=my/,name=b --cache-to {at_address},prefix=my/,name=b,mode=max");
    host.run(&format!("hako build -q {again} ctx")).success().says(&first);
    let seen = bucket.seen();
    assert_obeyed(&seen);
    assert_eq!(seen.iter().filter(|line| line.starts_with("PUT ")).count(), 1, "{seen:?}");
    host.write("ctx/mount", "FROM busybox\nRUN --mount=type=cache,target=/kept cat /kept/stamp | tee /seen\n");
    forget(&host);
    host.run(&format!("hako build --progress plain -f ctx/mount --cache-from {at_address},prefix=my/,name=a ctx 2>&1"))
        .success()
        .says("importing cache manifest from s3:box")
        .says(stamps.lines().next().unwrap_or_default());
    // What is old is written anew when it is used, so that no rule of the bucket's takes it away.
    bucket.age(100_000);
    bucket.seen();
    build(&host, &format!("--cache-to {at_address},prefix=my/"));
    let seen = bucket.seen();
    assert!(seen.iter().filter(|line| *line == "PUT my/blobs/sha256 200").count() >= 1, "{seen:?}");
}

#[test]
fn large_layers_go_in_parts_and_go_on_where_they_broke_off() {
    let host = own_host!("busybox");
    let bucket = Bucket::open(&host);
    let place = place(&bucket);
    prepared(&host);
    host.run("head -c 70000000 /dev/urandom > ctx/large && echo 'COPY large /' >> ctx/Dockerfile").success();
    // What cannot be finished is given up, and leaves nothing.
    bucket.full(true);
    host.run(&format!("hako build -q --cache-to {place} ctx"))
        .code(1)
        .says("the bucket answers 400: QuotaExceeded: it is <no>");
    host.wait_until("its end", |_| bucket.unfinished(), |count| *count == 0);
    assert!(bucket.keys().is_empty(), "{:?}", bucket.keys());
    assert!(bucket.seen().iter().any(|line| line == "DELETE blobs/sha256 in parts 204"));
    bucket.full(false);
    let first = build(&host, &format!("--cache-to {place}"));
    let seen = bucket.seen();
    assert_obeyed(&seen);
    assert_eq!(seen.iter().filter(|line| *line == "PUT blobs/sha256 in parts 200").count(), 3, "{seen:?}");
    assert_eq!(bucket.unfinished(), 0);
    forget(&host);
    bucket.cut(3);
    assert_eq!(build(&host, &format!("--cache-from {place}")), first);
    let seen = bucket.seen();
    assert_eq!(seen.iter().filter(|line| line.ends_with(" 206")).count(), 3, "{seen:?}");
}

#[test]
fn what_is_wrong_in_a_bucket_is_told_and_not_taken() {
    let host = own_host!("busybox");
    let bucket = Bucket::open(&host);
    let good = place(&bucket);
    prepared(&host);
    // Nothing is there yet, which is no error.
    host.run(&format!("hako build -q --cache-from {good} ctx")).success().says_not("ERROR");
    forget(&host);
    let first = build(&host, &format!("--cache-to {good},mode=max"));
    let again = |place: &str| {
        forget(&host);
        host.run(&format!("hako build --progress plain --cache-from {place} ctx 2>&1")).success().text().to_owned()
    };
    bucket.spoil("blobs/");
    let shown = again(&good);
    assert!(!shown.contains(&first) && shown.contains("in the cache of s3:buildkit cannot be used"), "{shown}");
    bucket.spoil("blobs/");
    assert!(again(&good).contains(&first));
    bucket.spoil("manifests/");
    assert!(again(&good).contains("the cache of s3:buildkit is unreadable"));
    bucket.spoil("manifests/");
    // Nobody, and somebody else.
    let nobody = good.split(",access_key_id").next().unwrap_or_default().to_owned();
    let wrong = good.replace(SECRET, "wrong/secret");
    for (place, complaint) in [(&nobody, "the bucket answers 403"), (&wrong, "the bucket answers 403")] {
        assert!(again(place).contains(complaint));
        let to = format!("hako build --progress plain --cache-to {place}");
        host.run(&format!("{to} ctx 2>&1")).code(1).says(complaint).says_not("wrong/secret");
        host.run(&format!("{to},ignore-error=true ctx")).success();
    }
    let refused = |place: &str, text: &str| {
        host.run(&format!("hako build -q --cache-to {place} ctx")).code(1).says(text);
    };
    refused("type=s3,region=r", "bucket ($AWS_BUCKET) not set for s3 cache");
    refused(&good.replace("bucket=box", "bucket=other"), "NoSuchBucket");
    refused("type=s3,region=r,bucket=b,retry_mode=adaptive", "with retry_mode is not built yet");
    assert_hushed(&host);
}
