//! `develop.watch`: what changes of files on this machine mean for the containers of services.
//!
//! [`notice`] hears of changes, [`work`] decides what follows from them (pure but for one look at each file),
//! `Actor::sync` carries it out. Building is left to whoever builds.

pub mod notice; // changes as the kernel tells them

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use hako_archive::{Ignore, path_matches};

use crate::{
    project::Project,
    service::{Hook, Service},
};

/// What follows from a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Rebuild,
    Restart,
    Sync,
    SyncRestart,
    SyncExec,
}

/// One entry of `develop.watch`.
#[derive(Debug, Clone)]
pub struct Rule {
    pub service: String,
    /// The file or directory that is watched.
    pub path: PathBuf,
    pub action: Action,
    /// Where it is in the container.
    target: String,
    hook: Hook,
    initial: bool,
    ignore: Ignore,
    include: Vec<String>,
    /// The build's own exclusions, relative to its context.
    build: Option<(PathBuf, Ignore)>,
}

/// What editors and Git leave behind while they work; nobody wants it in a container.
const PASSING: [&str; 9] =
    ["**/.git", "**/.*.swp", "**/.*.swx", "**/.*.swo", "**/.#*", "**/#*#", "**/*~", "**/4913", "**/.idea"];

/// The rules of these services.
///
/// # Errors
/// A pattern that is none, or a `.dockerignore` that cannot be read.
pub fn rules<'s>(services: impl Iterator<Item = &'s Service>) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for service in services {
        let Some(develop) = &service.develop else { continue };
        let build = build_exclusions(service)?;
        for entry in &develop.watch {
            let bad = |error| format!("services.{}.develop.watch: {}: {error}", service.name, entry.path.display());
            let patterns = entry.ignore.iter().map(String::as_str).chain(PASSING);
            rules.push(Rule {
                service: service.name.clone(),
                path: entry.path.clone(),
                action: match entry.action.as_str() {
                    "rebuild" => Action::Rebuild,
                    "restart" => Action::Restart,
                    "sync+restart" => Action::SyncRestart,
                    "sync+exec" => Action::SyncExec,
                    _ => Action::Sync,
                },
                target: entry.target.trim_end_matches('/').to_owned(),
                hook: entry.exec.clone().unwrap_or_default(),
                initial: entry.initial_sync,
                ignore: Ignore::of(patterns).map_err(bad)?,
                include: entry.include.clone(),
                build: build.clone(),
            });
        }
    }
    Ok(rules)
}

fn build_exclusions(service: &Service) -> Result<Option<(PathBuf, Ignore)>, String> {
    let Some(context) = service.context().filter(|context| context.is_absolute()) else { return Ok(None) };
    let dockerfile = service.build.as_ref().map_or("", |build| build.dockerfile.as_str());
    for file in [context.join(format!("{dockerfile}.dockerignore")), context.join(".dockerignore")] {
        match fs::read_to_string(&file) {
            Ok(text) => {
                let ignore = Ignore::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
                return Ok(Some((context, ignore)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
        }
    }
    Ok(None)
}

impl Rule {
    /// Where a file of this machine is in the container, if the rule is about it.
    fn target_of(&self, file: &Path) -> Option<String> {
        let below = file.strip_prefix(&self.path).ok()?.to_str()?;
        if let Some((context, ignore)) = &self.build
            && let Some(path) = file.strip_prefix(context).ok().and_then(Path::to_str)
            && ignore.excluded_by(path).is_some()
        {
            return None;
        }
        if below.is_empty() {
            return Some(self.target.clone());
        }
        let included = |pattern: &String| {
            let anywhere = format!("**/{pattern}");
            let inside = format!("{pattern}/**");
            [pattern.as_str(), &anywhere, &inside].iter().any(|pattern| path_matches(pattern, below))
        };
        let wanted = self.include.is_empty() || self.include.iter().any(included);
        (wanted && self.ignore.excluded_by(below).is_none()).then(|| format!("{}/{below}", self.target))
    }

    fn copies(&self) -> bool {
        matches!(self.action, Action::Sync | Action::SyncRestart | Action::SyncExec)
    }
}

/// What has to be done to one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    pub rebuild: bool,
    /// Files of this machine that go into the containers, with their places there.
    pub copies: BTreeMap<PathBuf, String>,
    /// What is no longer there.
    pub removals: Vec<String>,
    pub restart: bool,
    pub hooks: Vec<Hook>,
}

/// What follows from changed paths, by service.
pub fn work(rules: &[Rule], changed: &[PathBuf]) -> BTreeMap<String, Work> {
    let mut all: BTreeMap<String, Work> = BTreeMap::new();
    for rule in rules {
        let mut touched = false;
        for path in changed {
            let Some(target) = rule.target_of(path) else { continue };
            touched = true;
            if !rule.copies() {
                continue;
            }
            let work = all.entry(rule.service.clone()).or_default();
            if fs::symlink_metadata(path).is_ok() {
                copy_below(rule, path, &mut work.copies);
            } else if !work.removals.contains(&target) {
                work.removals.push(target);
            }
        }
        if !touched {
            continue;
        }
        let work = all.entry(rule.service.clone()).or_default();
        match rule.action {
            Action::Rebuild => work.rebuild = true,
            Action::Restart | Action::SyncRestart => work.restart = true,
            Action::SyncExec if !work.hooks.contains(&rule.hook) => work.hooks.push(rule.hook.clone()),
            Action::Sync | Action::SyncExec => {}
        }
    }
    all
}

/// What `initial_sync` copies before anything has changed, by service.
pub fn initial(rules: &[Rule]) -> BTreeMap<String, Work> {
    let mut all: BTreeMap<String, Work> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.initial && rule.copies()) {
        copy_below(rule, &rule.path, &mut all.entry(rule.service.clone()).or_default().copies);
    }
    all.retain(|_, work| !work.copies.is_empty());
    all
}

// A directory brings what is in it: its files may have come before anybody listened. Links are not followed.
fn copy_below(rule: &Rule, path: &Path, into: &mut BTreeMap<PathBuf, String>) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    if found.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            copy_below(rule, &entry.path(), into);
        }
    } else if let Some(target) = rule.target_of(path) {
        into.insert(path.to_owned(), target);
    }
}

