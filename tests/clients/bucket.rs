//! Docker's Buildx with a cache in a bucket of Amazon's S3 (`type=s3`), which testkit plays. Buildx finds out itself who
//! is asking.

use hako_testkit::{Bucket, Host, KEY, SECRET, SESSION, needs, require};

use super::buildx;

#[test]
fn buildx_keeps_a_cache_in_a_bucket() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    host.run(&format!("{config}mkdir -p config ctx")).success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /stamp\n");
    let docker = format!("DOCKER_CONFIG=$PWD/config {}", docker.display());
    host.run(&format!("{docker} buildx create --name own --driver remote $DOCKER_HOST")).success();
    let bucket = Bucket::open(&host);
    let cache = format!(
        "type=s3,region=eu-test-1,bucket=box,endpoint_url=http://{},use_path_style=true,name=app",
        bucket.address()
    );
    let variables = format!("AWS_ACCESS_KEY_ID={KEY} AWS_SECRET_ACCESS_KEY={SECRET} AWS_SESSION_TOKEN={SESSION}");
    let build = |builder: &str, flags: &str| {
        let line = format!("{variables} {docker} buildx build --builder {builder} --progress plain {flags} ctx 2>&1");
        host.run(&line).success().says_not(SECRET).text().to_owned()
    };
    let shown = build("default", &format!("-o type=local,dest=first --cache-to {cache},mode=max"));
    assert!(shown.contains("exporting cache to Amazon S3"), "{shown}");
    host.run("hako builder prune -af && hako builder du | tail -1").says("0B");
    build("own", &format!("-o type=local,dest=second --cache-from {cache}"));
    host.run("cmp first/stamp second/stamp").success();
    assert!(bucket.keys().iter().any(|key| key == "manifests/app"), "{:?}", bucket.keys());
}
