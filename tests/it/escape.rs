//! Ways out of a container or a build that other engines have had, each tried by its number.
//!
//! `docs/security-advisories.md` lists all of them; those about launches are tried in `crates/runtime/tests/launch`, those
//! about networks in `network_advisory`. What is looked at is the outcome: a file of the host read, written or gone.

use hako_testkit::Host;

/// A file of the host at a path that means something else inside.
fn with_secret(host: &Host) {
    host.write("/run/test/trap/secret", "of the host\n");
}

fn untouched(host: &Host) {
    let shown = host.run("ls -A /run/test/trap && cat /run/test/trap/secret");
    assert_eq!(shown.text().trim(), "secret\nof the host", "{shown}");
}

#[test]
fn cve_2021_41091_the_daemons_directories_are_closed_to_others() {
    let host = own_host!();
    host.run("docker run -d --name one -v data:/data busybox sleep 1000").success();
    for root in [host.daemon().data_root().to_owned(), format!("{}/containers", host.daemon().exec_root())] {
        host.run(&format!("setpriv --reuid 65534 --regid 65534 --clear-groups ls {root}")).says("Permission denied");
        let open = host.run(&format!("find {root} -maxdepth 0 -perm /o=rwx"));
        assert_eq!(open.stdout(), "", "{open}");
    }
}

#[test]
fn cve_2025_52881_labels_and_sysctls_are_written_to_the_kernel_alone() {
    let host = own_host!("busybox");
    // A procfs that somebody else covers: another container's mount, or a tmpfs in its place.
    host.run("mkdir -p fake/sys/net/ipv4 fake/self/attr && touch fake/sys/net/ipv4/ip_forward").success();
    for target in ["/proc", "/proc/sys", "/proc/self", "/proc/self/attr", "/proc/1/attr"] {
        let shown =
            host.run(&format!("docker run --rm -v $PWD/fake:{target} --sysctl net.ipv4.ip_forward=0 busybox true"));
        assert!(!shown.stderr().is_empty(), "{target}: {shown}");
    }
    host.run("docker run --rm --tmpfs /proc busybox true").says("proc");
    host.run("wc -c < fake/sys/net/ipv4/ip_forward").says("0");
}

#[test]
fn cve_2021_30465_containers_that_race_for_a_shared_volume_mount_nothing_of_the_host() {
    let host = own_host!("busybox");
    with_secret(&host);
    // The first container turns a directory of the volume into a link out of it and back, as fast as it can, while
    // others mount something below that directory.
    host.run("docker run -d --name racer --cpus 0.5 -v shared:/shared busybox sh -c 'mkdir /shared/real; while :; do ln -sfn /run/test/trap /shared/swap; rm -f /shared/swap; mkdir -p /shared/swap; rmdir /shared/swap; ln -sfn ../../../../run/test/trap /shared/swap; rm -f /shared/swap; done'")
        .success();
    for _ in 0..5 {
        host.run("docker run --rm -v shared:/shared --tmpfs /shared/swap/secret busybox sh -c 'cat /shared/swap/secret; true' 2>&1")
            .says_not("of the host");
        host.run("docker run --rm -v shared:/shared -v inner:/shared/swap busybox sh -c 'cat /shared/swap/secret; touch /shared/swap/planted; true' 2>&1")
            .says_not("of the host");
    }
    host.run("docker rm -f racer").success();
    untouched(&host);
}

#[test]
fn cve_2026_57231_an_image_does_not_read_the_daemons_environment() {
    let host = own_host!("busybox");
    let answer = host.api(
        "POST",
        "/containers/create?name=one",
        r#"{"Image":"busybox","Cmd":["env"],"Env":["PATH_OF_DAEMON","HAKO_TEST_SKIPS","LANG"]}"#,
    );
    assert_eq!(answer.status, 201);
    let shown = host.run("docker start -a one");
    assert!(!shown.stdout().contains("HAKO_TEST_SKIPS") && !shown.stdout().contains("LANG="), "{shown}");
}

#[test]
fn cve_2024_1753_build_mounts_follow_no_link_out_of_their_root() {
    let host = own_host!("busybox");
    with_secret(&host);
    host.run("mkdir -p ctx evil && ln -s /run/test ctx/link").success();
    host.write("evil/Dockerfile", "FROM busybox\nRUN ln -s /run/test /link && ln -s ../../../../run/test /climbs\n");
    host.run("hako build -q -t evil evil").success();
    for mount in ["from=evil,source=/link/trap", "from=evil,source=/climbs/trap", "source=link/trap"] {
        host.write(
            "ctx/Dockerfile",
            format!(
                "FROM busybox\nRUN --mount=type=bind,{mount},target=/mnt,rw cat /mnt/secret; touch /mnt/planted; true\n"
            ),
        );
        host.run("hako build --no-cache --progress plain ctx 2>&1").says_not("of the host");
    }
    untouched(&host);
}

