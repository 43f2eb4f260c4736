//! Which system calls a container may make: a profile becomes a program for the kernel's filter.
//!
//! Docker's default profile is data of ours (`default.rs`), others come as Docker's JSON (`profile.rs`); both are
//! compiled for every ABI of the machine (`compile.rs`). Compiling takes a millisecond, so programs are kept; each
//! has one sealed memfd that travels with every launch.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use hako_sys::seccomp::{FilterFlags, Instruction};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::capability::CapSet;

mod compile; // rules to instructions
mod default; // Docker's default profile
#[cfg(test)]
mod interpreter; // runs programs in tests
mod oci; // a profile as other runtimes are told
mod profile; // rules and conditions, and Docker's JSON for them
mod table; // numbers of system calls by ABI

pub use oci::configuration;
pub use profile::ProfileError;

/// The architectures that a profile may name; those of other machines mean nothing here.
pub const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// Instructions that the kernel takes in one program (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;
/// Programs that are kept. A host has a handful of profiles and a few sets of capabilities.
const KEPT_MAX: usize = 64;

/// A compiled filter.
#[derive(Debug)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u32,
    memory: OnceLock<OwnedFd>,
}

impl Program {
    /// The longest form of [`Program::to_bytes`].
    pub const BYTES_MAX: usize = 8 + INSTRUCTIONS_MAX * 8;

