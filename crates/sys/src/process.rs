//! Processes: `clone3`, exec, pidfds, waiting, namespaces.
//!
//! A child of [`clone`] runs on a copy of the caller's memory, so the caller must have one thread only (the
//! keeper has); a program with threads uses [`spawn`] (`spawn.rs`). Signals taken as events are in `signal.rs`.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

pub use crate::spawn::{Spawn, spawn};

/// Descriptors a process of ours may have: two per published port and a few per container; the kernel's own default
/// for the most that may be allowed.
const DESCRIPTORS: u64 = 1 << 20;

/// Lets the calling process have as many descriptors as the kernel allows to anybody, or as many as it may.
///
/// # Errors
/// Those of `setrlimit(2)`; lowering never happens.
pub fn descriptor_limit_raise() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let wanted = DESCRIPTORS.min(allowed.unwrap_or(DESCRIPTORS));
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.map(|maximum| maximum.max(wanted));
    // Without CAP_SYS_RESOURCE the most stays what it is.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    Ok(raised.or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }))?)
}

/// What the kernel is asked to make anew for a child, in `clone(2)`'s bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces(u64);

impl Namespaces {
    pub const NONE: Self = Self(0);
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// Shares its bit with `CSIGNAL`: valid for `clone3`, `unshare` and `setns`, not for the old `clone`.
    pub const TIME: Self = Self(0x80);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set less the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every kind of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in here.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How [`clone`] makes the child.
#[derive(Debug, Default)]
pub struct Clone<'a> {
    pub namespaces: Namespaces,
    /// The cgroup v2 directory that the child is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The child becomes the caller's sibling (`CLONE_PARENT`): the caller's parent reaps it.
    pub sibling: bool,
}

/// A child process and the descriptor that stands for it.
#[derive(Debug)]
pub struct Child {
    /// In the caller's pid namespace.
    pub pid: u32,
    pub pidfd: OwnedFd,
}

/// On which side of [`clone`] the caller finds itself.
#[derive(Debug)]
pub enum Cloned {
    Parent(Child),
    Child,
}

/// Clones the calling process. The child returns too, as [`Cloned::Child`], and must end in [`execute`] or [`exit`].
///
/// # Errors
/// `EDEADLK` when the caller has more than one thread: the child could wait for ever for a lock (the allocator's, say)
/// that another thread held; else what `clone3(2)` says.
pub fn clone(how: &Clone<'_>) -> io::Result<Cloned> {
    if !is_single_threaded() {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut pidfd: RawFd = -1;
    let mut flags = how.namespaces.0 | libc::CLONE_PIDFD as u64;
    if how.sibling {
        flags |= libc::CLONE_PARENT as u64;
    }
    if how.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let arguments = CloneArguments {
        flags,
        pidfd: &raw mut pidfd as u64,
        // With CLONE_PARENT the exit signal is that of the caller, and the kernel insists on zero here.
        exit_signal: if how.sibling { 0 } else { libc::SIGCHLD as u64 },
        cgroup: how.cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child gets a copy of all memory and goes on
    // here. The caller has one thread (checked above), so no lock of the C library can be held by anybody else.
    // `arguments` and `pidfd` outlive the call, and the size is that of the structure.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    match pid {
        -1 => match io::Error::last_os_error() {
            // Docker's seccomp profile hides clone3(2) from programs in containers, so that they take the older call.
            error if error.raw_os_error() == Some(libc::ENOSYS) && flags == libc::CLONE_PIDFD as u64 => fork(),
            error => Err(error),
        },
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just put a new descriptor here that nobody else knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(Child { pid: pid as u32, pidfd }))
        }
    }
}

