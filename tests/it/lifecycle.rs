//! create, start, stop, kill, restart, wait, rename, rm: each state and the words for what is not possible.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn a_container_is_created_started_and_ends() {
    let host = host!();
    host.run("docker create --name web busybox sh -c 'exit 3'").success();
    host.run("docker inspect --format '{{.State.Status}} {{.State.Pid}} {{.State.StartedAt}}' web").shows(expect![[
        r#"
            created 0 <time>
        "#
    ]]);
    host.run("docker start web && docker wait web").shows(expect![[r#"
        web
        3
    "#]]);
    host.run("docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' web").shows(
        expect![[r#"
            exited 3 false
        "#]],
    );
    host.run("docker start -a web").code(3);
}

#[test]
fn stop_gives_the_process_time_to_leave() {
    let host = host!();
    host.run(
        "docker run -d --name web busybox sh -c 'trap \"echo bye; exit 7\" TERM; while :; do sleep 1 & wait $!; done'",
    )
    .success();
    host.run("docker stop web && docker wait web && docker logs web").shows(expect![[r#"
        web
        7
        bye
    "#]]);
    host.run("docker stop web").shows(expect![[r#"
        web
    "#]]);
}

#[test]
fn stop_insists_after_the_grace_is_over() {
    let host = host!();
    host.run("docker run -d --name deaf busybox sh -c 'trap \"\" TERM; while :; do sleep 1; done'").success();
    host.run("docker stop -t 1 deaf && docker wait deaf").shows(expect![[r#"
        deaf
        137
    "#]]);
}

#[test]
fn the_stop_signal_is_the_containers() {
    let host = host!();
    host.run("docker run -d --stop-signal USR1 --name web busybox sh -c 'trap \"exit 8\" USR1; while :; do sleep 1 & wait $!; done'").success();
    host.run("docker stop web && docker wait web").shows(expect![[r#"
        web
        8
    "#]]);
    host.run("docker start web && docker stop -s KILL web && docker wait web").shows(expect![[r#"
        web
        web
        137
    "#]]);
}

#[test]
fn kill_sends_any_signal() {
    let host = host!();
    host.run("docker run -d --name web busybox sh -c 'trap \"echo hup\" HUP; echo ready; while :; do sleep 1 & wait $!; done'").success();
    host.wait_until("the trap to be set", |host| host.run("docker logs web"), |shown| shown.text() == "ready");
    host.run("docker kill -s HUP web").shows(expect![[r#"
        web
    "#]]);
    host.wait_until("the signal to arrive", |host| host.run("docker logs web"), |shown| shown.text().ends_with("hup"));
    host.run("docker kill web && docker wait web").shows(expect![[r#"
        web
        137
    "#]]);
    host.run("docker kill web").code(1).says("is not running");
    host.run("docker kill -s NOSUCH web").code(1).says("nvalid signal: NOSUCH");
}

#[test]
fn restart_keeps_the_container_and_its_files() {
    let host = host!();
    host.run("docker run -d --name web busybox sh -c 'echo x >> /count; wc -l < /count; exec sleep 100'").success();
    let id = host.run("docker inspect --format '{{.Id}} {{.Config.Hostname}}' web").text().to_owned();
    host.run("docker restart -t 0 web").shows(expect![[r#"
        web
    "#]]);
    host.wait_until("a second line", |host| host.run("docker logs web"), |shown| shown.text() == "1\n2");
    assert_eq!(host.run("docker inspect --format '{{.Id}} {{.Config.Hostname}}' web").text(), id);
}

#[test]
fn a_restart_is_not_the_end_that_rm_waits_for() {
    let host = host!();
    host.run("docker run -d --rm --name web busybox sleep 100").success();
    let id = host.run("docker inspect --format '{{.Id}}' web").text().to_owned();
    host.run("docker restart -t 0 web && docker restart -t 0 web").success();
    assert_eq!(host.run("docker inspect --format '{{.Id}}' web").text(), id);
    host.run("docker exec web true").success();
    host.run("docker stop -t 0 web").success();
    host.wait_until("it to be gone", |host| host.run("docker ps -aq"), |shown| shown.text().is_empty());
}

#[test]
fn what_has_started_is_not_started_again() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let pid = host.run("docker inspect --format '{{.State.Pid}}' web").text().to_owned();
    host.run("docker start web").shows(expect![[r#"
        web
    "#]]);
    assert_eq!(host.run("docker inspect --format '{{.State.Pid}}' web").text(), pid);
}

#[test]
fn rm_wants_a_stopped_container_or_force() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("docker rm web").code(1).says("container is running: stop the container before removing or force remove");
    host.run("docker rm -f web").shows(expect![[r#"
        web
    "#]]);
    host.run("docker rm web").shows(expect![[r#"
        ! Error response from daemon: No such container: web
        exit 1
    "#]]);
    host.run("docker rm -f web").says("No such container: web");
}

#[test]
fn rename_moves_the_name() {
    let host = host!();
    host.run("docker create --name old busybox true && docker create --name taken busybox true").success();
    host.run("docker rename old new && docker ps -a --format '{{.Names}}'").shows(expect![[r#"
        taken
        new
    "#]]);
    host.run("docker rename new taken").code(1).says("is already in use by container");
    host.run("docker rename new 'not possible'").code(1).says("Invalid container name");
    host.run("docker rename old other").shows(expect![[r#"
        ! Error response from daemon: No such container: old
        ! Error: failed to rename container named old
        exit 1
    "#]]);
}

#[test]
fn auto_remove_leaves_no_name_behind() {
    let host = host!();
    host.run("docker run -d --rm --name web busybox sleep 100").success();
    host.run("docker stop -t 0 web").success();
    host.wait_until("the container to be gone", |host| host.run("docker ps -aq"), |shown| shown.text().is_empty());
    for _ in 0..5 {
        host.run("docker run --rm --name web busybox true").success();
    }
}

#[test]
fn wait_answers_for_several_in_order() {
    let host = host!();
    host.run(
        "docker run -d --name one busybox sh -c 'sleep 0.3; exit 1'; docker run -d --name two busybox sh -c 'exit 2'",
    )
    .success();
    host.run("docker wait one two").shows(expect![[r#"
        1
        2
    "#]]);
    host.run("docker wait nosuch").shows(expect![[r#"
        ! Error response from daemon: No such container: nosuch
        exit 1
    "#]]);
}

#[test]
fn a_short_id_means_one_container() {
    let host = host!();
    let id = host.run("docker create busybox true").text().to_owned();
    host.run(&format!("docker inspect --format '{{{{.Id}}}}' {}", &id[..4])).says(&id);
    host.run("docker inspect 0000").code(1).says("No such object: 0000");
}

#[test]
fn a_paused_container_stands_still() {
    needs!(require::controller("freezer").or_else(|_| require::cgroup_v2()));
    let host = host!();
    host.run("docker run -d --name web busybox sh -c 'while :; do echo x; usleep 10000; done'").success();
    host.run("docker pause web && docker ps --format '{{.State}} {{.Status}}'").shows(expect![[r#"
        web
        paused Up <age> (Paused)
    "#]]);
    let lines = || host.run("docker logs web | wc -l").text().to_owned();
    let before =
        host.wait_until("the output to stand still", |_| (lines(), lines()), |(first, second)| first == second);
    host.run("docker exec web true").code(1).says("is paused");
    assert_eq!(lines(), before.1);
    host.run("docker pause web").code(1).says("is already paused");
    host.run("docker unpause web && docker unpause web").code(1).says("is not paused");
    host.wait_until("more output", |_| lines(), |now| *now != before.1);
}

#[test]
fn prune_takes_what_has_ended() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100 && docker run --name done busybox true").success();
    host.run("docker container prune -f | grep -v Total").success().says("Deleted Containers:");
    host.run("docker ps -a --format '{{.Names}}'").shows(expect![[r#"
        web
    "#]]);
}

#[test]
fn prune_takes_those_that_the_filters_choose() {
    let host = host!();
    host.run("docker create --name red -l colour=red busybox true && docker create --name blue -l colour=blue -l keep busybox true && docker create --name plain busybox true").success();
    let left = || host.run("docker ps -a --format '{{.Names}}' | sort | xargs").text().to_owned();
    host.run("docker container prune -f --filter until=1h && docker system prune -f --filter until=1h").success();
    assert_eq!(left(), "blue plain red");
    host.run("docker container prune -f --filter label=colour=red").success();
    assert_eq!(left(), "blue plain");
    host.run("docker container prune -f --filter label!=keep --filter until=0s").success();
    assert_eq!(left(), "blue");
    host.run("docker container prune -f --filter name=blue").code(1).says("invalid filter");
    host.run("docker system prune -f --filter label=keep").success().says("Total reclaimed space");
    assert_eq!(left(), "");
}