    fn new(instructions: Vec<Instruction>, flags: u32) -> Self {
        Self { instructions, flags, memory: OnceLock::new() }
    }

    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether it has none; a compiled one never is.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// A sealed memfd with the program in it, to be sent beside a plan. Made once.
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn memfd(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory.as_fd());
        }
        let made = self.to_memfd()?;
        Ok(self.memory.get_or_init(|| made).as_fd())
    }

    fn to_memfd(&self) -> io::Result<OwnedFd> {
        let memory = rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let bytes = self.to_bytes();
        if rustix::io::write(&memory, &bytes)? != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals)?;
        Ok(memory)
    }

    /// Flags and number of instructions, then the instructions, all in the machine's order.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.instructions.len() * 8);
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend((self.instructions.len() as u32).to_ne_bytes());
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.operand.to_ne_bytes());
        }
        bytes
    }

    /// The other way; `None` for what is no program.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (flags, count) = (word(0)?, word(4)? as usize);
        if count == 0 || count > INSTRUCTIONS_MAX || bytes.len() != 8 + count * 8 {
            return None;
        }
        let instructions = bytes[8..].chunks_exact(8).map(|chunk| Instruction {
            code: u16::from_ne_bytes([chunk[0], chunk[1]]),
            jump_true: chunk[2],
            jump_false: chunk[3],
            operand: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
        });
        Some(Self::new(instructions.collect(), flags))
    }

    /// Reads what [`Program::memfd`] made. The position of the descriptor, which launches share, is not touched.
    ///
    /// # Errors
    /// `InvalidData` for something else.
    pub fn from_memfd(memory: BorrowedFd<'_>) -> io::Result<Self> {
        // No more than there is: fresh memory costs a fault for each page.
        let size = rustix::fs::fstat(memory)?.st_size;
        let mut bytes = vec![0; usize::try_from(size).map_or(0, |size| size.min(Self::BYTES_MAX))];
        let length = rustix::io::pread(memory, &mut bytes, 0)?;
        Self::from_bytes(&bytes[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Puts the calling process under the filter; returns the listener, if the profile hands calls to one.
    pub(crate) fn load(&self) -> io::Result<Option<OwnedFd>> {
        let flags = FilterFlags::from_bits(self.flags).ok_or(io::ErrorKind::InvalidInput)?;
        hako_sys::seccomp::load(&self.instructions, flags)
    }
}

/// A filter from an OCI configuration, and who answers the calls that it hands over.
#[derive(Debug)]
pub struct OciFilter {
    pub program: Program,
    pub listener: Option<Listener>,
}

/// Who answers calls of a container: somebody behind a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub path: String,
    pub metadata: String,
}

/// The `linux.seccomp` of an OCI configuration, compiled.
///
/// # Errors
/// As [`from_json`]; what the specification forbids is an error too.
pub fn from_oci(text: &str) -> Result<OciFilter, ProfileError> {
    let machine = profile::Machine::of_host(CapSet::NONE);
    let document = profile::Document::parse(text)?;
    if let Some(name) = document.unknown_architecture() {
        return Err(ProfileError::ArchitectureName { name: name.clone() });
    }
    if document.has_rule_without_names() {
        return Err(ProfileError::Malformed { reason: "a rule names no call".to_owned() });
    }
    if document.has_lost_metadata() {
        return Err(ProfileError::Unsupported { what: "metadata for a listener that it does not name" });
    }
    let listener = document.listener().filter(|_| document.notifies());
    if document.notifies() && listener.is_none() {
        return Err(ProfileError::Unsupported { what: "SCMP_ACT_NOTIFY without a listenerPath" });
    }
    let listener = listener.map(|(path, metadata)| Listener { path: path.to_owned(), metadata: metadata.to_owned() });
    let program = document.with_profile(&machine, |profile| compile::compile(profile, &machine))?;
    Ok(OciFilter { program, listener })
}

/// Docker's default profile for a container with these capabilities.
///
/// # Errors
/// [`ProfileError`] only if our own data were wrong.
pub fn default_profile(capabilities: CapSet) -> Result<Arc<Program>, ProfileError> {
    program(None, capabilities, false)
}

/// A profile in Docker's JSON (`--security-opt seccomp=…`), for a container with these capabilities.
///
/// # Errors
/// [`ProfileError`] says where the text is not a profile.
pub fn from_json(text: &str, capabilities: CapSet) -> Result<Arc<Program>, ProfileError> {
    program(Some(text), capabilities, false)
}

type Key = (Option<String>, CapSet, bool);

/// Either of them; `io_uring` allows the calls of that interface as well (`--security-opt allow=io_uring`), which
/// Docker's profile denies since they go round a filter.
///
/// # Errors
/// As [`from_json`].
pub fn program(text: Option<&str>, capabilities: CapSet, io_uring: bool) -> Result<Arc<Program>, ProfileError> {
    static KEPT: OnceLock<Mutex<HashMap<Key, Arc<Program>>>> = OnceLock::new();
    let programs = KEPT.get_or_init(Mutex::default);
    let key = (text.map(str::to_owned), capabilities, io_uring);
    if let Some(program) = programs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(program));
    }
    let program = Arc::new(make(text, capabilities, io_uring)?);
    let mut programs = programs.lock().unwrap_or_else(PoisonError::into_inner);
    if programs.len() >= KEPT_MAX {
        programs.clear();
    }
    programs.insert(key, Arc::clone(&program));
    Ok(program)
}

fn make(text: Option<&str>, capabilities: CapSet, io_uring: bool) -> Result<Program, ProfileError> {
    let machine = profile::Machine::of_host(capabilities);
    match text {
        None => compile::compile(&default::profile(io_uring), &machine),
        Some(text) => {
            let document = profile::Document::parse(text)?;
            if document.notifies() || document.listener().is_some() {
                return Err(ProfileError::Unsupported { what: "a listener" });
            }
            document.with_profile(&machine, |profile| {
                let mut profile = profile.clone();
                profile.rules.extend(io_uring.then(default::io_uring));
                compile::compile(&profile, &machine)
            })
        }
    }
}

/// Compiles what may be a profile, and has the program answer every call of every ABI.
#[cfg(test)]
pub(crate) fn answers_every_call(text: &str, capabilities: CapSet) {
    let Ok(program) = make(Some(text), capabilities, false) else { return };
    for abi in profile::Machine::of_host(capabilities).abis() {
        for number in (0..520).chain([u32::MAX, table::X32_BIT, table::X32_BIT | 519]) {
            let _ = interpreter::run(&program, abi, number, [0, 1, u64::MAX, 40, 0, 7]);
        }
    }
}

#[cfg(test)]
mod tests;
