//! Signals as events: blocked, then read from a descriptor or waited for. No handler ever runs.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// A set of signals, by number.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// These signals and no others; numbers that are none are left out.
    pub fn of(numbers: &[i32]) -> Self {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the whole set, which the calls after it only change.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for number in numbers {
                libc::sigaddset(set.as_mut_ptr(), *number);
            }
            Self(set.assume_init())
        }
    }

    /// Every signal (the kernel leaves out KILL and STOP by itself).
    pub fn all() -> Self {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigfillset` initialises the whole set.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Blocks them for the calling thread and those that it starts.
    ///
    /// # Errors
    /// None that is known.
    pub fn block(&self) -> io::Result<()> {
        // SAFETY: the set is initialised and outlives the call.
        let errno = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const self.0, std::ptr::null_mut()) };
        if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
    }

    /// Waits for one of them (they must be blocked) and says which came.
    ///
    /// # Errors
    /// None that is known.
    pub fn wait(&self) -> io::Result<i32> {
        loop {
            // SAFETY: the set is initialised; a null `siginfo` means that it is not wanted.
            let number = unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) };
            if number != -1 {
                return Ok(number);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// A non-blocking descriptor that is readable while one of them (they must be blocked) is pending.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the set is initialised and outlives the call; −1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const self.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Takes one signal from a descriptor of [`SignalSet::descriptor`]; `None` when none is pending.
///
/// # Errors
/// When the descriptor is not one of those.
pub fn take(descriptor: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor.as_fd(), &mut record) {
        // `ssi_signo` is the first field.
        Ok(length) if length >= 4 => Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends a signal to a process by number; `pid` −1 means every process that can be reached (in a pid namespace: all of
/// it but the caller's own pid 1).
///
/// # Errors
/// Those of `kill(2)`.
pub fn send(pid: i32, number: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::kill(pid, number) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Does something while one signal is ignored, and gives it its default effect afterwards. For a process with one
/// thread: dispositions belong to all of it.
pub fn while_ignoring<T>(number: i32, work: impl FnOnce() -> T) -> T {
    // SAFETY: SIG_IGN and SIG_DFL are valid dispositions for any signal; for one that cannot be changed this fails.
    unsafe { libc::signal(number, libc::SIG_IGN) };
    let result = work();
    // SAFETY: as above.
    unsafe { libc::signal(number, libc::SIG_DFL) };
    result
}
