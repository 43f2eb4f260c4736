//! Rules become instructions of classic BPF.
//!
//! ```text
//! which ABI? ── x86_64 ──► number ≥ x32 bit? ──► binary search over ranges of numbers ──► action
//!            ├─ i386   ──► binary search …                                          └──► compare arguments
//!            └─ other  ──► kill
//! ```
//! Numbers with the same outcome side by side are one range. Within a range that compares arguments the
//! alternatives come in the order of the profile, then what holds for the call without arguments, then the default.
//! Numbers above all that a profile names are answered with ENOSYS when the default is an errno: a program that
//! probes for a newer call must be able to fall back (EPERM would stop it).

use std::collections::BTreeMap;

use hako_sys::seccomp::Instruction;

use super::{
    INSTRUCTIONS_MAX, Program,
    profile::{Action, Comparison, Machine, Operator, Profile, ProfileError},
    table::{Abi, X32_BIT},
};

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const ENOSYS: u16 = 38;

/// Compiles what of the profile applies to the machine.
pub(super) fn compile(profile: &Profile<'_>, machine: &Machine) -> Result<Program, ProfileError> {
    if profile.abis.is_empty() {
        return Err(ProfileError::Architecture);
    }
    let mut instructions = vec![load(ARCHITECTURE)];
    let with_x32 = profile.abis.contains(&Abi::X32);
    for abi in profile.abis.iter().copied().filter(|abi| *abi != Abi::X32) {
        let mut section = vec![load(NUMBER)];
        let own = search(&ranges(profile, machine, abi));
        if abi == Abi::X86_64 {
            // Without x32 in the profile its calls are those of a foreign ABI.
            let x32 = if with_x32 { search(&ranges(profile, machine, Abi::X32)) } else { vec![kill()] };
            section.extend(branch(X32_BIT, own, x32));
        } else {
            section.extend(own);
        }
        // Another ABI: skip the section.
        instructions.push(jump(JUMP_EQUAL, abi.audit(), 1, 0));
        instructions.push(Instruction { code: JUMP, jump_true: 0, jump_false: 0, operand: section.len() as u32 });
        instructions.extend(section);
    }
    instructions.push(kill());
    if instructions.len() > INSTRUCTIONS_MAX {
        return Err(ProfileError::TooComplex { instructions: instructions.len() });
    }
    Ok(Program::new(instructions, profile.flags))
}

fn kill() -> Instruction {
    answer(Action::KillProcess)
}

fn load(place: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, operand: place }
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn answer(action: Action) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, operand: action.value() }
}

/// What becomes of a call: alternatives with comparisons, tried in order, and what holds if none does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    alternatives: Vec<(Vec<Comparison>, Action)>,
    otherwise: Action,
}

impl Outcome {
    fn plain(action: Action) -> Self {
        Self { alternatives: Vec::new(), otherwise: action }
    }
}

// The outcome of every number, as ranges by their first number.
fn ranges(profile: &Profile<'_>, machine: &Machine, abi: Abi) -> Vec<(u32, Outcome)> {
    let outcomes = outcomes(profile, machine, abi);
    let first = if abi == Abi::X32 { X32_BIT } else { 0 };
    let gap = Outcome::plain(profile.default);
    let mut ranges: Vec<(u32, Outcome)> = Vec::new();
    let mut next = first;
    let mut add = |start: u32, outcome: Outcome| {
        if ranges.last().is_none_or(|(_, last)| *last != outcome) {
            ranges.push((start, outcome));
        }
    };
    for (number, outcome) in outcomes {
        if number > next {
            add(next, gap.clone());
        }
        add(number, outcome);
        next = number + 1;
    }
    let beyond = match profile.default {
        Action::Errno(_) => Action::Errno(ENOSYS),
        other => other,
    };
    add(next, Outcome::plain(beyond));
    ranges
}

