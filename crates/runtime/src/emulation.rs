//! Programs of other machines: those that this processor runs itself, and those that the kernel gives to an interpreter.
//!
//! Which those are is in `binfmt_misc` (Documentation/admin-guide/binfmt-misc.rst): a pattern for the first bytes of a
//! program, and the interpreter for what it fits. Only interpreters that the kernel holds open (flag `F`) count: the
//! path of another one is looked up in the root file system of the process, where it is not.

use std::{fs, path::Path};

const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// An architecture by Go's name, and how its programs begin: class (1: 32 bits), byte order (1: little), machine (elf.h).
const MACHINES: [(&str, u8, u8, u16); 10] = [
    ("amd64", 2, 1, 62),
    ("386", 1, 1, 3),
    ("arm64", 2, 1, 183),
    ("arm", 1, 1, 40),
    ("riscv64", 2, 1, 243),
    ("ppc64le", 2, 1, 21),
    ("s390x", 2, 2, 22),
    ("mips64le", 2, 1, 8),
    ("mips64", 2, 2, 8),
    ("loong64", 2, 1, 258),
];

/// Whether programs of this architecture run on a machine of that one.
pub fn runs(architecture: &str, host: &str) -> bool {
    is_native(architecture, host) || handlers().iter().any(|handler| handler.takes(architecture))
}

/// All architectures whose programs run here, the machine's own first.
pub fn architectures(host: &str) -> Vec<String> {
    let handlers = handlers();
    let known = MACHINES.iter().map(|(name, ..)| *name).filter(|name| *name != host);
    let others = known.filter(|name| is_native(name, host) || handlers.iter().any(|handler| handler.takes(name)));
    std::iter::once(host).chain(others).map(str::to_owned).collect()
}

// Processors of 64 bits run programs of their 32-bit ancestors.
fn is_native(architecture: &str, host: &str) -> bool {
    architecture == host || matches!((architecture, host), ("386", "amd64") | ("arm", "arm64"))
}

fn handlers() -> Vec<Handler> {
    let Ok(entries) = fs::read_dir(REGISTERED) else { return Vec::new() };
    let is_off = fs::read_to_string(Path::new(REGISTERED).join("status")).is_ok_and(|text| text.trim() == "disabled");
    if is_off {
        return Vec::new();
    }
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.filter_map(|text| Handler::parse(&text)).collect()
}

/// A pattern of first bytes, with an interpreter that is there in every root file system.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// `None`: it is off, goes by names, or its interpreter is not held open.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let (mut offset, mut magic, mut mask, mut is_held) = (0, Vec::new(), Vec::new(), false);
        for line in lines {
            match line.split_once(' ') {
                Some(("flags:", flags)) => is_held = flags.contains('F'),
                Some(("offset", number)) => offset = number.parse().ok()?,
                Some(("magic", digits)) => magic = bytes(digits)?,
                Some(("mask", digits)) => mask = bytes(digits)?,
                _ => {}
            }
        }
        mask.resize(magic.len(), 0xff);
        (is_held && !magic.is_empty()).then_some(Self { offset, magic, mask })
    }

    fn takes(&self, architecture: &str) -> bool {
        let Some(begin) = begin(architecture) else { return false };
        let Some(begin) = begin.get(self.offset..self.offset + self.magic.len()) else { return false };
        let pairs = begin.iter().zip(&self.mask).zip(&self.magic);
        pairs.into_iter().all(|((byte, mask), magic)| byte & mask == magic & mask)
    }
}

// The header of a program (elf(5)), as far as patterns look: class, order, version, type 2 (a program), machine.
fn begin(architecture: &str) -> Option<[u8; 20]> {
    let (_, class, order, machine) = MACHINES.iter().find(|(name, ..)| *name == architecture)?;
    let mut bytes = [0; 20];
    bytes[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', *class, *order, 1]);
    let short = |value: u16| if *order == 1 { value.to_le_bytes() } else { value.to_be_bytes() };
    bytes[16..18].copy_from_slice(&short(2));
    bytes[18..20].copy_from_slice(&short(*machine));
    Some(bytes)
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim();
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn a_handler_takes_programs_of_its_machine_alone() {
        let handler = Handler::parse(AARCH64).unwrap();
        assert!(handler.takes("arm64"));
        assert!(!handler.takes("arm") && !handler.takes("riscv64") && !handler.takes("odd"));
        let big = "enabled\ninterpreter /q\nflags: F\noffset 16\nmagic 00020016\n";
        let handler = Handler::parse(big).unwrap();
        assert!(handler.takes("s390x") && !handler.takes("arm64"));
    }

    #[test]
    fn what_would_not_be_found_in_a_container_does_not_count() {
        for text in [
            AARCH64.replace("OCF", "OC"),
            AARCH64.replace("enabled", "disabled"),
            "enabled\ninterpreter /usr/bin/python3\nflags: F\nextension .py\n".to_owned(),
            "enabled\ninterpreter /q\nflags: F\noffset 0\nmagic xy\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(Handler::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_machine_runs_its_own_programs() {
        assert!(is_native("amd64", "amd64") && is_native("386", "amd64"));
        assert!(!is_native("amd64", "386") && !is_native("arm64", "amd64"));
        assert_eq!(architectures("amd64").first().map(String::as_str), Some("amd64"));
    }
}
