//! A place to launch in: a root with busybox, a plan with Docker's defaults, and what a run of it gave.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hako_runtime::{
    LaunchError, LaunchPlan, Pending, Progress, Stdio,
    launch::{begin, begin_exec},
    plan::{self, ExecPlan, Namespace, Namespaces, Process},
};
use hako_sys::{
    mount,
    process::{self, Child},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{Mode, OFlags},
};

const BUSYBOX: &str = "/bin/busybox";
/// Whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing can be launched here, if so.
pub(crate) fn why_not() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    (!Path::new(BUSYBOX).exists()).then_some("needs /bin/busybox (Debian package busybox-static)")
}

/// A root directory, removed at the end.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// A container that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) output: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    /// What it has said and was heard.
    pub(crate) heard: Vec<u8>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = std::env::temp_dir().join(format!("hako-runtime-{}", hako_base::random::hex(8)));
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "home/web"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "ls", "sleep", "id", "touch", "readlink", "hostname", "stat", "tty", "stty", "kill", "ps",
            "grep", "true", "echo", "mount", "unshare", "ip", "mkdir", "pwd", "env", "head", "wc", "chmod", "umask",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/home/web:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\naudio:x:29:web\n").unwrap();
        Self { root }
    }

    /// A plan like Docker's for `sh -c script`, all namespaces new.
    pub(crate) fn plan(&self, script: &str) -> LaunchPlan {
        self.plan_of(&["sh", "-c", script])
    }

    pub(crate) fn plan_of(&self, argv: &[&str]) -> LaunchPlan {
        LaunchPlan {
            hostname: "box".to_owned(),
            namespaces: Namespaces {
                pid: Namespace::New,
                ipc: Namespace::New,
                uts: Namespace::New,
                network: Namespace::New,
                ..Namespaces::default()
            },
            mounts: plan::default_mounts(64 << 20, false)
                .into_iter()
                .filter(|one| one.target != "/sys/fs/cgroup")
                .collect(),
            devices: plan::default_devices(),
            masked_paths: plan::default_masked_paths(),
            readonly_paths: plan::default_readonly_paths(),
            process: process_of(argv),
            ..LaunchPlan::default()
        }
    }

    /// The root as a detached mount: descriptor 0 of every plan here.
    pub(crate) fn mount(&self) -> OwnedFd {
        mount::clone_tree(&self.root, false).unwrap()
    }

    pub(crate) fn run(&self, plan: &LaunchPlan) -> Result<Ran, LaunchError> {
        self.run_with(plan, Vec::new())
    }

    /// `more` are the descriptors from 1 on.
    pub(crate) fn run_with(&self, plan: &LaunchPlan, more: Vec<OwnedFd>) -> Result<Ran, LaunchError> {
        self.start_with(plan, more).map(Running::finish)
    }

    pub(crate) fn start(&self, plan: &LaunchPlan) -> Result<Running, LaunchError> {
        self.start_with(plan, Vec::new())
    }

    pub(crate) fn start_with(&self, plan: &LaunchPlan, more: Vec<OwnedFd>) -> Result<Running, LaunchError> {
        let mut descriptors = vec![self.mount()];
        descriptors.extend(more);
        let (stdio, output) = streams();
        let pending = begin(plan, &descriptors, stdio, None)?;
        drop(descriptors);
        follow(pending, Some(output))
    }

    pub(crate) fn start_in_terminal(&self, plan: &LaunchPlan) -> Result<Running, LaunchError> {
        let descriptors = [self.mount()];
        let pending =
            begin(plan, &descriptors, Stdio::Terminal { rows: 30, columns: 100, lines_as_written: false }, None)?;
        drop(descriptors);
        follow(pending, None)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A process like Docker's, without a filter.
pub(crate) fn process_of(argv: &[&str]) -> Process {
    Process {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        ..Process::default()
    }
}

fn streams() -> (Stdio, OwnedFd) {
    let (output, input) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let stderr = input.try_clone().unwrap();
    (Stdio::Streams { stdin: null, stdout: input, stderr }, output)
}

/// Follows a launch until it runs, as the keeper does but waiting.
fn follow(mut pending: Pending, output: Option<OwnedFd>) -> Result<Running, LaunchError> {
    let end = Instant::now() + PATIENCE;
    while pending.advance()? != Progress::Running {
        wait_readable(pending.ending().unwrap_or(pending.channel()), end, "the launch to go on");
    }
    let terminal = pending.take_terminal();
    Ok(Running { child: pending.into_child().expect("it runs"), output, terminal, heard: Vec::new() })
}

fn wait_readable(descriptor: std::os::fd::BorrowedFd<'_>, end: Instant, what: &str) {
    let left = end.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&timeout))).unwrap();
    assert!(ready > 0, "gave up waiting for {what}");
}

