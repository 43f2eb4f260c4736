//! The developer's tools of hako as one binary: `cargo x COMMAND`, or `./x COMMAND` on a machine that has nothing yet.
//!
//! Each command is a file. Nothing here is part of the product, and nothing here has dependencies, so that the tools
//! build in seconds. What needs root goes through sudo, one program at a time; building never does.
#![forbid(unsafe_code)]

mod bench; // the speed budgets, side by side with another daemon
mod bless; // accepts what the tests print now
mod check; // before each commit: format, lints, invariants, unit tests
mod coverage; // whether each route has a test that fails without it, and the page about it
mod cuts; // the plug of the emulated machine is pulled while images come and go
mod demo; // the main job, narrated, on this machine
mod dist; // the binary as it is published
mod hunt; // long runs against everything that reads foreign bytes
mod images; // the images that tests and the demo run, made from Debian's packages
mod lodge; // a throw-away daemon on this machine's own network, for the demo and `dev`
mod preflight; // what this machine lacks, one line each
mod ring; // the rings that take minutes: chaos and scale
mod run; // running programs, as oneself and as root
mod sweep; // takes a throw-away daemon away, however the command that wanted it ended
mod test; // the rings of tests and the closing line
mod tidy; // the invariants of ARCHITECTURE.md
mod vm; // the ring on another kernel, in an emulated machine
mod wait; // waiting for a condition, by a deadline

use std::process::ExitCode;

/// A command: its name, what the list says of it, and what it does.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), String>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        about: "fmt, clippy, tidy and the unit tests: run it before each commit",
        run: check::check,
    },
    Command { name: "tidy", about: "only the invariants of ARCHITECTURE.md", run: tidy::tidy },
    Command {
        name: "test",
        about: "[unit|mechanism|box|clients|all|coverage|chaos|scale|vm] [FILTER]: alone: the first three",
        run: test::test,
    },
    Command { name: "demo", about: "shows on this machine what hako does, with a throw-away daemon", run: demo::demo },
    Command { name: "dev", about: "a throw-away daemon, and a shell with DOCKER_HOST set to it", run: lodge::dev },
    Command {
        name: "bench",
        about: "[--peer docker=unix:///…] [--markdown] [PART…]: the budgets, measured",
        run: bench::bench,
    },
    Command {
        name: "bless",
        about: "[FILTER]: accepts what the black-box tests print now as expected",
        run: bless::bless,
    },
    Command {
        name: "hunt",
        about: "[SECONDS]: mutations of the corpus against what reads foreign bytes",
        run: hunt::hunt,
    },
    Command {
        name: "images",
        about: "[busybox|hello-world|probe|debian…]: makes test images, kept in target/images",
        run: images::images,
    },
    Command { name: "dist", about: "the binary as published: static, stripped, in target/dist", run: dist::dist },
    Command { name: "rows", about: "writes docs/coverage from tests/rows", run: tidy::rows::write },
    Command { name: "timings", about: "where a clean build spends its time, as a page", run: dist::timings },
    Command { name: "preflight", about: "what this machine lacks, and what to type", run: preflight::preflight },
    Command { name: "ci", about: "what .ci/run runs: check, then every ring one machine can run", run: check::ci },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) =
        arguments.split_first().filter(|(name, _)| !matches!(name.as_str(), "help" | "--help" | "-h"))
    else {
        list();
        return ExitCode::SUCCESS;
    };
    if name == "sweep" {
        // Only ever started by ourselves, and so not in the list.
        return ended(name, sweep::sweep(rest));
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("x: there is no command {name:?}; `./x` lists them");
        return ExitCode::from(2);
    };
    ended(name, (command.run)(rest))
}

fn ended(name: &str, outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("x {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("Usage: ./x COMMAND [ARGUMENT…]\n");
    for command in COMMANDS {
        println!("  {:<10} {}", command.name, command.about);
    }
}
