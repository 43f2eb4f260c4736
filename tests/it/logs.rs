//! logs: follow, tail, since, until, timestamps; the two streams; what is kept of a container that has ended.

use expect_test::expect;

#[test]
fn both_streams_are_kept_in_order() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'echo a; echo b >&2; echo c; printf unfinished'").success();
    let shown = host.run("docker logs web");
    assert_eq!((shown.stdout(), shown.stderr()), ("a\nc\nunfinished", "b\n"));
}

#[test]
fn tail_takes_the_last_lines() {
    let host = host!();
    host.run("docker run --name web busybox seq 5").success();
    host.run("docker logs --tail 2 web").shows(expect![[r#"
        4
        5
    "#]]);
    host.run("docker logs -n 0 web").shows(expect![[""]]);
    host.run("docker logs --tail all web").shows(expect![[r#"
        1
        2
        3
        4
        5
    "#]]);
    host.run("docker logs --tail nonsense web | wc -l").shows(expect![[r#"
        5
    "#]]);
}

#[test]
fn timestamps_come_before_each_line() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'echo a; echo b'").success();
    host.run("docker logs -t web").shows(expect![[r#"
        <time> a
        <time> b
    "#]]);
}

#[test]
fn following_ends_with_the_container() {
    let host = host!();
    host.run("docker run -di --name web busybox sh -c 'echo first; read x; echo second; read y'").success();
    let session = host.spawn("docker logs -f web");
    session.wait_for("first");
    let typing = host.spawn("docker attach web");
    typing.type_line("go on");
    session.wait_for("second");
    typing.type_line("and end");
    session.end().shows(expect![[r#"
        first
        second
    "#]]);
}

#[test]
fn since_and_until_cut_by_time() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'echo early; sleep 1.2; echo late'").success();
    let stamps = host.run("docker logs -t web");
    let times: Vec<&str> = stamps.stdout().lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(times.len(), 2, "{stamps}");
    host.run(&format!("docker logs --since {} web", times[1])).shows(expect![[r#"
        late
    "#]]);
    host.run(&format!("docker logs --until {} web", times[0])).shows(expect![[r#"
        early
    "#]]);
    host.run("docker logs --since 1h web").shows(expect![[r#"
        early
        late
    "#]]);
    host.run("docker logs --until 1h web").shows(expect![[""]]);
}

#[test]
fn follow_with_tail_starts_late() {
    let host = host!();
    host.run("docker run -di --name web busybox sh -c 'seq 3; read x; echo end'").success();
    host.wait_until("three lines", |host| host.run("docker logs web"), |shown| shown.text().ends_with('3'));
    let session = host.spawn("docker logs -f --tail 1 web");
    session.wait_for("3");
    let typing = host.spawn("docker attach web");
    typing.type_line("go");
    session.end().shows(expect![[r#"
        3
        end
    "#]]);
}

#[test]
fn lines_longer_than_a_page_stay_whole() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'head -c 100000 /dev/zero | tr \"\\0\" x; echo'").success();
    host.run("docker logs web | wc -c").shows(expect![[r#"
        100001
    "#]]);
    host.run("docker logs -t web | wc -l").shows(expect![[r#"
        1
    "#]]);
}

#[test]
fn a_container_without_a_log_says_so() {
    let host = host!();
    host.run("docker run --name web --log-driver none busybox echo a").success();
    host.run("docker logs web").code(1).says("configured logging driver does not support reading");
    host.run("docker logs nosuch").shows(expect![[r#"
        ! Error response from daemon: No such container: nosuch
        exit 1
    "#]]);
}

#[test]
fn a_log_is_cut_at_its_size() {
    let host = host!("probe");
    host.run("docker run --name web --log-opt max-size=10k --log-opt max-file=2 probe lines 2000 >/dev/null").success();
    let kept = host.run("docker logs web | tail -1; docker logs web | wc -l");
    let lines: Vec<&str> = kept.text().lines().collect();
    assert_eq!(lines[0], "2000");
    let count: usize = lines[1].trim().parse().unwrap_or(0);
    assert!((10..1000).contains(&count), "{kept}");
}
