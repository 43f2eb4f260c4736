//! The doors of a daemon: sockets that are handed to it, who may use them, and the proxies it goes out by.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use expect_test::expect;
use hako_testkit::{namespace, needs, require};

#[test]
fn a_socket_that_systemd_holds_starts_it() {
    needs!(require::program("systemd-socket-activate"));
    let host = own_host!();
    host.run("systemd-socket-activate -l /run/test/held.sock hako daemon -H fd:// --data-root /run/test/held/data --exec-root /run/test/held/run --pidfile /run/test/held.pid --sandboxes=2 >held.log 2>&1 </dev/null &")
        .success();
    host.wait_until("the socket", |host| host.run("ls /run/test"), |shown| shown.text().contains("held.sock"));
    // Nothing runs before the first who asks; he waits for it.
    host.run("test ! -e /run/test/held.pid").success();
    let flags = "-H unix:///run/test/held.sock";
    host.run(&format!("docker {flags} version --format '{{{{.Server.Os}}}}'")).shows(expect![[r#"
        linux
    "#]]);
    host.load_into("busybox", flags);
    host.run(&format!("docker {flags} run --rm busybox echo through it")).shows(expect![[r#"
        through it
    "#]]);
    // The socket is systemd's: it is there for the next one.
    host.run("kill $(cat /run/test/held.pid)").success();
    host.wait_until("its end", |host| host.run("ls /run/test"), |shown| !shown.text().contains("held.pid"));
    host.run("test -S /run/test/held.sock").success();
    host.run("timeout 10 hako daemon -H fd:// --data-root /run/test/other --exec-root /run/test/other-run")
        .code(1)
        .says("no sockets found via socket activation");
}

#[test]
fn a_group_may_use_the_socket_and_nobody_else() {
    needs!(require::program("setpriv"));
    let host = own_host!();
    let daemon = host.second_daemon("second", &["--group=daemon"]);
    let socket = daemon.address().trim_start_matches("unix://").to_owned();
    host.run(&format!("stat -c '%U:%G %a' {socket}")).shows(expect![[r#"
        root:daemon 660
    "#]]);
    let asked = |groups: &str| {
        host.run(&format!(
            "setpriv --reuid=65534 --regid=65534 {groups} curl -s --unix-socket {socket} http://d/_ping; echo \" $?\""
        ))
        .text()
        .to_owned()
    };
    assert_eq!(asked("--groups=daemon"), "OK 0");
    // curl: no connection.
    assert_eq!(asked("--clear-groups"), "7");
}

#[test]
fn images_are_pulled_by_way_of_a_proxy() {
    let host = own_host!();
    let inside = host.processes_of("daemon")[0];
    let listen = |address: &'static str| namespace::in_network_of(inside, move || TcpListener::bind(address));
    let (proxy, near) = (listen("127.0.0.1:3128").expect("a port is free"), listen("127.0.0.1:5000"));
    // What is asked for without the proxy has an address, so that nobody waits for a name server that is not there.
    host.run("{ cat /etc/hosts; echo 127.0.0.1 near.example; } > hosts && mount --bind hosts /etc/hosts").success();
    let visited = Arc::new(AtomicBool::new(false));
    let (near, noted) = (near.expect("a port is free"), visited.clone());
    thread::spawn(move || {
        for _stream in near.incoming() {
            noted.store(true, Ordering::SeqCst);
        }
    });
    let (send, heard) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in proxy.incoming() {
            let mut stream = BufReader::new(stream.expect("somebody connects"));
            let mut line = String::new();
            let _ = stream.read_line(&mut line);
            let _ =
                stream.get_mut().write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = send.send(line);
        }
    });
    host.write(
        "daemon.json",
        r#"{"proxies": {"http-proxy": "http://127.0.0.1:3128", "https-proxy": "http://127.0.0.1:3128",
            "no-proxy": "near.example"}, "insecure-registries": ["far.example:5000", "near.example:5000"]}"#,
    );
    let file = host.run("pwd").text().to_owned();
    let daemon = host.second_daemon("second", &["--config-file", &format!("{file}/daemon.json")]);
    let flags = format!("-H {}", daemon.address());
    // By TLS the proxy is asked to connect; in the clear it is asked for the thing itself.
    host.run(&format!("docker {flags} pull secure.example/box")).code(1);
    assert_eq!(heard.recv().expect("it listens").trim_end(), "CONNECT secure.example:443 HTTP/1.1");
    host.run(&format!("docker {flags} pull near.example:5000/box")).code(1);
    host.run(&format!("docker {flags} pull far.example:5000/box")).code(1);
    let others: Vec<String> = heard.try_iter().collect();
    assert!(others.iter().any(|line| line.contains("far.example:5000")), "{others:?}");
    assert!(!others.iter().any(|line| line.contains("near.example")), "{others:?}");
    assert!(visited.load(Ordering::SeqCst), "it is asked directly");
}

#[test]
fn layers_are_kept_by_overlayfs_and_nothing_else() {
    let host = own_host!();
    let daemon = "timeout 10 hako daemon --data-root /run/test/other --exec-root /run/test/other-run --validate";
    host.run(&format!("{daemon} --storage-driver overlay2")).success();
    host.run(&format!("{daemon} --storage-driver vfs")).code(1).says("storage driver \"vfs\" is not built");
    host.run("docker run -d --name web busybox sleep 100").success();
    // The root of a container is one, whatever the mount table of the host shows.
    host.run("docker exec web sh -c \"grep ' / ' /proc/mounts | cut -d' ' -f3\"").shows(expect![[r#"
        overlay
    "#]]);
}

#[test]
fn a_daemon_is_told_what_host_gateway_stands_for() {
    let host = own_host!();
    let daemon = host.second_daemon("second", &["--host-gateway-ip=192.0.2.9", "--host-gateway-ip=2001:db8::9"]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    let hosts = |flags: &str| {
        let line =
            format!("docker {flags} run --rm --add-host up:host-gateway busybox grep up /etc/hosts | xargs -n 2");
        host.run(&line).text().to_owned()
    };
    assert_eq!(hosts(&flags), "192.0.2.9 up\n2001:db8::9 up");
    drop(daemon);
    // Else it is the bridge, by both families where it has both.
    let daemon = host.second_daemon("third", &["--bip=10.78.0.1/24", "--ipv6", "--fixed-cidr-v6=fd00:78::/64"]);
    let flags = format!("-H {}", daemon.address());
    host.load_into("busybox", &flags);
    assert_eq!(hosts(&flags), "10.78.0.1 up\nfd00:78::1 up");
}
