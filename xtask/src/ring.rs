//! `cargo x test chaos` and `cargo x test scale`: the rings that take minutes and much of a machine.
//!
//! Each is a program of its own in tests/, with its own host; here they are built and run as root. `vm.rs` has the third.

use crate::{dist, images, preflight, run};

/// Daemons are killed while clients work: `chaos [SECONDS]`.
pub(crate) fn chaos(arguments: &[String]) -> Result<(), String> {
    // Unoptimised: what is to be found are moments, and a slow daemon has more of them.
    ring("chaos", arguments, dist::build_unoptimised)
}

/// A thousand containers: `scale`.
pub(crate) fn scale(arguments: &[String]) -> Result<(), String> {
    ring("scale", arguments, || dist::build().map(|()| dist::path()))
}

fn ring(
    name: &str,
    arguments: &[String],
    build: impl FnOnce() -> Result<std::path::PathBuf, String>,
) -> Result<(), String> {
    preflight::report();
    images::prepare(&["busybox"]);
    // A binary that is there already, for whoever looks into one case again and again.
    let binary = match std::env::var_os("HAKO_TEST_BINARY") {
        Some(binary) => binary.into(),
        None => build()?,
    };
    run::succeed(run::cargo(&["build", "--quiet", "--package", "tests", "--bin", name]))?;
    let mut program = run::program(run::target().join("debug").join(name));
    program.args(arguments).env("HAKO_TEST_BINARY", binary).env("HAKO_TARGET_DIR", run::target());
    run::succeed(run::rooted(program))
}
