//! compose: sources that are followed into running containers (`watch`, `up --watch`).

use hako_testkit::{Host, Signal};

use crate::compose::{is_hako, with_file};

const WATCHED: &str = r#"
name: app
services:
  web:
    build: {context: ., dockerfile_inline: "FROM busybox\nCOPY conf /conf\n"}
    command: sh -c "echo begins; exec sleep 1000"
    stop_grace_period: 0s
    develop:
      watch:
        - {path: ./src, action: sync, target: /app, ignore: ["*.tmp"]}
        - {path: ./conf, action: rebuild}
        - {path: ./again, action: sync+restart, target: /again}
        - {path: ./hook, action: sync+exec, target: /hook, exec: {command: sh -c "echo ran >> /ran"}}
"#;

fn watched(host: &Host) -> bool {
    // Docker's plugin knows some of this only in later versions, and watches its own way.
    if !with_file(host, WATCHED) || !is_hako(host) {
        return false;
    }
    for (file, content) in [("conf", "one"), ("again", "one"), ("hook", "one"), ("src/old", "old")] {
        host.write(file, content);
    }
    true
}

fn shows(host: &Host, command: &str, expected: &str) {
    let line = format!("docker compose exec -T web sh -c '{command}'");
    host.wait_until(
        &format!("{command} to show {expected:?}"),
        |host| host.run(&line).text().to_owned(),
        |text| text.contains(expected),
    );
}

#[test]
fn changes_of_sources_reach_running_containers() {
    let host = host!();
    if !watched(&host) {
        return;
    }
    let watch = host.spawn("exec docker compose --progress plain watch");
    watch.wait_for("Watch enabled");
    host.run("docker compose ps --format '{{.Name}} {{.State}}'").says("app-web-1 running");
    host.write("src/new", "fresh");
    host.write("src/passing.tmp", "no");
    host.write("src/deep/er/file", "deep");
    shows(&host, "cat /app/new /app/deep/er/file", "freshdeep");
    host.run("rm src/new");
    shows(&host, "ls /app", "deep");
    shows(&host, "test -e /app/new || echo gone", "gone");
    host.run("docker compose exec -T web ls /app").says_not("passing.tmp");
    let began = "docker inspect -f '{{.State.StartedAt}}' app-web-1";
    let first = host.run(began).text().to_owned();
    host.write("again", "two");
    shows(&host, "cat /again", "two");
    host.wait_until("a restart", |host| host.run(began).text().to_owned(), |text| *text != first);
    host.write("hook", "two");
    shows(&host, "cat /hook /ran", "tworan");
    host.write("conf", "two");
    shows(&host, "cat /conf", "two");
    watch.wait_for("successfully built");
    watch.signal(Signal::INT);
    watch.end().code(130);
    host.run("docker compose down -t 0 --rmi all").success();
}

#[test]
fn sources_are_there_from_the_beginning_and_old_images_go() {
    let host = host!();
    let file =
        WATCHED.replace("ignore: [\"*.tmp\"]", "initial_sync: true").replace("  web:\n", "  web:\n    scale: 2\n");
    if !watched(&host) {
        return;
    }
    host.write("compose.yaml", file);
    let watch = host.spawn("exec docker compose --progress plain watch --prune");
    watch.wait_for("Watch enabled");
    for index in 1..=2 {
        host.wait_until(
            "the sources to be there",
            |host| host.run(&format!("docker compose exec -T --index {index} web cat /app/old")).text().to_owned(),
            |text| text == "old",
        );
    }
    let image = "docker image inspect app-web -f '{{.Id}}'";
    let before = host.run(image).text().to_owned();
    host.write("conf", "two");
    watch.wait_for("successfully built");
    // The service keeps its number of containers, and nothing without a name is left of the old image.
    host.run("docker compose ps -q | wc -l").says("2");
    assert_ne!(host.run(image).text(), before);
    host.wait_until(
        "the old image to go",
        |host| host.run("docker image ls -q --filter dangling=true").text().to_owned(),
        |text| text.is_empty(),
    );
    watch.signal(Signal::INT);
    watch.end().code(130);
    host.run("docker compose down -t 0 --rmi all").success();
}

#[test]
fn up_follows_sources_and_shows_output() {
    let host = host!();
    if !watched(&host) {
        return;
    }
    let up = host.spawn("exec docker compose --progress plain up --watch");
    up.wait_for("| begins").wait_for("Watch enabled");
    host.write("conf", "two");
    up.wait_for("successfully built");
    // The new container's output is shown too.
    hako_testkit::wait::until("the second beginning", || up.stdout(), |text| text.matches("| begins").count() == 2);
    shows(&host, "cat /conf", "two");
    up.signal(Signal::INT);
    up.end().code(130);
    host.run("docker compose down -t 0 --rmi all").success();
}

#[test]
fn what_cannot_be_watched_is_told() {
    let host = host!();
    if !with_file(&host, "name: app\nservices: {web: {image: busybox}}\n") || !is_hako(&host) {
        return;
    }
    host.run("docker compose watch").code(1).says("none of the selected services is configured for watch");
    host.run("docker compose up -d --watch").code(1).says("--watch stays in the foreground");
    host.write("compose.yaml", "services:\n  web:\n    image: x\n    develop: {watch: [{path: ., action: sync}]}\n");
    host.run("docker compose config -q").code(15).says("compose.yaml:4:").says("target is required");
}
