//! What the runtime remembers of a container: a directory of its own below the root of all.
//!
//! ```text
//! ROOT/ID/record.json   who it is: written before anything is made
//!         process.json  its process, when there is one
//!         config.json   the configuration as it was at create; later changes in the bundle have no effect
//!         seccomp       the compiled filter, for exec
//!         opens, says   pipes with names between a created container and `start`; gone once it runs
//!         notify/       the socket by which the program says that it is ready, if somebody wants to hear it
//! ```
//! The directory is the claim on the name. Nothing is flushed: all of it ends with the host's next start.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use hako_base::file::{Durability, write_atomic};
use hako_sys::process;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{config::Config, error::OciError};
use crate::cgroup::Cgroup;

/// Bytes of a configuration. Docker's with its filter have 60 KiB.
pub(super) const CONFIG_BYTES_MAX: u64 = 16 << 20;
const RECORD: &str = "record.json";
const PROCESS: &str = "process.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const FILTER: &str = "seccomp";
pub(super) const OPENS: &str = "opens";
pub(super) const SAYS: &str = "says";

/// The record of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: Timestamp,
    /// Who asked for it, by number.
    pub owner: u32,
    #[serde(flatten)]
    pub process: Process,
    /// Below the top of every hierarchy.
    pub cgroup: String,
    /// Whether it was made with the container and so goes with it.
    pub cgroup_made: bool,
}

/// The process of a container. In a file of its own, since to replace one costs a disk more than to make two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// 0 until there is one.
    pub pid: u32,
    /// When it began, in the kernel's ticks: a number is used again, both together are not.
    pub started_ticks: u64,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Where containers are remembered unless the caller says another place.
pub const USUAL_ROOT: &str = "/run/hako-runtime";

/// All containers of one root.
#[derive(Debug, Clone)]
pub struct Containers {
    root: PathBuf,
}

/// One of them.
#[derive(Debug)]
pub struct Container {
    pub(super) directory: PathBuf,
    pub record: Record,
}

impl Containers {
    /// Those below `root`, which need not be there yet.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    // Where the one of this name has what is remembered of it.
    pub(super) fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`OciError::Missing`] when there is none.
    pub fn open(&self, id: &str) -> Result<Container, OciError> {
        check_id(id)?;
        let directory = self.directory(id);
        let missing = || OciError::Missing { id: id.to_owned() };
        let mut record: Record = read_json(&directory.join(RECORD))?.ok_or_else(missing)?;
        if let Some(process) = read_json(&directory.join(PROCESS))? {
            record.process = process;
        }
        Ok(Container { directory, record })
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When the root cannot be read; the usual one need not be there yet. A container that is just being made or removed
    /// is left out.
    pub fn all(&self) -> Result<Vec<Container>, OciError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root == Path::new(USUAL_ROOT) => {
                return Ok(Vec::new());
            }
            other => other.map_err(|source| OciError::Read { path: self.root.clone(), source })?,
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names.iter().filter_map(|name| self.open(name).ok()).collect())
    }

    /// Claims a name and remembers the configuration.
    ///
    /// # Errors
    /// [`OciError::Id`], [`OciError::Exists`].
    pub(super) fn claim(&self, record: Record, config: &[u8]) -> Result<Container, OciError> {
        check_id(&record.id)?;
        let failed = |path: &Path, source| OciError::Write { path: path.to_owned(), source };
        hako_base::file::make_dir(&self.root, 0o711).map_err(|error| failed(&self.root, error))?;
        let directory = self.directory(&record.id);
        match rustix::fs::mkdir(&directory, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => return Err(OciError::Exists { id: record.id }),
            other => other.map_err(|errno| failed(&directory, errno.into()))?,
        }
        let path = directory.join(CONFIG);
        let written = write_atomic(&path, config, 0o600, Durability::Process).map_err(|error| failed(&path, error));
        if let Err(error) = written.and_then(|()| write_json(&directory.join(RECORD), &record)) {
            let _ = fs::remove_dir_all(&directory);
            return Err(error);
        }
        Ok(Container { directory, record })
    }
}

fn check_id(id: &str) -> Result<(), OciError> {
    const LENGTH_MAX: usize = 1024;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > LENGTH_MAX || id == "." || id == ".." || !id.chars().all(plain) {
        return Err(OciError::Id { id: id.to_owned() });
    }
    Ok(())
}

impl Container {
    /// Remembers its process.
    pub(super) fn set_process(&mut self, pid: u32) -> Result<(), OciError> {
        self.record.process = Process { pid, started_ticks: started_ticks(pid).unwrap_or(0) };
        write_json(&self.directory.join(PROCESS), &self.record.process)
    }

