//! Plugins: programs named `docker-NAME` that add a command.

use expect_test::expect;

const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
    echo '{"SchemaVersion":"0.1.0","Vendor":"us","Version":"1.2","ShortDescription":"Say hello"}'
    exit
fi
echo "words: $*"
echo "of ${DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND##*/}"
exit 7
"#;

#[test]
fn a_program_beside_the_configuration_is_a_command() {
    let host = host!();
    host.write("home/.docker/cli-plugins/docker-hello", PLUGIN);
    host.run("chmod +x home/.docker/cli-plugins/docker-hello").success();
    host.run("docker hello -x 'a b' --long=1").code(7).shows(expect![[r#"
        words: hello -x a b --long=1
        of docker
        exit 7
    "#]]);
    host.run("docker --debug hello").code(7).shows(expect![[r#"
        words: --debug hello
        of docker
        exit 7
    "#]]);
    host.run("docker --help | grep -o 'hello.*'").shows(expect![[r#"
          hello*   Say hello
    "#]]);
    host.run("docker info 2>/dev/null | grep -A1 hello | sed 's/^ *//'").shows(expect![[r#"
        hello: Say hello (us)
        Version:  1.2
        Path:   /run/test/work/home/.docker/cli-plugins/docker-hello

    "#]]);
    host.run("docker hell").code(1).says("unknown command: docker hell");
    host.run("docker ../hello").code(1);
    // One that may not be run is none, and none replaces a command.
    host.run(
        "cd home/.docker/cli-plugins && cp docker-hello docker-ps && mv docker-hello docker-off && chmod -x docker-off",
    )
    .success();
    host.run("docker off").code(1).says("unknown command: docker off");
    host.run("docker ps -q").success().says_not("words");
}
