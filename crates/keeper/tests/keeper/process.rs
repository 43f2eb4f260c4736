//! What sort of process the keeper is: whose child, in which session and cgroup, how large, and when it goes.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    time::Duration,
};

use hako_base::backoff::wait_for;
use hako_keeper::{Notice, StdioSpec, Stream, Subject, Survivor};
use hako_model::ContainerId;
use hako_runtime::plan::CgroupJoin;
use hako_sys::seqpacket::Channel;

use crate::{
    Test,
    host::{CGROUP_PARENT, Host, PATIENCE, connect, host_root, pipes, plan, read_all, read_until, text, wait_readable},
};

pub(crate) const TESTS: &[Test] = &[
    ("the_keeper_is_out_of_the_daemons_reach", the_keeper_is_out_of_the_daemons_reach),
    ("one_keeper_stays_when_daemons_race", one_keeper_stays_when_daemons_race),
    ("the_newer_daemon_takes_over", the_newer_daemon_takes_over),
    ("a_keeper_that_dies_is_followed_by_another", a_keeper_that_dies_is_followed_by_another),
    ("nonsense_ends_a_connection_and_nothing_else", nonsense_ends_a_connection_and_nothing_else),
    ("an_idle_keeper_leaves_and_takes_its_cgroup_along", an_idle_keeper_leaves_and_takes_its_cgroup_along),
    ("a_hundred_containers_cost_little_memory", a_hundred_containers_cost_little_memory),
];

fn the_keeper_is_out_of_the_daemons_reach() {
    let host = Host::start();
    let pid = host.keeper_pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let (parent, session, threads) = (fields[1], fields[3], fields[17]);
    assert_ne!(parent, std::process::id().to_string(), "not our child, so never our zombie");
    assert_eq!((session, threads), (pid.to_string().as_str(), "1"));
    // Lowering it takes CAP_SYS_RESOURCE, which root in a sandbox may not have.
    if fs::write("/proc/self/oom_score_adj", "-1").is_ok() {
        fs::write("/proc/self/oom_score_adj", "0").unwrap();
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap(), "-999\n");
    }
    for line in fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().lines() {
        assert!(line.splitn(3, ':').nth(2).unwrap().starts_with(CGROUP_PARENT), "{line}");
    }
    let mode = fs::metadata(host.root.join("keeper.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn one_keeper_stays_when_daemons_race() {
    let root = std::env::temp_dir().join(format!("hako-keeper-race-{}", hako_base::random::hex(6)));
    let connected = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| connect(&root))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(connected.iter().all(Result::is_ok), "{:?}", connected.iter().map(Result::is_err).collect::<Vec<_>>());
    drop(connected);
    let (keeper, notices, adopted) = connect(&root).unwrap();
    assert!(adopted.is_empty());
    // Nothing that was started to find out is left of us as a zombie.
    assert!(!matches!(hako_sys::process::reap_any(), Ok(Some(_))));
    drop(Host { root, keeper, notices });
}

fn the_newer_daemon_takes_over() {
    let host = Host::start();
    let (keeper, _notices, _) = connect(&host.root).unwrap();
    assert_eq!(host.notices.recv_timeout(PATIENCE), Ok(Notice::Replaced));
    assert_eq!(host.notices.recv_timeout(PATIENCE), Ok(Notice::KeeperLost));
    assert!(host.keeper.kept().is_err());
    assert!(keeper.kept().unwrap().is_empty());
}

fn a_keeper_that_dies_is_followed_by_another() {
    let mut host = Host::start();
    let pidfd = hako_sys::process::open_pidfd(host.keeper_pid()).unwrap();
    host.reconnect();
    let script = "echo before; read x; echo $x; read x; exit $x";
    let (id, mut started) = host.launch(script, pipes());
    assert_eq!(read_until(&mut started.ring, "before\n"), "before\n");
    started.ring.commit(7).unwrap();
    hako_sys::process::send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
    assert_eq!(host.notices.recv_timeout(PATIENCE), Ok(Notice::KeeperLost));
    // The container runs on and may print: it only waits, if it must, until a keeper reads again.
    let stdin = started.stdin.take().unwrap();
    rustix::io::write(&stdin, b"meanwhile\n").unwrap();
    assert!(host.reconnect().is_empty());
    let subject = Subject::Container(id, 1);
    let survivor = Survivor {
        subject,
        pid: started.pid,
        pidfd: started.pidfd.as_fd(),
        stdin: Some(stdin.as_fd()),
        pty: None,
        ring: &started.ring.ends(),
        non_blocking_output: false,
        cgroup: &CgroupJoin::default(),
        kept: &[],
    };
    host.keeper.restore(&survivor).unwrap();
    host.keeper.restore(&survivor).unwrap();
    let mut adopted = host.reconnect().remove(0);
    assert_eq!((adopted.ring.log_length(), adopted.kept.len()), (7, 0));
    rustix::io::write(&stdin, b"5\n").unwrap();
    assert_eq!(text(&read_all(&mut adopted.ring), Stream::Stdout), "meanwhile\n");
    let status = host.exit_of(subject);
    let told = hako_sys::features::exit_by_descriptor();
    assert_eq!((status.code, status.unknown), if told { (5, false) } else { (255, true) });
}