    /// The configuration that it was made with.
    pub(super) fn config(&self) -> Result<Config, OciError> {
        read_config(&self.directory.join(CONFIG)).map(|(config, _)| config)
    }

    /// The process that it was made with, for one that shall be like it.
    ///
    /// # Errors
    /// When there was none.
    pub fn process_config(&self) -> Result<super::config::Process, OciError> {
        self.config()?.process.ok_or_else(|| OciError::invalid("process", "the container was made without one"))
    }

    /// Its process, if it lives: a descriptor that is known to be of this very process.
    pub(super) fn process(&self) -> Option<OwnedFd> {
        let Process { pid, started_ticks: begun } = self.record.process;
        let pidfd = process::open_pidfd(pid).ok().filter(|_| pid > 0)?;
        // Looked at after the descriptor was opened: should the number have a new owner, it began later.
        (started_ticks(pid)? == begun).then_some(pidfd)
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup, OciError> {
        Ok(Cgroup::at(&self.record.cgroup)?)
    }

    /// What it is doing now.
    pub fn status(&self) -> Status {
        if self.record.process.pid == 0 {
            return Status::Creating;
        }
        if self.process().is_none() {
            return Status::Stopped;
        }
        let frozen = self.cgroup().is_ok_and(|cgroup| cgroup.is_frozen());
        match (frozen, self.directory.join(OPENS).exists()) {
            (true, _) => Status::Paused,
            (false, true) => Status::Created,
            (false, false) => Status::Running,
        }
    }

    /// Keeps others from changing it at the same time, until the descriptor is dropped.
    pub(super) fn lock(&self) -> Result<OwnedFd, OciError> {
        let lock = || -> io::Result<OwnedFd> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(&self.directory, flags, Mode::empty())?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(directory.as_fd(), FlockOperation::LockExclusive))?;
            Ok(directory)
        };
        match lock() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(OciError::Missing { id: self.record.id.clone() })
            }
            other => other.map_err(|source| OciError::Read { path: self.directory.clone(), source }),
        }
    }

    /// Forgets it.
    pub(super) fn forget(&self) -> Result<(), OciError> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|source| OciError::Write { path: self.directory.clone(), source }),
        }
    }
}

// What one of our own files says; `None` where it is not.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, OciError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| OciError::Read { path: path.to_owned(), source })?,
    };
    let malformed = |error: serde_json::Error| OciError::Malformed { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

fn write_json(path: &Path, content: &impl Serialize) -> Result<(), OciError> {
    let malformed = |error: serde_json::Error| OciError::Malformed { path: path.to_owned(), reason: error.to_string() };
    let bytes = serde_json::to_vec(content).map_err(malformed)?;
    let failed = |source| OciError::Write { path: path.to_owned(), source };
    write_atomic(path, &bytes, 0o600, Durability::Process).map_err(failed)
}

/// Reads a configuration, and its text.
pub(super) fn read_config(path: &Path) -> Result<(Config, Vec<u8>), OciError> {
    let bytes = read_limited(path)?;
    let config = serde_json::from_slice(&bytes)
        .map_err(|error| OciError::Malformed { path: path.to_owned(), reason: error.to_string() })?;
    Ok((config, bytes))
}

/// Reads a file that somebody else wrote.
pub(super) fn read_limited(path: &Path) -> Result<Vec<u8>, OciError> {
    use std::io::Read;
    // Room for a usual one, which is then one read.
    let mut bytes = Vec::with_capacity(8 << 10);
    let read = fs::File::open(path).and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|source| OciError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(OciError::TooLarge { path: path.to_owned(), limit: CONFIG_BYTES_MAX });
    }
    Ok(bytes)
}

/// When a process began; `None` once it has ended, reaped or not.
fn started_ticks(pid: u32) -> Option<u64> {
    parse_started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

// `proc_pid_stat(5)`: the name in parentheses may contain anything; the state follows it, the begin is field 22.
fn parse_started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let alive = fields.next().is_some_and(|state| !["Z", "X", "x"].contains(&state));
    fields.nth(18).filter(|_| alive)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for id in ["a", "web-1", "a.b_c+d", &"x".repeat(1024)] {
            check_id(id).unwrap();
        }
        for id in ["", ".", "..", "a/b", "../x", "a b", "ä", &"x".repeat(1025)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_process_that_has_ended_has_no_begin() {
        let line = |state: &str| format!("7 (a) b) {state} 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1");
        assert_eq!(parse_started(&line("S")), Some(4711));
        assert_eq!(parse_started(&line("Z")), None);
        assert_eq!(parse_started("x"), None);
    }
}
