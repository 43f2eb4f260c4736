//! events: what happened, as it happens and afterwards.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn a_life_is_told_in_order() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker run --rm --name web busybox sh -c 'exit 3'").code(3);
    host.wait_until("the container to be gone", |host| host.run("docker ps -aq"), |shown| shown.text().is_empty());
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!("docker events --since {since} --until {until} --filter type=container --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}} {{{{.Actor.Attributes.exitCode}}}}'"))
        .shows(expect![[r#"
            create web <no value>
            attach web <no value>
            start web <no value>
            die web 3
            destroy web <no value>
        "#]]);
    host.run(&format!("docker events --since {since} --until {until} --filter type=network --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}}'"))
        .shows(expect![[r#"
            connect bridge
            disconnect bridge
        "#]]);
}

#[test]
fn they_are_followed_and_filtered() {
    let host = host!();
    let session = host.spawn("docker events --filter event=die --filter container=web --format '{{.Type}} {{.Action}} {{.Actor.Attributes.exitCode}}'");
    // The stream has begun once something that happens is seen on it.
    host.wait_until(
        "the stream to begin",
        |host| {
            host.run("docker run --rm --name web busybox sh -c 'exit 1'");
            session.stdout()
        },
        |seen| seen.contains("container die 1"),
    );
    host.run("docker run --rm --name other busybox sh -c 'exit 2'").code(2);
    host.run("docker run --rm --name web busybox sh -c 'exit 4'").code(4);
    session.wait_for("container die 4");
    assert!(!session.stdout().contains("die 2"), "{}", session.stdout());
}

#[test]
fn kill_stop_and_exec_have_words_of_their_own() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker run -d --name web busybox sleep 100 && docker exec web true && docker rename web other && docker stop -t 0 other && docker rm other").success();
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!(
        "docker events --since {since} --until {until} --filter type=container --format '{{{{.Action}}}}' | sort"
    ))
    .shows(expect![[r#"
        create
        destroy
        die
        exec_create: true
        exec_die
        exec_start: true
        kill
        kill
        rename
        start
        stop
    "#]]);
}

#[test]
fn every_filter_chooses_by_its_own() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker volume create data && docker run --rm --name web --label tier=front -v data:/data busybox true && docker tag busybox other:1 && docker rmi other:1").success();
    host.wait_until("the container to be gone", |host| host.run("docker ps -aq"), |shown| shown.text().is_empty());
    host.run("docker volume rm data").success();
    let until = host.run("date +%s.%N").text().to_owned();
    let seen = |filters: &str| {
        let line = format!(
            "docker events --since {since} --until {until} {filters} --format '{{{{.Type}}}} {{{{.Action}}}}' | sort -u | xargs"
        );
        host.run(&line).text().to_owned()
    };
    for (filters, expected) in [
        ("--filter type=volume", "volume create volume destroy volume mount volume unmount"),
        ("--filter volume=data --filter event=destroy", "volume destroy"),
        ("--filter type=image", "image tag image untag"),
        ("--filter image=other:1 --filter event=tag", "image tag"),
        ("--filter label=tier=front --filter event=die", "container die"),
        ("--filter label=tier=back", ""),
        ("--filter network=bridge", "network connect network disconnect"),
        ("--filter container=web --filter event=start --filter event=die", "container die container start"),
        ("--filter scope=swarm", ""),
        ("--filter type=daemon", ""),
    ] {
        assert_eq!(seen(filters), expected, "{filters}");
    }
}