impl Running {
    /// Waits until it has said something.
    pub(crate) fn hear(&mut self) {
        let source = self.output.as_ref().or(self.terminal.as_ref()).expect("it can be heard");
        let mut chunk = [0_u8; 4096];
        wait_readable(source.as_fd(), Instant::now() + PATIENCE, "output");
        let length = rustix::io::read(source, &mut chunk).unwrap();
        self.heard.extend(&chunk[..length]);
    }

    /// Reads all it says and waits for its end.
    pub(crate) fn finish(mut self) -> Ran {
        let end = Instant::now() + PATIENCE;
        let mut text = std::mem::take(&mut self.heard);
        if let Some(source) = self.output.take().or_else(|| self.terminal.take()) {
            let mut chunk = [0_u8; 4096];
            loop {
                wait_readable(source.as_fd(), end, "output");
                match rustix::io::read(&source, &mut chunk) {
                    // A terminal whose programs are gone answers EIO.
                    Ok(0) | Err(rustix::io::Errno::IO) => break,
                    Ok(length) => text.extend(&chunk[..length]),
                    Err(error) => panic!("reading output: {error}"),
                }
            }
        }
        let exit = self.reap(end);
        Ran { code: exit.code(), output: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Waits for its end. A pid namespace ends with the last of its processes reaped, also those of execs that failed:
    /// they are this process's children, and the keeper reaps them at SIGCHLD.
    fn reap(&self, end: Instant) -> process::Exit {
        let soon = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        while Instant::now() < end {
            let mut polled = [PollFd::new(&self.child.pidfd, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&soon))).unwrap() > 0 {
                return process::reap(self.child.pidfd.as_fd()).unwrap();
            }
            while let Ok(Some((pid, exit))) = process::reap_any() {
                if pid == self.child.pid {
                    return exit;
                }
            }
        }
        panic!("gave up waiting for the container's end");
    }

    /// Runs something more in it.
    pub(crate) fn exec(&self, plan: &ExecPlan, terminal: bool) -> Result<Ran, LaunchError> {
        let descriptors = [self.child.pidfd.try_clone().unwrap()];
        let (stdio, output) = if terminal {
            (Stdio::Terminal { rows: 30, columns: 100, lines_as_written: false }, None)
        } else {
            let (stdio, output) = streams();
            (stdio, Some(output))
        };
        let pending = begin_exec(plan, &descriptors, stdio, None)?;
        follow(pending, output).map(Running::finish)
    }

    pub(crate) fn kill(self) -> Ran {
        process::send_signal(self.child.pidfd.as_fd(), 9).unwrap();
        self.finish()
    }
}

/// Asserts that a run ended with 0 and said this.
#[track_caller]
pub(crate) fn says(ran: Result<Ran, LaunchError>, expected: &str) {
    match ran {
        Ok(ran) => assert_eq!((ran.output.as_str(), ran.code), (expected, 0)),
        Err(error) => panic!("{error}"),
    }
}
