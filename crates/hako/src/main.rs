//! The one binary of hako: the first word of its command line decides which role it plays.
//!
//! | called as | role |
//! |---|---|
//! | `hako daemon`, `dockerd` | the engine and its API |
//! | `hako keeper` | the parent of every container |
//! | `hako registry` | a registry server |
//! | `hako runtime`, `hako-runtime`, `runc` | runc's command line over OCI bundles |
//! | `hako init` | pid 1 of a container that asked for one |
//! | anything else, `docker` | the command line |
#![forbid(unsafe_code)]

mod config_file; // daemon.json
mod daemon; // where the parts are put together
mod flags; // dockerd's flags
mod registry; // a registry server
mod socket; // what the daemon listens on

use std::{ffi::OsString, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_owned();
    let role = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    match (name.to_str(), role) {
        (Some("dockerd"), _) => daemon::main(arguments),
        (Some("docker"), _) => hako_cli::main(arguments),
        (Some("docker-init"), _) => hako_runtime::init::main(arguments.into_iter().skip(1).collect()),
        // As the reference registry's program is called in its image.
        (Some("registry"), _) => registry::main(arguments),
        (Some(name), _) if hako_runtime::command::NAMES.contains(&name) => hako_runtime::command::main(arguments),
        (_, "runtime") => hako_runtime::command::main(arguments.into_iter().skip(1).collect()),
        (_, "daemon") => daemon::main(arguments.into_iter().skip(1).collect()),
        (_, "keeper") => hako_keeper::process::main(arguments.into_iter().skip(2)),
        (_, "registry") => registry::main(arguments.into_iter().skip(1).collect()),
        (_, "init") => hako_runtime::init::main(arguments.into_iter().skip(2).collect()),
        _ => hako_cli::main(arguments),
    }
}