fn outcomes(profile: &Profile<'_>, machine: &Machine, abi: Abi) -> BTreeMap<u32, Outcome> {
    let mut conditional: BTreeMap<u32, Vec<(Vec<Comparison>, Action)>> = BTreeMap::new();
    let mut plain: BTreeMap<u32, Action> = BTreeMap::new();
    for rule in profile.rules.iter().filter(|rule| machine.applies(rule)) {
        for number in rule.names.iter().filter_map(|name| abi.number(name)) {
            if rule.comparisons.is_empty() {
                plain.entry(number).or_insert(rule.action);
            } else {
                let alternatives = conditional.entry(number).or_default();
                alternatives.extend(split(rule.comparisons).into_iter().map(|one| (one, rule.action)));
            }
        }
    }
    let numbers: std::collections::BTreeSet<u32> = conditional.keys().chain(plain.keys()).copied().collect();
    let outcome = |number: u32| {
        let otherwise = plain.get(&number).copied().unwrap_or(profile.default);
        let mut alternatives = conditional.remove(&number).unwrap_or_default();
        // The last ones that do what happens anyway need no test.
        while alternatives.last().is_some_and(|(_, action)| *action == otherwise) {
            alternatives.pop();
        }
        (number, Outcome { alternatives, otherwise })
    };
    numbers.into_iter().map(outcome).collect()
}

// Comparisons of one rule hold together, except that two of the same argument are alternatives (as in runc).
fn split(comparisons: &[Comparison]) -> Vec<Vec<Comparison>> {
    let repeated =
        comparisons.iter().enumerate().any(|(at, one)| comparisons[..at].iter().any(|other| other.index == one.index));
    if repeated { comparisons.iter().map(|one| vec![*one]).collect() } else { vec![comparisons.to_vec()] }
}

// A balanced tree: the number is in the accumulator, every path ends in an answer. The kernel translates and compiles
// every instruction anew at each start of a container, so the fewer the better.
fn search(ranges: &[(u32, Outcome)]) -> Vec<Instruction> {
    if ranges.is_empty() {
        return vec![kill()];
    }
    block(ranges).unwrap_or_else(|| {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        branch(right[0].0, search(left), search(right))
    })
}

/// Where a branch of a block leads.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// To a place in the block.
    Place(usize),
    /// To the answer behind it, which all branches share.
    Answer(Action),
}

#[derive(Debug)]
enum Part {
    Branch { limit: u32, below: Target, above: Target },
    Instruction(Instruction),
}

// A tree in which every distance fits into a conditional jump: one instruction for each place where the outcome
// changes, then one for each answer. `None`: it is too large.
fn block(ranges: &[(u32, Outcome)]) -> Option<Vec<Instruction>> {
    let mut parts = Vec::new();
    if let Target::Answer(only) = lay_out(ranges, &mut parts) {
        return Some(vec![answer(only)]);
    }
    let mut answers: Vec<Action> = Vec::new();
    let mut code = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let mut distance = |target| {
            let place = match target {
                Target::Place(place) => place,
                Target::Answer(action) => {
                    let known = answers.iter().position(|one| *one == action).unwrap_or(answers.len());
                    if known == answers.len() {
                        answers.push(action);
                    }
                    parts.len() + known
                }
            };
            u8::try_from(place - at - 1).ok()
        };
        code.push(match *part {
            Part::Instruction(instruction) => instruction,
            Part::Branch { limit, below, above } => {
                jump(JUMP_GREATER_OR_EQUAL, limit, distance(above)?, distance(below)?)
            }
        });
    }
    code.extend(answers.into_iter().map(answer));
    Some(code)
}

fn lay_out(ranges: &[(u32, Outcome)], parts: &mut Vec<Part>) -> Target {
    let at = parts.len();
    match ranges {
        [(_, outcome)] if outcome.alternatives.is_empty() => return Target::Answer(outcome.otherwise),
        [(_, outcome)] => parts.extend(decide(outcome).into_iter().map(Part::Instruction)),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            parts.push(Part::Instruction(kill()));
            let (below, above) = (lay_out(left, parts), lay_out(right, parts));
            parts[at] = Part::Branch { limit: right[0].0, below, above };
        }
    }
    Target::Place(at)
}

// `below` for numbers under `limit`, `above` for the others.
fn branch(limit: u32, below: Vec<Instruction>, above: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = match u8::try_from(below.len()) {
        Ok(distance) => vec![jump(JUMP_GREATER_OR_EQUAL, limit, distance, 0)],
        // Conditional jumps reach 255 instructions, the plain jump any number.
        Err(_) => vec![
            jump(JUMP_GREATER_OR_EQUAL, limit, 0, 1),
            Instruction { code: JUMP, jump_true: 0, jump_false: 0, operand: below.len() as u32 },
        ],
    };
    code.extend(below);
    code.extend(above);
    code
}

