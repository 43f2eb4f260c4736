//! The last steps, the same for a container's first process and for one that joins it: streams, limits, user,
//! capabilities, filter, exec.
//!
//! The order is the point. What opens files or takes memory comes first, then everything is closed that is not needed,
//! then the limits come, which may leave no descriptor and no memory. Whoever has no `no_new_privs` needs
//! `CAP_SYS_ADMIN` to load a filter, so the filter comes before capabilities drop; with it the filter comes last.
//! Under a filter there are only calls that Docker's documentation asks of every profile (`prctl`, `capset`, `setuid`
//! and their like, `chdir`, `stat`, `access`, `execve`).

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
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
    capability::CapSet,
    child::descriptor,
    error::{At, LaunchError, Step},
    extra::{self, CapabilitySets, Gate, Hooks, PID_PLACE},
    hook,
    launch::Stdio,
    message,
    plan::{Index, Process, RlimitResource},
    seccomp::Program,
    user,
};

/// What Docker gives a process whose environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What `ps` shows of `hako init` in a container, as with Docker.
pub(crate) const INIT_NAME: &str = "/sbin/docker-init";

/// What the last steps work on.
pub(crate) struct Start<'a> {
    pub(crate) process: &'a Process,
    pub(crate) descriptors: &'a [OwnedFd],
    pub(crate) init: Option<Index>,
    pub(crate) stdio: &'a Stdio,
    pub(crate) make_cwd: bool,
    pub(crate) channel: &'a Channel,
    pub(crate) gate: Option<Gate>,
    pub(crate) hooks: Option<&'a Hooks>,
}

/// Becomes the program, `terminal` being its side of one. Returns only the step that failed.
pub(crate) fn run(start: &Start<'_>, terminal: Option<OwnedFd>) -> Result<Infallible, LaunchError> {
    let process = start.process;
    let filter = process.seccomp.map(|index| read_filter(descriptor(start.descriptors, index)?)).transpose()?;
    let environment = strings(&environment(process))?;
    let command = Command::prepare(process, start)?;
    streams(start, terminal)?;
    keyring()?;
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
    let entered = enter_directory(&process.cwd, start.make_cwd);
    if start.gate.is_none() {
        message::send_executing(start.channel);
    }
    extra::set_schedule(&process.special)?;
    close_all_but(start, command.init())?;
    credentials::limit_bounding_set(sets(process).bounding.bits()).at(Step::Capabilities, String::new)?;
    set_limits(&process.rlimits)?;
    become_user(start, filter.as_ref())?;
    if let Err(error) = entered {
        retry_directory(&process.cwd, error)?;
    }
    let found = if process.argv.is_empty() && start.gate.is_some() { None } else { Some(command.find()?) };
    if process.no_new_privileges {
        load(filter.as_ref(), start.channel)?;
    }
    pass_gate(start)?;
    let found = found.ok_or_else(|| LaunchError::in_words(Step::Plan, "", "the configuration has no process"))?;
    Err(execute(&found, &command.arguments, &environment, start))
}

// The container is there; what it is for begins when somebody says so. A specification's word decides what is an error
// before this and what after: hooks of the start are the last thing that can fail.
fn pass_gate(start: &Start<'_>) -> Result<(), LaunchError> {
    if let Some(gate) = start.gate {
        message::send_ready(start.channel);
        gate.wait(start.descriptors)?;
    }
    match start.hooks {
        Some(hooks) if !start.process.argv.is_empty() => {
            let state = hooks.state.replace(PID_PLACE, &rustix::process::getpid().as_raw_nonzero().to_string());
            // It runs in the container: without an environment of its own it has the container's, as with runc.
            let with_environment = |hook: &extra::Hook| {
                let env = if hook.env.is_empty() { environment(start.process) } else { hook.env.clone() };
                extra::Hook { env, ..hook.clone() }
            };
            let all: Vec<extra::Hook> = hooks.start_container.iter().map(with_environment).collect();
            hook::run_all("startContainer", &all, &state)
        }
        _ => Ok(()),
    }
}

// What the process shall have, set by set.
fn sets(process: &Process) -> CapabilitySets {
    let (all, none) = (process.capabilities, CapSet::NONE);
    let usual = CapabilitySets { bounding: all, effective: all, permitted: all, inheritable: none, ambient: none };
    process.special.capabilities.unwrap_or(usual)
}

// From here on nothing of the host can be reached by a descriptor, not even by a path such as /proc/self/fd/7
// (CVE-2024-21626); what is left closes at exec.
fn close_all_but(start: &Start<'_>, init: Option<BorrowedFd<'_>>) -> Result<(), LaunchError> {
    let at = String::new;
    let mut kept: Vec<_> = init.into_iter().chain([start.channel.as_fd()]).collect();
    kept.extend(extra::gate_descriptors(start.gate, start.descriptors)?);
    let wanted = start.process.special.handed_down.iter().map(|index| descriptor(start.descriptors, *index));
    let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
    kept.extend(&wanted);
    process::keep_only(&kept).at(Step::CloseDescriptors, at)?;
    process::place_from_three(&wanted).at(Step::CloseDescriptors, at)?;
    process::close_on_exec_from(3 + wanted.len() as u32).at(Step::CloseDescriptors, at)
}

