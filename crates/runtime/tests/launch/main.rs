//! Mechanism tests of the runtime: real processes in real namespaces, from a busybox root in a temporary directory.
//!
//! They need root and a static busybox; without either every case is skipped and says why. There is no test
//! harness, because a launch clones its caller, which must have one thread; arguments are names to run, as usual.

mod case_cgroup;
mod case_confine;
mod case_escape;
mod case_exec;
mod case_fail;
mod case_start;
mod place;

type Case = (&'static str, fn());

fn main() {
    let cases: Vec<Case> = [
        case_start::CASES,
        case_confine::CASES,
        case_escape::CASES,
        case_exec::CASES,
        case_fail::CASES,
        case_cgroup::CASES,
    ]
    .concat();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|one| if exact { *one == name } else { name.contains(one.as_str()) })
    };
    let reason = place::why_not();
    let (mut failed, mut skipped) = (0, 0);
    for (name, case) in cases.iter().filter(|(name, _)| chosen(name)) {
        if let Some(reason) = reason {
            println!("test {name} ... skipped: {reason}");
            skipped += 1;
            continue;
        }
        // The panic's own message goes to standard error.
        let passed = std::panic::catch_unwind(case).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    println!("{failed} failed, {skipped} skipped");
    std::process::exit(i32::from(failed > 0));
}
