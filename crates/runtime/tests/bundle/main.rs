//! Mechanism tests of `hako runtime`: bundles with busybox, by the command line alone, as its callers use it.
//!
//! The test program is the runtime itself when it is called by its name (a link), so nothing else has to be built. It
//! needs root, a static busybox and cgroups that can be made; without them every case is skipped and says why.

mod bundle;
mod case_cgroup;
mod case_config;
mod case_hook;
mod case_lifecycle;
mod case_property;
mod case_terminal;
#[path = "../launch/cases.rs"]
mod cases;

use cases::Case;

fn main() -> std::process::ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if std::path::Path::new(&called).file_name().is_some_and(|name| name == "hako-runtime") {
        return hako_runtime::command::main(std::env::args_os().collect());
    }
    let all = [
        case_lifecycle::CASES,
        case_config::CASES,
        case_property::CASES,
        case_hook::CASES,
        case_cgroup::CASES,
        case_terminal::CASES,
    ]
    .concat();
    cases::run(&all, bundle::why_not())
}
