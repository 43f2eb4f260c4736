//! Credentials of the calling thread: capabilities, user and groups, no-new-privileges, session keyring.
//!
//! All of these are per thread for the kernel; the runtime calls them in a process with one thread. Which
//! capabilities a container gets is decided in `runtime::capability`.

use std::{ffi::CStr, io};

use rustix::thread::{CapabilitySet, CapabilitySets};

/// The number of the last capability that the running kernel knows; without `/proc`, the last that this program knows.
pub fn last_capability() -> u8 {
    static LAST: std::sync::OnceLock<u8> = std::sync::OnceLock::new();
    *LAST.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
        text.trim().parse().ok().filter(|last| *last < 64).unwrap_or(40)
    })
}

/// Sets the effective and permitted sets to `bits`; the inheritable and with it the ambient set become empty
/// (CVE-2022-24769: a non-empty inheritable set lets programs with file capabilities gain them).
///
/// # Errors
/// `EPERM` when `bits` has one that the caller does not have.
pub fn set_capabilities(bits: u64) -> io::Result<()> {
    let set = CapabilitySet::from_bits_retain(bits);
    let sets = CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Sets the three sets of the calling thread apart, for a program whose configuration names them one by one.
///
/// # Errors
/// `EPERM` as [`set_capabilities`].
pub fn set_capability_sets(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(inheritable),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Adds to the ambient set; each must be permitted and inheritable.
///
/// # Errors
/// `EPERM` when one is not.
pub fn raise_ambient_set(bits: u64) -> io::Result<()> {
    for number in (0..=last_capability()).filter(|number| bits & (1 << number) != 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

/// The effective set of the calling thread.
///
/// # Errors
/// None that is known.
pub fn effective_capabilities() -> io::Result<u64> {
    Ok(rustix::thread::capabilities(None)?.effective.bits())
}

/// Drops from the bounding set whatever is not in `bits`.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding_set(bits: u64) -> io::Result<()> {
    for number in 0..=last_capability() {
        if bits & (1 << number) == 0 {
            rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))?;
        }
    }
    Ok(())
}

/// Empties the ambient set.
///
/// # Errors
/// None that is known.
pub fn clear_ambient_set() -> io::Result<()> {
    Ok(rustix::thread::clear_ambient_capability_set()?)
}

/// Whether the permitted set survives the change from user 0 to another.
///
/// # Errors
/// `EPERM` when the secure bits forbid it.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    Ok(rustix::thread::set_keep_capabilities(keep)?)
}

/// Becomes a user: all supplementary groups first, then the group's three ids, then the user's three ids.
///
/// # Errors
/// `EPERM` without the right to, `EINVAL` for an id that the user namespace does not map.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<_> = groups.iter().map(|gid| rustix::fs::Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let gid = rustix::fs::Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = rustix::fs::Uid::from_raw(uid);
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Does some work with files as this user and group, keeping what root may: what is made belongs to them, which on a mount
/// with mapped ids the caller's own need not be able to own. Of the calling thread alone.
///
/// # Errors
/// When the thread cannot be itself again, after which it must not go on: those of `capset(2)`.
pub fn with_file_owner<T>((uid, gid): (u32, u32), work: impl FnOnce() -> T) -> io::Result<T> {
    let capabilities = rustix::thread::capabilities(None)?;
    // SAFETY: both calls take numbers and change the calling thread only; they answer with what was before.
    let before = unsafe { (libc::syscall(libc::SYS_setfsgid, gid), libc::syscall(libc::SYS_setfsuid, uid)) };
    // Leaving user 0 takes the rights over files from the effective set.
    rustix::thread::set_capabilities(None, capabilities)?;
    let done = work();
    // SAFETY: as above.
    unsafe { (libc::syscall(libc::SYS_setfsuid, before.1), libc::syscall(libc::SYS_setfsgid, before.0)) };
    rustix::thread::set_capabilities(None, capabilities)?;
    Ok(done)
}

/// Whether exec may no longer grant anything (set-user-id bits, file capabilities). Cannot be undone.
///
/// # Errors
/// None that is known.
pub fn set_no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Whether other processes of the same user may look into this one (`/proc/PID/…`, `ptrace`). Exec resets it.
///
/// # Errors
/// None that is known.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    use rustix::process::DumpableBehavior;
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    Ok(rustix::process::set_dumpable_behavior(behavior)?)
}

/// Leaves the caller's session keyring for a new one with this description.
///
/// # Errors
/// `ENOSYS` on kernels without keys, `EDQUOT` when the user has too many.
pub fn new_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if serial == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