fn nonsense_ends_a_connection_and_nothing_else() {
    let mut host = Host::start();
    let (id, _started) = host.launch("exec sleep 1000", StdioSpec::default());
    let launch = r#"{"v":1,"id":7,"body":{"Launch":{"container":"X","generation":1,"stdio":{}}}}"#;
    let launch = launch.replace('X', &"0a".repeat(32));
    let staged = r#"{"v":1,"id":8,"body":"Stage"}"#;
    let future = r#"{"v":9,"id":3,"body":{"Dance":{}}}"#;
    let (no_plan, huge) = (format!("{launch}\0{{}}"), launch.replace("\"v\":1", "\"v\":1,\"large\":99999999999"));
    for packet in ["", "{", "\0\0\0", "null", &no_plan, &huge, staged, future, &"[".repeat(60_000)] {
        let channel = Channel::connect(&host.root.join("keeper.sock")).unwrap();
        channel.send(packet.as_bytes(), &[std::io::stdin().as_fd()]).unwrap();
        let _ = channel.send(launch.as_bytes(), &[]);
        let mut buffer = vec![0; 65_536];
        // Either an answer that says why, or the end; never silence.
        let answer = channel.receive(&mut buffer).map_or(0, |received| received.length);
        let answer = String::from_utf8_lossy(&buffer[..answer]);
        assert!(answer.is_empty() || answer.contains("Failed"), "{packet:.60}: {answer}");
    }
    let adopted = host.reconnect();
    assert_eq!(adopted.len(), 1);
    assert_eq!(adopted[0].subject, Subject::Container(id, 1));
}

fn an_idle_keeper_leaves_and_takes_its_cgroup_along() {
    let host = Host::start();
    let pid = host.keeper_pid();
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = cgroups.lines().next().unwrap().splitn(3, ':').nth(2).unwrap().to_owned();
    let pidfd = hako_sys::process::open_pidfd(pid).unwrap();
    let root = host.root.clone();
    drop(connect(&root).unwrap());
    // `keeper_pid` took our place, so nobody is connected by now. It waits ten seconds.
    assert!(!wait_readable(pidfd.as_fd()), "it must not leave at once");
    wait_for(Duration::from_secs(5), || (!root.join("keeper.sock").exists()).then_some(())).expect("it leaves");
    assert!(wait_readable(pidfd.as_fd()));
    assert!(!fs::read_to_string("/proc/mounts").unwrap().lines().any(|line| {
        let mount = line.split(' ').nth(1).unwrap_or_default();
        line.contains(" cgroup") && fs::metadata(format!("{mount}{own}")).is_ok()
    }));
}

fn a_hundred_containers_cost_little_memory() {
    let mut host = Host::start();
    let pid = host.keeper_pid();
    host.reconnect();
    let private = || {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let field =
            |name| smaps.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().nth(1).unwrap();
        field("Pss_Anon:").parse::<u64>().unwrap() + field("Pss_Shmem:").parse::<u64>().unwrap()
    };
    let before = private();
    // With what is kept these are more descriptors than a container's own limit allows: the last one must
    // start as the first did.
    let stdin = std::io::stdin();
    let one = |_| {
        let kept = (0..8).map(|_| stdin.as_fd().try_clone_to_owned().unwrap()).collect();
        let plan = plan("echo hello; exec sleep 1000");
        let id = ContainerId::random();
        host.keeper.launch(id, 1, &plan, vec![host_root()], StdioSpec::default(), kept).unwrap()
    };
    let mut started: Vec<_> = (0..100).map(one).collect();
    for one in &mut started {
        assert_eq!(read_until(&mut one.ring, "hello\n"), "hello\n");
    }
    let after = private();
    println!("  keeper: {before} KiB of its own at rest, {after} KiB with 100 containers");
    assert!(after - before <= 400, "{before} KiB before, {after} KiB after");
    for one in &started {
        hako_sys::process::send_signal(one.pidfd.as_fd(), libc::SIGKILL).unwrap();
    }
}
