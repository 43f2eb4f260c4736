//! A cgroup in the hands of somebody who is not root (cgroups(7), "Cgroup delegation").

use std::{fs, io};

use super::{Cgroup, CgroupError};

/// The kernel's list of files that go with a group; of older kernels what it would say.
const LIST: &str = "/sys/kernel/cgroup/delegate";
const OLDER: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the directory, and the files by which it is divided, to a user. On v1 nothing is given: there the one who
    /// may divide a group may change its limits.
    ///
    /// # Errors
    /// [`CgroupError::Give`].
    pub(crate) fn give_to(&self, user: u32) -> Result<(), CgroupError> {
        let Some(directory) = self.unified().filter(|_| self.layout().version() == 2) else { return Ok(()) };
        let list = fs::read_to_string(LIST).unwrap_or_else(|_| OLDER.to_owned());
        // Names alone: the kernel's list has nothing else.
        let files =
            list.lines().filter(|name| !name.is_empty() && !name.contains('/')).map(|name| directory.join(name));
        for path in std::iter::once(directory.clone()).chain(files) {
            match std::os::unix::fs::lchown(&path, Some(user), None) {
                // Not every group has every file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done.map_err(|source| CgroupError::Give { path, user, source })?,
            }
        }
        Ok(())
    }
}
