//! Capabilities: the parts that Linux cuts root's power into, and which of them a container gets.
//!
//! Names, the default set and the rules of `--cap-add` and `--cap-drop` are Docker's.

use serde::{Deserialize, Serialize};

/// A set of capabilities, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapSet(u64);

// The place in this list is the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A name that is no capability, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {list}: unknown capability: {name:?}")]
pub struct InvalidCapability {
    /// `CapAdd` or `CapDrop`.
    list: &'static str,
    /// With its prefix.
    name: String,
}

impl CapSet {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// What a container has unless it asks for something else: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID,
    /// SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
    pub const DEFAULT: Self = Self(
        1 << 0
            | 1 << 1
            | 1 << 3
            | 1 << 4
            | 1 << 5
            | 1 << 6
            | 1 << 7
            | 1 << 8
            | 1 << 10
            | 1 << 13
            | 1 << 18
            | 1 << 27
            | 1 << 29
            | 1 << 31,
    );

    /// All that the running kernel knows, as far as this process itself has them.
    pub fn all() -> Self {
        let known = (1_u64 << (hako_sys::credentials::last_capability() + 1)) - 1;
        // Nested in a container, root has less than everything, and nobody can give what they do not have.
        let own = hako_sys::credentials::effective_capabilities().unwrap_or(known);
        Self(known & own)
    }

    /// The one capability of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        number(name).map(|number| Self(1 << number))
    }

    /// The names of all that hako knows.
    pub fn known() -> impl Iterator<Item = String> {
        Self((1 << NAMES.len()) - 1).names()
    }

    /// The bits, as the kernel counts them.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// From bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether `name` (with or without `CAP_`, any case) is in the set.
    pub fn has(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.0 & (1 << number) != 0)
    }

    /// The names in it, as `CAP_CHOWN`, in the kernel's order.
    pub fn names(self) -> impl Iterator<Item = String> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(number, _)| self.0 & (1 << number) != 0)
            .map(|(_, name)| format!("CAP_{name}"))
    }

    /// The default set changed by `--cap-add` and `--cap-drop`, by Docker's rules: with `ALL` added, everything less
    /// what is dropped; with `ALL` dropped, only what is added; else the defaults less drops, plus adds.
    ///
    /// # Errors
    /// When a name is none.
    pub fn adjusted(add: &[String], drop: &[String]) -> Result<Self, InvalidCapability> {
        let (add_all, added) = parse("CapAdd", add)?;
        let (drop_all, dropped) = parse("CapDrop", drop)?;
        let base = match (add_all, drop_all) {
            (true, _) => Self(Self::all().0 & !dropped.0),
            (false, true) => added,
            (false, false) => Self(Self::DEFAULT.0 & !dropped.0 | added.0),
        };
        Ok(base)
    }
}

fn parse(list: &'static str, names: &[String]) -> Result<(bool, CapSet), InvalidCapability> {
    let mut all = false;
    let mut set = CapSet::NONE;
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            all = true;
            continue;
        }
        let number = number(name).ok_or_else(|| {
            let upper = name.to_uppercase();
            let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            InvalidCapability { list, name }
        })?;
        set.0 |= 1 << number;
    }
    Ok((all, set))
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: &str) {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let got = match CapSet::adjusted(&own(add), &own(drop)) {
            Ok(set) => set.names().map(|name| name[4..].to_owned()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    const DEFAULTS: &str = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW \
                            SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";

    #[test]
    fn the_default_set_is_dockers_fourteen() {
        check(&[], &[], DEFAULTS);
    }

    #[test]
    fn adding_and_dropping_follow_docker() {
        check(
            &["sys_time"],
            &["CAP_MKNOD", "net_raw"],
            &DEFAULTS
                .replace("MKNOD ", "")
                .replace("NET_RAW \u{20}", "")
                .replace("NET_RAW ", "")
                .replace("SYS_CHROOT", "SYS_CHROOT SYS_TIME"),
        );
        check(&["CHOWN", "cap_net_admin"], &["ALL"], "CHOWN NET_ADMIN");
        check(&["NOPE"], &[], "invalid CapAdd: unknown capability: \"CAP_NOPE\"");
    }

    #[test]
    fn adding_all_leaves_out_what_is_dropped() {
        let set = CapSet::adjusted(&["ALL".to_owned()], &["SYS_ADMIN".to_owned()]).unwrap();
        assert!(!set.has("SYS_ADMIN"));
        assert_eq!(set.bits() | 1 << 21, CapSet::all().bits() | 1 << 21);
    }
}
