//! The log of a container: in files of its own (Docker's `json-file`, one JSON object a line), and perhaps elsewhere.
//!
//! ```text
//! keeper's ring ──► line (splits at newline or 16 KiB) ─┬► write (file, rotation, compression) ──► read (logs)
//!                                                       └► forward (journal, syslog)
//! ```
//! What is written here is committed to the ring together with the file's length, so that a daemon
//! that dies between the two neither loses a line nor writes one twice.

pub(crate) mod compress; // files that are full take less room
pub(crate) mod forward; // lines that go elsewhere
pub(crate) mod label; // what is noted besides the text
pub(crate) mod line;
mod options; // `--log-driver` and `--log-opt`
pub(crate) mod read;
pub(crate) mod write;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use self::{forward::Forward, label::Attributes};
use crate::EngineError;

/// Where a container's log is and how large it may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPlan {
    /// The newest file; older ones have `.1`, `.2`, … appended.
    pub(crate) path: PathBuf,
    pub(crate) file_bytes_max: u64,
    pub(crate) files_max: usize,
    /// Whether full files are compressed; they then end in `.gz`.
    pub(crate) compress: bool,
    /// Whether anything is kept here: not for `none`, nor where `cache-disabled` says so.
    pub(crate) kept: bool,
    /// Whether `inspect` tells the path: other programs may read what is there.
    pub(crate) shown: bool,
    pub(crate) forward: Option<Forward>,
    pub(crate) attributes: Attributes,
}

impl LogPlan {
    /// From `--log-driver` and `--log-opt`; `path` is that of a `json-file`.
    ///
    /// # Errors
    /// An unknown driver or option, by name; a size that is none.
    pub(crate) fn new(path: &Path, driver: &str, options: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        options::parse(path, driver, options)
    }

    /// Files of this size, so many of them, and nothing else.
    pub(crate) fn json(path: &Path, file_bytes_max: u64, files_max: usize) -> Self {
        Self {
            path: path.to_owned(),
            file_bytes_max,
            files_max,
            compress: false,
            kept: true,
            shown: false,
            forward: None,
            attributes: Attributes::default(),
        }
    }

    /// The file of so many rotations ago.
    pub(crate) fn file(&self, age: u64) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        self.with_ending(&format!(".{age}"))
    }

    /// The same, compressed.
    pub(crate) fn compressed(&self, age: u64) -> PathBuf {
        self.with_ending(&format!(".{age}.gz"))
    }

    /// Where a file is being compressed.
    fn half_compressed(&self) -> PathBuf {
        self.with_ending(".gz.part")
    }

    fn with_ending(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    }

    /// Removes the files that are too many, where there could be `before`.
    pub(crate) fn trim(&self, before: usize) {
        for age in self.files_max as u64..=before as u64 {
            let _ = std::fs::remove_file(self.file(age));
            let _ = std::fs::remove_file(self.compressed(age));
        }
    }

    /// Bytes of all its files.
    pub(crate) fn bytes(&self) -> u64 {
        let files = (0..=self.files_max as u64).flat_map(|age| [self.file(age), self.compressed(age)]);
        files.filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
    }

    /// Removes every file of the log.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(self.half_compressed());
        for age in 0..=self.files_max as u64 {
            let _ = std::fs::remove_file(self.file(age));
            let _ = std::fs::remove_file(self.compressed(age));
        }
    }
}
