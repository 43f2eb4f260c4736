//! The last steps, the same for a container's first process and for one that joins it: streams, limits, user,
//! capabilities, filter, exec.
//!
//! The order is the point. Whoever has no `no_new_privs` needs `CAP_SYS_ADMIN` to load a filter, so the filter comes
//! before capabilities drop; with it the filter comes last, so that it has the least to let through.

use std::{
    convert::Infallible,
    ffi::CString,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use hako_sys::{
    credentials, mount,
    process::{self, Standard},
    pty,
    seqpacket::Channel,
    walk,
};
use rustix::{
    fs::{Access, CWD, FileType, Mode, OFlags},
    io::Errno,
    process::{Resource, Rlimit},
};

use crate::{
    child::descriptor,
    error::{At, LaunchError, Step},
    launch::Stdio,
    message,
    plan::{Index, Process, RlimitResource},
    seccomp::Program,
};

/// What Docker gives a process whose environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What `ps` shows of `hako init` in a container, as with Docker.
const INIT_NAME: &str = "/sbin/docker-init";

/// What the last steps work on.
pub(crate) struct Start<'a> {
    pub(crate) process: &'a Process,
    pub(crate) descriptors: &'a [OwnedFd],
    pub(crate) init: Option<Index>,
    pub(crate) stdio: &'a Stdio,
    /// The program's side of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) make_cwd: bool,
    pub(crate) channel: &'a Channel,
}

/// Becomes the program. Returns only the step that failed.
pub(crate) fn run(start: &Start<'_>) -> Result<Infallible, LaunchError> {
    let process = start.process;
    let filter = start.process.seccomp.map(|index| read_filter(descriptor(start.descriptors, index)?)).transpose()?;
    let environment = strings(&process.env)?;
    streams(start)?;
    keyring()?;
    for limit in &process.rlimits {
        let limits = Rlimit { current: limit.soft, maximum: limit.hard };
        rustix::process::setrlimit(resource(limit.resource), limits)
            .at(Step::Rlimit, || format!("{:?}", limit.resource).to_lowercase())?;
    }
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
    let entered = enter_directory(&process.cwd, start.make_cwd);
    message::send_executing(start.channel);
    become_user(process, filter.as_ref())?;
    if let Err(error) = entered {
        // Root may be shut out where the user is not (a network file system).
        retry_directory(&process.cwd, error)?;
    }

    let command = Command::find(process, start)?;
    process::close_on_exec_from(3).at(Step::CloseDescriptors, String::new)?;
    if process.no_new_privileges {
        load(filter.as_ref())?;
    }
    Err(command.execute(&environment))
}

fn strings(texts: &[String]) -> Result<Vec<CString>, LaunchError> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| LaunchError::in_words(Step::Plan, "", "an argument or environment variable has a NUL byte"))
}

fn read_filter(memory: BorrowedFd<'_>) -> Result<Program, LaunchError> {
    Program::from_memfd(memory).at(Step::Seccomp, || "of the plan".to_owned())
}

fn streams(start: &Start<'_>) -> Result<(), LaunchError> {
    let at = String::new;
    match (start.stdio, &start.terminal) {
        (Stdio::Streams { stdin, stdout, stderr }, _) => {
            process::place_standard(stdin, Standard::Input).at(Step::Stdio, at)?;
            process::place_standard(stdout, Standard::Output).at(Step::Stdio, at)?;
            process::place_standard(stderr, Standard::Error).at(Step::Stdio, at)?;
        }
        (Stdio::Terminal { .. }, Some(terminal)) => {
            pty::make_controlling(terminal).at(Step::Terminal, at)?;
            for standard in [Standard::Input, Standard::Output, Standard::Error] {
                process::place_standard(terminal, standard).at(Step::Stdio, at)?;
            }
        }
        (Stdio::Terminal { .. }, None) => {
            return Err(LaunchError::in_words(Step::Terminal, "", "there is none"));
        }
    }
    own_streams(start.process.user.uid);
    Ok(())
}

