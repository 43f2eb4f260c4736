//! What a bake file may reach: a file, which may be a stranger's, asks, and only the command line grants.
//!
//! Without a word it may read and write below the working directory. Privileges of steps, the user's SSH agent and
//! other paths are granted by `--allow`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Component, Path, PathBuf},
};

use super::{resolve::Resolved, target::Target};
use crate::{build::is_remote, parse::csv};

/// What the command line grants.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// Privileges, as builders know them.
    pub privileges: Vec<String>,
    reads: Vec<String>,
    writes: Vec<String>,
    agent: bool,
    deletes: bool,
}

impl Granted {
    /// Reads `--allow`.
    ///
    /// # Errors
    /// Where something is granted that is not known.
    pub(super) fn read(allowed: &[String]) -> Result<Self, String> {
        let mut granted = Self::default();
        for text in allowed {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            match key {
                "network.host" | "security.insecure" | "device" => granted.privileges.push(text.clone()),
                "fs.read" => granted.reads.push(value.to_owned()),
                "fs.write" => granted.writes.push(value.to_owned()),
                "fs" => {
                    granted.reads.push(value.to_owned());
                    granted.writes.push(value.to_owned());
                }
                "ssh" => granted.agent = true,
                "buildx.local.delete" => granted.deletes = true,
                "image" | "image.push" | "image.load" => {}
                other => return Err(format!("unknown entitlement key {other:?}")),
            }
        }
        Ok(granted)
    }

    /// What the targets want besides: the words for `--allow`, and what each means.
    ///
    /// # Errors
    /// Where the working directory is not known.
    pub(super) fn missing(&self, resolved: &Resolved) -> Result<Vec<(String, String)>, String> {
        let directory =
            env::current_dir().map_err(|error| format!("failed to get current working directory: {error}"))?;
        let mut missing = BTreeSet::new();
        for target in resolved.targets.values() {
            self.privileges_of(target, &mut missing);
            if checks_files() {
                self.files_of(target, &directory, &mut missing);
            }
        }
        Ok(missing.into_iter().collect())
    }

    fn privileges_of(&self, target: &Target, missing: &mut BTreeSet<(String, String)>) {
        for wanted in &target.entitlements {
            let is_granted =
                self.privileges.iter().any(|one| one == wanted || (one == "device" && wanted.starts_with("device")));
            let meaning = match wanted.as_str() {
                "network.host" => "Running build containers that can access host network".to_owned(),
                "security.insecure" => "Running privileged containers that can make system changes".to_owned(),
                other => format!("Access to {other}"),
            };
            if !is_granted {
                missing.insert((wanted.clone(), meaning));
            }
        }
        let deletes = |output: &super::entry::Entry| output.kind() == "local" && output.get("mode") == Some("delete");
        if !self.deletes && target.output.iter().flatten().any(deletes) {
            missing.insert((
                "buildx.local.delete".to_owned(),
                "Deleting stale files from local output destinations".to_owned(),
            ));
        }
    }

    fn files_of(&self, target: &Target, directory: &Path, missing: &mut BTreeSet<(String, String)>) {
        let is_here = |place: &&str| {
            !is_remote(place) && !["target:", "docker-image:", "oci-layout:"].iter().any(|it| place.starts_with(it))
        };
        let context = target.context.iter().map(String::as_str);
        let mut reads: Vec<&str> =
            context.chain(target.contexts.values().map(String::as_str)).filter(is_here).collect();
        let dockerfile = target.dockerfile.as_deref().filter(|_| target.dockerfile_inline.is_none());
        let own = match (&target.context, dockerfile) {
            (Some(context), Some(file)) if is_here(&context.as_str()) && !is_remote(file) => {
                Path::new(context).join(file)
            }
            _ => PathBuf::new(),
        };
        reads.extend(own.to_str().filter(|path| !path.is_empty()));
        reads.extend(
            target.cache_from.iter().filter(|cache| cache.kind() == "local").filter_map(|cache| cache.get("src")),
        );
        reads.extend(target.secret.iter().filter_map(|secret| secret.get("src")));
        reads.extend(target.ssh.iter().flat_map(|agent| agent.paths()).map(String::as_str));
        let caches = target.cache_to.iter().flatten().filter(|cache| cache.kind() == "local");
        let mut writes: Vec<&str> = caches.filter_map(|cache| cache.get("dest")).collect();
        writes
            .extend(target.output.iter().flatten().filter_map(|output| output.get("dest")).filter(|path| *path != "-"));
        for (paths, granted, key, what) in
            [(reads, &self.reads, "fs.read", "Read"), (writes, &self.writes, "fs.write", "Write")]
        {
            for path in paths {
                let shown = directory.join(path.strip_prefix("cwd://").unwrap_or(path));
                if !is_within(&shown, directory, granted) {
                    let path = real(&shown).display().to_string();
                    missing.insert((format!("{key}={path}"), format!("{what} access to path {path}")));
                }
            }
        }
        if !self.agent && target.ssh.iter().any(|agent| agent.paths().is_empty()) {
            missing.insert(("ssh".to_owned(), "Forwarding default SSH agent socket".to_owned()));
        }
    }
}

// As with Buildx: paths are looked at unless this says otherwise.
fn checks_files() -> bool {
    env::var("BUILDX_BAKE_ENTITLEMENTS_FS").ok().and_then(|text| csv::parse_bool(&text)).unwrap_or(true)
}

fn is_within(path: &Path, directory: &Path, granted: &[String]) -> bool {
    let path = real(path);
    granted.iter().any(|one| one == "*" || path.starts_with(real(&directory.join(one))))
        || path.starts_with(real(directory))
}

// Where a path leads to. What is not there is where it would be made.
fn real(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(mut found) = fs::canonicalize(at) {
            for part in rest.into_iter().rev() {
                match part {
                    Component::ParentDir => drop(found.pop()),
                    Component::Normal(name) => found.push(name),
                    _ => {}
                }
            }
            return found;
        }
        match (at.components().next_back(), at.parent()) {
            (Some(part), Some(parent)) => {
                rest.push(part);
                at = parent;
            }
            _ => return path.to_owned(),
        }
    }
}
