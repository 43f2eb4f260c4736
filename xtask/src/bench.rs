//! `cargo x bench`: the speed budgets, measured on the published binary, side by side with another daemon.
//!
//! Here only the building; what is measured and how is tests/promise.

use crate::{dist, images, run};

pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    println!("building the published binary");
    dist::build()?;
    for name in ["busybox", "probe"] {
        images::image(name)?;
    }
    run::succeed(run::cargo(&["build", "--quiet", "--release", "--package", "tests", "--bin", "promise"]))?;
    let mut promise = run::program(run::target().join("release/promise"));
    promise.args(arguments).env("HAKO_TEST_BINARY", dist::path()).env("HAKO_TARGET_DIR", run::target());
    run::succeed(run::rooted(promise))
}
