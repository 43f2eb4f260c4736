//! Filters are compiled and then run by the interpreter: what counts is the answer to a call.

use expect_test::expect;

use super::{
    compile::compile,
    interpreter::run,
    profile::{Document, Machine, ProfileError},
    table::{Abi, X32_BIT},
    *,
};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

fn machine(capabilities: CapSet) -> Machine {
    Machine { capabilities, architecture: "amd64", kernel: (6, 1) }
}

fn program_of(text: &str, capabilities: CapSet) -> Result<Program, ProfileError> {
    let machine = machine(capabilities);
    Document::parse(text)?.with_profile(&machine, |profile| compile(profile, &machine))
}

fn built_in(capabilities: CapSet) -> Program {
    let mut profile = default::profile(false);
    profile.abis = machine(capabilities).abis();
    compile(&profile, &machine(capabilities)).unwrap()
}

fn answer(program: &Program, abi: Abi, name: &str, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(program, abi, abi.number(name).unwrap(), all)
}

#[test]
fn the_default_profile_allows_the_ordinary_and_nothing_else() {
    let program = built_in(CapSet::DEFAULT);
    for abi in [Abi::X86_64, Abi::X86, Abi::X32] {
        for name in ["read", "execve", "openat", "futex", "ptrace", "clock_gettime"] {
            assert_eq!(answer(&program, abi, name, &[]), ALLOW, "{name} on {abi:?}");
        }
        for name in ["mount", "bpf", "reboot", "init_module", "unshare", "keyctl", "io_uring_setup", "userfaultfd"] {
            assert_eq!(answer(&program, abi, name, &[]), EPERM, "{name} on {abi:?}");
        }
        assert_eq!(answer(&program, abi, "clone3", &[]), ENOSYS);
        assert_eq!(answer(&program, abi, "clone", &[0x11]), ALLOW);
        assert_eq!(answer(&program, abi, "clone", &[0x1000_0000]), EPERM);
    }
    // chroot needs a capability that the default set has.
    assert_eq!(answer(&program, Abi::X86_64, "chroot", &[]), ALLOW);
    assert_eq!(answer(&built_in(CapSet::NONE), Abi::X86_64, "chroot", &[]), EPERM);
}

#[test]
fn sockets_of_the_crypto_interface_and_the_hypervisor_are_denied() {
    let program = built_in(CapSet::all());
    for (domain, expected) in [(1, ALLOW), (2, ALLOW), (37, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (41, ALLOW)]
    {
        assert_eq!(answer(&program, Abi::X86_64, "socket", &[domain]), expected, "domain {domain}");
    }
    assert_eq!(answer(&program, Abi::X86_64, "socket", &[1 << 32]), ALLOW);
}

#[test]
fn a_capability_opens_what_needs_it() {
    let program = built_in(CapSet::adjusted(&["SYS_ADMIN".to_owned()], &[]).unwrap());
    for name in ["mount", "clone3", "setns", "bpf"] {
        assert_eq!(answer(&program, Abi::X86_64, name, &[]), ALLOW, "{name}");
    }
    assert_eq!(answer(&program, Abi::X86_64, "clone", &[0x1000_0000]), ALLOW);
}

#[test]
fn numbers_that_nobody_knows_do_not_exist() {
    let program = built_in(CapSet::DEFAULT);
    for (abi, number) in [(Abi::X86_64, 2000), (Abi::X86_64, u32::MAX), (Abi::X32, 2000 | X32_BIT), (Abi::X86, 2000)] {
        assert_eq!(run(&program, abi, number, [0; 6]), ENOSYS);
    }
    assert_eq!(run(&program, Abi::Aarch64, 0, [0; 6]), KILL, "an ABI that the machine does not have");
}

#[test]
fn the_built_in_data_and_a_document_of_the_same_rules_agree() {
    // Every number of every ABI, through both ways of saying it.
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],
        "syscalls":[{"names":["read","write","personality"],"action":"SCMP_ACT_ALLOW"},
                    {"name":"clone3","action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    let program = program_of(text, CapSet::NONE).unwrap();
    for number in 0..600 {
        let expected = match number {
            0 | 1 | 135 => ALLOW,
            435 => ENOSYS,
            436.. => ENOSYS,
            _ => EPERM,
        };
        assert_eq!(run(&program, Abi::X86_64, number, [0; 6]), expected, "{number}");
        assert_eq!(run(&program, Abi::X32, number | X32_BIT, [0; 6]), expected, "x32 {number}");
    }
}

fn compared(operator: &str, value: u64, value_two: u64) -> Program {
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],"action":"SCMP_ACT_ALLOW",
            "args":[{{"index":1,"value":{value},"valueTwo":{value_two},"op":"SCMP_CMP_{operator}"}}]}}]}}"#
    );
    program_of(&text, CapSet::NONE).unwrap()
}

#[test]
fn arguments_are_compared_in_all_their_64_bits() {
    let values = [0, 1, 5, 6, 7, u64::from(u32::MAX), 1 << 32, (1 << 32) + 6, (6 << 32) + 5, (7 << 32) + 1, u64::MAX];
    for value in values {
        for given in values {
            let check = |operator: &str, holds: bool| {
                let got = answer(&compared(operator, value, value & 5), Abi::X86_64, "read", &[9, given]);
                assert_eq!(got == ALLOW, holds, "{given:#x} {operator} {value:#x}");
            };
            check("EQ", given == value);
            check("NE", given != value);
            check("LT", given < value);
            check("LE", given <= value);
            check("GT", given > value);
            check("GE", given >= value);
            check("MASKED_EQ", given & value == value & 5);
        }
    }
}

