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
mod cases;
mod place;

use cases::Case;

fn main() -> std::process::ExitCode {
    let all = [
        case_start::CASES,
        case_confine::CASES,
        case_escape::CASES,
        case_exec::CASES,
        case_fail::CASES,
        case_cgroup::CASES,
    ]
    .concat();
    cases::run(&all, place::why_not())
}
