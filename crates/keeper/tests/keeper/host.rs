//! A keeper of one's own in a directory of its own, and what the tests do with it again and again.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use hako_base::backoff::wait_for;
use hako_keeper::{
    Adopted, Chunk, ExitStatus, Keeper, KeeperCommand, KeeperError, Launched, Notice, Ring, StdioSpec, Stream, Subject,
};
use hako_model::{ContainerId, ExecId};
use hako_runtime::{
    ExecPlan, LaunchPlan,
    plan::{Process, default_devices, default_mounts},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Below this lies the cgroup of every keeper that the tests start.
pub(crate) const CGROUP_PARENT: &str = "/hako-keeper-tests";

pub(crate) struct Host {
    pub(crate) root: PathBuf,
    pub(crate) keeper: Keeper,
    pub(crate) notices: mpsc::Receiver<Notice>,
}

impl Host {
    pub(crate) fn start() -> Self {
        let root = std::env::temp_dir().join(format!("hako-keeper-{}", hako_base::random::hex(6)));
        let (keeper, notices, adopted) = connect(&root).unwrap();
        assert!(adopted.is_empty());
        Self { root, keeper, notices }
    }

    /// The daemon goes and another one comes.
    pub(crate) fn reconnect(&mut self) -> Vec<Adopted> {
        let (keeper, notices, adopted) = connect(&self.root).unwrap();
        self.keeper = keeper;
        self.notices = notices;
        adopted
    }

    pub(crate) fn launch(&self, script: &str, stdio: StdioSpec) -> (ContainerId, Launched) {
        let id = ContainerId::random();
        (id, self.launch_as(id, 1, script, stdio).unwrap())
    }

    pub(crate) fn launch_as(
        &self,
        id: ContainerId,
        generation: u64,
        script: &str,
        stdio: StdioSpec,
    ) -> Result<Launched, KeeperError> {
        self.keeper.launch(id, generation, &plan(script), vec![host_root()], stdio, Vec::new())
    }

    pub(crate) fn exec(
        &self,
        container: (ContainerId, &Launched),
        script: &str,
        stdio: StdioSpec,
    ) -> (ExecId, Launched) {
        let id = ExecId::random();
        let plan = ExecPlan { target: 0, process: shell(script), ..ExecPlan::default() };
        let target = container.1.pidfd.try_clone().unwrap();
        (id, self.keeper.exec(id, container.0, &plan, vec![target], stdio).unwrap())
    }

    /// The next exit, which must be that of `subject`.
    pub(crate) fn exit_of(&self, subject: Subject) -> ExitStatus {
        match self.notices.recv_timeout(PATIENCE) {
            Ok(Notice::Exited { subject: who, status }) if who == subject => status,
            other => panic!("expected the end of {subject}, got {other:?}"),
        }
    }

    pub(crate) fn keeper_pid(&self) -> u32 {
        keeper_pid(&self.root).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Whatever a failed test has left running ends here, and then the keeper has no reason to stay.
        if let Ok((keeper, _notices, adopted)) = connect(&self.root) {
            for left in &adopted {
                let _ = hako_sys::process::send_signal(left.pidfd.as_fd(), libc::SIGKILL);
            }
            for left in &adopted {
                wait_for(PATIENCE, || keeper.acknowledge(left.subject).ok());
            }
        }
        let pidfd = keeper_pid(&self.root).and_then(hako_sys::process::open_pidfd);
        if let Ok(pidfd) = pidfd {
            let _ = hako_sys::process::send_signal(pidfd.as_fd(), libc::SIGTERM);
            wait_readable(pidfd.as_fd());
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

type Connected = (Keeper, mpsc::Receiver<Notice>, Vec<Adopted>);

pub(crate) fn connect(root: &Path) -> Result<Connected, KeeperError> {
    let (sender, notices) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let notify = move |notice| drop(sender.lock().unwrap().send(notice));
    let (keeper, adopted) = Keeper::connect_or_start_with(root, &command(), Box::new(notify))?;
    Ok((keeper, notices, adopted))
}

pub(crate) fn command() -> KeeperCommand {
    KeeperCommand {
        program: std::env::current_exe().unwrap(),
        arguments: ["keeper", "--cgroup-parent", CGROUP_PARENT].map(Into::into).to_vec(),
    }
}

/// Asked of the socket, which takes the place of the daemon's connection for a moment.
fn keeper_pid(root: &Path) -> io::Result<u32> {
    Ok(hako_sys::seqpacket::Channel::connect(&root.join("keeper.sock"))?.peer()?.pid)
}

/// A container that shares everything with the host but its mount namespace and `/dev`.
pub(crate) fn plan(script: &str) -> LaunchPlan {
    let mut mounts = default_mounts(1 << 20, true);
    mounts.retain(|mount| matches!(mount.target.as_str(), "/dev" | "/dev/pts"));
    LaunchPlan { mounts, devices: default_devices(), process: shell(script), ..LaunchPlan::default() }
}

pub(crate) fn shell(script: &str) -> Process {
    Process {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(), "TERM=xterm".to_owned()],
        ..Process::default()
    }
}

pub(crate) fn host_root() -> OwnedFd {
    hako_sys::mount::clone_tree(Path::new("/"), true).unwrap()
}

pub(crate) fn wait_readable(fd: BorrowedFd<'_>) -> bool {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&patience)).unwrap() == 1
}

/// Everything up to the end, committed piece by piece.
pub(crate) fn read_all(ring: &mut Ring) -> Vec<Chunk> {
    let mut all = Vec::new();
    let mut length = 0;
    loop {
        let chunks = ring.take(64 << 10).unwrap();
        if chunks.is_empty() {
            if ring.finished() {
                return all;
            }
            assert!(wait_readable(ring.event_fd()), "no end of output after {length} bytes: {ring:?}");
            continue;
        }
        length += chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum::<u64>();
        ring.commit(length).unwrap();
        all.extend(chunks);
    }
}

/// Reads on until the output contains `text`.
pub(crate) fn read_until(ring: &mut Ring, text: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        let seen = String::from_utf8_lossy(&all);
        assert!(wait_readable(ring.event_fd()), "{text:?} did not come, only {seen:?}");
        all.extend(ring.take(1 << 20).unwrap().into_iter().flat_map(|chunk| chunk.bytes));
    }
    String::from_utf8(all).unwrap()
}

pub(crate) fn text(chunks: &[Chunk], stream: Stream) -> String {
    let bytes = chunks.iter().filter(|chunk| chunk.stream == stream).flat_map(|chunk| chunk.bytes.iter().copied());
    String::from_utf8(bytes.collect()).unwrap()
}

/// Standard input and both outputs by pipes.
pub(crate) fn pipes() -> StdioSpec {
    StdioSpec { stdin: true, ..StdioSpec::default() }
}

/// Removes the directory that the keepers' own were in.
pub(crate) fn sweep_cgroups() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        if let Some(mount) = line.split(' ').nth(4) {
            let _ = std::fs::remove_dir(Path::new(mount).join(CGROUP_PARENT.trim_start_matches('/')));
        }
    }
}
