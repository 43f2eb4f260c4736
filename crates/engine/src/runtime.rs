//! Which code starts a container: hako's own, or another runtime that the daemon was told of (`--add-runtime`).
//!
//! Another runtime gets the same plan in OCI's words; how it is called is `hako_runtime::external`'s matter.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use hako_model::{ContainerId, HostSpec};
use hako_runtime::{
    LaunchPlan,
    cgroup::DeviceRules,
    external::{
        External,
        config::{Beside, of_plan},
    },
    seccomp,
};
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    container::plan::{Confinement, Seccomp, Security},
    record::Record,
};

/// The name of hako's own code, which no other runtime can have.
pub(crate) const OWN: &str = "hako";
/// What Docker calls its own: names that clients send and that mean "the usual one", unless somebody gave them away.
const USUAL: [&str; 2] = ["runc", "io.containerd.runc.v2"];

/// A program with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeProgram {
    /// A path, or a name to be looked up in `PATH`.
    pub path: PathBuf,
    /// What it is told at every call, before the command.
    pub arguments: Vec<String>,
}

/// The runtimes that a daemon knows beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtimes {
    pub named: BTreeMap<String, RuntimeProgram>,
    pub default: String,
}

impl Default for Runtimes {
    fn default() -> Self {
        Self { named: BTreeMap::new(), default: OWN.to_owned() }
    }
}

impl Runtimes {
    /// The program of this name or path; `None`: our own code.
    ///
    /// # Errors
    /// Docker's sentence for a name that nobody has.
    fn find(&self, name: &str) -> Result<Option<RuntimeProgram>, EngineError> {
        if let Some(program) = self.named.get(name) {
            return Ok(Some(program.clone()));
        }
        if name == OWN || USUAL.contains(&name) {
            return Ok(None);
        }
        if name.starts_with('/') && hako_runtime::observe::is_executable(name.as_ref()) {
            return Ok(Some(RuntimeProgram { path: name.into(), arguments: Vec::new() }));
        }
        Err(EngineError::invalid(format!("unknown or invalid runtime name: {name}")))
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The first that does not, by the name of its flag and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (name, program) in &self.named {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name == OWN {
                return Err(("add-runtime", format!("{OWN:?} is the name of the daemon's own")));
            }
            if name.is_empty() || !name.chars().all(word) {
                return Err(("add-runtime", format!("{name:?} is no name for a runtime")));
            }
            if program.path.as_os_str().is_empty() {
                return Err(("add-runtime", format!("runtime {name} has no program")));
            }
        }
        match self.find(&self.default) {
            Ok(_) => Ok(()),
            Err(_) => Err(("default-runtime", format!("specified default runtime '{}' does not exist", self.default))),
        }
    }
}

impl Engine {
    /// Whether there is such a runtime.
    ///
    /// # Errors
    /// Docker's sentence for a name that nobody has.
    pub(crate) fn check_runtime(&self, host: &HostSpec) -> Result<(), EngineError> {
        self.reloadable.read().runtimes.find(&host.runtime).map(drop)
    }

    /// The other runtime that this container is to be started with, if there is one.
    pub(crate) fn external(&self, record: &Record) -> Result<Option<External>, EngineError> {
        let name = &record.spec.host.runtime;
        let Some(program) = self.reloadable.read().runtimes.find(name)? else { return Ok(None) };
        if record.ids.is_some() {
            return Err(EngineError::invalid(format!(
                "runtime {name:?}: user namespaces are built for containers of hako's own runtime alone"
            )));
        }
        let root = &self.config.exec_root;
        Ok(Some(External {
            program: program.path,
            arguments: program.arguments,
            state: root.join("runtimes").join(name.trim_matches('/').replace('/', "-")),
            bundle: root.join("bundles").join(record.id.to_string()),
            id: record.id.to_string(),
        }))
    }

    /// Tells the other runtime what the plan says.
    pub(crate) fn write_bundle(
        &self,
        external: &External,
        record: &Record,
        plan: &LaunchPlan,
        security: &Security,
        confinement: &Confinement,
    ) -> Result<(), EngineError> {
        let host = &record.spec.host;
        let profile = match &security.seccomp {
            Seccomp::Unconfined => None,
            Seccomp::Default => Some(None),
            Seccomp::Profile(text) => Some(Some(text.as_str())),
        };
        let seccomp = profile
            .map(|text| seccomp::configuration(text, confinement.capabilities, security.io_uring))
            .transpose()
            .map_err(|error| EngineError::invalid(hako_base::error::chain(&error)))?;
        // Nothing is allowed that no rule allows, and runc takes no exceptions from a rule for many devices.
        let rules = match crate::container::device::rules(host)? {
            DeviceRules::List(rules) => DeviceRules::List(rules.into_iter().filter(|rule| rule.allow).collect()),
            all => all,
        };
        let parent = self.cgroup_parent_of(record);
        let configuration = of_plan(
            plan,
            &Beside {
                bundle: &external.bundle,
                cgroup: format!("/{}/{}", parent.trim_matches('/'), record.id),
                limits: &host.limits,
                devices: &rules,
                seccomp,
                terminal: record.spec.tty,
            },
        );
        external
            .prepare(&configuration)
            .map_err(|error| EngineError::io(format_args!("cannot write {}", external.bundle.display()), &error))
    }
}

/// What is left of a container's life at another runtime. Blocks until that has forgotten it.
pub(crate) fn forget(record: &Record) {
    if let Some(external) = &record.state.external {
        external.forget();
        external.remove_bundle();
    }
}

/// Removes what lies about containers at other runtimes that have no process any more: the daemon that was to tell them
/// has died.
pub(crate) fn sweep(exec_root: &Path, is_alive: impl Fn(&ContainerId) -> bool) {
    let states =
        std::fs::read_dir(exec_root.join("runtimes")).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in states.chain([exec_root.join("bundles")]) {
        for id in crate::recover::directories(&folder).iter().filter(|id| !is_alive(id)) {
            let _ = std::fs::remove_dir_all(folder.join(id.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_wrong_ones_told() {
        let crun = RuntimeProgram { path: "/usr/bin/crun".into(), arguments: Vec::new() };
        let with = |name: &str, default: &str| Runtimes {
            named: [(name.to_owned(), crun.clone())].into(),
            default: default.to_owned(),
        };
        let runtimes = with("crun", "crun");
        assert_eq!(runtimes.check(), Ok(()));
        assert_eq!(runtimes.find("crun").unwrap(), Some(crun.clone()));
        assert_eq!(runtimes.find("runc").unwrap(), None);
        assert_eq!(runtimes.find("nosuch").unwrap_err().to_string(), "unknown or invalid runtime name: nosuch");
        assert_eq!(runtimes.find("/bin/sh").unwrap().unwrap().path, PathBuf::from("/bin/sh"));
        assert!(runtimes.find("/etc/passwd").is_err());
        assert_eq!(with("runc", "hako").find("runc").unwrap(), Some(crun.clone()));
        assert_eq!(with("hako", "hako").check().unwrap_err().0, "add-runtime");
        assert_eq!(with("a b", "hako").check().unwrap_err().1, "\"a b\" is no name for a runtime");
        let wrong = with("crun", "nosuch").check().unwrap_err();
        assert_eq!(wrong, ("default-runtime", "specified default runtime 'nosuch' does not exist".to_owned()));
    }
}