fn decide(outcome: &Outcome) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (comparisons, action) in &outcome.alternatives {
        let mut steps: Vec<Step> = comparisons.iter().flat_map(compare).collect();
        steps.push(Step::Answer(*action));
        code.extend(assemble(&steps));
    }
    code.push(answer(outcome.otherwise));
    code
}

/// Where a test leads: on to the next instruction, past the rest of its comparison (it holds), or out of the alternative.
#[derive(Debug, Clone, Copy)]
enum To {
    Next,
    Holds,
    Fails,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Load(u32),
    Mask(u32),
    Test {
        code: u16,
        operand: u32,
        when_true: To,
        when_false: To,
    },
    /// The end of one comparison, where `To::Holds` leads.
    End,
    Answer(Action),
}

// Values are 64 bits, the machine has 32: the high half decides unless it is equal.
fn compare(comparison: &Comparison) -> Vec<Step> {
    let low = ARGUMENTS + 8 * comparison.index;
    let high = low + 4;
    let (value_high, value_low) = ((comparison.value >> 32) as u32, comparison.value as u32);
    let test = |code, operand, when_true, when_false| Step::Test { code, operand, when_true, when_false };
    let mut steps = vec![Step::Load(high)];
    match comparison.operator {
        Operator::Equal => steps.extend([
            test(JUMP_EQUAL, value_high, To::Next, To::Fails),
            Step::Load(low),
            test(JUMP_EQUAL, value_low, To::Next, To::Fails),
        ]),
        Operator::NotEqual => steps.extend([
            test(JUMP_EQUAL, value_high, To::Next, To::Holds),
            Step::Load(low),
            test(JUMP_EQUAL, value_low, To::Fails, To::Next),
        ]),
        Operator::Greater | Operator::GreaterOrEqual => {
            let strict = comparison.operator == Operator::Greater;
            steps.extend([
                test(JUMP_GREATER, value_high, To::Holds, To::Next),
                test(JUMP_EQUAL, value_high, To::Next, To::Fails),
                Step::Load(low),
                test(if strict { JUMP_GREATER } else { JUMP_GREATER_OR_EQUAL }, value_low, To::Next, To::Fails),
            ]);
        }
        Operator::Less | Operator::LessOrEqual => {
            let strict = comparison.operator == Operator::Less;
            steps.extend([
                test(JUMP_GREATER, value_high, To::Fails, To::Next),
                test(JUMP_EQUAL, value_high, To::Next, To::Holds),
                Step::Load(low),
                test(if strict { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER }, value_low, To::Fails, To::Next),
            ]);
        }
        Operator::MaskedEqual => steps.extend([
            Step::Mask(value_high),
            test(JUMP_EQUAL, (comparison.value_two >> 32) as u32, To::Next, To::Fails),
            Step::Load(low),
            Step::Mask(value_low),
            test(JUMP_EQUAL, comparison.value_two as u32, To::Next, To::Fails),
        ]),
    }
    steps.push(Step::End);
    steps
}

// One alternative. At most six comparisons of six instructions: every distance fits.
fn assemble(steps: &[Step]) -> Vec<Instruction> {
    let size = |steps: &[Step]| steps.iter().filter(|step| !matches!(step, Step::End)).count();
    let mut code = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let rest = &steps[at + 1..];
        let distance = |to: To| match to {
            To::Next => 0,
            To::Holds => size(rest.split(|step| matches!(step, Step::End)).next().unwrap_or_default()) as u8,
            To::Fails => size(rest) as u8,
        };
        match *step {
            Step::Load(place) => code.push(load(place)),
            Step::Mask(mask) => code.push(Instruction { code: AND, jump_true: 0, jump_false: 0, operand: mask }),
            Step::Test { code: kind, operand, when_true, when_false } => {
                code.push(jump(kind, operand, distance(when_true), distance(when_false)));
            }
            Step::End => {}
            Step::Answer(action) => code.push(answer(action)),
        }
    }
    code
}
