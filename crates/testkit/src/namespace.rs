//! Sockets in somebody else's network namespace.

use std::{fs::File, io, os::fd::AsFd, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Does a short piece of work in the network namespace of a process: a socket stays where it was made, and only the
/// thread that makes it ever enters.
///
/// # Errors
/// Where the process or the right to enter its namespace is missing, and those of the work.
pub fn in_network_of<T: Send + 'static>(
    process: u32,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let inside = move || {
        let namespace = File::open(format!("/proc/{process}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    thread::spawn(inside).join().map_err(|_| io::Error::other("the thread inside panicked"))?
}
