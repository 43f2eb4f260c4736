//! How the kernel shares out processor time and turns at the disk to the calling process, and its personality.
//!
//! Which policy a process gets is its configuration's business; here it only becomes a call.

use std::io;

use serde::{Deserialize, Serialize};

/// What `sched_setattr(2)` takes; part of plans, and so plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// `SCHED_…`
    pub policy: u32,
    /// `SCHED_FLAG_…`
    pub flags: u64,
    /// Of the policies that take turns.
    pub nice: i32,
    /// Of the real-time policies.
    pub priority: u32,
    /// Of the deadline policy, in nanoseconds.
    pub runtime_ns: u64,
    pub deadline_ns: u64,
    pub period_ns: u64,
}

/// `struct sched_attr` of the kernel, first published size.
#[repr(C)]
struct RawPolicy {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Gives the calling thread a scheduling policy.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, `EINVAL` for numbers that do not fit the policy.
pub fn set_policy(asked: Policy) -> io::Result<()> {
    let raw = RawPolicy {
        size: size_of::<RawPolicy>() as u32,
        policy: asked.policy,
        flags: asked.flags,
        nice: asked.nice,
        priority: asked.priority,
        runtime_ns: asked.runtime_ns,
        deadline_ns: asked.deadline_ns,
        period_ns: asked.period_ns,
    };
    // SAFETY: the structure has the size that it says and outlives the call; 0 means the calling thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0_u32) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives the calling process a place in the queue of the disk: class (1 real time, 2 best effort, 3 idle) and level.
///
/// # Errors
/// `EPERM` for real time without `CAP_SYS_ADMIN`.
pub fn set_io_priority(class: u16, level: u16) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    let value = libc::c_long::from(class) << 13 | libc::c_long::from(level & 0x1fff);
    // SAFETY: numbers only; 0 means the calling process.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the execution domain (`PER_LINUX32` makes `uname` answer as a 32-bit kernel would).
///
/// # Errors
/// None that is known.
pub fn set_personality(personality: u32) -> io::Result<()> {
    // SAFETY: a number only.
    let done = unsafe { libc::personality(libc::c_ulong::from(personality)) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_kernels_first_size() {
        assert_eq!(size_of::<RawPolicy>(), 48);
    }

    #[test]
    fn a_process_may_become_more_modest() {
        std::thread::spawn(|| {
            const SCHED_BATCH: u32 = 3;
            set_policy(Policy { policy: SCHED_BATCH, nice: 5, ..Policy::default() }).unwrap();
            set_io_priority(3, 0).unwrap();
        })
        .join()
        .unwrap();
    }
}
