//! Caches elsewhere: `--cache-to` and `--cache-from` by directory, registry and image. Another machine is played by
//! forgetting everything that this one has built.

use hako_testkit::Host;

/// Steps whose results tell when they were done; with a stage beside the target's and files in a cache mount.
const DOCKERFILE: &str = "FROM busybox AS made\n\
    RUN --mount=type=cache,target=/kept date +%s%N > /stamp; cp /stamp /kept/stamp\n\
    FROM busybox\nCOPY --from=made /stamp /stamp\nRUN date +%s%N > /later\n";

fn prepared(host: &Host) {
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", DOCKERFILE);
}

pub(super) fn build(host: &Host, flags: &str) -> String {
    host.run(&format!("hako build -q {flags} ctx")).success().text().to_owned()
}

/// Nothing is left of what was built here, only the base.
pub(super) fn forget(host: &Host) {
    host.run("docker images -aq | grep -v $(docker images -q busybox) | xargs -r docker rmi -f >/dev/null").success();
    host.run("hako builder prune -af >/dev/null; hako builder du | tail -1").says("0B");
}

#[test]
fn a_directory_keeps_every_step_and_the_files_of_cache_mounts() {
    let host = own_host!("busybox");
    prepared(&host);
    let first = build(&host, "-t one --cache-to type=local,dest=cache,mode=max,mounts=true");
    host.run("ls cache; grep -c vnd.buildkit.cacheconfig cache/blobs/sha256/* | grep -c ':1'").says("1");
    let stamp = host.run("docker run --rm one cat /stamp /later").success().text().to_owned();
    forget(&host);
    assert_eq!(build(&host, "-t one --cache-from type=local,src=cache"), first);
    host.run("docker run --rm one cat /stamp /later").says(&stamp);
    // The cache mount is here again, too.
    host.write("ctx/Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/kept cat /kept/stamp\n");
    forget(&host);
    let shown =
        host.run("hako build --progress plain --cache-from type=local,src=cache ctx").success().stderr().to_owned();
    assert!(shown.contains(stamp.lines().next().unwrap_or_default()), "{shown}");
    // What has no cache is told, and the build goes on.
    host.run("hako build -q --cache-from type=local,src=nowhere ctx").success().says("nowhere not found");
}

#[test]
fn without_mode_max_only_the_steps_of_the_image_are_kept() {
    let host = own_host!("busybox");
    host.run("mkdir ctx").success();
    // The stage has a layer that the image has not, and never comes to the same twice.
    let dockerfile =
        DOCKERFILE.replace("date +%s%N > /stamp", "cat /proc/sys/kernel/random/uuid > /stamp; touch /only");
    host.write("ctx/Dockerfile", dockerfile);
    let first = build(&host, "--cache-to type=local,dest=cache");
    forget(&host);
    let from = "--cache-from type=local,src=cache";
    let shown = host.run(&format!("hako build --why -q {from} ctx")).success().stdout().to_owned();
    // What stages come to is known without them: neither their steps nor their layers are needed.
    assert!(shown.contains(&first), "{shown}");
    assert_eq!(shown.matches("    cached\n").count(), 5, "{shown}");
    host.run("hako builder du --verbose").success().says_not("touch /only");
    // The same here from then on.
    assert_eq!(build(&host, ""), first);
    // A stage that is wanted itself, or another one, is done.
    forget(&host);
    let shown = host.run(&format!("hako build --why -q --target made {from} ctx")).success().stdout().to_owned();
    assert!(shown.contains("this step was never done here"), "{shown}");
    forget(&host);
    host.run("sed -i 's/FROM busybox AS made/&\\nENV another=1/' ctx/Dockerfile").success();
    assert_ne!(build(&host, from), first);
}

#[test]
fn a_cache_that_is_handed_on_keeps_what_nobody_had_to_read() {
    let host = own_host!("busybox");
    prepared(&host);
    let first = build(&host, "--cache-to type=local,dest=one,mode=max");
    forget(&host);
    // The final steps are known without the stage that they read; its steps go on all the same.
    assert_eq!(build(&host, "--cache-from type=local,src=one --cache-to type=local,dest=two,mode=max"), first);
    forget(&host);
    let shown = host.run("hako build --why -q --target made --cache-from type=local,src=two ctx");
    let shown = shown.success().stdout();
    assert_eq!(shown.matches("    cached\n").count(), 2, "{shown}");
}

