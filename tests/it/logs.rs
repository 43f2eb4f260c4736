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

/// A socket of datagrams on the machine, as the journal and syslog have them.
fn datagrams(host: &hako_testkit::Host, path: &str) -> std::os::unix::net::UnixDatagram {
    let place = host.path(path);
    std::fs::create_dir_all(place.parent().expect("a socket lies in a folder")).expect("the machine has room");
    let socket = std::os::unix::net::UnixDatagram::bind(&place).expect("the path is free");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("it takes a timeout");
    socket
}

fn datagram(socket: &std::os::unix::net::UnixDatagram) -> String {
    let mut bytes = vec![0; 65_536];
    let length = socket.recv(&mut bytes).expect("something comes in time");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn the_journal_gets_fields_and_can_be_read_back() {
    let host = own_host!();
    host.run("docker run --rm --log-driver journald busybox true")
        .code(125)
        .says("failed to initialize logging driver: journald is not enabled on this host");
    let socket = datagrams(&host, "/run/systemd/journal/socket");
    host.run("docker run --name web --log-driver journald --label tier=front --log-opt labels=tier --log-opt tag='{{.Name}}' busybox sh -c 'echo hello; echo oops >&2'").success();
    let mut fields: Vec<String> = [datagram(&socket), datagram(&socket)]
        .iter()
        .map(|message| {
            let wanted =
                ["MESSAGE", "PRIORITY", "TIER", "CONTAINER_NAME", "CONTAINER_TAG", "IMAGE_NAME", "SYSLOG_IDENTIFIER"];
            let mut lines: Vec<&str> =
                message.lines().filter(|line| wanted.iter().any(|key| line.starts_with(key))).collect();
            lines.sort_unstable();
            lines.join(" ")
        })
        .collect();
    fields.sort();
    expect![[r#"
        [
            "CONTAINER_NAME=web CONTAINER_TAG=web IMAGE_NAME=busybox MESSAGE=hello PRIORITY=6 SYSLOG_IDENTIFIER=web TIER=front",
            "CONTAINER_NAME=web CONTAINER_TAG=web IMAGE_NAME=busybox MESSAGE=oops PRIORITY=3 SYSLOG_IDENTIFIER=web TIER=front",
        ]
    "#]]
    .assert_debug_eq(&fields);
    host.run(
        "docker logs web 2>/dev/null; docker inspect --format '{{.HostConfig.LogConfig.Type}} [{{.LogPath}}]' web",
    )
    .shows(expect![[r#"
        hello
        journald []
    "#]]);
}

#[test]
fn syslog_servers_get_lines_in_the_form_asked_for() {
    let host = own_host!();
    let socket = datagrams(&host, "/run/syslog");
    host.run("docker run --rm --log-driver syslog --log-opt syslog-address=unixgram:///run/syslog --log-opt syslog-facility=local0 --log-opt tag=app busybox echo hello").success();
    let line = datagram(&socket);
    assert!(line.starts_with("<134>") && line.ends_with("]: hello\n") && line.contains(" app["), "{line:?}");
    host.run("docker run --rm --log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:1 busybox true")
        .code(125)
        .says("failed to initialize logging driver: dial tcp 127.0.0.1:1: connect: connection refused");
    host.run("docker run -d --name server --network host busybox nc -l -p 6514").success();
    host.wait_until(
        "the server to listen",
        |host| host.run("cat /proc/net/tcp /proc/net/tcp6 | grep -c ':1972 .* 0A '"),
        |shown| shown.text() == "1",
    );
    host.run("docker run --rm --log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:6514 --log-opt syslog-format=rfc5424 --log-opt tag=app busybox echo hello").success();
    let got = host.wait_until(
        "the line to come",
        |host| host.run("docker logs server"),
        |shown| shown.text().ends_with(" app - hello"),
    );
    assert!(got.text().starts_with("<30>1 20"), "{}", got.text());
    // What went there is kept here too, unless that is not wanted.
    let elsewhere = "--log-driver syslog --log-opt syslog-address=unixgram:///run/syslog";
    host.run(&format!("docker run --name kept {elsewhere} busybox echo hello && docker logs kept"))
        .says("hello\nhello");
    host.run(&format!("docker run --name not {elsewhere} --log-opt cache-disabled=true busybox echo hello")).success();
    host.run("docker logs not").code(1).says("configured logging driver does not support reading");
}

#[test]
fn labels_variables_and_a_tag_are_noted_with_each_line() {
    let host = host!();
    host.run("docker run --name web --label a=b --label 'cd=x,y z' -e E=1 -e F=2 --log-opt labels=a --log-opt 'labels-regex=^c' --log-opt env=E --log-opt 'env-regex=^G' -e G1=3 --log-opt 'tag={{.Name}}' busybox echo hi").success();
    host.run("docker logs --details web; docker logs web").shows(expect![[r#"
        E=1,G1=3,a=b,cd=x%2Cy+z,tag=web hi
        hi
    "#]]);
    host.run("docker create --log-opt colour=red busybox")
        .code(1)
        .says("unknown log opt 'colour' for json-file log driver");
    host.run("docker create --log-opt mode=odd busybox").code(1).says("logging mode not supported: odd");
    host.run("docker create --log-driver nosuch busybox").code(1).says("nosuch");
}

#[test]
fn a_writer_need_not_wait_for_its_log() {
    let host = host!("busybox", "probe");
    let line =
        "docker run --name web --log-opt mode=non-blocking --log-opt max-buffer-size=64k probe lines 200 >/dev/null";
    host.run(line).success();
    // What fits into the buffer is all there; more might be left out, which is what was asked for.
    host.run("docker logs web | wc -l").shows(expect![[r#"
        200
    "#]]);
    host.run("docker create --log-opt max-buffer-size=1m busybox")
        .code(1)
        .says("max-buffer-size option is only supported with 'mode=non-blocking'");
    host.run("docker create --log-opt mode=non-blocking --log-opt max-buffer-size=x busybox").code(1).says("x");
}

#[test]
fn full_files_are_compressed_and_read_back() {
    let host = own_host!();
    host.run("docker run --name web --log-driver local --log-opt max-size=2k --log-opt max-file=4 busybox sh -c 'n=0; while test $n -lt 300; do n=$((n+1)); echo line $n; usleep 2000; done'").success();
    let lines = host.run("docker logs web");
    let numbers: Vec<u32> =
        lines.stdout().lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(numbers.len() > 60 && numbers.len() < 200, "{numbers:?}");
    assert_eq!(numbers, (301 - numbers.len() as u32..=300).collect::<Vec<_>>());
    let tail: Vec<String> = host.run("docker logs -n 45 web").stdout().lines().map(str::to_owned).collect();
    assert_eq!((tail.len(), tail[0].as_str()), (45, "line 256"));
    let folder = host.daemon().data_root().to_owned();
    host.run(&format!("ls {folder}/containers/*/ | grep -c 'container.log.*gz$'")).success();
    host.run(&format!("docker rm web && ls {folder}/containers | wc -l")).shows(expect![[r#"
        web
        0
    "#]]);
}

#[test]
fn a_container_that_writes_without_end_stops_nobody() {
    hako_testkit::needs!(hako_testkit::require::unkilled_daemon());
    let host = own_host!();
    host.run("docker run -d --name loud --log-opt max-size=2m --log-opt max-file=3 busybox sh -c 'exec yes 0123456789012345678901234567890123456789012345678901234567890123456789'").success();
    let daemon = host.processes_of("daemon")[0];
    let resident = |host: &hako_testkit::Host| {
        let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).expect("the daemon runs");
        let _ = host;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("every process has it").to_owned();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    let written = "docker exec loud cat /proc/1/io | sed -n 's/wchar: //p'";
    let much = |host: &hako_testkit::Host, bytes: u64| {
        host.wait_until(
            "much to be written",
            |host| host.run(written).text().parse::<u64>().unwrap_or(0),
            move |wchar| *wchar > bytes,
        );
    };
    much(&host, 5_000_000);
    let before = resident(&host);
    // In steps, each with a patience of its own: an emulated machine writes as much, though not at once.
    for megabytes in [10, 15, 20, 25, 30] {
        much(&host, megabytes * 1_000_000);
    }
    let after = resident(&host);
    assert!(after < before + 16_384, "{before} KiB became {after} KiB");
    let folder = host.daemon().data_root().to_owned();
    let kept = host.run(&format!("du -sk {folder}/containers | cut -f1")).text().parse::<u64>().expect("a number");
    assert!(kept < 10_000, "{kept} KiB of log are kept");
    host.run("docker run --rm busybox echo others work").shows(expect![[r#"
        others work
    "#]]);
    host.run("docker rm -f loud").success();
}
