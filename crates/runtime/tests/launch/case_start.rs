//! What a container finds when it starts: its namespaces, mounts, devices, streams.

use std::{fs, os::fd::AsFd};

use hako_runtime::{
    init,
    plan::{IdRange, Mount, MountFlags, MountSource, Namespace, UserNamespace},
};
use hako_sys::{
    mount,
    process::{self, Cloned},
};

use crate::{
    Case,
    place::{Place, says},
};

pub(crate) const CASES: &[Case] = &[
    ("a_program_runs_and_gives_its_exit_code", exit_code),
    ("a_container_has_namespaces_of_its_own", namespaces),
    ("the_default_mounts_are_dockers", default_mounts),
    ("devices_work_and_have_their_links", devices),
    ("volumes_are_mounted_where_they_belong", volumes),
    ("a_symlink_in_the_root_cannot_lead_a_mount_out", symlinked_target),
    ("nothing_of_the_parent_is_inherited", no_leaks),
    ("the_host_sees_no_mount_of_a_container", host_mounts),
    ("a_terminal_belongs_to_the_container", terminal),
    ("a_network_namespace_is_joined_by_descriptor", joined_network),
    ("a_pid_namespace_is_joined_by_descriptor", joined_pid),
    ("a_user_namespace_maps_root_away", user_namespace),
    ("init_reaps_and_forwards_and_ends_as_its_command", init_works),
];

fn exit_code() {
    let place = Place::new();
    let ran = place.run(&place.plan("echo hello; echo error >&2; exit 7")).unwrap();
    assert_eq!((ran.code, ran.output.as_str()), (7, "hello\nerror\n"));
    assert_eq!(place.run(&place.plan("kill -9 $$")).unwrap().code, 0, "pid 1 is immune to its own signals");
    assert_eq!(place.start(&place.plan("sleep 100")).unwrap().kill().code, 137);
}

fn namespaces() {
    let place = Place::new();
    let mut plan = place.plan("echo $$; hostname; cat /proc/sys/kernel/domainname; ip -o link | wc -l; for n in pid ipc uts net mnt; do readlink /proc/self/ns/$n; done");
    plan.domainname = "example".to_owned();
    let ran = place.run(&plan).unwrap();
    let lines: Vec<&str> = ran.output.lines().collect();
    assert_eq!(lines[..3], ["1", "box", "example"]);
    for (line, kind) in lines[4..].iter().zip(["pid", "ipc", "uts", "net", "mnt"]) {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(*line, own.to_str().unwrap());
    }
}

fn default_mounts() {
    let place = Place::new();
    let ran = place.run(&place.plan("cat /proc/mounts")).unwrap();
    let mounts: Vec<String> = ran
        .output
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            format!("{} {} {}", fields[1], fields[2], fields[3].split(',').take(4).collect::<Vec<_>>().join(","))
        })
        .collect();
    for expected in [
        "/proc proc rw,nosuid,nodev,noexec",
        "/dev tmpfs rw,nosuid,size=65536k,mode=755",
        "/dev/pts devpts rw,nosuid,noexec,relatime",
        "/sys sysfs ro,nosuid,nodev,noexec",
        "/dev/mqueue mqueue rw,nosuid,nodev,noexec",
        "/dev/shm tmpfs rw,nosuid,nodev,noexec",
        "/proc/sys proc ro,nosuid,nodev,noexec",
    ] {
        assert!(mounts.iter().any(|mount| mount == expected), "{expected} is not among {mounts:#?}");
    }
}

fn devices() {
    let place = Place::new();
    let script = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' $d; done; \
                  for l in fd stdin stdout stderr ptmx; do readlink $l; done; \
                  head -c 3 /dev/zero | wc -c; echo gone > /dev/null; stat -c %a /dev /dev/shm";
    says(
        place.run(&place.plan(script)),
        "null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666\n\
         /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n3\n755\n1777\n",
    );
}

fn bind(target: &str, read_only: bool) -> Mount {
    let flags = MountFlags { read_only, recursive: true, ..MountFlags::default() };
    Mount { target: target.to_owned(), source: MountSource::Descriptor(1), flags }
}