fn environment(process: &Process) -> Vec<String> {
    let mut lines = process.env.clone();
    let has_home = |line: &String| line.strip_prefix("HOME=").is_some_and(|home| !home.is_empty());
    if process.special.home_from_passwd && !lines.iter().any(has_home) {
        lines.retain(|line| line != "HOME=");
        let found = mount::open_directory(Path::new("/"))
            .ok()
            .and_then(|root| user::resolve(root.as_fd(), &process.user.uid.to_string(), &[]).ok());
        lines.push(format!("HOME={}", found.map_or_else(|| "/".to_owned(), |user| user.home)));
    }
    lines
}

pub(crate) fn set_limits(limits: &[crate::plan::Rlimit]) -> Result<(), LaunchError> {
    for limit in limits {
        let values = Rlimit { current: limit.soft, maximum: limit.hard };
        rustix::process::setrlimit(resource(limit.resource), values)
            .at(Step::Rlimit, || format!("{:?}", limit.resource).to_lowercase())?;
    }
    Ok(())
}

/// Raises the hard limits that [`set_limits`] will want, as far as they are too low.
pub(crate) fn allow_limits(limits: &[crate::plan::Rlimit]) -> Result<(), LaunchError> {
    for limit in limits {
        let now = rustix::process::getrlimit(resource(limit.resource));
        let too_low = now.maximum.is_some_and(|most| limit.hard.is_none_or(|wanted| wanted > most));
        if too_low {
            let values = Rlimit { current: now.current, maximum: limit.hard };
            rustix::process::setrlimit(resource(limit.resource), values)
                .at(Step::Rlimit, || format!("{:?}", limit.resource).to_lowercase())?;
        }
    }
    Ok(())
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

// Pipes are in their places since the beginning (`launch::keep_needed`).
fn streams(start: &Start<'_>, terminal: Option<OwnedFd>) -> Result<(), LaunchError> {
    let at = String::new;
    match (start.stdio, &terminal) {
        (Stdio::Streams { .. }, _) => {}
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
    let path = Path::new(cwd);
    if path.parent().is_none() {
        // Entering the container has led there already.
        return Ok(());
    }
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

// Root may be shut out where the user is not (a network file system). By path, since the limits may leave no descriptor;
// the root is the container's already, and no descriptor of the host's is open that a magic link could lead to.
fn retry_directory(cwd: &str, first: LaunchError) -> Result<(), LaunchError> {
    if first.errno == libc::EACCES && rustix::process::chdir(cwd).is_ok() { Ok(()) } else { Err(first) }
}

fn become_user(start: &Start<'_>, filter: Option<&Program>) -> Result<(), LaunchError> {
    let process = start.process;
    let capabilities = |result: std::io::Result<()>| result.at(Step::Capabilities, String::new);
    if process.no_new_privileges {
        credentials::set_no_new_privileges().at(Step::NoNewPrivileges, String::new)?;
    } else {
        load(filter, start.channel)?;
    }
    capabilities(credentials::keep_capabilities(true))?;
    let user = &process.user;
    credentials::become_user(user.uid, user.gid, &user.groups)
        .at(Step::User, || format!("{}:{}", user.uid, user.gid))?;
    capabilities(credentials::keep_capabilities(false))?;
    let sets = sets(process);
    let (effective, permitted) = (sets.effective.bits(), sets.permitted.bits());
    capabilities(credentials::set_capability_sets(effective, permitted, sets.inheritable.bits()))?;
    capabilities(credentials::clear_ambient_set())?;
    capabilities(credentials::raise_ambient_set(sets.ambient.bits()))
}

fn load(filter: Option<&Program>, channel: &Channel) -> Result<(), LaunchError> {
    let Some(filter) = filter else { return Ok(()) };
    match filter.load().at(Step::Seccomp, String::new)? {
        Some(listener) => message::send_listener(channel, listener.as_fd()).at(Step::Seccomp, || "listener".to_owned()),
        None => Ok(()),
    }
}

/// What is executed: the command itself, or init with the command as its argument.
struct Command<'a> {
    origin: Origin<'a>,
    arguments: Vec<CString>,
}

enum Origin<'a> {
    /// By descriptor: no path of the container takes part, and nothing in it can be replaced (CVE-2019-5736).
    Init(BorrowedFd<'a>),
    /// What a person calls it, and where it may be, in the order of looking.
    Named(&'a str, Vec<CString>),
}

impl<'a> Command<'a> {
    fn prepare(process: &'a Process, start: &Start<'a>) -> Result<Self, LaunchError> {
        let mut arguments = strings(&process.argv)?;
        let Some(init) = start.init else {
            let name = process.argv.first().map(String::as_str).unwrap_or_default();
            let candidates = strings(&candidates(name, &process.env))?;
            return Ok(Self { origin: Origin::Named(name, candidates), arguments });
        };
        // A command that init cannot find is said by init, in the container's own output, as with Docker.
        arguments.splice(0..0, strings(&[INIT_NAME.to_owned(), "--".to_owned()])?);
        Ok(Self { origin: Origin::Init(descriptor(start.descriptors, init)?), arguments })
    }

    fn init(&self) -> Option<BorrowedFd<'a>> {
        if let Origin::Init(init) = self.origin { Some(init) } else { None }
    }

    // The way to the program, seen with the rights of the user who shall run it.
    fn find(&self) -> Result<Found<'_>, LaunchError> {
        match &self.origin {
            Origin::Init(init) => Ok(Found::Init(*init)),
            Origin::Named(name, candidates) => choose(name, candidates).map(Found::Path),
        }
    }
}

enum Found<'a> {
    Init(BorrowedFd<'a>),
    Path(&'a CStr),
}

// Returns only when init cannot be executed, which is hako's fault. A command that cannot (a script without its
// interpreter, say) has been started as far as Docker is concerned: it says so itself and ends with 1.
fn execute(found: &Found<'_>, arguments: &[CString], environment: &[CString], start: &Start<'_>) -> LaunchError {
    match found {
        Found::Init(init) => {
            let error = process::execute_descriptor(*init, arguments, environment);
            LaunchError::new(Step::Exec, INIT_NAME, &error)
        }
        Found::Path(path) => {
            let error = process::execute(path, arguments, environment);
            let error = LaunchError::new(Step::Exec, path.to_string_lossy(), &error);
            if start.gate.is_some() {
                return error;
            }
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("{error}\n").as_bytes());
            process::exit(1)
        }
    }
}

// As a shell and Docker look: a name with a slash is a path, another is searched for in PATH.
fn candidates(name: &str, environment: &[String]) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let search = environment.iter().rev().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let directories = search.split(':').filter(|_| !search.is_empty());
    directories
        .map(|directory| match directory.trim_end_matches('/') {
            "" if directory.is_empty() => name.to_owned(),
            directory => format!("{directory}/{name}"),
        })
        .collect()
}

