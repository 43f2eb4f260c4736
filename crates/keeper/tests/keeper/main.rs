//! The keeper on a real kernel: a process that launches, relays, remembers and outlives.
//!
//! This program is three things by its first argument: the tests, the keeper that they start, and a
//! daemon that the tests kill. A keeper must have one thread, so the tests have a `main` of their own and run one
//! after another; arguments that are no role are filters, as in any test program.

mod escape; // what a container could find of it
mod host; // a keeper of one's own, plans, and reading of rings
mod launches; // starting, failing, asking twice, exec
mod output; // pipes, terminals, back-pressure, ends
mod process; // what sort of process the keeper is
mod survival; // daemons that die, others that follow

use std::{
    ffi::OsString,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    match first.as_ref().and_then(|word| word.to_str()) {
        Some("keeper") => return hako_keeper::process::main(arguments),
        Some("daemon") => return survival::daemon(arguments),
        _ => {}
    }
    if !rustix::process::geteuid().is_root() {
        println!("keeper: every test skipped: needs root");
        return ExitCode::SUCCESS;
    }
    run(first.into_iter().chain(arguments).filter(|word| !word.to_string_lossy().starts_with('-')).collect())
}

fn run(filters: Vec<OsString>) -> ExitCode {
    let tests: Vec<Test> = [escape::TESTS, launches::TESTS, output::TESTS, process::TESTS, survival::TESTS].concat();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(&*filter.to_string_lossy()));
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in tests.into_iter().filter(|(name, _)| wanted(name)) {
        let begun = std::time::Instant::now();
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(()) => passed += 1,
            Err(_) => failed.push(name),
        }
        let verdict = if failed.last() == Some(&name) { "FAILED" } else { "ok" };
        println!("test {name} ... {verdict} ({} ms)", begun.elapsed().as_millis());
    }
    host::sweep_cgroups();
    println!("\ntest result: {passed} passed; {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
