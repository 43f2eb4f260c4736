//! Contexts: named daemons, in the files that docker's command line has.

use expect_test::expect;

#[test]
fn a_context_is_made_used_changed_and_removed() {
    let host = host!();
    host.run("docker context create box --description 'my box' --docker host=$DOCKER_HOST").shows(expect![[r#"
        box
        ! Successfully created context "box"
    "#]]);
    host.run("docker context create box").code(1).shows(expect![[r#"
        ! context "box" already exists
        exit 1
    "#]]);
    host.run("docker context create far --docker host=tcp://h:1").success();
    host.run("unset DOCKER_HOST; docker context use far").shows(expect![[r#"
        far
        ! Current context is now "far"
    "#]]);
    host.run("unset DOCKER_HOST; docker context ls | grep -v default").shows(expect![[r#"
        NAME   DESCRIPTION   DOCKER ENDPOINT   ERROR
        box   my box   unix:///run/test/hako.sock
        far *   tcp://h:1
    "#]]);
    host.run("unset DOCKER_HOST; docker context show; DOCKER_CONTEXT=box docker context show; docker --context box run --rm busybox echo by name").shows(expect![[r#"
        far
        box
        by name
    "#]]);
    host.run("docker context update far --docker host=tcp://g:2 --description elsewhere").success();
    host.run(
        "docker context inspect far -f '{{.Name}} {{.Endpoints.docker.Host}} {{.Endpoints.docker.SkipTLSVerify}}'",
    )
    .shows(expect![[r#"
            far tcp://g:2 false
        "#]]);
    host.run("unset DOCKER_HOST; docker context rm far").code(1).shows(expect![[r#"
        ! context "far" is in use, set -f flag to force remove
        exit 1
    "#]]);
    host.run("unset DOCKER_HOST; docker context rm -f far nosuch").success();
    host.run("unset DOCKER_HOST; docker context ls -q; docker context rm nosuch").code(1).shows(expect![[r#"
        box
        default
        ! context "nosuch" does not exist
        exit 1
    "#]]);
    host.run("docker context use default").shows(expect![[r#"
        default
        ! Current context is now "default"
    "#]]);
}

#[test]
fn a_context_travels_as_an_archive() {
    let host = host!();
    host.run("docker context create box --description words --docker host=tcp://h:1").success();
    host.run("docker context export box && docker context import again box.dockercontext").shows(expect![[r#"
        again
        ! Written file "box.dockercontext"
        ! Successfully imported context "again"
    "#]]);
    host.run("docker context export box").code(1).shows(expect![[r#"
        ! open box.dockercontext: file exists
        exit 1
    "#]]);
    host.run("docker context ls --format '{{.Name}} {{.Description}} {{.DockerEndpoint}}' | grep again").shows(
        expect![[r#"
            again words tcp://h:1
            ! Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable.
        "#]],
    );
    host.run("tar -cf bad.tar /etc/hostname 2>/dev/null; docker context import bad bad.tar").code(1);
    host.run("docker context ls -q").shows(expect![[r#"
        again
        box
        default
        ! Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable.
    "#]]);
}

#[test]
fn mistakes_are_told_in_dockers_words() {
    let host = host!();
    host.run("docker context create 'a b'").code(1).shows(expect![[r#"
        ! context name "a b" is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"
        exit 1
    "#]]);
    host.run("docker context create xx --docker host=foo").code(1).shows(expect![[r#"
        ! unable to create docker endpoint config: unable to apply docker endpoint options: unable to parse docker host `foo`
        exit 1
    "#]]);
    host.run("docker context create xx --docker bogus=1").code(1).shows(expect![[r#"
        ! unable to create docker endpoint config: unrecognized config key: bogus
        exit 1
    "#]]);
    host.run("docker context create xx --docker host=tcp://h:1,ca=/nosuch").code(1).shows(expect![[r#"
        ! unable to create docker endpoint config: open /nosuch: no such file or directory
        exit 1
    "#]]);
    host.run("unset DOCKER_HOST; docker --context nosuch ps").code(1).says("context \"nosuch\": context not found");
    host.run("docker context rm default").code(1).shows(expect![[r#"
        ! context "default" cannot be removed
        exit 1
    "#]]);
}
