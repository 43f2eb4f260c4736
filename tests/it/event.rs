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
fn a_prune_is_told_even_if_nothing_was_to_be_removed() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker create --name web busybox true && docker commit -m words web made:1").success();
    host.run("docker container prune -f && docker image prune -f && docker volume prune -f && docker network prune -f")
        .success();
    host.api("POST", "/v1.44/build/prune", "");
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!("docker events --since {since} --until {until} --filter event=prune --format '{{{{.Type}}}} {{{{if .Actor.Attributes.reclaimed}}}}said{{{{end}}}}' | sort"))
        .shows(expect![[r#"
            builder said
            container said
            image said
            network said
            volume said
        "#]]);
    host.run(&format!("docker events --since {since} --until {until} --filter event=commit --format '{{{{.Actor.Attributes.comment}}}} {{{{.Actor.Attributes.imageRef}}}}'"))
        .shows(expect![[r#"
            words made:1
        "#]]);
}

#[test]
fn the_rarer_things_are_told_too() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker run -d --name web --health-cmd true --health-interval 100ms busybox sleep 100").success();
    host.wait_until(
        "the check to pass",
        |host| host.run("docker ps --format '{{.Status}}'"),
        |shown| shown.text().contains("(healthy)"),
    );
    host.run("docker pause web && docker unpause web && docker update --restart no web && docker top web").success();
    host.run("docker export web >/dev/null && docker cp web:/etc/passwd - >/dev/null && echo x > file && docker cp file web:/").success();
    host.run("docker restart -t 0 web && docker save busybox -o saved && docker load -i saved").success();
    host.run("tar c file | docker import - made:1 && docker rmi made:1").success();
    host.run("docker run --name greedy -m 16m --memory-swap 16m busybox tail /dev/zero").code(137);
    let until = host.run("date +%s.%N").text().to_owned();
    let told = host.run(&format!(
        "docker events --since {since} --until {until} --format '{{{{.Type}}}} {{{{.Action}}}}' | sort -u"
    ));
    for word in [
        "container archive-path",
        "container export",
        "container extract-to-dir",
        "container health_status: healthy",
        "container oom",
        "container pause",
        "container restart",
        "container top",
        "container unpause",
        "container update",
        "image delete",
        "image import",
        "image load",
        "image save",
    ] {
        told.says(word);
    }
}

#[test]
fn the_past_is_asked_for_by_either_end() {
    needs!(require::unkilled_daemon());
    let host = host!();
    host.run("docker run --rm --name web busybox true").success();
    let seen = |range: &str| {
        let line =
            format!("docker events {range} --filter container=web --filter event=create --format '{{{{.Action}}}}'");
        host.run(&line).text().to_owned()
    };
    // A span is counted in whole seconds, as docker's command line counts it: this second is named to the end.
    assert_eq!(seen("--since 0 --until $(date +%s.%N)"), "create");
    assert_eq!(seen("--until $(date +%s.%N)"), "create");
    assert_eq!(seen("--since 0s --until 0s"), "");
}

#[test]
fn templates_call_fields_by_gos_names() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker run --rm --name web busybox true").success();
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!("docker events --since {since} --until {until} --filter event=start --filter event=connect --format '{{{{.Type}}}} [{{{{.Status}}}}] [{{{{.From}}}}] {{{{.Scope}}}} {{{{len .ID}}}} {{{{gt .TimeNano 1000}}}}'"))
        .shows(expect![[r#"
            network [] [] local 0 true
            container [start] [busybox] local 64 true
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

#[test]
fn a_terminals_new_size_is_told() {
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    let terminal = host.terminal("docker run -it --name web busybox");
    terminal.wait_for("/ # ");
    let told = |host: &hako_testkit::Host| {
        // The prompt may be there before the client listens for new sizes, and the same size is none.
        terminal.resize(30, 100);
        terminal.resize(31, 101);
        let until = host.run("date +%s.%N").text().to_owned();
        host.run(&format!("docker events --since {since} --until {until} --filter container=web --filter event=resize --format '{{{{.Action}}}} {{{{.Actor.Attributes.height}}}}x{{{{.Actor.Attributes.width}}}}'"))
            .text()
            .to_owned()
    };
    host.wait_until("the new size", told, |told| told.contains("resize 31x101"));
    terminal.type_keys("exit\r");
    terminal.end().success();
}
