//! What must be green before a commit (`check`) and before a change lands (`ci`).

use crate::{run, test, tidy};

/// `cargo x check`: format, lints with warnings denied, invariants, unit tests.
pub(crate) fn check(arguments: &[String]) -> Result<(), String> {
    lints()?;
    tidy::tidy(&[])?;
    let mut ring = vec!["unit".to_owned()];
    ring.extend_from_slice(arguments);
    test::test(&ring)
}

/// `cargo x ci`: the same, then every ring that one machine without preparation can run. All of it runs even when
/// an early part fails, so that one run tells everything.
pub(crate) fn ci(_: &[String]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (what, outcome) in [("lints", lints()), ("tidy", tidy::tidy(&[]))] {
        if let Err(why) = outcome {
            eprintln!("{what}: {why}");
            wrong.push(what);
        }
    }
    test::with_outside_failures(&wrong)
}

fn lints() -> Result<(), String> {
    run::succeed(run::cargo(&["fmt", "--all", "--check"]))?;
    run::succeed(run::cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}