#[test]
fn a_stage_that_is_made_anew_is_what_is_copied_from_then_on() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS made\nRUN cat /proc/sys/kernel/random/uuid > /stamp\nFROM busybox\nCOPY --from=made /stamp /copied\n\
         RUN --mount=type=bind,from=made,source=/stamp,target=/mounted cp /mounted /mounted-copy\n",
    );
    let first = build(&host, "-t one");
    assert_eq!(build(&host, ""), first);
    assert_ne!(build(&host, "-t two --no-cache-filter made"), first);
    let stamp = host.run("docker run --rm two cat /copied").success().text().to_owned();
    assert_eq!(build(&host, "-t three"), host.run("docker images -q --no-trunc two").text());
    host.run("docker run --rm three cat /copied /mounted-copy").says(&format!("{stamp}\n{stamp}"));
}

#[test]
fn a_registry_keeps_a_cache_beside_images() {
    let host = own_host!("busybox");
    super::registry::serve(&host, 5000, "");
    prepared(&host);
    let cache = "type=registry,ref=localhost:5000/app:cache";
    let first = build(&host, &format!("--cache-to {cache},mode=max"));
    forget(&host);
    assert_eq!(build(&host, &format!("--cache-from {cache}")), first);
    // Registries that want an index get one.
    let index = "type=registry,ref=localhost:5000/app:index";
    build(&host, &format!("--cache-to {index},mode=max,image-manifest=false"));
    forget(&host);
    assert_eq!(build(&host, &format!("--cache-from {index}")), first);
    // A cache that is not there is told, and the build goes on.
    let shown =
        host.run("hako build --progress plain --cache-from localhost:5000/app:none ctx").success().stderr().to_owned();
    assert!(shown.contains("importing cache manifest from localhost:5000/app:none"), "{shown}");
    host.run("hako build -q --cache-to type=registry,ref=localhost:5001/app ctx").code(1).says("localhost:5001");
    host.run("hako build -q --cache-to type=registry,ref=localhost:5001/app,ignore-error=true ctx").success();
}

#[test]
fn an_image_carries_its_own_cache() {
    let host = own_host!("busybox");
    super::registry::serve(&host, 5000, "");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN date +%s%N > /one\nRUN date +%s%N > /two\n");
    let first = build(&host, "--push -t localhost:5000/app --build-arg BUILDKIT_INLINE_CACHE=1");
    forget(&host);
    let flags = "--cache-to type=inline --cache-from localhost:5000/app";
    assert_eq!(build(&host, flags), first);
    // From the image itself where it is here, for the classic builder as well.
    host.run("docker pull -q localhost:5000/app && hako builder prune -af").success();
    assert_eq!(build(&host, flags), first);
    // Another last step: what is before it is still taken from there.
    forget(&host);
    host.run("echo 'RUN date > /three' >> ctx/Dockerfile").success();
    let shown = host.run("hako build --why -q --cache-from localhost:5000/app ctx").success().stdout().to_owned();
    assert_eq!(shown.matches("    cached\n").count(), 3, "{shown}");
}

#[test]
fn a_step_that_wrote_nothing_is_forgotten_with_the_others() {
    let host = own_host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo said\n");
    let built = |host: &Host| host.run("hako build --progress plain ctx 2>&1").success().text().to_owned();
    assert!(!built(&host).contains("RUN echo said\n#5 CACHED"));
    assert!(built(&host).contains("RUN echo said\n#5 CACHED"));
    // Without --all what images have stays, and their base is one.
    host.run("hako builder prune -f && hako builder prune -af --filter until=1h").success();
    assert!(built(&host).contains("RUN echo said\n#5 CACHED"));
    host.run("hako builder prune -af").success();
    assert!(!built(&host).contains("RUN echo said\n#5 CACHED"));
}

#[test]
fn caches_that_are_not_built_are_refused_by_name() {
    let host = host!("busybox");
    prepared(&host);
    let refused = |flags: &str, text: &str| {
        host.run(&format!("hako build -q {flags} ctx")).code(1).says(text);
    };
    refused("--cache-to type=azblob,name=n", "--cache-to type=azblob is not built yet");
    refused("--cache-from type=azblob,name=n", "--cache-from type=azblob is not built yet");
    refused("--cache-to type=inline,mode=max", "an image has the layers of its own stage only");
    refused("--cache-to type=local,dest=d,compression=zstd", "with compression is not built yet");
    host.run("test -e d; echo $?").says("1");
}

