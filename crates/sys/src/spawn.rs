//! Starting a program from a process that has threads: the daemon starts its keeper so, tests start anything.
//!
//! Everything that the child needs is made before the fork; after it there are only system calls until exec. The
//! program inherits nothing but what is named. Its public names are those of `process`.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::Mode;

use crate::process::{Child, close_on_exec_from, exit, open_pidfd, pointers, reap, reset_signals};

/// A program to start from a process that has threads.
#[derive(Debug, Default)]
pub struct Spawn<'a> {
    pub program: &'a OsStr,
    /// What the program is told that it is called; `None`: as it is called here.
    pub name: Option<&'a OsStr>,
    /// Without the program's own name.
    pub arguments: Vec<OsString>,
    /// `None`: the caller's.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// `None`: `/dev/null`.
    pub stdin: Option<BorrowedFd<'a>>,
    pub stdout: Option<BorrowedFd<'a>>,
    pub stderr: Option<BorrowedFd<'a>>,
    /// They become 3, 4, … in the child.
    pub descriptors: Vec<BorrowedFd<'a>>,
    pub directory: Option<&'a Path>,
    /// Leaves the caller's session and terminal.
    pub new_session: bool,
}

/// Starts a program that inherits nothing but what is named; a name without a slash is looked up in `PATH`.
///
/// # Errors
/// Those of fork and exec.
pub fn spawn(what: &Spawn<'_>) -> io::Result<Child> {
    let prepared = Prepared::new(what)?;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Above every number that the child is going to fill.
    let report = rustix::io::fcntl_dupfd_cloexec(&writer, prepared.first_free())?;
    drop(writer);
    // SAFETY: the child calls nothing but `Prepared::become_program`, which makes system calls on memory allocated
    // here, before the fork, as a process with threads must.
    let pid = unsafe { libc::fork() };
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let error = prepared.become_program();
        let _ = rustix::io::write(&report, &error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
        exit(127);
    }
    drop(report);
    // The child is ours and not yet reaped, so the number still means it.
    let pidfd = open_pidfd(pid as u32)?;
    let mut errno = [0_u8; 4];
    // End of file: exec has closed the pipe.
    if rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut errno))? == 4 {
        reap(pidfd.as_fd())?;
        return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)));
    }
    Ok(Child { pid: pid as u32, pidfd })
}

// Everything that the child needs, in memory before the fork.
struct Prepared {
    program: CString,
    directory: Option<CString>,
    arguments: Vec<*const libc::c_char>,
    environment: Option<Vec<*const libc::c_char>>,
    // Where descriptor `n` of the child comes from; all of them above every target.
    sources: Vec<OwnedFd>,
    new_session: bool,
    _strings: Vec<CString>,
}

impl Prepared {
    fn new(what: &Spawn<'_>) -> io::Result<Self> {
        let program = CString::new(what.program.as_bytes())?;
        let name = what.name.map(|name| CString::new(name.as_bytes())).transpose()?;
        let mut strings = vec![name.unwrap_or_else(|| program.clone())];
        for argument in &what.arguments {
            strings.push(CString::new(argument.as_bytes())?);
        }
        let arguments = pointers(&strings);
        let mut environment = None;
        if let Some(pairs) = &what.environment {
            let mut lines = Vec::with_capacity(pairs.len());
            for (name, value) in pairs {
                lines.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
            }
            environment = Some(pointers(&lines));
            strings.extend(lines);
        }
        let directory = what.directory.map(|path| CString::new(path.as_os_str().as_bytes())).transpose()?;
        let first_free = 3 + what.descriptors.len() as RawFd;
        let null =
            rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
        let standard = [what.stdin, what.stdout, what.stderr].map(|fd| fd.unwrap_or(null.as_fd()));
        let mut sources = Vec::with_capacity(first_free as usize);
        for descriptor in standard.iter().chain(&what.descriptors) {
            sources.push(rustix::io::fcntl_dupfd_cloexec(descriptor, first_free)?);
        }
        let new_session = what.new_session;
        Ok(Self { program, directory, arguments, environment, sources, new_session, _strings: strings })
    }

    fn first_free(&self) -> RawFd {
        self.sources.len() as RawFd
    }

    // Runs after fork: system calls only. Returns when one failed.
    fn become_program(&self) -> io::Error {
        if self.new_session && rustix::process::setsid().is_err() {
            return io::Error::last_os_error();
        }
        if let Err(error) = reset_signals() {
            return error;
        }
        for (number, source) in self.sources.iter().enumerate() {
            // SAFETY: whatever the target number was, in this child nobody uses it any more.
            if unsafe { libc::dup2(source.as_raw_fd(), number as RawFd) } == -1 {
                return io::Error::last_os_error();
            }
        }
        if let Err(error) = close_on_exec_from(self.sources.len() as u32) {
            return error;
        }
        // SAFETY: strings and lists were made by `new`, are NUL- and NULL-terminated and live as long as `self`.
        unsafe {
            if self.directory.as_ref().is_some_and(|path| libc::chdir(path.as_ptr()) == -1) {
                return io::Error::last_os_error();
            }
            match &self.environment {
                Some(environment) => {
                    libc::execvpe(self.program.as_ptr(), self.arguments.as_ptr(), environment.as_ptr())
                }
                None => libc::execvp(self.program.as_ptr(), self.arguments.as_ptr()),
            };
        }
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Exit;

    #[test]
    fn a_spawned_program_gets_its_descriptors_and_gives_its_status() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let spawn = Spawn {
            program: OsStr::new("/bin/sh"),
            arguments: vec!["-c".into(), "echo hello >&3; exit 7".into()],
            descriptors: vec![writer.as_fd()],
            ..Spawn::default()
        };
        let child = super::spawn(&spawn).unwrap();
        drop(writer);
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), Exit::Code(7));
        assert_eq!(text(&reader), "hello\n");
    }

    #[test]
    fn descriptors_keep_apart_whatever_numbers_they_come_from() {
        // Two pipes whose ends have low numbers, given in the order in which each would be put on the other's place.
        let (first, to_first) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (second, to_second) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let many = [to_second.as_fd(), to_first.as_fd()].into_iter().cycle().take(6).collect();
        let script = "for n in 3 5 7; do eval \"echo second >&$n\"; done; \
                      for n in 4 6 8; do eval \"echo first >&$n\"; done; ls /proc/self/fd | wc -l >&3";
        let arguments = vec!["-c".into(), script.into()];
        let spawn = Spawn { program: OsStr::new("/bin/sh"), arguments, descriptors: many, ..Spawn::default() };
        let child = super::spawn(&spawn).unwrap();
        drop((to_first, to_second));
        assert_eq!(reap(child.pidfd.as_fd()).unwrap(), Exit::Code(0));
        assert_eq!(text(&first), "first\n".repeat(3));
        // The nine and the one by which `ls` reads the list: nothing else came along.
        assert_eq!(text(&second), "second\n".repeat(3) + "10\n");
    }

    fn text(reader: &OwnedFd) -> String {
        let mut bytes = [0_u8; 256];
        let length = rustix::io::read(reader, &mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}