#[test]
fn cve_2024_23651_a_cache_of_a_build_leads_nowhere_else() {
    let host = own_host!("busybox");
    with_secret(&host);
    host.run("mkdir -p ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c ln -sfn /run/test/trap /c/sub\n\
         RUN --mount=type=cache,id=c,source=sub,target=/mnt cat /mnt/secret; touch /mnt/planted; true\n",
    );
    host.run("hako build --no-cache --progress plain ctx 2>&1").says_not("of the host");
    untouched(&host);
}

#[test]
fn cve_2024_23652_what_a_step_leaves_in_the_place_of_a_mount_removes_nothing() {
    let host = own_host!("busybox");
    with_secret(&host);
    host.run("mkdir -p ctx /run/test/trap2/b/c").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=tmpfs,target=/a/b/c --mount=type=cache,target=/d/secret \
         mv /a /z; mv /d /y; ln -s /run/test/trap2 /a; ln -s /run/test/trap /d; true\n",
    );
    host.run("hako build --no-cache --progress plain ctx 2>&1").says_not("of the host");
    host.run("test -d /run/test/trap2/b/c && echo there").says("there");
    untouched(&host);
}

#[test]
fn cve_2024_23653_a_build_takes_no_rights_that_nobody_gave() {
    let host = own_host!("busybox");
    host.run("mkdir -p ctx").success();
    for flag in ["--security=insecure", "--network=host"] {
        host.write(
            "ctx/Dockerfile",
            format!("FROM busybox\nRUN {flag} mount -t tmpfs none /mnt && echo mounted $((40 + 2))\n"),
        );
        host.run("hako build --no-cache --progress plain ctx 2>&1").code(1).says_not("mounted 42");
    }
}

#[test]
fn cve_2023_0778_what_is_in_a_volume_leads_its_export_nowhere() {
    let host = own_host!("busybox");
    with_secret(&host);
    host.run("docker volume create data").success();
    host.run(
        "docker run --rm -v data:/d busybox sh -c 'ln -s /run/test/trap /d/way; ln -s /run/test/trap/secret /d/file'",
    )
    .success();
    host.run("hako volume export data > out.tar && tar -xOf out.tar").says_not("of the host");
    host.run("tar -tvf out.tar").says("way -> /run/test/trap").says("file -> /run/test/trap/secret");
    // The data directory itself as a link is nobody's volume any more.
    host.run(
        "cd $(docker volume inspect --format '{{.Mountpoint}}' data)/.. && mv _data _was && ln -s /run/test/trap _data",
    )
    .success();
    host.run("hako volume export data | tar -xOf - 2>&1").says_not("of the host");
    untouched(&host);
}

#[test]
fn cve_2024_24557_an_image_that_looks_like_a_step_is_not_taken_for_it() {
    let host = own_host!("busybox");
    host.run("docker run --name step busybox sh -c 'echo poison > /f'").success();
    // As the classic builder left its steps behind: a child of the base whose command is the step's.
    let command = r#"CMD ["/bin/sh", "-c", "echo real > /f"]"#;
    host.run(&format!("docker commit --change '{command}' -m 'RUN echo real > /f' step poisoned")).success();
    host.run("mkdir -p ctx && printf 'FROM busybox\\nRUN echo real > /f\\n' > ctx/Dockerfile").success();
    for (builder, name) in [("hako build", "one"), ("DOCKER_BUILDKIT=0 docker build", "two")] {
        host.run(&format!("{builder} --cache-from poisoned -t {name} ctx")).success();
        host.run(&format!("docker run --rm {name} cat /f")).says("real").says_not("poison");
    }
}

#[test]
fn cve_2026_53488_labels_and_annotations_run_nothing() {
    let host = own_host!("busybox");
    with_secret(&host);
    host.run("mkdir -p ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nLABEL io.containerd.runtime='touch /run/test/trap/ran' run.oci.hooks.stdout=/run/test/trap/out \
         io.podman.annotations.init='/bin/sh' cdi.k8s.io/x='vendor.com/class=device' run='touch /run/test/trap/ran'\n",
    );
    host.run("hako build -q -t labelled ctx").success();
    host.run("docker run --rm --annotation run.oci.hooks.stdout=/run/test/trap/out --annotation cdi.k8s.io/x=v.com/c=d labelled ls /dev | sort | xargs").success();
    untouched(&host);
}