fn volumes() {
    let place = Place::new();
    let volume = Place::new();
    fs::write(volume.root.join("file"), "content").unwrap();
    for (path, target, script, expected) in [
        ("", "/data/deep", "cat /data/deep/file; touch /data/deep/new && echo -n ' writable'", "content writable"),
        ("file", "/etc/made/file", "cat /etc/made/file", "content"),
        ("", "/ro", "touch /ro/x 2>/dev/null || echo refused; cat /ro/file", "refused\ncontent"),
    ] {
        let mut plan = place.plan(script);
        plan.mounts.push(bind(target, target == "/ro"));
        let tree = mount::clone_tree(&volume.root.join(path), true).unwrap();
        says(place.run_with(&plan, vec![tree]), expected);
    }
}

fn symlinked_target() {
    let place = Place::new();
    let outside = std::env::temp_dir().join(format!("hako-outside-{}", hako_base::random::hex(8)));
    std::os::unix::fs::symlink(&outside, place.root.join("evil")).unwrap();
    std::os::unix::fs::symlink("../../../../../..", place.root.join("up")).unwrap();
    for target in ["/evil/x", "/up/up-made"] {
        let mut plan = place.plan("true");
        plan.mounts.push(bind(target, false));
        place.run_with(&plan, vec![mount::clone_tree(&place.root, false).unwrap()]).unwrap();
    }
    assert!(!outside.exists(), "a directory was made on the host");
    assert!(place.root.join("up-made").is_dir());
}

fn no_leaks() {
    let place = Place::new();
    let secret = rustix::pipe::pipe().unwrap();
    let plan = place.plan("ls /proc/self/fd | wc -l; umask; grep -E 'SigBlk|SigIgn' /proc/self/status; pwd");
    // 0, 1, 2 and the one that `ls` reads the directory with.
    says(place.run(&plan), "4\n0022\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n/\n");
    says(place.run(&place.plan_of(&["env"])), "PATH=/bin\n");
    drop(secret);
}

fn host_mounts() {
    let place = Place::new();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let running = place.start(&place.plan("sleep 100")).unwrap();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    running.kill();
}

fn terminal() {
    let place = Place::new();
    let plan =
        place.plan("tty; stty size; ls -l /dev/console | head -c 1; echo; echo hi > /dev/console; echo yes > /dev/tty");
    let ran = place.start_in_terminal(&plan).unwrap().finish();
    assert_eq!(ran.output.replace('\r', ""), "/dev/pts/0\n30 100\nc\nhi\nyes\n");
}

fn joined_network() {
    let place = Place::new();
    let first = place.start(&place.plan("sleep 100")).unwrap();
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let mut plan = place.plan("readlink /proc/self/ns/net");
    plan.namespaces.network = Namespace::Join(1);
    let network = fs::File::open(format!("/proc/{}/ns/net", first.child.pid)).unwrap();
    let expected = format!("{}\n", namespace(first.child.pid).display());
    says(place.run_with(&plan, vec![network.into()]), &expected);
    first.kill();
}

fn joined_pid() {
    let place = Place::new();
    let first = place.start(&place.plan("sleep 100")).unwrap();
    let mut plan = place.plan("cat /proc/1/cmdline; [ $$ -ne 1 ] && echo -n ' other'");
    plan.namespaces.pid = Namespace::Join(1);
    let pidfd = first.child.pidfd.try_clone().unwrap();
    says(place.run_with(&plan, vec![pidfd]), "sleep\x00100\x00 other");
    first.kill();
}

fn user_namespace() {
    let place = Place::new();
    let mut plan =
        place.plan("id -u; cat /proc/self/uid_map; echo x > /dev/null; touch /tmp/x 2>/dev/null || echo refused");
    let ranges = vec![IdRange { container: 0, host: 100_000, count: 65_536 }];
    plan.namespaces.user = UserNamespace::New { uids: ranges.clone(), gids: ranges };
    let ran = place.run(&plan).unwrap();
    let words: Vec<&str> = ran.output.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "refused"]);
}

fn init_works() {
    let how = process::Clone { namespaces: process::Namespaces::PID, ..process::Clone::default() };
    // The command asks its init, which is pid 1 here, to pass on a signal that it answers with its exit code; an orphan
    // that ends first must not be taken for the command.
    let script = "(sleep 0 & ) ; trap 'exit 9' TERM; kill -TERM 1; while :; do sleep 1; done";
    match process::clone(&how).unwrap() {
        Cloned::Child => init::main(["--", "/bin/busybox", "sh", "-c", script].map(Into::into).to_vec()),
        Cloned::Parent(child) => {
            assert_eq!(process::reap(child.pidfd.as_fd()).unwrap(), process::Exit::Code(9));
        }
    }
}