/// A plain child, for where there is no `clone3`.
fn fork() -> io::Result<Cloned> {
    // SAFETY: the caller has one thread (checked by `clone`), so the child may go on as the parent would.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // Nobody reaps it before the caller does, so the number is still its.
        pid => Ok(Cloned::Parent(Child { pid: pid as u32, pidfd: open_pidfd(pid as u32)? })),
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of the kernel, version 2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whether the calling process has one thread only.
pub fn is_single_threaded() -> bool {
    // With one thread this asks for what already is, and does nothing; else the kernel answers EINVAL (unshare(2)).
    // SAFETY: no memory is involved.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return true;
    }
    // Docker's seccomp profile answers EPERM to any unshare(2): pid 1 of a container counts its threads instead.
    io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
        && std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Ends the calling process at once, without running anything that was registered for its end.
pub fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces the calling process by the program at `path`; returns only when that failed.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: `path` and every element are NUL-terminated strings that outlive the call, both lists end in NULL.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the calling process by the program behind a descriptor; returns only when that failed.
pub fn execute_descriptor(program: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: as in `execute`; the empty path with AT_EMPTY_PATH means the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Replaces the calling process by a program that is looked up in `PATH`, with the environment that it has; returns only
/// when that failed.
pub fn execute_in_path(program: &OsStr, arguments: &[OsString]) -> io::Error {
    let texts: Result<Vec<CString>, _> = std::iter::once(program)
        .chain(arguments.iter().map(OsString::as_os_str))
        .map(|text| CString::new(text.as_bytes()))
        .collect();
    let Ok(texts) = texts else { return io::ErrorKind::InvalidInput.into() };
    let arguments = pointers(&texts[1..]);
    // SAFETY: as in `execute`.
    unsafe { libc::execvp(texts[0].as_ptr(), arguments.as_ptr()) };
    io::Error::last_os_error()
}

pub(crate) fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn known_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// A descriptor for a process that the caller knows by number.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(known_pid(pid)?, PidfdFlags::empty())?)
}

/// The number of a process, in the caller's pid namespace.
///
/// # Errors
/// `ESRCH` when it has ended and been reaped, or is in another namespace.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<u32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    pid.filter(|pid| *pid > 0).map(|pid| pid as u32).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// Sends a signal by number (real-time ones too).
///
/// # Errors
/// `ESRCH` when the process has ended.
pub fn send_signal(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed but a null `siginfo`, which means "as kill(2) would".
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// As a shell and Docker count: 128 more than the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// The signal that ended it, if one did.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
        }
    }
}

/// Reaps a child that has ended; `None` while it runs. Does not wait.
///
/// # Errors
/// `ECHILD` when it is not the caller's child or was reaped before.
pub fn try_reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    wait(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// Whether and how a child has ended, leaving it to be reaped later. Does not wait.
///
/// # Errors
/// `ECHILD` as for [`try_reap`].
pub fn peek_exit(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    wait(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
}

/// Waits for a child to end and reaps it.
///
/// # Errors
/// `ECHILD` as for [`try_reap`].
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Exit> {
    loop {
        if let Some(exit) = wait(pidfd, WaitIdOptions::EXITED)? {
            return Ok(exit);
        }
    }
}

fn wait(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> io::Result<Option<Exit>> {
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok(status.and_then(|status| exit_of(&status)))
}

fn exit_of(status: &WaitIdStatus) -> Option<Exit> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::Code(code)),
        (None, Some(signal)) => Some(Exit::Signal(signal)),
        (None, None) => None,
    }
}

/// Reaps any one child that has ended, whoever's it was; `None` when none has. For a process that is pid 1.
///
/// # Errors
/// `ECHILD` when there are no children at all.
pub fn reap_any() -> io::Result<Option<(u32, Exit)>> {
    let Some((pid, status)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG)? else {
        return Ok(None);
    };
    let exit = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => return Ok(None),
    };
    Ok(Some((pid.as_raw_nonzero().get() as u32, exit)))
}

