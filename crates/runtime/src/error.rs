//! Why a container's process did not start: the step, what it was about, and the kernel's number.
//!
//! The text is what Docker's users know from runc where clients depend on it (a missing or forbidden command, a
//! working directory); the kind decides between the exit codes 126, 127 and 128.

use std::{fmt, io};

use hako_base::{ErrorKind, error::errno_text};
use serde::{Deserialize, Serialize};

/// The steps of a launch, in the order of a newcomer's questions rather than of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The plan itself: an index without a descriptor, a string with a NUL.
    Plan,
    /// `clone3`.
    Clone,
    /// Joining namespaces of others.
    JoinNamespace,
    /// Making namespaces.
    NewNamespace,
    /// Writing `uid_map` and `gid_map`.
    IdMap,
    JoinCgroup,
    OomScore,
    Session,
    Keyring,
    Signals,
    Root,
    Mount,
    Device,
    Symlink,
    Terminal,
    Console,
    MaskPath,
    ReadOnlyPath,
    Sysctl,
    PivotRoot,
    Hostname,
    Rlimit,
    /// Running a hook.
    Hook,
    /// Waiting to be started.
    Gate,
    /// Asking a security module for a label.
    Label,
    Schedule,
    Stdio,
    /// Making or entering the working directory.
    WorkingDirectory,
    User,
    Capabilities,
    NoNewPrivileges,
    Seccomp,
    CloseDescriptors,
    /// Looking the command up in `PATH`.
    Lookup,
    Exec,
    /// Another runtime was told to do it; its own words are the detail.
    External,
    /// The child ended without a word (killed, out of memory).
    Died,
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Self::Plan => "carry out the plan",
            Self::Clone => "clone",
            Self::JoinNamespace => "join namespace",
            Self::NewNamespace => "make namespace",
            Self::IdMap => "map ids",
            Self::JoinCgroup => "join cgroup",
            Self::OomScore => "set oom_score_adj",
            Self::Session => "start a session",
            Self::Keyring => "make a session keyring",
            Self::Signals => "reset signals",
            Self::Root => "set up the root",
            Self::Mount => "mount",
            Self::Device => "make device",
            Self::Symlink => "make symlink",
            Self::Terminal => "open a terminal",
            Self::Console => "set up the console",
            Self::MaskPath => "mask path",
            Self::ReadOnlyPath => "make path read-only",
            Self::Sysctl => "set sysctl",
            Self::PivotRoot => "enter the root",
            Self::Hostname => "set the host name",
            Self::Rlimit => "set rlimit",
            Self::Hook => "run hook",
            Self::Gate => "wait to be started",
            Self::Label => "take the label",
            Self::Schedule => "set the",
            Self::Stdio => "set up standard streams",
            Self::WorkingDirectory => "enter working directory",
            Self::User => "become user",
            Self::Capabilities => "set capabilities",
            Self::NoNewPrivileges => "set no_new_privs",
            Self::Seccomp => "load the seccomp filter",
            Self::CloseDescriptors => "close descriptors",
            Self::External => "run the runtime",
            Self::Lookup | Self::Exec => "exec",
            Self::Died => "the container's process ended before its command could run",
        }
    }
}

/// What a failed start means for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The command, or what it needs, does not exist: 127.
    NotFound,
    /// It exists and cannot be used: 126.
    NotExecutable,
    /// Anything else: 128 (the CLI says 125 when the engine refused).
    Other,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchError {
    pub step: Step,
    /// A path, a name, a number: what the step was about. Empty where there is only one possibility.
    pub subject: String,
    pub errno: i32,
    /// The kernel's own explanation, where it gave one (file systems do).
    pub detail: String,
    /// Of a lookup: it was `stat(2)` that failed, and not the check of the permission to execute.
    #[serde(default)]
    pub stat: bool,
}

impl LaunchError {
    /// From an error of a system call.
    pub fn new(step: Step, subject: impl Into<String>, error: &io::Error) -> Self {
        let errno = hako_sys::mount::errno(error);
        let detail = if error.raw_os_error().is_some() { String::new() } else { error.to_string() };
        Self { step, subject: subject.into(), errno: errno.unwrap_or(0), detail, stat: false }
    }

    /// From words alone.
    pub fn in_words(step: Step, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { step, subject: subject.into(), errno: 0, detail: detail.into(), stat: false }
    }

    /// What it means for the exit code. Docker looks at the words of the reason, whatever the step, and so does its
    /// command line: no such file is 127, permission denied is 126.
    pub fn outcome(&self) -> Outcome {
        if self.step == Step::External {
            return outcome_of(&self.detail);
        }
        match self.errno {
            libc::ENOENT | libc::ENOTDIR => Outcome::NotFound,
            libc::EACCES | libc::EISDIR => Outcome::NotExecutable,
            _ => Outcome::Other,
        }
    }

