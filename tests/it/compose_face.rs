//! compose: on a terminal, called by other names, and with a daemon on another machine.

use expect_test::expect;
use hako_testkit::Host;

use crate::compose::{is_hako, with_file};

const STUBBORN: &str = r#"
name: app
services:
  web:
    image: busybox
    command: sh -c "trap 'echo not yet' TERM; echo begins; while true; do sleep 0.1; done"
    stop_grace_period: 1000s
"#;

#[test]
fn a_tree_is_drawn_on_a_terminal_and_a_second_interrupt_kills() {
    let host = host!();
    if !with_file(&host, STUBBORN) || !is_hako(&host) {
        return;
    }
    let up = host.terminal("exec docker compose up");
    up.wait_for("[+] Running").wait_for("\x1b[32m✔\x1b[0m Container app-web-1").wait_for("| \x1b[0mbegins");
    up.type_keys("\x03").wait_for("Gracefully stopping... (press Ctrl+C again to force)");
    // From here on the container's lines and what is done to it stand below each other.
    up.wait_for(" Container app-web-1  Stopping").wait_for("| \x1b[0mnot yet");
    up.type_keys("\x03").wait_for(" Container app-web-1  Killed");
    up.end().code(130);
    host.run("docker compose ps -a --format '{{.State}} {{.ExitCode}}'").says("exited 137");
    let narrow = host.terminal("stty cols 30; NO_COLOR=1 docker compose up -d --force-recreate -t 0");
    let shown = narrow.end().text().to_owned();
    let widest = shown.split(['\n', '\r']).map(|line| line.trim_start_matches("\x1b[2K").chars().count()).max();
    assert!(shown.contains("✔ Container app-web-1") && !shown.contains("\x1b[32m"), "{shown:?}");
    assert!(widest <= Some(32), "a line that wraps cannot be drawn over: {shown:?}");
    host.run("docker compose down -t 0").success();
}

#[test]
fn commands_in_containers_have_the_terminal() {
    let host = host!();
    if !with_file(&host, "name: app\nservices: {web: {image: busybox, command: sleep 1000, stop_grace_period: 0s}}\n") {
        return;
    }
    host.run("docker compose up -d").success();
    for words in ["exec web", "run --rm --quiet-pull web"] {
        let shell = host.terminal(&format!("docker compose {words} sh"));
        shell.wait_for("# ").type_keys("test -t 0 && echo on $((40+2))\r").wait_for("on 42");
        shell.resize(31, 97);
        hako_testkit::wait::until(
            "the new size to arrive",
            || {
                shell.type_keys("stty size\r");
                shell.screen()
            },
            |screen| screen.contains("31 97"),
        );
        shell.type_keys("exit 4\r");
        shell.end().code(4);
    }
    host.run("docker compose down -t 0").success();
}

fn linked(host: &Host, names: &[&str]) {
    for name in names {
        let folder = name.rsplit_once('/').map_or(".", |(folder, _)| folder);
        host.run(&format!("mkdir -p {folder} && ln -s $(command -v hako) {name}")).success();
    }
}

#[test]
fn other_names_and_dockers_command_line_lead_to_it() {
    let host = own_host!();
    host.write(
        "compose.yaml",
        "name: app\nservices: {web: {image: busybox, command: sleep 1000, stop_grace_period: 0s}}\n",
    );
    linked(&host, &["home/.docker/cli-plugins/docker-compose", "bin/docker-compose", "bin/hako-compose"]);
    host.run("bin/docker-compose docker-cli-plugin-metadata").success().says("\"SchemaVersion\":\"0.1.0\"");
    // hako by itself, or docker's command line with hako as its plugin.
    host.run("docker compose up -d").success();
    host.run("docker -H $DOCKER_HOST compose -f compose.yaml ps --format '{{.Name}}'").success().says("app-web-1");
    for name in ["bin/docker-compose", "bin/hako-compose"] {
        host.run(&format!("{name} -f compose.yaml exec -T web echo by another name")).success().says("by another name");
    }
    let up = host.terminal("docker compose up");
    up.wait_for("Attaching to");
    up.type_keys("\x03").wait_for("Gracefully stopping").wait_for("Container app-web-1  Stopped");
    up.end();
    host.run("bin/docker-compose down").success();
    host.run("docker ps -aq").success();
}

/// Whoever is called runs the rest of the line here.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ] && [ "$1" != box ]; do shift; done
shift
[ "$1" = box ] && shift
export DOCKER_HOST=$THERE
exec sh -c "$*"
"#;

#[test]
fn a_daemon_on_another_machine_is_told_over_ssh() {
    let host = host!();
    if !with_file(
        &host,
        "name: app\nservices: {web: {image: busybox, command: sh -c \"echo far; exec sleep 1000\", scale: 3, stop_grace_period: 0s}}\n",
    ) {
        return;
    }
    host.write("bin/ssh", SSH);
    host.run("chmod +x bin/ssh").success();
    let far = "export PATH=$PWD/bin:$PATH THERE=$DOCKER_HOST; docker -H ssh://me@box compose";
    host.run(&format!("{far} up -d")).success();
    host.run(&format!("{far} logs --no-color")).success().says("web-3  | far");
    host.run(&format!("{far} exec -T web echo there")).success().says("there");
    host.run("export PATH=$PWD/bin:$PATH THERE=$DOCKER_HOST DOCKER_HOST=ssh://box; docker compose ps -q | wc -l")
        .says("3");
    host.run(&format!("{far} down")).success();
    host.run("docker compose ps -aq").success().shows(expect![""]);
}

#[test]
fn images_are_pinned_to_what_their_registry_has() {
    let host = own_host!();
    let file =
        "name: app\nservices: {web: {image: \"localhost:5000/web:1\", command: sleep 1000, stop_grace_period: 0s}}\n";
    if !with_file(&host, file) || !is_hako(&host) {
        return;
    }
    crate::registry::serve(&host, 5000, "");
    host.run("docker tag busybox localhost:5000/web:1 && docker compose push").success();
    host.run("docker push -q localhost:5000/web:1").success();
    host.run("docker compose config --resolve-image-digests").success().says("image: localhost:5000/web:1@sha256:");
    host.run("docker compose config --lock-image-digests > lock.yaml && sed 's/sha256:.*/DIGEST/' lock.yaml").shows(
        expect![[r#"
        services:
          web:
           image: localhost:5000/web:1@DIGEST
    "#]],
    );
    host.run("docker rmi localhost:5000/web:1 && docker compose -f compose.yaml -f lock.yaml up -d").success();
    host.run("docker inspect app-web-1 -f '{{.Config.Image}}'").success().says("localhost:5000/web:1@sha256:");
    // Pulled again only where the policy says so.
    host.run("docker compose pull --policy missing").success();
    host.run("docker compose pull --policy always").success().says("Pulled");
    host.run("docker compose down && docker compose up -d --pull always").success().says("Pulled");
    host.run("docker compose up -d --pull nonsense").code(1).says("nonsense");
    host.run("docker compose down --rmi all").success();
}
