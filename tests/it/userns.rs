//! User namespaces: which users of the host a container's users are, seen from both sides.

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use expect_test::expect;
use hako_testkit::{Host, Options, needs, require};

/// A machine whose layers are on a disk, which maps ids on every kernel that can; memory does so since Linux 6.3.
struct Machine {
    // Dropped in this order.
    host: Host,
    _disk: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Deref for Machine {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

fn machine(flags: &[&'static str]) -> Machine {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let name = format!("hako-userns-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    let disk = std::env::temp_dir().join(name);
    let host = Host::with(&Options { flags: flags.to_vec(), disk: Some(disk.clone()), ..Options::default() });
    Machine { host, _disk: Folder(disk) }
}

macro_rules! needs_all {
    () => {
        needs!(require::own_daemon());
        needs!(require::root());
        needs!(require::kernel(5, 19));
    };
}

/// The host's file of a container's root, by its process.
fn owner(host: &Host, container: &str, path: &str) -> String {
    let pid = host.run(&format!("docker inspect --format '{{{{.State.Pid}}}}' {container}")).text().trim().to_owned();
    host.run(&format!("stat -c %u:%g /proc/{pid}/root{path}")).text().trim().to_owned()
}

#[test]
fn root_of_a_remapped_container_is_nobody_outside() {
    needs_all!();
    let host = machine(&["--userns-remap", "default"]);
    host.run("docker run -d --name one busybox sh -c 'touch /made /tmp/also; exec sleep 1000'").success();
    host.run("docker exec one sh -c 'id -u; cat /proc/self/uid_map; stat -c %u:%g /bin /made' | tr -s ' '").shows(
        expect![[r#"
        0
         0 1879048192 65536
        0:0
        0:0
    "#]],
    );
    let pid = host.run("docker inspect --format '{{.State.Pid}}' one").text().trim().to_owned();
    host.run(&format!("stat -c %u:%g /proc/{pid}")).says("1879048192:1879048192");
    assert_eq!(owner(&host, "one", "/made"), "1879048192:1879048192");
    // On the disk nothing has changed its owner.
    let root = host.daemon().data_root().to_owned();
    host.run(&format!("find {root} -name made -exec stat -c %u:%g {{}} \\;")).shows(expect![[r#"
        0:0
    "#]]);
    host.run(&format!("find {root} -uid +100000 | wc -l")).shows(expect![[r#"
        0
    "#]]);
    host.run("docker info --format '{{json .SecurityOptions}}'").says("name=userns");
    host.run("docker run --rm --userns host busybox cat /proc/self/uid_map | xargs").says("0 0 4294967295");
}

#[test]
fn a_remapped_container_works_as_any_other() {
    needs_all!();
    let host = machine(&["--userns-remap", "default"]);
    host.run("docker run --rm busybox sh -c 'mkdir /a && chown 1000:1000 /a && su -s /bin/sh nobody -c id 2>/dev/null; stat -c %u /a; hostname; ls /sys/class/net'").success().says("eth0");
    host.run("docker run --rm -u 1000:1000 busybox sh -c 'echo x > /dev/stdout; id -u'").says("1000");
    host.run("docker run --rm busybox sh -c 'echo x > /dev/stdout; ping -c 1 127.0.0.1 | tail -2 | head -1'")
        .says("1 packets received");
    host.run("docker run --rm --network none busybox ip -o link").says("lo");
    host.run("echo in | docker run --rm -i busybox sh -c 'cat /dev/stdin'").says("in");
    host.run("docker run --rm -t busybox sh -c 'test -t 0 && tty'").says("/dev/pts/0");
    host.run("docker run --rm --init --ulimit nofile=512:512 busybox sh -c 'ulimit -n'").says("512");
    host.run(
        "docker run --rm --read-only --tmpfs /t busybox sh -c 'touch /t/x && ! touch /x 2>/dev/null && echo fine'",
    )
    .says("fine");
    host.run("docker run -d --name web busybox sh -c 'echo 1; exec sleep 1000' && docker run --rm --network container:web busybox ip -o link show eth0").says("eth0");
    host.run("docker commit web made && docker run --rm made stat -c %u:%g /bin").says("0:0");
    host.run("docker stop -t 0 web && docker start web && docker exec -u 5 web id -u").says("5");
}

#[test]
fn volumes_and_copies_have_the_containers_own_ids() {
    needs_all!();
    let host = machine(&["--userns-remap", "default"]);
    host.run("docker run -d --name one -v data:/data busybox sh -c 'echo kept > /data/file; chown 7:8 /data/file; exec sleep 1000'").success();
    let root = host.daemon().data_root().to_owned();
    host.wait_until(
        "the file",
        |host| host.run(&format!("find {root} -name file -path '*data*' -exec stat -c %u:%g {{}} \\;")),
        |shown| shown.text() == "7:8\n" || shown.text() == "7:8",
    );
    // Another container with the host's users sees the same.
    host.run("docker run --rm --userns host -v data:/data busybox stat -c %u:%g /data/file").says("7:8");
    host.run("docker cp one:/data/file - | tar -tvn --numeric-owner").says("7/8");
    host.run("echo new > in && chown 11:12 in && docker cp -a in one:/in && docker exec one stat -c %u:%g /in")
        .says("11:12");
    host.run("docker cp in one:/root/in && docker exec one stat -c %u:%g /root/in").success();
    host.run("docker stop -t 0 one && docker cp in one:/again && docker start one && docker exec one cat /again")
        .says("new");
    host.run("docker export one | tar -tvf - --numeric-owner bin | head -1").says("0/0");
    // A volume that is filled from the image.
    host.run("docker run --rm -v fresh:/etc busybox stat -c %u:%g /etc/passwd").says("0:0");
}

#[test]
fn binds_are_the_hosts_and_root_is_nobody_in_them() {
    needs_all!();
    let host = machine(&["--userns-remap", "default"]);
    host.run("mkdir -p /run/test/srv/bind && touch /run/test/srv/bind/roots && chmod 700 /run/test/srv/bind").success();
    host.run("docker run --rm -v /run/test/srv/bind:/b busybox sh -c 'ls /b'").code(1);
    host.run(
        "chmod 755 /run/test/srv/bind; docker run --rm -v /run/test/srv/bind:/b busybox sh -c 'stat -c %u /b/roots; echo x > /b/roots'",
    )
    .code(1)
    .says("65534");
}

#[test]
fn a_container_may_have_ids_of_its_own() {
    needs_all!();
    needs!(require::own_cli());
    let host = machine(&[]);
    for name in ["one", "two"] {
        host.run(&format!("docker run -d --name {name} --userns auto:size=1000 busybox sleep 1000")).success();
    }
    let map =
        |name: &str| host.run(&format!("docker exec {name} cat /proc/self/uid_map | xargs")).text().trim().to_owned();
    assert_eq!((map("one"), map("two")), ("0 1879113728 1000".to_owned(), "0 1879114728 1000".to_owned()));
    host.run("docker rm -f one").success();
    host.run("docker run -d --name three --userns auto:size=1000 busybox sleep 1000").success();
    assert_eq!(map("three"), "0 1879113728 1000");
    host.run("docker run --rm --userns private busybox cat /proc/self/uid_map | xargs").says("0 1879048192 65536");
    host.run("docker run --rm --userns auto:nonsense busybox true").code(125).says("size=COUNT");
    host.run("docker run --rm --userns private --privileged busybox true")
        .code(125)
        .says("privileged mode is incompatible");
    host.run("docker run --rm --userns private --network host busybox true")
        .code(125)
        .says("cannot share the host's network namespace");
    host.run("docker run --rm --userns private --pid host busybox true")
        .code(125)
        .says("cannot share the host PID namespace");
    host.run("docker run --rm --userns private --network container:two busybox true")
        .code(125)
        .says("its users are others");
}

#[test]
fn a_remapped_container_survives_its_daemon() {
    needs_all!();
    let mut host = machine(&["--userns-remap", "default"]);
    host.run("docker run -d --name one busybox sleep 1000").success();
    host.daemon_kill();
    host.daemon_start();
    host.run("docker exec one sh -c 'touch /x && stat -c %u /x'").says("0");
    host.run("docker cp one:/bin/true - | tar -tv --numeric-owner").success();
    host.run("docker restart -t 0 one && docker exec one stat -c %u /x").says("0");
}

#[test]
fn remaps_are_read_from_the_hosts_files() {
    needs_all!();
    let host = machine(&[]);
    host.run("timeout 10 hako daemon --validate --userns-remap nosuch").code(1).says("user \"nosuch\" does not exist");
}

#[test]
fn a_bind_may_belong_to_the_containers_user() {
    needs_all!();
    needs!(require::own_cli());
    let host = machine(&[]);
    host.run("mkdir -p /run/test/hako/srv/ann && echo of ann > /run/test/hako/srv/ann/file && chown -R 1000:1000 /run/test/hako/srv/ann && touch /run/test/hako/srv/ann/others && chown 7:7 /run/test/hako/srv/ann/others && chmod 700 /run/test/hako/srv/ann").success();
    let bind = "--mount type=bind,src=/run/test/hako/srv/ann,dst=/b,bind-idmap";
    // Root of the container is the owner, and what it writes belongs to the host's user.
    host.run(&format!("docker run --rm {bind} busybox sh -c 'stat -c %u:%g /b /b/file /b/others; touch /b/new'"))
        .shows(expect![[r#"
        0:0
        0:0
        7:7
    "#]]);
    host.run("stat -c %u:%g /run/test/hako/srv/ann/new").says("1000:1000");
    host.run(&format!(
        "docker run --rm -u 33:44 {bind}=match-user busybox sh -c 'stat -c %u:%g /b/file; touch /b/by33'"
    ))
    .says("33:44");
    host.run("stat -c %u:%g /run/test/hako/srv/ann/by33").says("1000:1000");
    host.run(&format!("docker run --rm {bind}=match-user:nobody busybox stat -c %u /b/file")).says("65534");
    // In a user namespace as well: outside, its root is nobody.
    host.run(&format!(
        "docker run --rm --userns private {bind} busybox sh -c 'stat -c %u:%g /b/file; touch /b/private'"
    ))
    .says("0:0");
    host.run("stat -c %u:%g /run/test/hako/srv/ann/private").says("1000:1000");
    host.run("mkdir -p /run/test/hako/srv/roots && docker run --rm --userns private --mount type=bind,src=/run/test/hako/srv/roots,dst=/b,bind-idmap=userns busybox touch /b/x && stat -c %u /run/test/hako/srv/roots/x").says("0");
    host.run(&format!("docker run --rm {bind}=userns busybox true")).code(125).says("--userns");
    host.run(&format!("docker run --rm {bind}=nonsense busybox true")).code(125).says("match-user:USER");
    host.run(&format!("docker create --name one {bind} busybox && docker inspect --format '{{{{json (index .HostConfig.Mounts 0).BindOptions}}}}' one"))
        .says(r#""IDMapping":{"Source":"match-user"}"#);
    // A copy into a container that does not run goes the same way.
    host.run("echo x > in && docker cp in one:/b/copied && stat -c %u /run/test/hako/srv/ann/copied").says("1000");
}