/// The exit status of a process that is not the caller's child, from its pidfd, once it has been reaped
/// (`PIDFD_INFO_EXIT`, Linux 6.15). `None`: it runs still, or was not reaped yet.
///
/// # Errors
/// `ENOTTY` or `EINVAL` on kernels that lack it.
pub fn exit_by_descriptor(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the number encodes the size of the structure that the pointer leads to, and the kernel writes no more.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if done == -1 {
        let error = io::Error::last_os_error();
        // A process that is gone and whose status was asked for too early.
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
    }
    if info.mask & PIDFD_INFO_EXIT == 0 {
        return Ok(None);
    }
    let status = info.exit_code;
    Ok(Some(match status & 0x7f {
        0 => Exit::Code((status >> 8) & 0xff),
        signal => Exit::Signal(signal),
    }))
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)` with the first published size of the structure.
const PIDFD_GET_INFO: libc::c_ulong = (3 << 30) | ((size_of::<PidfdInfo>() as libc::c_ulong) << 16) | (0xff << 8) | 11;

/// `struct pidfd_info` of the kernel, as first published (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    thread_group: u32,
    parent: u32,
    ids: [u32; 8],
    exit_code: i32,
}

/// Gives the calling process namespaces of its own.
///
/// # Errors
/// Those of `unshare(2)`.
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: only namespace bits are passed: nothing that memory or descriptors of other threads depend on.
    if unsafe { libc::unshare(namespaces.0 as libc::c_int) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Moves the calling thread into namespaces: of the process behind a pidfd, several at once, or the one behind a
/// namespace descriptor.
///
/// # Errors
/// Those of `setns(2)`.
pub fn join(target: BorrowedFd<'_>, namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: no memory is involved.
    if unsafe { libc::setns(target.as_raw_fd(), namespaces.0 as libc::c_int) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by the next exec.
///
/// # Errors
/// Those of `close_range(2)` (flag since Linux 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: the descriptors stay open in this process; only their close-on-exec mark changes.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Copies of the descriptors 3 to `2 + count` that the caller was started with, numbered above them: whoever started it
/// means them for the program that it is to start. For a process that has opened nothing yet.
///
/// # Errors
/// `EBADF` when one of them is not open.
pub fn inherited_descriptors(count: u32) -> io::Result<Vec<OwnedFd>> {
    let first_free = 3 + count as libc::c_int;
    let copy = |number: u32| {
        // SAFETY: no memory is involved; a number that is not open is an error.
        match unsafe { libc::fcntl(number as libc::c_int, libc::F_DUPFD_CLOEXEC, first_free) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the kernel has just made it for us.
            made => Ok(unsafe { OwnedFd::from_raw_fd(made) }),
        }
    };
    (3..3 + count).map(copy).collect()
}

/// Puts copies of descriptors at 3, 4, …, not marked close-on-exec. What was there before is closed; the caller must not
/// use it any more, and none of `descriptors` may be among these numbers.
///
/// # Errors
/// Those of `dup2(2)`; `InvalidInput` for a descriptor that another one would take the place of.
pub fn place_from_three(descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let end = 3 + descriptors.len() as RawFd;
    if descriptors.iter().any(|one| (3..end).contains(&one.as_raw_fd())) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (number, descriptor) in (3..).zip(descriptors) {
        // SAFETY: whatever the number was, in this child nobody uses it any more (see above).
        if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor from 3 on but these: for a child of [`clone`], which has copies of all that its parent has
/// open and uses few of them.
///
/// # Errors
/// Those of `close_range(2)`.
pub fn keep_only(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).filter(|number| *number >= 3).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: no memory is involved. Owners of these descriptors that live on in the child's copy of memory never use
    // them: the child ends in exec or exit, and what it uses is among those that are kept.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts a copy of `descriptor` at the number `target` (0, 1 or 2), not marked close-on-exec.
///
/// # Errors
/// Those of `dup2(2)`.
pub fn place_standard(descriptor: impl AsFd, target: Standard) -> io::Result<()> {
    let descriptor = descriptor.as_fd();
    match target {
        Standard::Input => rustix::stdio::dup2_stdin(descriptor)?,
        Standard::Output => rustix::stdio::dup2_stdout(descriptor)?,
        Standard::Error => rustix::stdio::dup2_stderr(descriptor)?,
    }
    Ok(())
}

/// One of the three streams that every program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    Input,
    Output,
    Error,
}

/// Gives every signal its default effect and blocks none: what a new program expects. (Rust ignores `SIGPIPE`, and
/// what is ignored or blocked stays so across exec.)
///
/// # Errors
/// None that is known.
pub fn reset_signals() -> io::Result<()> {
    // Of the kernel's `struct sigaction` (32 bytes where the set has 64 signals) all zero is: default, no flags. The
    // call is made directly because the C library refuses the two signals that it keeps for itself, and those may
    // have come ignored from whoever started this process.
    let default = [0_u64; 4];
    for number in 1..=64 {
        // SAFETY: the structure outlives the call and is not smaller than what the kernel reads; the size of the signal
        // set is 8 bytes. KILL and STOP are refused with an error that does not matter.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: an all-zero `sigset_t` is a valid place for `sigemptyset` to fill, and the set outlives both calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<CloneArguments>(), 88);
        assert_eq!(size_of::<PidfdInfo>(), 64);
    }

    #[test]
    fn a_process_with_threads_is_not_cloned() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let error = clone(&Clone::default()).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EDEADLK));
            });
        });
    }
}
