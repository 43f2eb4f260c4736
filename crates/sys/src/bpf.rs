//! The device filter of cgroup v2: a small eBPF program attached to a cgroup.
//!
//! Which devices a container may use is decided in `runtime::cgroup`; this turns the list into instructions, has
//! the kernel check them, and attaches the program.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// One rule of a device list; the first one that matches decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMatch {
    /// `None`: both kinds.
    pub kind: Option<DeviceKind>,
    /// `None`: any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
    pub allow: bool,
}

/// The two kinds of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Character,
}

/// One eBPF instruction as the kernel reads it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    opcode: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Registers: 1 is the context on entry, 2 to 5 hold access, kind, major and minor, 0 is the answer.
const LOAD_WORD: u8 = 0x61;
const AND_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT_IMMEDIATE: u8 = 0x74;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_IMMEDIATE: u8 = 0xb4;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5e;
const JUMP_NOT_EQUAL: u8 = 0x56;
const JUMP_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

const fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { opcode, registers: destination | source << 4, offset, immediate }
}

/// The program for a list of rules; what none of them matches is denied.
///
/// The context is `struct bpf_cgroup_dev_ctx`: `access << 16 | kind`, major, minor.
pub fn device_program(rules: &[DeviceMatch]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 3, 1, 0, 0),
        instruction(MOVE_REGISTER, 2, 3, 0, 0),
        instruction(SHIFT_RIGHT_IMMEDIATE, 2, 0, 0, 16),
        instruction(AND_IMMEDIATE, 3, 0, 0, 0xffff),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let block = rule_block(rule);
        // One that matches everything is the last: the kernel refuses instructions that are never reached.
        let decides = !block.iter().any(is_jump);
        program.extend(block);
        if decides {
            return program;
        }
    }
    program.push(instruction(MOVE_IMMEDIATE, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

fn rule_block(rule: &DeviceMatch) -> Vec<Instruction> {
    // Each test jumps to the end of the block when the rule does not match; the distance is filled in below.
    let mut block = Vec::new();
    if let Some(kind) = rule.kind {
        let kind = if kind == DeviceKind::Block { 1 } else { 2 };
        block.push(instruction(JUMP_NOT_EQUAL, 3, 0, 0, kind));
    }
    let access = i32::from(rule.mknod) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
    if access != 7 {
        // A rule to allow must cover all that is asked for: access & mask == access. A rule to deny matches when it
        // covers any of it: access & mask != 0, which is two instructions and a jump over the answer.
        block.push(instruction(MOVE_REGISTER, 1, 2, 0, 0));
        block.push(instruction(AND_IMMEDIATE, 1, 0, 0, access));
        if rule.allow {
            block.push(instruction(JUMP_NOT_EQUAL_REGISTER, 1, 2, 0, 0));
        } else {
            block.push(instruction(JUMP_EQUAL, 1, 0, 0, 0));
        }
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            block.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number as i32));
        }
    }
    block.push(instruction(MOVE_IMMEDIATE, 0, 0, 0, i32::from(rule.allow)));
    block.push(instruction(EXIT, 0, 0, 0, 0));
    let length = block.len();
    for (index, jump) in block.iter_mut().enumerate() {
        if is_jump(jump) {
            jump.offset = (length - index - 1) as i16;
        }
    }
    block
}

// Every jump opcode here is in the 32-bit jump class (low bits 6).
fn is_jump(instruction: &Instruction) -> bool {
    instruction.opcode & 7 == 6
}

/// Has the kernel check and load a program.
///
/// # Errors
/// `EPERM` without `CAP_BPF`, `EACCES` or `EINVAL` when the checker refuses it.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let licence = c"Apache-2.0";
    let attributes = LoadAttributes {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        licence: licence.as_ptr() as u64,
        ..LoadAttributes::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to a cgroup beside those that it has (all of them must allow). It stays as long as the cgroup.
///
/// # Errors
/// `EPERM` without the right to, `EBADF` when the directory is no cgroup.
pub fn attach_to_cgroup(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let attributes = AttachAttributes {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
        replaced: 0,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(|_| ())
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is one of the two structures below, whose size is passed and whose pointers outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(done as libc::c_int) }
}

/// The part of `union bpf_attr` that loading needs.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that attaching needs.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u32 = 2;
    const WRITE: u32 = 4;
    const CHARACTER: u32 = 2;

    // Runs a program on registers of 32 bits, which is all that it uses.
    fn answer(program: &[Instruction], access: u32, kind: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 16];
        let mut at = 0;
        loop {
            let Instruction { opcode, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            at += 1;
            let mut jump = |taken: bool| at += if taken { usize::try_from(offset).unwrap() } else { 0 };
            match opcode {
                LOAD_WORD => registers[to] = context[usize::try_from(offset / 4).unwrap()],
                AND_IMMEDIATE => registers[to] &= immediate as u32,
                SHIFT_RIGHT_IMMEDIATE => registers[to] >>= immediate,
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE_IMMEDIATE => registers[to] = immediate as u32,
                JUMP_NOT_EQUAL_REGISTER => jump(registers[to] != registers[from]),
                JUMP_NOT_EQUAL => jump(registers[to] != immediate as u32),
                JUMP_EQUAL => jump(registers[to] == immediate as u32),
                EXIT => return registers[0] != 0,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn rule(major: Option<u32>, minor: Option<u32>) -> DeviceMatch {
        DeviceMatch {
            kind: Some(DeviceKind::Character),
            major,
            minor,
            read: true,
            write: true,
            mknod: true,
            allow: true,
        }
    }

    #[test]
    fn what_no_rule_names_is_denied() {
        let program = device_program(&[rule(Some(1), Some(3)), rule(Some(136), None)]);
        assert!(answer(&program, READ | WRITE, CHARACTER, 1, 3));
        assert!(answer(&program, READ, CHARACTER, 136, 77));
        assert!(!answer(&program, READ, CHARACTER, 1, 4));
        assert!(!answer(&program, READ, 1, 1, 3), "a block device of the same numbers");
        assert!(!answer(&device_program(&[]), READ, CHARACTER, 1, 3));
    }

    /// "unreachable insn" is what the kernel says, and EINVAL.
    #[test]
    fn nothing_comes_after_a_rule_for_everything() {
        let everything = DeviceMatch { kind: None, allow: false, ..rule(None, None) };
        let (some, more) = (rule(Some(1), Some(3)), rule(Some(5), None));
        assert_eq!(device_program(&[some, everything, more]), device_program(&[some, everything]));
        let program = device_program(&[some, everything]);
        assert_eq!(program.iter().filter(|one| one.opcode == EXIT).count(), 2);
        assert!(answer(&program, READ, CHARACTER, 1, 3));
        assert!(!answer(&program, READ, CHARACTER, 5, 0));
    }

    #[test]
    fn permission_covers_all_that_is_asked_and_refusal_any_of_it() {
        let only_read = DeviceMatch { write: false, mknod: false, ..rule(Some(5), None) };
        let program = device_program(&[only_read]);
        assert!(answer(&program, READ, CHARACTER, 5, 0));
        assert!(!answer(&program, READ | WRITE, CHARACTER, 5, 0));
        let no_write = DeviceMatch { read: false, mknod: false, allow: false, ..rule(Some(5), None) };
        let program = device_program(&[no_write, rule(None, None)]);
        assert!(answer(&program, READ, CHARACTER, 5, 0));
        assert!(!answer(&program, READ | WRITE, CHARACTER, 5, 0));
    }
}
