//! Builders: those that a person makes, uses and removes, and builds that go to them.
//!
//! BuildKit by itself is stood in for by a second daemon, which speaks its protocols on its socket: then what is built
//! there is not here before it has been loaded.

use hako_testkit::Host;

/// A daemon that builds for others, in a builder by the driver `remote`.
fn remote(host: &Host) -> hako_testkit::Daemon {
    let other = host.second_daemon("other", &[]);
    host.run(&format!("hako buildx create --name far --driver remote {}", other.address())).success().says("far");
    other
}

#[test]
fn builders_are_made_used_and_removed() {
    let host = own_host!("busybox");
    let other = remote(&host);
    host.run("hako buildx ls").success().says("far ").says("default*").says(" \\_ far0");
    host.run("hako buildx ls --format '{{.Name}} {{.DriverEndpoint}} {{.Status}}'")
        .success()
        .says(&format!("far0 {} running", other.address()))
        .says("default docker");
    host.run("hako buildx ls --format json | head -1").success().says(r#""Name":"far""#).says(r#""Status":"running""#);
    host.run("hako buildx inspect far").success().says("remote").says("linux/amd64");
    host.run("hako buildx use far && hako buildx ls").success().says("far*");
    // Another daemon has a choice of its own, unless the choice is for all.
    let elsewhere = format!("DOCKER_HOST={} hako buildx ls", other.address());
    host.run(&elsewhere).success().says("default*");
    host.run("hako buildx use --global far").success();
    host.run(&elsewhere).success().says("far*");
    host.run("hako buildx use default && hako buildx ls").success().says("default*");
    host.run("hako buildx inspect --builder far | head -1").success().says("far");
    host.run("BUILDX_BUILDER=far hako buildx inspect | head -1").success().says("far");
    host.run("hako buildx stop far && hako buildx rm far").success().says("far removed");
    host.run("hako buildx ls").success().says_not("far");
    // Those that nobody runs are removed together.
    host.run("hako buildx create --name dead --driver remote unix:///nowhere").success();
    host.run("hako buildx ls").success().says("inactive");
    host.run("hako buildx rm --all-inactive -f && hako buildx ls").success().says_not("nowhere");
}

#[test]
fn nodes_join_a_builder_and_a_build_goes_to_one_of_them() {
    let host = own_host!("busybox");
    let other = remote(&host);
    host.run("hako buildx create --name far --append --node arm --platform linux/arm64,linux/arm/v7 $DOCKER_HOST")
        .success();
    host.run("hako buildx inspect far").success().says("arm\n").says("linux/arm64*, linux/arm/v7*");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let build = |platforms: &str| {
        host.run(&format!(
            "hako build --builder far --platform {platforms} -o out ctx && hako buildx history ls | wc -l"
        ))
    };
    // The platform is the second node's, which is the daemon that `history` asks.
    build("linux/arm64").success().says("2");
    build("linux/amd64").success().says("2");
    let at_other = format!("DOCKER_HOST={} hako buildx history ls | wc -l", other.address());
    host.run(&at_other).success().says("2");
    host.run("hako buildx create --name far --node arm --leave && hako buildx inspect far")
        .success()
        .says_not("arm64*");
}

#[test]
fn one_build_goes_to_several_nodes() {
    let host = own_host!("busybox");
    let other = remote(&host);
    crate::registry::serve(&host, 5000, "");
    host.run("hako buildx create --name far --append --node arm --platform linux/arm64 $DOCKER_HOST").success();
    host.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n");
    host.run("echo one > ctx/amd64; echo two > ctx/arm64; echo three > ctx/s390x").success();
    let build = "hako buildx build --builder far --platform linux/s390x,linux/arm64";
    host.run(&format!(
        "{build} --push -t localhost:5000/a:1 -t localhost:5000/b --annotation index:k=v --metadata-file meta --iidfile iid ctx"
    ))
    .success()
    .says("[far0 internal] load build definition")
    .says("[arm internal] load build definition")
    .says("[arm 1/1] COPY $TARGETARCH /arch")
    .says("[far0] pushing localhost:5000/a")
    .says("merging manifest list localhost:5000/a:1,localhost:5000/b:latest");
    let index = "hako buildx imagetools inspect";
    let raw = host.run(&format!("{index} --raw localhost:5000/a:1 | tr -d ' \\n'")).success().text().to_owned();
    assert!(raw.ends_with(r#"],"annotations":{"k":"v"}}"#) && !raw.contains("attestation-manifest"), "{raw}");
    host.run(&format!("{index} localhost:5000/b | grep Platform: | tr -s ' '"))
        .says("linux/s390x\n Platform: linux/arm64");
    let digest =
        host.run(&format!("{index} localhost:5000/b | grep -m1 -o sha256.*; cat iid; grep -c $(cat iid) meta"));
    let digest = digest.success().text().to_owned();
    let lines: Vec<&str> = digest.lines().collect();
    assert_eq!((lines[0], &*format!("{}2", lines[0])), (lines[0], lines[1]), "{digest}");
    host.run("docker pull -q localhost:5000/b@$(cat iid) --platform linux/arm64").success();
    // Nobody has the name before both are done; who fails ends the other.
    host.write("bad/Dockerfile", "ARG TARGETARCH\nFROM --platform=linux/amd64 busybox AS arm64\nRUN echo no && false\nFROM --platform=linux/amd64 busybox AS s390x\nRUN sleep 100\nFROM ${TARGETARCH}\n");
    host.run(&format!("docker save busybox | DOCKER_HOST={} docker load", other.address())).success();
    host.run(&format!("{build} --push -t localhost:5000/bad bad"))
        .code(1)
        .says("[arm arm64 2/2] RUN echo no && false")
        .says("did not complete successfully: exit code: 1");
    host.run(&format!("{index} localhost:5000/bad")).code(1).says("not found");
    // What is attested goes along; by digest alone it has no name.
    host.run(&format!("{build} --provenance=mode=max -o type=image,name=localhost:5000/c,push=true,push-by-digest=true --metadata-file meta ctx")).success();
    host.run(&format!("{index} localhost:5000/c")).code(1);
    host.run(&format!(
        "{index} --raw localhost:5000/c@$(grep -m1 -o 'sha256:[0-9a-f]*' meta) | grep -c attestation-manifest"
    ))
    .says("2");
    host.run(&format!("{build} -o out ctx && cat out/linux_s390x/arch out/linux_arm64/arch"))
        .success()
        .says("three\ntwo");
    for (flags, why) in [
        ("--load", "docker exporter does not currently support exporting manifest lists"),
        ("-o type=docker,dest=x", "docker exporter does not currently support exporting manifest lists"),
        ("-o type=oci,dest=x", "oci for multi-node builds currently not supported"),
        ("-o type=tar,dest=x", "tar for multi-node builds currently not supported"),
        ("--push", "tag is needed when pushing to registry"),
    ] {
        host.run(&format!("{build} {flags} ctx")).code(1).says(why);
    }
    host.run(&format!("tar -c ctx | {build} -o out -")).code(1).says("a context for one node");
    host.write("bake.json", r#"{"target": {"default": {"context": "ctx", "platforms": ["linux/s390x", "linux/arm64"], "tags": ["localhost:5000/baked"]}}}"#);
    host.run("hako buildx use far && hako buildx bake -f bake.json --push").success();
    host.write("compose.yaml", "services: {web: {build: {context: ctx, platforms: [linux/s390x, linux/arm64]}, image: localhost:5000/composed}}\n");
    host.run("hako compose build --push").success();
    host.run(&format!("for name in baked composed; do {index} localhost:5000/$name | grep -c Platform:; done"))
        .says("2\n2");
}

#[test]
fn a_builder_is_asked_about_a_dockerfile() {
    let host = own_host!("busybox");
    let _other = remote(&host);
    host.write("ctx/Dockerfile", "FROM scratch AS Base\nARG WORD=x\n");
    let call = |flags: &str| host.run(&format!("hako buildx build --builder far {flags} ctx"));
    call("--check").code(1).says("Check complete, 1 warning has been found!").says("should be lowercase");
    call("--call outline").success().says("WORD");
    call("--call targets,format=json").success().says("\"targets\"");
    call("--call odd").code(1);
    call("--call outline --target nosuch").code(1);
    host.write("docker-bake.json", r#"{"target": {"default": {"context": "ctx", "call": "check"}}}"#);
    host.run("hako buildx bake --builder far 2>/dev/null").code(1).says("Check complete, 1 warning");
    host.write("ctx/Dockerfile", "FROM busybox\n");
    call("--check").success().says("no warnings found");
    host.run("hako buildx bake --builder far 2>/dev/null").success().says("no warnings found");
    // Nothing was built.
    host.run("hako buildx history ls --builder far | wc -l").says("1");
}

#[test]
fn what_makes_no_builder_is_told() {
    let host = own_host!("busybox");
    remote(&host);
    for (flags, complaint) in [
        ("--name far --driver remote unix:///x", "existing instance for \"far\" but no append mode"),
        ("--name far --append", "no remote endpoint provided"),
        ("--name far --append unix:///run/test/other.sock", "invalid duplicate endpoint"),
        ("--name far --append --driver docker-container", "mismatched driver \"remote\""),
        ("--name none --append", "failed to find instance \"none\" for append"),
        ("--append", "append requires a builder name"),
        ("--leave", "leave requires instance name"),
        ("--leave --name far", "leave requires node name"),
        ("--leave --name far --node x", "node \"x\" not found for far"),
        ("--name default", "default is a reserved name"),
        ("--name 'a b'", "invalid name a b"),
        ("--driver docker", "additional instances of driver \"docker\" cannot be created"),
        ("--driver kubernetes", "the driver kubernetes is not built"),
        ("--driver odd", "failed to find driver \"odd\""),
        ("--driver remote", "no remote endpoint provided"),
        ("--driver remote --driver-opt image=x unix:///x", "invalid driver option image for remote driver"),
        ("--driver remote ssh://h", "ssh:// to BuildKit is not built"),
        ("--driver-opt odd", "expecting k=v"),
        ("--driver-opt odd=1", "invalid driver option odd for docker-container driver"),
        ("--platform odd", "unknown operating system or architecture"),
        ("nosuchcontext", "nosuchcontext"),
    ] {
        host.run(&format!("hako buildx create {flags}")).code(1).says(complaint);
    }
    for (command, complaint) in [
        ("use nosuch", "failed to find instance \"nosuch\""),
        ("inspect nosuch", "no builder \"nosuch\" found"),
        ("rm nosuch", "failed to remove one or more builders"),
        ("rm default", "context builder cannot be removed"),
        ("build --builder nosuch .", "no builder \"nosuch\" found"),
        ("du --builder nosuch", "no builder \"nosuch\" found"),
    ] {
        host.run(&format!("hako buildx {command}")).code(1).says(complaint);
    }
    host.run("hako buildx ls --format '{{.Name}}'").success().says("far\nfar0\ndefault\ndefault\n");
}

#[test]
fn another_builder_has_what_it_builds_until_it_is_loaded() {
    let host = own_host!("busybox");
    let other = remote(&host);
    host.run("mkdir ctx && head -c 30M /dev/urandom > ctx/large").success();
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY large /large\nCOPY Dockerfile /\n");
    host.run("hako build --builder far -t one ctx").success().says("No output specified with remote driver");
    host.run("docker image inspect one").code(1);
    host.run("hako build --builder far --load -t one ctx && docker create --name got one x").success();
    host.run("docker cp got:/large - | tar -x && cmp large ctx/large").success();
    host.run("hako buildx use far && hako buildx build -o out ctx && cmp out/large ctx/large").success();
    // `build` alone is the daemon's own, as docker's is.
    host.run("hako build -t two ctx && docker image inspect two").success();
    host.run("hako buildx create --name lazy --driver remote --driver-opt default-load=true $DOCKER_HOST").code(0);
    host.run("hako build --builder lazy -t three ctx && docker image inspect three").success();
    // What the cache keeps and what is remembered is the builder's.
    host.run("hako buildx du --verbose").success().says("COPY large");
    host.run("hako buildx history ls | wc -l").success().says("4");
    host.run("hako buildx history inspect | head -1 && hako buildx history logs").success().says("COPY large");
    host.run("hako buildx prune -af && hako buildx du | tail -1").success().says("0B");
    host.run("hako builder du --verbose").success().says("COPY large");
    host.run("hako buildx build --why ctx").success().says("COPY large");
    host.write("docker-bake.json", r#"{"target":{"default":{"context":"ctx","tags":["baked"]}}}"#);
    host.run("hako buildx bake --load && docker image inspect baked").success();
    host.write("compose.yaml", "services: {web: {build: ctx, image: composed}}\n");
    host.run("hako compose build && docker image inspect composed").success();
    host.run(&format!("DOCKER_HOST={} docker image inspect composed", other.address())).code(1);
}

#[test]
fn a_builder_is_reached_through_tls() {
    let host = own_host!("busybox");
    let authority = crate::remote::Authority::new();
    authority.sign(&host, "server", &["builder.example"]);
    authority.sign(&host, "client", &["someone"]);
    let work = host.run("pwd").stdout().trim().to_owned();
    let file = |flag: &str, name: &str| format!("--{flag}={work}/server/{name}.pem");
    let (ca, cert, key) = (file("tlscacert", "ca"), file("tlscert", "cert"), file("tlskey", "key"));
    let _daemon = host.second_daemon("tls", &["-H", "tcp://127.0.0.1:2376", "--tlsverify", &ca, &cert, &key]);
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let create = |name: &str, options: &str| {
        host.run(&format!(
            "hako buildx create --name {name} --driver remote --driver-opt {options} tcp://127.0.0.1:2376"
        ))
    };
    let files = "cacert=$PWD/client/ca.pem,cert=$PWD/client/cert.pem,key=$PWD/client/key.pem";
    create("far", &format!("{files},servername=builder.example")).success();
    host.run("hako build --builder far -o out ctx && cmp out/Dockerfile ctx/Dockerfile").success();
    // Its certificate is for another name than its address.
    create("wrong", files).success();
    host.run("hako buildx ls --format '{{.Name}} {{.Status}}'").success().says("far0 running").says("wrong0 inactive");
}

/// An image that has what the driver asks of BuildKit's, with a daemon at a port in place of BuildKit.
fn stand_in(host: &Host) {
    host.run("mkdir image").success();
    host.write(
        "image/buildkitd",
        "#!/bin/sh\necho \"$@\" > /var/lib/buildkit/arguments\ntrap 'exit 0' TERM\nwhile :; do sleep 1; done\n",
    );
    host.write(
        "image/buildctl",
        "#!/bin/sh\ntest \"$1\" = dial-stdio || exit 9\ntest -e /var/lib/buildkit/arguments || { echo 'no socket yet' >&2; exit 1; }\nexec nc 127.0.0.1 2375\n",
    );
    host.write(
        "image/Dockerfile",
        "FROM busybox\nCOPY --chmod=755 buildkitd buildctl /bin/\nVOLUME /var/lib/buildkit\nENTRYPOINT [\"buildkitd\"]\n",
    );
    host.run("hako build -q -t moby/buildkit:buildx-stable-1 image").success();
}

#[test]
fn a_builder_is_made_in_a_container() {
    let host = own_host!("busybox");
    let _other = host.second_daemon("other", &["-H", "tcp://127.0.0.1:2375", "--tls=false"]);
    stand_in(&host);
    host.write("ca.pem", "certificate\n");
    host.write("buildkitd.toml", "debug = true\n[registry.\"h:5000\"]\nca = [\"ca.pem\"]\n");
    let create = "hako buildx create --name box --use --driver-opt network=host,env.A=b,memory=200m --buildkitd-flags '--x \"1 2\"'";
    host.run(&format!("{create} --buildkitd-config buildkitd.toml && docker ps -aq | wc -l")).success().says("0");
    host.run("hako buildx ls").success().says("box*").says("inactive");
    host.run("mkdir ctx && head -c 20M /dev/urandom > ctx/large").success();
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY large /large\n");
    // The first build makes it.
    host.run("hako buildx build --load -t one ctx").success().says("booting buildkit").says("buildx_buildkit_box0");
    host.run("docker create --name got one x && docker cp got:/large - | tar -x && cmp large ctx/large").success();
    host.run("docker inspect buildx_buildkit_box0 --format '{{.HostConfig.Privileged}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}'")
        .success()
        .says("true 209715200 unless-stopped");
    host.run("docker exec buildx_buildkit_box0 sh -c 'echo $A; cat /etc/buildkit/buildkitd.toml /etc/buildkit/certs/h_5000/ca.pem /var/lib/buildkit/arguments'")
        .success()
        .says("b\ndebug = true\n\n[registry.\"h:5000\"]\nca = [\"/etc/buildkit/certs/h_5000/ca.pem\"]\ncertificate\n--config /etc/buildkit/buildkitd.toml --x 1 2 --allow-insecure-entitlement=network.host");
    host.run("hako buildx build -o out ctx && cmp out/large ctx/large").success().says_not("booting");
    host.run("hako buildx stop && hako buildx ls").success().says("stopped");
    host.run("hako buildx inspect --bootstrap").success().says("running").says("File#buildkitd.toml");
    // A program that does not get to BuildKit says why.
    host.write("image/buildctl", "#!/bin/sh\necho 'no socket there' >&2\nexit 1\n");
    host.run("chmod 755 image/buildctl && docker cp image/buildctl buildx_buildkit_box0:/bin/buildctl").success();
    host.run("hako buildx ls").success().says("error").says("no socket there");
    host.run("hako buildx rm --keep-state && docker volume ls -q").success().says("buildx_buildkit_box0_state");
    host.run(&format!("{create} --bootstrap")).success();
    host.run("hako buildx rm box && docker volume ls -q | wc -l && docker ps -aq --filter name=buildx | wc -l")
        .success()
        .says("0\n0");
}