#[test]
fn two_comparisons_hold_together_unless_they_are_of_one_argument() {
    let rule = |second: u32| {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["read"],"action":"SCMP_ACT_ALLOW",
                "args":[{{"index":0,"value":1,"op":"SCMP_CMP_EQ"}},{{"index":{second},"value":2,"op":"SCMP_CMP_EQ"}}]}}]}}"#
        );
        program_of(&text, CapSet::NONE).unwrap()
    };
    assert_eq!(answer(&rule(1), Abi::X86_64, "read", &[1, 2]), ALLOW);
    assert_eq!(answer(&rule(1), Abi::X86_64, "read", &[1, 3]), EPERM);
    assert_eq!(answer(&rule(0), Abi::X86_64, "read", &[2]), ALLOW);
}

#[test]
fn conditions_choose_the_rules() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["syslog"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYSLOG"]}},
        {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}}]}"#;
    let of = |capabilities: CapSet| {
        let program = program_of(text, capabilities).unwrap();
        ["syslog", "ptrace", "bpf", "mount"].map(|name| answer(&program, Abi::X86_64, name, &[]) == ALLOW)
    };
    assert_eq!(of(CapSet::NONE), [false, true, false, false]);
    let powers = CapSet::adjusted(&["SYSLOG".to_owned(), "SYS_ADMIN".to_owned()], &[]).unwrap();
    assert_eq!(of(powers), [true, false, false, false]);
}

#[test]
fn what_is_no_profile_is_told() {
    let error = |text: &str| program_of(text, CapSet::NONE).unwrap_err().to_string();
    expect!["decoding seccomp profile failed: missing field `defaultAction` at line 1 column 2"]
        .assert_eq(&error("{}"));
    expect!["seccomp profile has an unknown action SCMP_ACT_X"].assert_eq(&error(r#"{"defaultAction":"SCMP_ACT_X"}"#));
    let notifies = r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#;
    expect!["seccomp profile asks for a listener, which hako does not have"]
        .assert_eq(&from_json(notifies, CapSet::NONE).unwrap_err().to_string());
    expect!["seccomp profile asks for SCMP_ACT_NOTIFY without a listenerPath, which hako does not have"]
        .assert_eq(&from_oci(notifies).unwrap_err().to_string());
    expect!["seccomp profile gives an errno to SCMP_ACT_ALLOW, which answers with none"]
        .assert_eq(&error(r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":5}"#));
    let argument = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
        "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#;
    expect!["seccomp profile compares argument 6; a system call has 6"].assert_eq(&error(argument));
}

#[test]
fn a_program_survives_its_memory_and_is_made_once() {
    let program = default_profile(CapSet::DEFAULT).unwrap();
    assert!(Arc::ptr_eq(&program, &default_profile(CapSet::DEFAULT).unwrap()));
    let copy = Program::from_memfd(program.memfd().unwrap()).unwrap();
    assert_eq!((&copy.instructions, copy.flags), (&program.instructions, program.flags));
    assert!(Program::from_bytes(&program.to_bytes()[1..]).is_none());
    assert!(program.len() < 1200, "{} instructions", program.len());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    // The interpreter panics at a jump out of the program and at an instruction that is not the compiler's.
    #[test]
    fn every_program_ends_whatever_the_rules(
        rules in proptest::collection::vec((0..8_usize, 0..7_usize, 0..6_u32, proptest::num::u64::ANY), 0..40),
        call in (0..500_u32, proptest::num::u64::ANY),
    ) {
        const NAMES: [&str; 8] = ["read", "write", "clone", "socket", "execve", "openat", "mount", "clone3"];
        const OPERATORS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
        let rules: Vec<String> = rules
            .iter()
            .map(|(name, operator, index, value)| {
                format!(
                    r#"{{"names":["{}"],"action":"SCMP_ACT_ALLOW","args":[{{"index":{index},"value":{value},"op":"SCMP_CMP_{}"}}]}}"#,
                    NAMES[*name], OPERATORS[*operator]
                )
            })
            .collect();
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, rules.join(","));
        let program = program_of(&text, CapSet::NONE).unwrap();
        let got = run(&program, Abi::X86_64, call.0, [call.1; 6]);
        assert!([ALLOW, EPERM, ENOSYS].contains(&got));
    }

    #[test]
    fn a_text_that_is_no_profile_never_panics(text in "\\PC{0,60}") {
        let _ = program_of(&text, CapSet::NONE);
    }
}

#[test]
fn io_uring_is_opened_alone() {
    let (closed, open) =
        (program(None, CapSet::DEFAULT, false).unwrap(), program(None, CapSet::DEFAULT, true).unwrap());
    for number in 0..460 {
        let (before, after) = (run(&closed, Abi::X86_64, number, [0; 6]), run(&open, Abi::X86_64, number, [0; 6]));
        match number {
            425..=427 => assert_eq!((before, after), (EPERM, ALLOW), "{number}"),
            _ => assert_eq!(before, after, "{number}"),
        }
    }
    let own = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let open = program(Some(own), CapSet::DEFAULT, true).unwrap();
    assert_eq!([0, 1, 425].map(|number| run(&open, Abi::X86_64, number, [0; 6])), [ALLOW, EPERM, ALLOW]);
}
