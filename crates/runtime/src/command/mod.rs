//! `hako runtime`: runc's command line over the same code that starts every container of hako.
//!
//! Its callers are programs (containerd, Podman), which read its errors from a file of JSON lines and from standard
//! error, its states from standard output, and give it directories, sockets and numbers. Flags are in `flags.rs`, what
//! each command does is in `act.rs`.

mod act; // one function for each command
mod flags; // runc's flags
mod log; // where errors go
mod show; // tables and streams

use std::{ffi::OsString, process::ExitCode};

use crate::{init, oci::Containers};
use clap::Parser;
use flags::Flags;
use log::Log;

/// Names of the binary by which it is the runtime, for callers that know only a program and no first argument.
pub const NAMES: [&str; 2] = ["hako-runtime", "runc"];

/// The role; `arguments` begin with the program's name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    // Whoever can look at a process of a container could write to the program that it came from (CVE-2019-5736). Before
    // the flags are read, so that they are read once.
    let protected = if starts_processes(&arguments) { init::protect_program() } else { Ok(None) };
    let flags = match Flags::try_parse_from(arguments.iter().cloned()) {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    };
    let log = match Log::open(&flags) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("hako runtime: cannot open the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    if flags.systemd_cgroup {
        log.fatal("systemd cgroup flag passed, but hako runtime has no driver for it: use cgroupfs");
        return ExitCode::FAILURE;
    }
    let place = match protected {
        Ok(place) => place,
        Err(error) => {
            log.fatal(&format!("cannot protect the runtime's own program: {error}"));
            return ExitCode::FAILURE;
        }
    };
    log.debug(&format!("called with {:?}", arguments.iter().skip(1).collect::<Vec<_>>()));
    let containers = Containers::at(flags.root.clone());
    match act::carry_out(&flags, &containers, place.as_ref(), &log) {
        Ok(code) => {
            log.debug(&format!("ends with {code}"));
            ExitCode::from(code)
        }
        Err(failure) => {
            log.fatal(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

// Or takes a word of that name for something else, which costs it a start.
fn starts_processes(arguments: &[OsString]) -> bool {
    arguments.iter().any(|word| ["create", "run", "exec"].iter().any(|command| word == command))
}
