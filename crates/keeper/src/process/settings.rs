//! The keeper's command line. Few words, written by the daemon or a unit file, so read by hand.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// What the keeper was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) exec_root: PathBuf,
    /// Empty, or a path from the top of every cgroup hierarchy.
    cgroup_parent: String,
    /// Not to leave when there is nothing to do.
    pub(super) stay: bool,
    /// To become a process of its own, away from whoever started it.
    pub(super) detach: bool,
    /// Standard input brings the state of the program that this process was.
    pub(super) resume: bool,
    /// The file that this program came from, when it runs from a read-only clone of it.
    pub(super) program: Option<PathBuf>,
}

impl Settings {
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let (mut exec_root, mut cgroup_parent, mut program) = (None, String::new(), None);
        let (mut stay, mut detach, mut resume) = (false, false, false);
        let mut words = arguments.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{} wants a value", word.display()));
            match word.to_str() {
                Some("--exec-root") => exec_root = Some(PathBuf::from(value()?)),
                Some("--cgroup-parent") => cgroup_parent = cgroup_path(&value()?.to_string_lossy())?,
                Some("--program") => program = Some(PathBuf::from(value()?)),
                Some("--stay") => stay = true,
                Some("--detach") => detach = true,
                Some("--resume") => resume = true,
                _ => return Err(format!("unknown argument of the keeper: {}", word.display())),
            }
        }
        let exec_root = exec_root.ok_or("the keeper needs --exec-root")?;
        let exec_root = std::path::absolute(&exec_root).map_err(|error| error.to_string())?;
        Ok(Self { exec_root, cgroup_parent, stay, detach, resume, program })
    }

    /// The cgroup to live in when detached: parent and name.
    pub(super) fn cgroup(&self) -> (&str, String) {
        (&self.cgroup_parent, format!("hako-keeper-{:08x}", instance(&self.exec_root)))
    }

    /// The words that say the same to the next program, but for `--resume` and `--program`.
    pub(super) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--exec-root".into(), self.exec_root.clone().into()];
        if !self.cgroup_parent.is_empty() {
            words.extend(["--cgroup-parent".into(), self.cgroup_parent.clone().into()]);
        }
        words.extend(self.stay.then(|| "--stay".into()));
        words.extend(self.detach.then(|| "--detach".into()));
        words
    }
}

/// `/a/b`, from the top and without a way up.
fn cgroup_path(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(format!("invalid cgroup parent {text:?}"));
    }
    Ok(parts.iter().fold(String::new(), |path, part| path + "/" + part))
}

/// A short number for an exec-root, the same each time: several keepers on one host do not share a cgroup.
fn instance(exec_root: &Path) -> u32 {
    // FNV-1a: need not be hard to guess, must not differ between two builds.
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    exec_root.as_os_str().as_bytes().iter().fold(0x811c_9dc5, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Settings, String> {
        Settings::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn the_cgroup_lies_under_its_parent_and_never_above() {
        let settings = parse(&["--exec-root", "/run/hako", "--cgroup-parent", "a//b/", "--stay"]).unwrap();
        assert_eq!(settings.cgroup().0, "/a/b");
        assert!(settings.cgroup().1.starts_with("hako-keeper-"));
        assert_eq!(Settings::parse(settings.words()), Ok(settings));
        let error = parse(&["--exec-root", "/run/hako", "--cgroup-parent", "/../x"]).unwrap_err();
        assert_eq!(error, "invalid cgroup parent \"/../x\"");
    }

    #[test]
    fn roots_differ_in_their_instance() {
        assert_ne!(instance(Path::new("/run/hako")), instance(Path::new("/run/hako2")));
    }

    #[test]
    fn bad_words_are_named() {
        assert_eq!(parse(&[]).unwrap_err(), "the keeper needs --exec-root");
        assert_eq!(parse(&["--exec-root"]).unwrap_err(), "--exec-root wants a value");
        assert_eq!(parse(&["--loud"]).unwrap_err(), "unknown argument of the keeper: --loud");
    }
}
