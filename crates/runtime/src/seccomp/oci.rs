//! A profile as the `linux.seccomp` of an OCI configuration: what another runtime is told instead of a program.
//!
//! Conditions are settled here as they are for our own programs, since OCI configurations have none.

use serde_json::{Value, json};

use super::{
    default,
    profile::{Action, Comparison, Document, Machine, Operator, Profile, ProfileError, Rule},
    table::Abi,
};
use crate::capability::CapSet;

/// The default profile, or the one in Docker's JSON, for a container with these capabilities.
///
/// # Errors
/// As [`super::program`].
pub fn configuration(text: Option<&str>, capabilities: CapSet, io_uring: bool) -> Result<Value, ProfileError> {
    let machine = Machine::of_host(capabilities);
    match text {
        None => Ok(value(&default::profile(io_uring), &machine)),
        Some(text) => Document::parse(text)?.with_profile(&machine, |profile| {
            let mut profile = profile.clone();
            profile.rules.extend(io_uring.then(default::io_uring));
            Ok(value(&profile, &machine))
        }),
    }
}

fn value(profile: &Profile<'_>, machine: &Machine) -> Value {
    let rules = profile.rules.iter().filter(|rule| machine.applies(rule) && !rule.names.is_empty());
    let mut value = json!({
        "defaultAction": name(profile.default),
        "architectures": profile.abis.iter().map(|abi| architecture(*abi)).collect::<Vec<_>>(),
        "syscalls": rules.map(rule).collect::<Vec<_>>(),
    });
    if let Some(errno) = errno(profile.default) {
        value["defaultErrnoRet"] = json!(errno);
    }
    value
}

fn rule(rule: &Rule<'_>) -> Value {
    let mut value = json!({ "names": rule.names, "action": name(rule.action) });
    if let Some(errno) = errno(rule.action) {
        value["errnoRet"] = json!(errno);
    }
    if !rule.comparisons.is_empty() {
        value["args"] = rule.comparisons.iter().map(comparison).collect();
    }
    value
}

fn comparison(comparison: &Comparison) -> Value {
    let operator = match comparison.operator {
        Operator::Equal => "SCMP_CMP_EQ",
        Operator::NotEqual => "SCMP_CMP_NE",
        Operator::Less => "SCMP_CMP_LT",
        Operator::LessOrEqual => "SCMP_CMP_LE",
        Operator::Greater => "SCMP_CMP_GT",
        Operator::GreaterOrEqual => "SCMP_CMP_GE",
        Operator::MaskedEqual => "SCMP_CMP_MASKED_EQ",
    };
    json!({ "index": comparison.index, "value": comparison.value, "valueTwo": comparison.value_two, "op": operator })
}

fn name(action: Action) -> &'static str {
    match action {
        Action::KillProcess => "SCMP_ACT_KILL_PROCESS",
        Action::KillThread => "SCMP_ACT_KILL_THREAD",
        Action::Trap => "SCMP_ACT_TRAP",
        Action::Errno(_) => "SCMP_ACT_ERRNO",
        Action::Trace(_) => "SCMP_ACT_TRACE",
        Action::Notify => "SCMP_ACT_NOTIFY",
        Action::Log => "SCMP_ACT_LOG",
        Action::Allow => "SCMP_ACT_ALLOW",
    }
}

fn errno(action: Action) -> Option<u16> {
    match action {
        Action::Errno(errno) | Action::Trace(errno) => Some(errno),
        _ => None,
    }
}

fn architecture(abi: Abi) -> &'static str {
    match abi {
        Abi::X86_64 => "SCMP_ARCH_X86_64",
        Abi::X32 => "SCMP_ARCH_X32",
        Abi::X86 => "SCMP_ARCH_X86",
        Abi::Aarch64 => "SCMP_ARCH_AARCH64",
        Abi::Arm => "SCMP_ARCH_ARM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_runtime_is_told_compiles_to_what_we_load() {
        for capabilities in [CapSet::DEFAULT, CapSet::NONE, CapSet::all()] {
            let text = configuration(None, capabilities, false).unwrap().to_string();
            let told = super::super::from_oci(&text).unwrap().program;
            let own = super::super::default_profile(capabilities).unwrap();
            assert_eq!(told.instructions, own.instructions);
        }
    }

    #[test]
    fn conditions_are_settled() {
        let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
        let names = |capabilities| {
            let value = configuration(Some(profile), capabilities, false).unwrap();
            value["syscalls"].as_array().unwrap().iter().map(|rule| rule["names"][0].clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(CapSet::DEFAULT), [json!("read")]);
        assert_eq!(names(CapSet::all()), [json!("mount"), json!("read")]);
    }
}
