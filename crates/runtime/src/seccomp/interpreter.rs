//! Runs a filter as the kernel would, in tests: every jump must stay inside, every path must end in an answer.

use hako_sys::seccomp::Instruction;

use super::{Program, table::Abi};

/// What the program answers to a call.
pub(super) fn run(program: &Program, abi: Abi, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(abi.audit().to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    for argument in arguments {
        data.extend(argument.to_le_bytes());
    }
    execute(&program.instructions, &data)
}

fn execute(instructions: &[Instruction], data: &[u8]) -> u32 {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    for _ in 0..instructions.len() {
        let Instruction { code, jump_true, jump_false, operand } = instructions[at];
        at += 1;
        let mut test = |holds: bool| at += usize::from(if holds { jump_true } else { jump_false });
        match code {
            0x20 => {
                let place = operand as usize;
                accumulator = u32::from_le_bytes(data[place..place + 4].try_into().unwrap());
            }
            0x54 => accumulator &= operand,
            0x05 => at += operand as usize,
            0x15 => test(accumulator == operand),
            0x25 => test(accumulator > operand),
            0x35 => test(accumulator >= operand),
            0x06 => return operand,
            other => panic!("instruction {other:#x} is not one that the compiler makes"),
        }
    }
    panic!("the program does not end");
}