/// The services of a project that are watched.
pub fn watched(project: &Project) -> Vec<&Service> {
    let has_rules = |service: &&Service| service.develop.as_ref().is_some_and(|develop| !develop.watch.is_empty());
    project.services.values().filter(has_rules).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Develop, WatchEntry};

    fn entry(path: &Path, action: &str, target: &str) -> WatchEntry {
        WatchEntry { path: path.to_owned(), action: action.into(), target: target.into(), ..WatchEntry::default() }
    }

    fn service(watch: Vec<WatchEntry>) -> Service {
        Service { name: "web".into(), develop: Some(Develop { watch }), ..Service::default() }
    }

    #[test]
    fn changes_become_copies_removals_and_more() {
        let folder = std::env::temp_dir().join(format!("hako-watch-{}", std::process::id()));
        fs::create_dir_all(folder.join("src/new/deep")).unwrap();
        for file in ["src/a.py", "src/a.tmp", "src/.a.py.swp", "src/new/deep/b.py", "conf", "hook"] {
            fs::write(folder.join(file), file).unwrap();
        }
        let mut sync = entry(&folder.join("src"), "sync", "/app/");
        sync.ignore = vec!["*.tmp".into()];
        let hook = Hook { command: vec!["reload".into()], ..Hook::default() };
        let mut exec = entry(&folder.join("hook"), "sync+exec", "/etc/hook");
        exec.exec = Some(hook.clone());
        let all = [sync, entry(&folder.join("conf"), "rebuild", ""), exec];
        let rules = rules(std::iter::once(&service(all.to_vec()))).unwrap();
        let changed = ["src/a.py", "src/a.tmp", "src/.a.py.swp", "src/new", "src/gone", "hook", "elsewhere"]
            .map(|it| folder.join(it));
        let work = work(&rules, &changed);
        let copies = [("hook", "/etc/hook"), ("src/a.py", "/app/a.py"), ("src/new/deep/b.py", "/app/new/deep/b.py")];
        let expected = Work {
            copies: copies.map(|(from, to)| (folder.join(from), to.to_owned())).into(),
            removals: vec!["/app/gone".into()],
            hooks: vec![hook],
            ..Work::default()
        };
        assert_eq!(work["web"], expected);
        assert!(super::work(&rules, &[folder.join("conf")])["web"].rebuild);
        assert!(super::work(&rules, &[folder.join("src/a.tmp")]).is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_what_is_included_counts() {
        let mut sync = entry(Path::new("/w/src"), "sync", "/app");
        sync.include = vec!["*.py".into(), "static".into()];
        let rules = rules(std::iter::once(&service(vec![sync]))).unwrap();
        let target = |path: &str| rules[0].target_of(Path::new(path));
        assert_eq!(target("/w/src/a.py").as_deref(), Some("/app/a.py"));
        assert_eq!(target("/w/src/deep/a.py").as_deref(), Some("/app/deep/a.py"));
        assert_eq!(target("/w/src/static/x/y.css").as_deref(), Some("/app/static/x/y.css"));
        assert_eq!(target("/w/src/README"), None);
        assert_eq!(target("/w/other/a.py"), None);
    }
}
