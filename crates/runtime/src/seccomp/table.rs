//! Numbers of system calls, by ABI.
//!
//! A machine runs programs of more than one: an x86_64 kernel also those of i386 and, where it is configured, x32,
//! whose calls are those of x86_64 with a bit set, except for some that have numbers of their own.

use std::str::FromStr;

/// One ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

/// The bit that marks a call of x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// `AUDIT_ARCH_…`, which the kernel puts beside the number. x86_64 and x32 share one.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The ABI that a name of libseccomp means; `None` for those of other machines.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_X32" => Some(Self::X32),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            "SCMP_ARCH_ARM" => Some(Self::Arm),
            _ => None,
        }
    }

    /// The number of a call; `None` where the ABI does not have it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let number = match self {
            Self::X86_64 => syscalls::x86_64::Sysno::from_str(name).ok()?.id(),
            Self::X86 => syscalls::x86::Sysno::from_str(name).ok()?.id(),
            Self::Aarch64 => syscalls::aarch64::Sysno::from_str(name).ok()?.id(),
            Self::Arm => syscalls::arm::Sysno::from_str(arm_name(name)).ok()?.id(),
            Self::X32 => return number_x32(name),
        };
        u32::try_from(number).ok()
    }
}

// The kernel's private calls of arm have their prefix in some tables and not in others.
fn arm_name(name: &str) -> &str {
    match name {
        "breakpoint" => "ARM_breakpoint",
        "cacheflush" => "ARM_cacheflush",
        "set_tls" => "ARM_set_tls",
        "usr26" => "ARM_usr26",
        "usr32" => "ARM_usr32",
        other => other,
    }
}

/// Calls that x32 has at numbers of its own, because their structures differ from those of x86_64.
const X32_OWN: [(&str, u32); 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

fn number_x32(name: &str) -> Option<u32> {
    let own = X32_OWN.iter().find(|(own, _)| *own == name).map(|(_, number)| *number);
    own.or_else(|| Abi::X86_64.number(name)).map(|number| number | X32_BIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_a_number_in_each_abi() {
        assert_eq!(Abi::X86_64.number("execve"), Some(59));
        assert_eq!(Abi::X86.number("execve"), Some(11));
        assert_eq!(Abi::X32.number("execve"), Some(520 | X32_BIT));
        assert_eq!(Abi::X32.number("read"), Some(X32_BIT));
        assert_eq!(Abi::Aarch64.number("execve"), Some(221));
        assert_eq!(Abi::Arm.number("execve"), Some(11));
        assert_eq!(Abi::X86_64.number("socketcall"), None);
    }
}
