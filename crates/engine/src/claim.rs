//! Whose exec-root this is: one daemon's at a time, and one data root's for as long as its containers run.
//!
//! The keeper obeys whoever connected last, and a daemon ends processes that it has no record of. Without a claim a
//! second daemon on the same exec-root, for which a wrong `--data-root` is enough, would end the containers of the
//! first. The lock is the kernel's: it goes with the process, however that ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use hako_base::{ErrorKind, backoff::wait_for};

use crate::EngineError;

/// A path is at most 4096 bytes (`PATH_MAX`); nothing longer was written here by us.
const OWNER_BYTES_MAX: u64 = 4096;

/// The exec-root is this daemon's until the claim is dropped.
pub(crate) struct Claim {
    _lock: File,
}

impl Claim {
    /// Takes the exec-root for the containers of `data_root`, after waiting so long for the last daemon to end.
    ///
    /// # Errors
    /// Another daemon has it, or containers of another data root run in it: `Unavailable`, with advice.
    pub(crate) fn take(exec_root: &Path, data_root: &Path, patience: Duration) -> Result<Self, EngineError> {
        let path = exec_root.join("daemon.lock");
        let failed = |error: &std::io::Error| EngineError::io(format_args!("cannot use {}", path.display()), error);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&error))?;
        // One that was killed has its locks until the kernel has taken its mounts down.
        let locked = wait_for(patience, || match file.try_lock() {
            Ok(()) => Some(Ok(())),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => Some(Err(error)),
        });
        match locked {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(failed(&error)),
            None => {
                return Err(refused(format!(
                    "another daemon uses {}: give this one an --exec-root of its own",
                    exec_root.display()
                )));
            }
        }
        let mut owner = Vec::new();
        (&mut file).take(OWNER_BYTES_MAX).read_to_end(&mut owner).map_err(|error| failed(&error))?;
        let owner = PathBuf::from(String::from_utf8_lossy(&owner).into_owned());
        if owner == data_root {
            return Ok(Self { _lock: file });
        }
        if !owner.as_os_str().is_empty() && has_containers(exec_root) {
            return Err(refused(format!(
                "containers of the data root {} run in {}: give this daemon an --exec-root of its own",
                owner.display(),
                exec_root.display()
            )));
        }
        let written = file
            .rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.write_all(data_root.as_os_str().as_encoded_bytes()));
        written.map_err(|error| failed(&error))?;
        Ok(Self { _lock: file })
    }
}

/// Whether there are records of what runs, which a daemon writes there and removes at the end.
fn has_containers(exec_root: &Path) -> bool {
    std::fs::read_dir(exec_root.join("containers")).is_ok_and(|mut entries| entries.next().is_some())
}

fn refused(text: String) -> EngineError {
    EngineError::Mechanism { kind: ErrorKind::Unavailable, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_root_is_one_daemons_and_one_data_roots() {
        let root = std::env::temp_dir().join(format!("hako-claim-{}", hako_base::random::hex(8)));
        std::fs::create_dir_all(root.join("containers")).unwrap();
        let take = |data_root: &str| Claim::take(&root, Path::new(data_root), Duration::ZERO);
        let text = |result: Result<Claim, EngineError>| {
            result.err().unwrap().to_string().replace(root.to_str().unwrap(), "RUN")
        };

        let first = take("/a").unwrap();
        assert_eq!(text(take("/a")), "another daemon uses RUN: give this one an --exec-root of its own");
        drop(first);
        // Nothing runs: it may change hands.
        drop(take("/longer").unwrap());
        drop(take("/a").unwrap());
        std::fs::write(root.join("containers/id.json"), "{}").unwrap();
        assert_eq!(
            text(take("/b")),
            "containers of the data root /a run in RUN: give this daemon an --exec-root of its own"
        );
        drop(take("/a").unwrap());
        std::fs::remove_dir_all(root).unwrap();
    }
}
