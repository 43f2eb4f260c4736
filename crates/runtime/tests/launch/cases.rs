//! Runs named cases one after another: for programs that clone themselves, and so have one thread and no harness.

use std::process::ExitCode;

/// A case and its name.
pub(crate) type Case = (&'static str, fn());

/// Runs those of the cases that the command line names (all without names), or skips each with `reason`.
pub(crate) fn run(cases: &[Case], reason: Option<&str>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|one| if exact { *one == name } else { name.contains(one.as_str()) })
    };
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
    ExitCode::from(u8::from(failed > 0))
}