fn choose<'a>(name: &str, candidates: &'a [CString]) -> Result<&'a CStr, LaunchError> {
    if let ([only], true) = (candidates, name.contains('/')) {
        return check_executable(name, only).map(|()| only.as_c_str());
    }
    let found = candidates.iter().find(|candidate| check_executable(name, candidate).is_ok());
    let found = found.ok_or_else(|| LaunchError::new(Step::Lookup, name, &Errno::NOENT.into()))?;
    if !found.as_bytes().starts_with(b"/") {
        // PATH has a relative directory in it: what that finds is not run without being asked for by its path.
        let text = "cannot run executable found relative to current directory";
        return Err(LaunchError::in_words(Step::Lookup, name, text));
    }
    Ok(found)
}

fn check_executable(name: &str, path: &CStr) -> Result<(), LaunchError> {
    let fail = |errno: Errno| LaunchError::new(Step::Lookup, name, &errno.into());
    let stat = rustix::fs::stat(path).map_err(|errno| LaunchError { stat: true, ..fail(errno) })?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(fail(Errno::ISDIR));
    }
    // As exec itself looks: with the capabilities that are in effect, which access(2) leaves aside.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, rustix::fs::AtFlags::EACCESS).map_err(fail)
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

    fn look_up(name: &str, environment: &[&str]) -> String {
        let environment: Vec<String> = environment.iter().map(|line| (*line).to_owned()).collect();
        let candidates = strings(&candidates(name, &environment)).unwrap();
        match choose(name, &candidates) {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(error) => format!("{error} ({})", error.exit_code()),
        }
    }

    #[test]
    fn commands_are_found_as_docker_finds_them() {
        for (name, environment, found) in [
            ("sh", &["PATH=/nowhere:/bin"][..], "/bin/sh"),
            ("sh", &["PATH=/bin/"], "/bin/sh"),
            ("/bin/sh", &[], "/bin/sh"),
            ("sh", &["PATH="], "exec: \"sh\": executable file not found in $PATH (127)"),
            ("", &[], "exec: \"\": executable file not found in $PATH (127)"),
            ("nosuch", &[], "exec: \"nosuch\": executable file not found in $PATH (127)"),
            ("/nosuch", &[], "exec: \"/nosuch\": stat /nosuch: no such file or directory (127)"),
            ("/etc/passwd", &[], "exec: \"/etc/passwd\": permission denied (126)"),
            ("/etc", &[], "exec: \"/etc\": is a directory: permission denied (126)"),
            ("Cargo.toml", &["PATH=:/bin"], "exec: \"Cargo.toml\": executable file not found in $PATH (127)"),
            (
                "sh",
                &["PATH=../../../../../../../../bin"],
                "exec: \"sh\": cannot run executable found relative to current directory (128)",
            ),
        ] {
            assert_eq!(look_up(name, environment), found);
        }
        let under_file = look_up("/etc/passwd/x", &[]);
        assert!(under_file.starts_with("exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory: Are you trying"));
    }
}