#[test]
fn builds_are_remembered_with_what_they_told() {
    let mut host = own_host!("busybox");
    host.run("mkdir app").success();
    host.write("app/Dockerfile", "FROM busybox\nRUN echo something; exit 3\n");
    host.run("hako build -q app").code(1);
    host.write("app/Dockerfile", "FROM busybox\nRUN echo something else\n");
    host.run("hako build -q --target '' -t made app && hako build --check app").success();
    let shown = |host: &Host| host.run("hako builder history ls | awk '{print $2, $3}'").text().to_owned();
    assert_eq!(shown(&host), "ID NAME\napp Completed\napp Error");
    host.run("hako build history logs").success().says("something else").says("DONE");
    host.run("hako buildx history inspect ^1").success().says("exit code: 3").says("Status:");
    host.run("hako buildx history logs ^1").says(" > [2/2] RUN echo something; exit 3:");
    // A daemon that starts again remembers them.
    host.daemon_stop();
    host.daemon_start();
    assert_eq!(shown(&host), "ID NAME\napp Completed\napp Error");
    host.run("hako builder history rm $(hako builder history ls | awk 'NR==2{print $1}')").success();
    assert_eq!(shown(&host), "ID NAME\napp Error");
    host.run("hako builder history rm --all && hako builder history ls | wc -l").says("1");
    host.run("hako builder history logs").code(1).says("no record found");
}

#[test]
fn steps_obey_the_limits_of_the_command_line() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true\n",
    );
    host.run("hako build --no-cache --progress plain --memory 64m ctx")
        .success()
        .says(" 67108864")
        .says_not("is ignored");
    host.run("hako build --no-cache --progress plain --squash ctx").says("squash flag is ignored");
    host.run("DOCKER_BUILDKIT=0 docker build --no-cache --memory 64m ctx").success();
}

#[test]
fn an_image_has_the_time_of_the_commit_that_it_is_built_from() {
    hako_testkit::needs!(hako_testkit::require::program("git"));
    let host = host!("busybox");
    host.write("app/Dockerfile", "FROM busybox\nRUN echo words > /file\n");
    let git =
        "GIT_COMMITTER_DATE='1700000000 +0000' git -c user.name=n -c user.email=e -c init.defaultBranch=main -C app";
    host.run(&format!("{git} init -q && {git} add . && {git} commit -q -m first")).success();
    let created = |host: &Host| {
        host.run("hako build -q --no-cache --reproducible -t made app").success();
        host.run("docker image inspect -f '{{.Created}}' made; docker run --rm made stat -c %Y /file").text().to_owned()
    };
    let expected = "2023-11-14T22:13:20Z\n1700000000";
    assert_eq!(created(&host), expected);
    // The same from a pack and a list of references.
    host.run(&format!("{git} gc -q && test -e app/.git/packed-refs && ! ls app/.git/objects/?? >/dev/null 2>&1"))
        .success();
    assert_eq!(created(&host), expected);
    host.run("rm -rf app/.git").success();
    assert!(created(&host).starts_with("1970-01-01T00:00:00Z"));
}

#[test]
fn a_full_disk_is_told_and_nothing_stays_on_it() {
    hako_testkit::needs!(hako_testkit::require::program("python3"));
    let host = own_host!("busybox");
    host.run("mkdir small ctx && mount -t tmpfs -o size=24m tmpfs small").success();
    let second = host.second_daemon("second", &["--data-root=/run/test/work/small"]);
    let hako = format!("hako -H {}", second.address());
    host.run(&format!("docker save busybox | {hako} load && head -c 40000000 /dev/urandom > ctx/big")).success();
    let used =
        |host: &Host| -> u64 { host.run("df --output=used small | tail -1").text().trim().parse().unwrap_or_default() };
    let before = used(&host);
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY big /\n");
    host.run(&format!("{hako} build ctx")).code(1).says("no space left on device");
    host.write("ctx/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=100\n");
    host.write("ctx/.dockerignore", "big\n");
    host.run(&format!("{hako} build ctx")).code(1).says("No space left on device");
    // From an address, and what is in an archive there.
    host.run("mkdir www && mv ctx/big www/big && tar -cf www/big.tar -C www big && rm ctx/.dockerignore").success();
    host.run("cd www && python3 -m http.server -b 127.0.0.1 8000 >log 2>&1 </dev/null &").success();
    let is_there = "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8000/\").status)'";
    host.wait_until("the server", |host| host.run(is_there), |shown| shown.text() == "200");
    for line in ["ADD http://127.0.0.1:8000/big /", "ADD --unpack=true http://127.0.0.1:8000/big.tar /"] {
        host.write("ctx/Dockerfile", format!("FROM busybox\n{line}\n"));
        host.run(&format!("{hako} build ctx")).code(1).says("o space left on device");
    }
    host.run(&format!("{hako} build http://127.0.0.1:8000/big.tar")).code(1).says("o space left on device");
    host.run("ls small/build/contexts | wc -l").says("0");
    assert!(used(&host) < before + 200, "{before} {}", used(&host));
    // What fits goes on to work.
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo small\n");
    host.run(&format!("{hako} build -q ctx")).success();
}