// So that the user can open /dev/stdout again. What cannot be given away (a socket, a read-only file system) works as
// it is; the null device is everybody's and stays so.
fn own_streams(uid: u32) {
    if uid == 0 {
        return;
    }
    let null = rustix::fs::makedev(1, 3);
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if rustix::fs::fstat(stream).is_ok_and(|stat| stat.st_rdev != null && stat.st_uid != uid) {
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

// Without one of its own a process would share the keyring of whoever started the keeper.
fn keyring() -> Result<(), LaunchError> {
    match credentials::new_session_keyring(c"_ses") {
        // No keys in this kernel, or a filter around the whole machine: nothing to share either.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        done => done.at(Step::Keyring, String::new),
    }
}

fn enter_directory(cwd: &str, make: bool) -> Result<(), LaunchError> {
    let path = Path::new(if cwd.is_empty() { "/" } else { cwd });
    let enter = || -> std::io::Result<()> {
        let root = mount::open_directory(Path::new("/"))?;
        let directory = if make {
            walk::make_dirs_in_root(root.as_fd(), path, Mode::from_raw_mode(0o755))?
        } else {
            walk::open_in_root(root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY)?
        };
        Ok(rustix::process::fchdir(&directory)?)
    };
    enter().at(Step::WorkingDirectory, || cwd.to_owned())
}

fn retry_directory(cwd: &str, first: LaunchError) -> Result<(), LaunchError> {
    if first.errno == libc::EACCES && enter_directory(cwd, false).is_ok() { Ok(()) } else { Err(first) }
}

fn become_user(process: &Process, filter: Option<&Program>) -> Result<(), LaunchError> {
    let capabilities = |result: std::io::Result<()>| result.at(Step::Capabilities, String::new);
    if process.no_new_privileges {
        credentials::set_no_new_privileges().at(Step::NoNewPrivileges, String::new)?;
    } else {
        load(filter)?;
    }
    capabilities(credentials::limit_bounding_set(process.capabilities.bits()))?;
    capabilities(credentials::keep_capabilities(true))?;
    let user = &process.user;
    credentials::become_user(user.uid, user.gid, &user.groups)
        .at(Step::User, || format!("{}:{}", user.uid, user.gid))?;
    capabilities(credentials::keep_capabilities(false))?;
    capabilities(credentials::set_capabilities(process.capabilities.bits()))?;
    capabilities(credentials::clear_ambient_set())
}

fn load(filter: Option<&Program>) -> Result<(), LaunchError> {
    match filter {
        Some(filter) => filter.load().at(Step::Seccomp, String::new),
        None => Ok(()),
    }
}

/// What is executed: the command itself, or init with the command as its argument.
struct Command<'a> {
    path: CString,
    init: Option<BorrowedFd<'a>>,
    arguments: Vec<CString>,
}

impl<'a> Command<'a> {
    // The command is looked up even when init runs it, so that a missing one fails the start.
    fn find(process: &'a Process, start: &Start<'a>) -> Result<Self, LaunchError> {
        let name = process.argv.first().map(String::as_str).unwrap_or_default();
        let path = look_up(name, &process.env)?;
        let init = start.init.map(|index| descriptor(start.descriptors, index)).transpose()?;
        let mut arguments = strings(&process.argv)?;
        if init.is_some() {
            let mut with_init = strings(&[INIT_NAME.to_owned(), "--".to_owned()])?;
            with_init.append(&mut arguments);
            arguments = with_init;
        }
        Ok(Self { path, init, arguments })
    }

    fn execute(&self, environment: &[CString]) -> LaunchError {
        let error = match self.init {
            // By descriptor: no path of the container takes part, and nothing in it can be replaced (CVE-2019-5736).
            Some(init) => process::execute_descriptor(init, &self.arguments, environment),
            None => process::execute(&self.path, &self.arguments, environment),
        };
        LaunchError::new(Step::Exec, self.path.to_string_lossy(), &error)
    }
}

// As a shell and Docker look: a name with a slash is a path, another is searched for in PATH.
fn look_up(name: &str, environment: &[String]) -> Result<CString, LaunchError> {
    let fail = |errno: Errno| LaunchError::new(Step::Lookup, name, &errno.into());
    if name.is_empty() {
        return Err(fail(Errno::NOENT));
    }
    let as_string = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| fail(Errno::INVAL));
    if name.contains('/') {
        let path = Path::new(name);
        return check_executable(path).map_err(fail).and_then(|()| as_string(path));
    }
    let search = environment.iter().rev().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    for directory in search.split(':') {
        let path = PathBuf::from(if directory.is_empty() { "." } else { directory }).join(name);
        if check_executable(&path).is_ok() {
            return as_string(&path);
        }
    }
    Err(fail(Errno::NOENT))
}

fn check_executable(path: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, rustix::fs::AtFlags::empty())
}

fn resource(resource: RlimitResource) -> Resource {
    match resource {
        RlimitResource::As => Resource::As,
        RlimitResource::Core => Resource::Core,
        RlimitResource::Cpu => Resource::Cpu,
        RlimitResource::Data => Resource::Data,
        RlimitResource::Fsize => Resource::Fsize,
        RlimitResource::Locks => Resource::Locks,
        RlimitResource::Memlock => Resource::Memlock,
        RlimitResource::Msgqueue => Resource::Msgqueue,
        RlimitResource::Nice => Resource::Nice,
        RlimitResource::Nofile => Resource::Nofile,
        RlimitResource::Nproc => Resource::Nproc,
        RlimitResource::Rss => Resource::Rss,
        RlimitResource::Rtprio => Resource::Rtprio,
        RlimitResource::Rttime => Resource::Rttime,
        RlimitResource::Sigpending => Resource::Sigpending,
        RlimitResource::Stack => Resource::Stack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_as_a_shell_finds_them() {
        let path = ["PATH=/nowhere:/bin".to_owned()];
        assert_eq!(look_up("sh", &path).unwrap().as_c_str(), c"/bin/sh");
        assert_eq!(look_up("/bin/sh", &[]).unwrap().as_c_str(), c"/bin/sh");
        let error = |name: &str| look_up(name, &path).unwrap_err().to_string();
        assert_eq!(error("nosuch"), "exec: \"nosuch\": executable file not found in $PATH");
        assert_eq!(error("/nosuch"), "exec: \"/nosuch\": stat /nosuch: no such file or directory");
        assert_eq!(error("/etc/passwd"), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(error("/etc"), "exec: \"/etc\": is a directory");
    }
}
