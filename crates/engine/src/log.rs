//! The log of a container: Docker's `json-file`, one JSON object a line.
//!
//! ```text
//! keeper's ring ──► line (splits at newline or 16 KiB) ──► write (file, rotation) ──► read (logs)
//! ```
//! What is written here is committed to the ring together with the file's length, so that a daemon
//! that dies between the two neither loses a line nor writes one twice.

pub(crate) mod line;
pub(crate) mod read;
pub(crate) mod write;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{EngineError, limits};

/// What Docker brings besides `json-file` and `none`. Any other name is a plugin's, and there are no plugins.
const DRIVERS_OF_DOCKER: &[&str] = &["awslogs", "fluentd", "gcplogs", "gelf", "journald", "local", "splunk", "syslog"];

/// Where a container's log is and how large it may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPlan {
    /// The newest file; older ones have `.1`, `.2`, … appended.
    pub(crate) path: PathBuf,
    pub(crate) file_bytes_max: u64,
    pub(crate) files_max: usize,
    /// `none`: nothing is kept.
    pub(crate) kept: bool,
}

impl LogPlan {
    /// From `--log-driver` and `--log-opt`.
    ///
    /// # Errors
    /// An unknown driver or option, by name; a size that is none.
    pub(crate) fn new(path: &Path, driver: &str, options: &BTreeMap<String, String>) -> Result<Self, EngineError> {
        let mut plan = Self {
            path: path.to_owned(),
            file_bytes_max: limits::LOG_FILE_BYTES,
            files_max: limits::LOG_FILES,
            kept: true,
        };
        match driver {
            "" | "json-file" => {}
            "none" => {
                plan.kept = false;
                return Ok(plan);
            }
            other if DRIVERS_OF_DOCKER.contains(&other) => {
                return Err(EngineError::NotBuilt {
                    text: format!("log driver {other:?} is not built; json-file and none are"),
                });
            }
            other => {
                return Err(EngineError::invalid(format!(
                    "error looking up logging plugin {other}: plugin {other:?} not found"
                )));
            }
        }
        for (key, value) in options {
            match key.as_str() {
                "max-size" => plan.file_bytes_max = parse_size(value)?,
                "max-file" => {
                    plan.files_max = value.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
                        EngineError::invalid(format!("max-file must be a number of at least 1, not {value:?}"))
                    })?;
                }
                // What a line may carry besides its text is only shown by `logs --details`.
                "mode" | "max-buffer-size" | "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "compress" => {}
                other => {
                    return Err(EngineError::invalid(format!("unknown log opt '{other}' for json-file log driver")));
                }
            }
        }
        Ok(plan)
    }

    /// The file of so many rotations ago.
    pub(crate) fn file(&self, age: u64) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{age}"));
        PathBuf::from(name)
    }

    /// Removes every file of the log.
    pub(crate) fn remove(&self) {
        for age in 0..=self.files_max as u64 {
            let _ = std::fs::remove_file(self.file(age));
        }
    }
}

/// `10m`, `512k`, `1g`, `-1` (no limit), as go-units reads sizes.
fn parse_size(text: &str) -> Result<u64, EngineError> {
    if text == "-1" {
        return Ok(u64::MAX);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 0_u64,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|size| *size > 0)
        .ok_or_else(|| EngineError::invalid(format!("invalid size: '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_by_name() {
        let plan = |driver: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            LogPlan::new(Path::new("/x.log"), driver, &options)
                .map(|plan| format!("{} x {}", plan.files_max, plan.file_bytes_max))
                .unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(plan("", &[]), "5 x 10485760");
        assert_eq!(plan("json-file", &[("max-size", "1k"), ("max-file", "2")]), "2 x 1024");
        assert_eq!(plan("json-file", &[("max-size", "x")]), "invalid size: 'x'");
        assert_eq!(plan("json-file", &[("colour", "red")]), "unknown log opt 'colour' for json-file log driver");
        assert_eq!(plan("splunk", &[]), "log driver \"splunk\" is not built; json-file and none are");
        assert_eq!(plan("nosuch", &[]), "error looking up logging plugin nosuch: plugin \"nosuch\" not found");
    }
}
