//! What a build is told beside its Dockerfile: BuildKit's own arguments, limits of steps, forms of progress, options of
//! mounts, and what there is to know of the builder.

use expect_test::expect;
use hako_testkit::Host;

/// What the steps of a build printed.
fn printed(host: &Host, flags: &str) -> String {
    let line = format!(
        "hako build --progress plain --no-cache {flags} ctx 2>&1 | sed -nE 's/^#[0-9]+ [0-9]+[.][0-9]+ //p; s/^ERROR: failed to build: //p'"
    );
    host.run(&line).text().to_owned()
}

#[test]
fn buildkits_own_arguments_are_obeyed() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "# syntax=docker/dockerfile:1.7-labs\nFROM busybox\nRUN hostname\n");
    assert_eq!(printed(&host, ""), "buildkitsandbox");
    assert_eq!(printed(&host, "--build-arg BUILDKIT_SANDBOX_HOSTNAME=mine"), "mine");
    // Another name space has caches of its own.
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/c echo $(ls /c | wc -l); touch /c/a /c/b\n",
    );
    assert_eq!(printed(&host, "--build-arg BUILDKIT_CACHE_MOUNT_NS=one"), "0");
    assert_eq!(printed(&host, "--build-arg BUILDKIT_CACHE_MOUNT_NS=two"), "0");
    assert_eq!(printed(&host, "--build-arg BUILDKIT_CACHE_MOUNT_NS=one"), "2");
    // The checks: as the file says, as the argument says before it.
    host.write("ctx/Dockerfile", "# check=error=true\nFROM busybox AS Made\nWORKDIR here\n");
    host.run("hako build ctx").code(1).says("lint violation found for rules").says("StageNameCasing");
    host.run("hako build --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing --check ctx 2>&1")
        .says("WorkdirRelativePath")
        .says_not("StageNameCasing");
    host.run("hako build --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all ctx").success();
    // An index of one platform.
    host.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    host.run(
        "hako build -q -o type=oci,dest=x.tar --build-arg BUILDKIT_MULTI_PLATFORM=1 ctx && tar -xOf x.tar index.json",
    )
    .says("\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"size\"");
    // Other languages than ours are not read as ours.
    for flags in ["--build-arg BUILDKIT_SYNTAX=example/other:1", "--check --build-arg BUILDKIT_SYNTAX=example/other:1"]
    {
        host.run(&format!("hako build {flags} ctx")).code(1).says("the front end \"example/other:1\" is not built");
    }
    host.write("ctx/Dockerfile", "# syntax=example/other:1\nFROM busybox\n");
    host.run("hako build ctx").code(1).says("the front end \"example/other:1\" is not built");
    host.run("hako build --build-arg BUILDKIT_SYNTAX=mirror.example/docker/dockerfile@sha256:00 -q ctx").success();
}

#[test]
fn steps_have_the_limits_that_are_asked_for() {
    let host = own_host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN ulimit -n; df -k /dev/shm | tail -1 | awk '{print $2}'\n");
    let told = printed(&host, "--ulimit nofile=77:99 --shm-size 3m");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..2], ["77", "3072"], "{told}");
    // A step sees its own control group as the top of all; the machine sees where it is.
    host.write("ctx/Dockerfile", "FROM busybox\nRUN sleep 1234\n");
    host.run("(hako build --no-cache --cgroup-parent /mine ctx & echo $! >pid; wait) >/dev/null 2>&1 &").success();
    let groups =
        "for one in /proc/[0-9]*; do grep -qs 1234 $one/cmdline && grep -qs sleep $one/comm && cat $one/cgroup; done";
    host.wait_until("the step to run", |host| host.run(groups), |shown| shown.text().contains("/mine/"));
    host.run(groups).says_not(":/hako");
    host.run("kill $(cat pid)").success();
    host.wait_until("the step to be gone", |host| host.run(groups), |shown| shown.text().is_empty());
    host.run("hako build --ulimit odd ctx; hako build --shm-size much ctx")
        .code(125)
        .says("odd")
        .says("invalid size: 'much'");
}

#[test]
fn progress_is_told_to_people_and_programs() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo some words\nRUN exit 3\n");
    let told = host.run("hako build --progress rawjson --no-cache ctx").code(1).stderr().to_owned();
    let (mut steps, mut words, mut failed) = (0, String::new(), false);
    for line in told.lines().filter(|line| line.starts_with('{')) {
        let status: serde_json::Value = serde_json::from_str(line).expect("each line is a document");
        for vertex in status["vertexes"].as_array().into_iter().flatten() {
            steps += usize::from(vertex["completed"].is_string());
            failed |= vertex["error"].as_str().is_some_and(|error| error.contains("exit code: 3"));
        }
        for log in status["logs"].as_array().into_iter().flatten() {
            words.push_str(log["data"].as_str().unwrap_or_default());
        }
    }
    assert!(failed && steps >= 3, "{told}");
    // Bytes travel as base64.
    assert!(words.contains("c29tZSB3b3Jkcwo="), "{told}");
    host.run("BUILDKIT_PROGRESS=plain hako build --no-cache ctx").code(1).says(" some words");
    host.run("hako build --progress quiet --no-cache ctx").code(1).says("exit code: 3").says_not("#1 ");
}