    /// Whether the words are another runtime's.
    pub fn is_foreign(&self) -> bool {
        self.step == Step::External && self.errno == 0
    }

    /// The exit code that Docker gives a container that did not start for this reason.
    pub fn exit_code(&self) -> i32 {
        match self.outcome() {
            Outcome::NotFound => 127,
            Outcome::NotExecutable => 126,
            Outcome::Other => 128,
        }
    }

    /// The kind, for the layers above: what a person asked for is their error, the rest is ours.
    pub fn kind(&self) -> ErrorKind {
        match self.step {
            Step::Lookup | Step::Exec | Step::WorkingDirectory => ErrorKind::InvalidInput,
            _ => ErrorKind::Internal,
        }
    }

    fn why(&self) -> String {
        if self.detail.is_empty() { errno_text(self.errno) } else { self.detail.clone() }
    }

    // What Docker adds: the usual reason, in the words that people search for and its command line looks for.
    fn hint(&self) -> &'static str {
        match self.errno {
            libc::ENOTDIR if self.step == Step::WorkingDirectory => "",
            libc::ENOTDIR => {
                ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
            }
            libc::EISDIR => ": permission denied",
            _ => "",
        }
    }
}

// By the words, as Docker's own daemon does: other runtimes tell nothing else.
fn outcome_of(words: &str) -> Outcome {
    let words = words.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&["executable file not found", "no such file or directory", "not a directory"]) {
        Outcome::NotFound
    } else if says(&["permission denied", "is a directory"]) {
        Outcome::NotExecutable
    } else {
        Outcome::Other
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, why) = (&self.subject, self.why());
        match self.step {
            Step::Lookup if self.errno == libc::ENOENT && !subject.contains('/') => {
                write!(f, "exec: {subject:?}: executable file not found in $PATH")
            }
            Step::Lookup if self.stat => write!(f, "exec: {subject:?}: stat {subject}: {why}"),
            Step::Lookup => write!(f, "exec: {subject:?}: {why}"),
            Step::Exec => return write!(f, "exec {subject}: {why}"),
            Step::WorkingDirectory => write!(f, "chdir to cwd ({subject:?}) set in config.json failed: {why}"),
            Step::External if self.errno == 0 => return f.write_str(&self.detail),
            Step::Died => write!(f, "{}: {}", self.step.verb(), self.detail),
            // As runc.
            Step::Hook => write!(f, "error running {subject}: {why}"),
            Step::Mount => write!(f, "cannot mount to {subject:?}: {why}"),
            step if subject.is_empty() => write!(f, "cannot {}: {why}", step.verb()),
            step => write!(f, "cannot {} {subject}: {why}", step.verb()),
        }?;
        f.write_str(self.hint())
    }
}

impl std::error::Error for LaunchError {}

/// Names the step of a system call that may fail.
pub(crate) trait At<T> {
    /// `subject` is only made when it is needed.
    fn at(self, step: Step, subject: impl FnOnce() -> String) -> Result<T, LaunchError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step, subject: impl FnOnce() -> String) -> Result<T, LaunchError> {
        self.map_err(|error| LaunchError::new(step, subject(), &error))
    }
}

impl<T> At<T> for Result<T, rustix::io::Errno> {
    fn at(self, step: Step, subject: impl FnOnce() -> String) -> Result<T, LaunchError> {
        self.map_err(|errno| LaunchError::new(step, subject(), &errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(step: Step, subject: &str, errno: i32, text: &str, code: i32) {
        let error = LaunchError::new(step, subject, &io::Error::from_raw_os_error(errno));
        assert_eq!((error.to_string().as_str(), error.exit_code()), (text, code));
    }

    #[test]
    fn a_command_that_cannot_run_is_told_in_dockers_words() {
        check(Step::Lookup, "nosuch", libc::ENOENT, "exec: \"nosuch\": executable file not found in $PATH", 127);
        check(Step::Lookup, "/etc/passwd", libc::EACCES, "exec: \"/etc/passwd\": permission denied", 126);
        check(Step::Lookup, "/etc", libc::EISDIR, "exec: \"/etc\": is a directory: permission denied", 126);
        check(Step::Exec, "/script", libc::EACCES, "exec /script: permission denied", 126);
        check(
            Step::WorkingDirectory,
            "/root/x",
            libc::EACCES,
            "chdir to cwd (\"/root/x\") set in config.json failed: permission denied",
            126,
        );
    }

    #[test]
    fn other_steps_say_what_failed_on_what_and_why() {
        check(Step::Sysctl, "net.x", libc::ENOENT, "cannot set sysctl net.x: no such file or directory", 127);
        check(Step::NoNewPrivileges, "", libc::EPERM, "cannot set no_new_privs: operation not permitted", 128);
    }
}
