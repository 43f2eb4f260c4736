//! Runs hooks: programs that a bundle names for moments of a container's life.
//!
//! Each reads the container's state from its standard input and has its time. Which are run when is `child.rs`,
//! `root.rs` and `oci`'s business; they run in whatever namespaces the caller is in.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use hako_sys::process::{self, Exit, Spawn};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::MemfdFlags,
};

use crate::{
    error::{LaunchError, Step},
    extra::Hook,
};

/// Bytes of a failed hook's output that become part of the error.
const SAID_BYTES_MAX: usize = 2 << 10;

/// Runs hooks one after the other; `moment` is their name in a configuration (`createRuntime`).
///
/// # Errors
/// The first that fails, with what it said.
pub fn run_all(moment: &str, hooks: &[Hook], state: &str) -> Result<(), LaunchError> {
    for (number, hook) in hooks.iter().enumerate() {
        run(hook, state).map_err(|reason| {
            LaunchError::in_words(Step::Hook, format!("{moment} hook #{number}"), format!("{}: {reason}", hook.path))
        })?;
    }
    Ok(())
}

fn run(hook: &Hook, state: &str) -> Result<(), String> {
    let input = memory(state.as_bytes()).map_err(|error| text(&error))?;
    let output = memory(b"").map_err(|error| text(&error))?;
    let (name, arguments) = hook.args.split_first().map_or((None, &[][..]), |(name, rest)| (Some(name), rest));
    let pair = |line: &String| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (OsString::from(name), OsString::from(value))
    };
    let spawn = Spawn {
        program: OsStr::new(&hook.path),
        name: name.map(OsStr::new),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: Some(hook.env.iter().map(pair).collect()),
        stdin: Some(input.as_fd()),
        stdout: Some(output.as_fd()),
        stderr: Some(output.as_fd()),
        ..Spawn::default()
    };
    let child = process::spawn(&spawn).map_err(|error| text(&error))?;
    match wait(child.pidfd.as_fd(), hook.timeout_s.map(|seconds| Duration::from_secs(seconds.into()))) {
        Ok(Some(Exit::Code(0))) => Ok(()),
        Ok(Some(Exit::Code(code))) => Err(format!("exit status {code}{}", said(output.as_fd()))),
        Ok(Some(Exit::Signal(signal))) => Err(format!("signal: {}{}", end_by(signal), said(output.as_fd()))),
        Ok(None) => {
            let _ = process::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
            let _ = process::reap(child.pidfd.as_fd());
            Err(format!("it took longer than {} s{}", hook.timeout_s.unwrap_or(0), said(output.as_fd())))
        }
        Err(error) => Err(text(&error)),
    }
}

// As runc names them, those that hooks die of.
fn end_by(signal: i32) -> String {
    match signal {
        libc::SIGKILL => "killed".to_owned(),
        libc::SIGTERM => "terminated".to_owned(),
        libc::SIGSYS => "bad system call".to_owned(),
        libc::SIGSEGV => "segmentation fault".to_owned(),
        libc::SIGABRT => "aborted".to_owned(),
        other => format!("signal {other}"),
    }
}

fn text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text)
}

fn memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&memory, rest)?..];
    }
    rustix::fs::seek(&memory, rustix::fs::SeekFrom::Start(0))?;
    Ok(memory)
}

fn said(output: BorrowedFd<'_>) -> String {
    let mut bytes = vec![0; SAID_BYTES_MAX];
    let length = rustix::io::pread(output, &mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
    if text.is_empty() { text } else { format!(", it said: {text}") }
}

// `None`: it did not end in time.
fn wait(pidfd: BorrowedFd<'_>, patience: Option<Duration>) -> io::Result<Option<Exit>> {
    let end = patience.map(|patience| Instant::now() + patience);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let mut polled = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return process::reap(pidfd).map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout_s: Option<u32>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".to_owned(), args, env: vec!["A=b".to_owned()], timeout_s }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        run_all(
            "poststart",
            &[hook("read line && [ \"$line\" = state ] && [ $A = b ] && [ -z \"$HOME\" ]", None)],
            "state\n",
        )
        .unwrap();
    }

    #[test]
    fn a_hook_that_fails_says_why() {
        let error = run_all("prestart", &[hook("exit 0", None), hook("echo no >&2; exit 3", None)], "").unwrap_err();
        assert_eq!(error.to_string(), "error running prestart hook #1: /bin/sh: exit status 3, it said: no");
        let error = run_all("prestart", &[hook("exec sleep 100", Some(1))], "").unwrap_err();
        assert_eq!(error.to_string(), "error running prestart hook #0: /bin/sh: it took longer than 1 s");
    }
}
