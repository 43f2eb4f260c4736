//! Commands that go on while the test does something else: output that is followed, input that is typed, terminals.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use crate::{program, shown::Shown, wait};

type Collected = Arc<Mutex<Vec<u8>>>;

/// A command with pipes, such as `docker logs -f web`.
#[derive(Debug)]
pub struct Session {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
    readers: Vec<JoinHandle<()>>,
    _in_use: Arc<()>,
}

impl Session {
    pub(crate) fn start(line: &str, mut command: Command, in_use: Arc<()>) -> Self {
        // A group of its own, so that the whole command line can be ended at once.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        let (stdout, stderr) = (Collected::default(), Collected::default());
        let readers = vec![
            collect(child.stdout.take().expect("it is piped"), stdout.clone()),
            collect(child.stderr.take().expect("it is piped"), stderr.clone()),
        ];
        let stdin = child.stdin.take();
        Self { line: line.to_owned(), child, stdin, stdout, stderr, readers, _in_use: in_use }
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Waits until it has printed `expected`, on either stream.
    #[track_caller]
    pub fn wait_for(&self, expected: &str) -> &Self {
        let both = || (self.stdout(), self.stderr());
        wait::until(&format!("`{}` to print {expected:?}", self.line), both, |(out, err)| {
            out.contains(expected) || err.contains(expected)
        });
        self
    }

    /// Types a line into it.
    pub fn type_line(&self, line: &str) -> &Self {
        let mut stdin = self.stdin.as_ref().expect("its input is still open");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .unwrap_or_else(|error| panic!("cannot type into `{}`: {error}", self.line));
        self
    }

    /// Ends its input.
    pub fn close_stdin(&mut self) -> &mut Self {
        self.stdin = None;
        self
    }

    /// Sends a signal to the command itself: say `exec`, so that it is no shell's child.
    pub fn signal(&self, signal: rustix::process::Signal) {
        // Between us and it stands nsenter, unless the command needed no namespace of processes.
        let pid = crate::host::child_of(self.child.id()).unwrap_or(self.child.id());
        if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end by itself.
    #[track_caller]
    pub fn end(mut self) -> Shown {
        self.stdin = None;
        let line = self.line.clone();
        let child = &mut self.child;
        let seen = (self.stdout.clone(), self.stderr.clone());
        let look = || (child.try_wait().ok().flatten(), text(&seen.0), text(&seen.1));
        let ended = wait::until(&format!("`{line}` to end"), look, |(status, ..)| status.is_some());
        self.finish(ended.0.expect("the wait was for it"))
    }

    fn finish(&mut self, status: ExitStatus) -> Shown {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let (stdout, stderr) = (self.stdout.lock(), self.stderr.lock());
        let bytes = |collected: Result<std::sync::MutexGuard<'_, Vec<u8>>, _>| match collected {
            Ok(bytes) => bytes.clone(),
            Err::<_, std::sync::PoisonError<_>>(_) => Vec::new(),
        };
        Shown::new(&self.line, &Output { status, stdout: bytes(stdout), stderr: bytes(stderr) })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.has_ended() {
            kill_group(&self.child, rustix::process::Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A command on a terminal of its own, such as `docker run -it busybox`.
#[derive(Debug)]
pub struct Terminal {
    line: String,
    child: Child,
    master: File,
    screen: Collected,
    reader: Option<JoinHandle<()>>,
    _in_use: Arc<()>,
}

impl Terminal {
    pub(crate) fn start(line: &str, command: &Command, (rows, columns): (u16, u16), in_use: Arc<()>) -> Self {
        let (master, slave) = pty(rows, columns);
        // setsid makes the pty the controlling terminal, which this process cannot do for its child without unsafe code.
        // An interrupt from the terminal is for the program in the machine: the ones that lead there stand in the same group
        // and would end, and the terminal with them.
        let mut session = program("env");
        session
            .args(["--ignore-signal=INT", "setsid", "--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        let duplicate = || Stdio::from(slave.try_clone().expect("descriptors are left"));
        session.process_group(0).stdin(duplicate()).stdout(duplicate()).stderr(duplicate());
        let child = session.spawn().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        let screen = Collected::default();
        let reader = collect(File::from(master.try_clone().expect("descriptors are left")), screen.clone());
        Self { line: line.to_owned(), child, master: master.into(), screen, reader: Some(reader), _in_use: in_use }
    }

    /// Everything that was printed so far.
    pub fn screen(&self) -> String {
        text(&self.screen)
    }

    /// Waits until `expected` was printed.
    #[track_caller]
    pub fn wait_for(&self, expected: &str) -> &Self {
        wait::until(
            &format!("`{}` to print {expected:?}", self.line),
            || self.screen(),
            |screen| screen.contains(expected),
        );
        self
    }

    /// Types characters as they are; a line ends with `\r`, ^P is `\x10`.
    pub fn type_keys(&self, keys: &str) -> &Self {
        (&self.master)
            .write_all(keys.as_bytes())
            .unwrap_or_else(|error| panic!("cannot type into `{}`: {error}", self.line));
        self
    }

    /// Makes the window another size, as a person dragging its corner does.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// Waits for its end by itself; what it printed is standard output.
    #[track_caller]
    pub fn end(mut self) -> Shown {
        let line = self.line.clone();
        let child = &mut self.child;
        let screen = self.screen.clone();
        let look = || (child.try_wait().ok().flatten(), text(&screen));
        let ended = wait::until(&format!("`{line}` to end"), look, |(status, _)| status.is_some());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let status = ended.0.expect("the wait was for it");
        Shown::new(&line, &Output { status, stdout: self.screen().into_bytes(), stderr: Vec::new() })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(&self.child, rustix::process::Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn pty(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    use rustix::{fs::OFlags, pty};
    let flags = pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY | pty::OpenptFlags::CLOEXEC;
    let master = pty::openpt(flags).expect("the machine has /dev/ptmx");
    pty::grantpt(&master).expect("the pty is ours");
    pty::unlockpt(&master).expect("the pty is ours");
    set_size(&master, rows, columns);
    let name = pty::ptsname(&master, Vec::new()).expect("the pty has a name");
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    (master, slave.expect("the pty has another end"))
}

fn set_size(master: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).expect("a pty has a size");
}

/// Reads to the end (for a pty: until its other end is closed) in a thread of its own.
fn collect(mut from: impl Read + Send + 'static, into: Collected) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut chunk = [0_u8; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            match into.lock() {
                Ok(mut bytes) => bytes.extend_from_slice(&chunk[..count]),
                Err(_) => return,
            }
        }
    })
}

fn text(collected: &Collected) -> String {
    collected.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn kill_group(child: &Child, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // The group is gone when the command has just ended.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
