//! Mechanism tests of `hako runtime`: bundles with busybox, by the command line alone, as its callers use it.
//!
//! The test program is the runtime itself when it is called by its name (a link), so nothing else has to be built. It
//! needs root, a static busybox and cgroups that can be made; without them every case is skipped and says why.

mod bundle;
mod case_cgroup;
mod case_config;
mod case_hook;
mod case_lifecycle;
mod case_terminal;

type Case = (&'static str, fn());

fn main() -> std::process::ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if std::path::Path::new(&called).file_name().is_some_and(|name| name == "hako-runtime") {
        return hako_runtime::command::main(std::env::args_os().collect());
    }
    let cases: Vec<Case> =
        [case_lifecycle::CASES, case_config::CASES, case_hook::CASES, case_cgroup::CASES, case_terminal::CASES]
            .concat();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return std::process::ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|one| if exact { *one == name } else { name.contains(one.as_str()) })
    };
    let reason = bundle::why_not();
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
    std::process::ExitCode::from(u8::from(failed > 0))
}
