//! Loads a compiled seccomp filter. What is in it is decided and compiled in `runtime::seccomp`.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// One instruction of classic BPF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub operand: u32,
}

/// Flags of a filter, as `seccomp(2)` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterFlags(u32);

impl FilterFlags {
    /// Every thread of the process gets the filter.
    pub const THREAD_SYNC: u32 = 1;
    /// What is not allowed is logged.
    pub const LOG: u32 = 1 << 1;
    /// Keeps the speculative store bypass as it was (before Linux 5.16 a filter switched it off, at a price).
    pub const ALLOW_SPECULATION: u32 = 1 << 2;
    /// Calls that the filter hands over are answered by whoever has the listener.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// A process that waits for the listener's answer dies of a fatal signal only (Linux 5.19).
    pub const WAIT_KILLABLE: u32 = 1 << 5;

    /// From raw bits; `None` for some that are not known.
    pub fn from_bits(bits: u32) -> Option<Self> {
        let known = Self::THREAD_SYNC | Self::LOG | Self::ALLOW_SPECULATION | Self::NEW_LISTENER | Self::WAIT_KILLABLE;
        (bits & !known == 0).then_some(Self(bits))
    }
}

/// Puts the calling thread under a filter, for ever. Returns the listener, where the flags ask for one.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` or no-new-privileges, `EINVAL` when the kernel's checker refuses the program.
pub fn load(program: &[Instruction], flags: FilterFlags) -> io::Result<Option<OwnedFd>> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // `Instruction` has the layout of `struct sock_filter`; the kernel only reads it.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the pointer leads to `len` instructions that outlive the call, in the kernel's layout.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags.0, &raw const program) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    if flags.0 & FilterFlags::NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag the kernel answers with a new descriptor that nobody else knows.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(done as RawFd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_kernels_layout() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
    }
}