#[test]
fn mounts_have_their_options() {
    let host = host!("busybox");
    host.run("mkdir ctx && echo hush > hush").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS other\nRUN mkdir -p /d/e && echo seed > /d/e/seed\nFROM busybox\nARG WHERE=/c\nARG ID=s\n\
         RUN --mount=type=cache,id=filled,from=other,source=/d,target=$WHERE cat /c/e/seed; echo more > /c/more\n\
         RUN --mount=type=cache,id=filled,target=/c,source=e cat /c/seed\n\
         RUN --mount=type=cache,id=own,target=/c,uid=5,gid=6,mode=0750 stat -c '%a %u %g' /c\n\
         RUN --mount=type=cache,id=apart,target=/c,sharing=private echo private $(ls /c | wc -l); touch /c/x\n\
         RUN --mount=type=secret,id=$ID,uid=5,gid=6 stat -c '%a %u %g' /run/secrets/s\n\
         RUN --mount=type=secret,id=s,env=WORD,target=/w echo $WORD; cat /w\n\
         RUN --mount=type=tmpfs,target=/t --mount=type=bind,from=other,source=/d/e/seed,target=/t/seed cat /t/seed\n\
         RUN --mount=type=bind,from=busybox,source=/bin,target=/tools,readonly ls /tools/busybox\n",
    );
    let told = printed(&host, "--secret id=s,src=hush");
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    expect![[r#"
        /tools/busybox
        400 5 6
        750 5 6
        hush
        private 0
        seed"#]]
    .assert_eq(&lines.join("\n"));
    for (mount, expected) in [
        ("type=cache,target=/c,sharing=odd", "unsupported sharing value \"odd\""),
        ("type=tmpfs,target=/c,size=much", "invalid size: \"much\""),
        ("type=bind,from=other,source=/none,target=/c", "cannot read \"/none\""),
        ("type=ssh,id=a,required", "unset ssh forward key a"),
    ] {
        let text = format!("FROM busybox AS other\nFROM busybox\nRUN --mount={mount} true\n");
        host.write("ctx/Dockerfile", text);
        host.run("hako build ctx").code(1).says(expected);
    }
}

#[test]
fn the_builder_tells_what_it_is() {
    let host = own_host!("busybox");
    host.run("hako buildx version").success().says("hako");
    host.run("hako buildx ls").success().says("DRIVER/ENDPOINT").says("docker").says("linux/amd64");
    host.run("hako buildx inspect").success().says("Driver: docker").says("Status:           running");
    // So much of the cache stays as is wanted, what was used last first.
    host.run("mkdir ctx").success();
    for name in ["old", "new"] {
        host.write("ctx/Dockerfile", format!("FROM busybox\nRUN dd if=/dev/zero of=/{name} bs=1M count=3\n"));
        host.run("hako build -q ctx && docker image prune -f").success();
    }
    host.run("hako builder prune -f --reserved-space 7mb").success().says("reclaimed space: 0B");
    host.run("hako builder du --verbose").success().says("of=/new").says("of=/old");
    host.run("hako builder prune -f --reserved-space 4mb").success().says("3.146MB");
    host.run("hako builder du --verbose").success().says("of=/new").says_not("of=/old");
    host.write("ctx/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/old bs=1M count=3\n");
    host.run("hako build -q ctx && docker image prune -f").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/new bs=1M count=3\n");
    host.run("hako build -q ctx && docker image prune -f").success();
    host.run("hako builder prune -f --keep-storage 4mb").success().says("3.146MB");
    host.run("hako builder du --verbose").success().says("of=/new").says_not("of=/old");
    host.run("hako buildx prune -f --filter type=exec.cachemount").success().says("0B");
    host.run("hako buildx prune -f --filter odd=1").code(1).says("invalid filter 'odd'");
}

#[test]
fn steps_run_in_the_network_that_is_named_by_its_name_or_id() {
    let host = own_host!("busybox");
    host.run("docker network create red && docker run -d --name target --network red --network-alias other.name busybox sleep 1000")
        .success();
    host.write("ctx/Dockerfile", "FROM busybox\nARG N\nRUN ping -c 1 -W 3 other.name\n");
    for network in ["red", "$(docker network inspect --format '{{.Id}}' red)"] {
        host.run(&format!("DOCKER_BUILDKIT=0 docker build --no-cache --network {network} ctx")).success();
    }
    host.run("DOCKER_BUILDKIT=0 docker build --no-cache --network nosuch ctx").code(1).says("network nosuch not found");
}
