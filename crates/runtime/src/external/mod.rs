//! Containers whose runtime is a program of somebody else's (crun, runc, `hako runtime`), behind runc's command line.
//!
//! ```text
//! engine   config.json of the bundle: the plan in OCI's words (config.rs)
//! keeper ── clone ──► driver: attaches what the plan brings in a mount namespace of its own (drive.rs)
//!   ▲                   └── create, start, or exec ──► the program ──► the container's process
//!   └── that process, whose parents have ended: the keeper is their subreaper
//! ```
//! From there on nothing differs: the keeper watches and reaps it as any other, the daemon signals it by its pidfd.

use std::{ffi::OsString, io, os::fd::AsFd, path::PathBuf};

use hako_base::file::Durability;
use hako_sys::process::{self, Spawn};
use serde::{Deserialize, Serialize};

pub mod config; // the plan in the words of an OCI configuration

pub(crate) mod drive; // the driver's steps

/// Which program, and what it is told at every call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct External {
    pub program: PathBuf,
    /// Before the command's name.
    pub arguments: Vec<String>,
    /// Where the program keeps its own notes (`--root`).
    pub state: PathBuf,
    /// The directory of the container's configuration.
    pub bundle: PathBuf,
    pub id: String,
}

/// Where in the bundle the driver mounts what a plan brings; nobody else ever sees it filled.
pub(crate) const MOUNTS: &str = "m";

impl External {
    /// The program's arguments up to its command, which is the first of `command`.
    fn line(&self, command: &[&str]) -> Vec<OsString> {
        let given = self.arguments.iter().map(OsString::from);
        let own = [OsString::from("--root"), self.state.clone().into_os_string()];
        given.chain(own).chain(command.iter().map(OsString::from)).collect()
    }

    /// Makes the bundle: its directory, the place for mounts, and the configuration.
    ///
    /// # Errors
    /// Those of making directories and files.
    pub fn prepare(&self, configuration: &serde_json::Value) -> io::Result<()> {
        hako_base::file::make_dir(&self.bundle.join(MOUNTS), 0o700)?;
        hako_base::file::make_dir(&self.state, 0o700)?;
        let text = configuration.to_string();
        hako_base::file::write_atomic(&self.bundle.join("config.json"), text.as_bytes(), 0o600, Durability::Process)
    }

    /// Removes the bundle.
    pub fn remove_bundle(&self) {
        let _ = std::fs::remove_dir_all(&self.bundle);
    }

    /// Makes the program forget the container, whatever is left of it. Blocks until it has.
    pub fn forget(&self) {
        if !self.state.join(&self.id).exists() {
            return;
        }
        let spawn = Spawn {
            program: self.program.as_os_str(),
            arguments: self.line(&["delete", "--force", &self.id]),
            ..Spawn::default()
        };
        // What it leaves lies in its own directory, and the next start of this container tries again.
        if let Ok(child) = process::spawn(&spawn) {
            let _ = process::reap(child.pidfd.as_fd());
        }
    }
}
