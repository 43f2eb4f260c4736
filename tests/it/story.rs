//! The main job, as a person meets it: a distribution in a container, a package installed, the change kept as an image,
//! a web server. The same list as `./x demo`; there against Debian's archive, here against an archive of one package
//! on the machine beside this one, so that it needs no network.

use expect_test::expect;
use hako_testkit::{ADDRESS, Host, needs, require};

/// An archive with the package `hello`, served on the other machine; the container reaches it through bridge and NAT.
fn serve_archive(host: &Host) -> hako_testkit::Session {
    host.run("mkdir -p hello/DEBIAN hello/usr/bin archive && printf '#!/bin/sh\\necho Hello, world!\\n' > hello/usr/bin/hello && chmod 755 hello/usr/bin/hello").success();
    host.write(
        "hello/DEBIAN/control",
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: greets\n",
    );
    host.run("dpkg-deb --root-owner-group --build hello archive/hello.deb").success();
    host.run("cd archive && { cat ../hello/DEBIAN/control; echo Filename: ./hello.deb; echo Size: $(stat -c %s hello.deb); echo SHA256: $(sha256sum hello.deb | cut -d' ' -f1); } > Packages")
        .success();
    host.run_elsewhere("ip address add 203.0.113.1/32 dev lo").success();
    host.spawn("nsenter --net=/run/netns/other busybox httpd -f -p 203.0.113.1:8000 -h archive")
}

#[test]
fn a_package_is_installed_and_kept() {
    needs!(require::program("dpkg-deb"));
    let host = own_host!("debian", "hello-world", "busybox");
    let _archive = serve_archive(&host);
    let shell = host.terminal("docker run -t -i --name first debian:bookworm /bin/bash");
    shell.wait_for("# ").type_keys("echo 'deb [trusted=yes] http://203.0.113.1:8000 ./' > /etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*; echo pre''pared\r");
    shell.wait_for("prepared\r\n");
    shell.type_keys("apt-get update && apt-get install -y hello && echo all''done\r");
    // The echo of a long line is folded; a short word of our own cannot be anything but the command's end.
    shell.wait_for("alldone");
    shell.type_keys("hello; exit\r");
    shell.wait_for("Hello, world!");
    shell.end().success();

    host.run("docker run --name second debian:bookworm hello").code(127).says("executable file not found in $PATH");
    host.run("docker ps -a --format '{{.Names}} {{.Image}} {{.State}}'").shows(expect![[r#"
        second debian:bookworm created
        first debian:bookworm exited
    "#]]);
    host.run("docker commit first me/debian").success();
    host.run("docker run --rm me/debian hello").shows(expect![[r#"
        Hello, world!
    "#]]);
    host.run("docker run --rm hello-world").success().says("Hello from hako!");
}

#[test]
fn a_web_server_is_published_looked_into_and_ended() {
    let host = own_host!("busybox");
    host.run("docker run -d --name web -p 8080:80 busybox sh -c 'mkdir /www; echo welcome > /www/index.html; exec httpd -f -v -p 80 -h /www'").success();
    host.wait_until("the server", |host| host.run("curl -s -m 2 127.0.0.1:8080"), |shown| shown.text() == "welcome");
    host.run_elsewhere(&format!("curl -s -m 5 {ADDRESS}:8080")).shows(expect![[r#"
        welcome
    "#]]);
    host.run("docker logs web 2>&1").says("response:200");
    host.run("docker exec web sh -c 'echo changed > /www/index.html' && curl -s 127.0.0.1:8080").shows(expect![[r#"
        changed
    "#]]);
    host.run("docker stop -t 0 web && docker rm web && docker ps -aq").shows(expect![[r#"
        web
        web
    "#]]);
}
