//! Network namespaces: making one, and doing something inside one.
//!
//! A namespace is a property of a thread; each function here leaves the calling thread where it
//! was. Namespaces are anonymous: a descriptor keeps one alive, no file on the host names it.
#![expect(unsafe_code, reason = "rustix calls unshare unsafe because of CLONE_FILES")]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space},
};

/// The network namespace of the calling thread.
pub fn current() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?)
}

/// Moves the calling thread into a namespace, for good.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// Moves the calling thread into a new, empty network namespace, for good.
pub fn enter_new() -> io::Result<()> {
    // SAFETY: only CLONE_FILES is dangerous (descriptors would differ between threads); this is not it.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Runs `work` in `namespace` on a thread of its own and waits for it. What `work` opens (sockets,
/// files below /proc/sys/net) stays in that namespace.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_thread(|| {
        enter(namespace)?;
        work()
    })
}

/// Makes a namespace, runs `work` in it on a thread of its own, and returns both.
pub fn create<T: Send>(work: impl FnOnce(BorrowedFd<'_>) -> io::Result<T> + Send) -> io::Result<(OwnedFd, T)> {
    on_thread(|| {
        enter_new()?;
        let namespace = current()?;
        let value = work(namespace.as_fd())?;
        Ok((namespace, value))
    })
}

/// Makes a namespace, and runs `work` in it on the calling thread, which comes back: for a process that must have one, and
/// would wait for a second.
///
/// # Errors
/// Those of `work` and of `unshare(2)`; of `setns(2)` on the way back, after which the thread is in the new namespace.
pub fn create_here(work: impl FnOnce() -> io::Result<()>) -> io::Result<OwnedFd> {
    let own = current()?;
    enter_new()?;
    let made = work().and_then(|()| current());
    enter(own.as_fd())?;
    made
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
