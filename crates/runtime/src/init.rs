//! `hako init`: pid 1 of a container that asked for one (`--init`).
//!
//! It starts the command in a session group of its own, passes every signal on to it, reaps whatever the kernel
//! leaves to pid 1, and ends as the command ended. It runs inside the container, so it touches no file there.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    sync::OnceLock,
};

use hako_sys::{
    executable::{self, ReadOnly},
    process::{self, Child, Cloned},
    signal::{self, SignalSet},
};

/// The program that a plan's `init` means: this very program, in a way that the container cannot write to. Made once, and
/// given away as duplicates.
///
/// # Errors
/// As [`executable::read_only`], or when there are no descriptors left.
pub fn program() -> io::Result<OwnedFd> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return program.try_clone();
    }
    let made = executable::read_only()?;
    PROGRAM.get_or_init(|| made).try_clone()
}

/// Sees to it that nobody can write to the program through the processes that this one makes: returns where they move to
/// first of all. Where they may not, this process is executed again from a read-only mount; in one that comes from there,
/// there is nothing to do.
///
/// # Errors
/// As [`executable::read_only`] and `execveat(2)`.
pub fn protect_program() -> io::Result<Option<ReadOnly>> {
    if executable::is_read_only()? {
        return Ok(None);
    }
    if let Ok(place) = ReadOnly::prepare() {
        return Ok(Some(place));
    }
    let program = executable::read_only()?;
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::from);
    let arguments: Vec<_> = std::env::args_os().map(|word| text(word.into_vec())).collect::<Result<_, _>>()?;
    let line = |(name, value): (OsString, OsString)| text([name.as_bytes(), b"=", value.as_bytes()].concat());
    let environment: Vec<_> = std::env::vars_os().map(line).collect::<Result<_, _>>()?;
    Err(process::execute_descriptor(program.as_fd(), &arguments, &environment))
}

/// Copies of descriptors that the caller of this program means for another one (`sys::process`).
///
/// # Errors
/// When one of them is not open.
pub fn inherited_descriptors(count: u32) -> io::Result<Vec<OwnedFd>> {
    process::inherited_descriptors(count)
}

/// Whoever loses their parent below this process gets it as one, where the kernel can.
pub fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Runs as pid 1: `arguments` are those after the program's name (and its role), `--` and the command.
pub fn main(mut arguments: Vec<OsString>) -> ! {
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let command = arguments;
    // Executed by descriptor it would have the name of a file that the container does not have.
    let _ = rustix::thread::set_name(c"docker-init");
    let Some(program) = command.first().cloned() else {
        fail(OsStr::new("init"), "no command was given", 2);
    };
    match start(&program, &command) {
        Ok(child) => supervise(&child),
        Err(error) => fail(&program, &reason(&error), exit_code(&error)),
    }
}

fn fail(program: &OsStr, reason: &str, code: i32) -> ! {
    eprintln!("exec {}: {reason}", program.to_string_lossy());
    process::exit(code)
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text)
}

fn exit_code(error: &io::Error) -> i32 {
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

// The signals are blocked before the child exists, so that none is lost; the child gets them unblocked again.
fn start(program: &OsStr, command: &[OsString]) -> io::Result<Child> {
    SignalSet::all().block()?;
    match process::clone(&process::Clone::default())? {
        Cloned::Parent(child) => Ok(child),
        Cloned::Child => {
            let error = become_command(program, command);
            fail(program, &reason(&error), exit_code(&error))
        }
    }
}

fn become_command(program: &OsStr, command: &[OsString]) -> io::Error {
    if let Err(error) = process::reset_signals() {
        return error;
    }
    // A group of its own in the terminal's foreground: Ctrl-C reaches the command and not its init.
    let grouped = rustix::process::setpgid(None, None).is_ok();
    if grouped && io::IsTerminal::is_terminal(&io::stdin()) {
        let _ = signal::while_ignoring(libc::SIGTTOU, || {
            rustix::termios::tcsetpgrp(io::stdin().as_fd(), rustix::process::getpid())
        });
    }
    process::execute_in_path(program, command)
}

fn supervise(child: &Child) -> ! {
    let signals = SignalSet::all();
    loop {
        match signals.wait() {
            Ok(libc::SIGCHLD) => reap_all(child),
            // Stops of background writers concern the terminal's group, not the command.
            Ok(libc::SIGTTIN | libc::SIGTTOU) => {}
            // A command that is just gone will be reaped next.
            Ok(number) => drop(process::send_signal(child.pidfd.as_fd(), number)),
            Err(_) => process::exit(1),
        }
    }
}

fn reap_all(child: &Child) {
    while let Ok(Some((pid, exit))) = process::reap_any() {
        if pid == child.pid {
            // The kernel ends whoever is left in the namespace together with its pid 1.
            process::exit(exit.code());
        }
    }
}
