//! The launch plan: everything the keeper needs to make a container's process, decided beforehand.
//!
//! [`launch`] takes what `start` has prepared (descriptors by their place in the list) and the record,
//! and returns plain data. It looks at nothing else, so what a container will be can be tested as text.

use std::sync::Arc;

use hako_model::{HostSpec, MountKind};
use hako_runtime::{
    LaunchPlan, apparmor,
    capability::CapSet,
    extra::Special,
    plan::{
        self, CgroupJoin, Device, Index, Mount, MountFlags, MountSource, Namespace, Namespaces, Process, Rlimit, Root,
    },
    seccomp,
    user::User,
};

use crate::{Engine, EngineError, record::Record};

/// What a process of this container may do; `exec` needs it again.
#[derive(Debug, Clone)]
pub(crate) struct Confinement {
    pub(crate) capabilities: CapSet,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<Arc<seccomp::Program>>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) oom_score_adj: Option<i32>,
    /// Its AppArmor profile, where the kernel has such; empty: none.
    pub(crate) apparmor: String,
}

impl Confinement {
    /// What of it is beside the usual steps.
    pub(crate) fn special(&self) -> Special {
        Special { apparmor: self.apparmor.clone(), ..Special::default() }
    }
}

/// What Docker calls its own profile.
pub(crate) const DOCKERS_PROFILE: &str = "docker-default";

/// The settings of `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Security {
    pub(crate) seccomp: Seccomp,
    pub(crate) no_new_privileges: bool,
    pub(crate) paths_unconfined: bool,
    pub(crate) writable_cgroups: bool,
    pub(crate) apparmor: Apparmor,
    /// The calls of io_uring are allowed beside the profile's.
    pub(crate) io_uring: bool,
}

/// Which AppArmor profile there is, where the kernel has such.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Apparmor {
    /// The engine's own.
    #[default]
    Default,
    Unconfined,
    /// One that somebody else has loaded.
    Named(String),
}

/// Which system calls may be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Seccomp {
    #[default]
    Default,
    Unconfined,
    /// The text of a profile in Docker's form.
    Profile(String),
}

impl Security {
    /// Reads `--security-opt`; `key=value` and the older `key:value`.
    ///
    /// # Errors
    /// An option that there is none of, in Docker's words, or one that this host cannot keep.
    pub(crate) fn parse(host: &HostSpec) -> Result<Self, EngineError> {
        let mut security = Self::default();
        if host.privileged {
            security.seccomp = Seccomp::Unconfined;
            security.paths_unconfined = true;
            security.writable_cgroups = true;
            security.apparmor = Apparmor::Unconfined;
        }
        for option in &host.security_opt {
            match option.as_str() {
                "no-new-privileges" => security.no_new_privileges = true,
                "writable-cgroups" => security.writable_cgroups = true,
                _ => security.take(option)?,
            }
        }
        Ok(security)
    }

    fn take(&mut self, option: &str) -> Result<(), EngineError> {
        let invalid = || EngineError::invalid(format!("invalid --security-opt 2: {option:?}"));
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(invalid)?;
        match (key, value) {
            ("seccomp", "unconfined") => self.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin" | "default") => self.seccomp = Seccomp::Default,
            ("seccomp", text) => self.seccomp = Seccomp::Profile(text.to_owned()),
            ("no-new-privileges", "true") => self.no_new_privileges = true,
            ("no-new-privileges", "false") => self.no_new_privileges = false,
            ("systempaths", "unconfined") => self.paths_unconfined = true,
            ("allow", "io_uring") => self.io_uring = true,
            ("writable-cgroups", "true") => self.writable_cgroups = true,
            ("writable-cgroups", "false") => self.writable_cgroups = false,
            // As with Docker on a host without SELinux: labels are taken and mean nothing.
            ("label", _) => {}
            ("apparmor", "unconfined") => self.apparmor = Apparmor::Unconfined,
            ("apparmor", "" | apparmor::DEFAULT) => self.apparmor = Apparmor::Default,
            ("apparmor", profile) => self.apparmor = Apparmor::Named(profile.to_owned()),
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

impl Engine {
    /// The profile that the kernel is told; empty: none. Elsewhere a name means nothing, as with Docker; the creation has
    /// said so.
    pub(crate) fn apparmor_profile(&self, asked: &Apparmor) -> String {
        if !hako_runtime::observe::has_apparmor() {
            return String::new();
        }
        let own = || if self.apparmor == Ok(true) { apparmor::DEFAULT.to_owned() } else { String::new() };
        match asked {
            Apparmor::Default => own(),
            Apparmor::Unconfined => String::new(),
            // What people write who mean the usual one, and Docker has not been here.
            Apparmor::Named(name) if name == DOCKERS_PROFILE && !apparmor::is_loaded(name) => own(),
            Apparmor::Named(name) => name.clone(),
        }
    }

    /// The profile as `inspect` shows it.
    pub(crate) fn apparmor_shown(&self, host: &HostSpec) -> String {
        let asked = Security::parse(host).map(|security| security.apparmor).unwrap_or_default();
        match self.apparmor_profile(&asked) {
            none if none.is_empty() && hako_runtime::observe::has_apparmor() => "unconfined".to_owned(),
            profile => profile,
        }
    }

    /// The same with this daemon's own profile (`--seccomp-profile`) where the container names none.
    ///
    /// # Errors
    /// Those of [`Security::parse`].
    pub(crate) fn security(&self, host: &HostSpec) -> Result<Security, EngineError> {
        let mut security = Security::parse(host)?;
        let named = host.security_opt.iter().any(|option| option.starts_with("seccomp"));
        if let (Seccomp::Default, false, Some(own)) = (&security.seccomp, named, &self.config.seccomp) {
            security.seccomp = match own.as_str() {
                "unconfined" => Seccomp::Unconfined,
                text => Seccomp::Profile(text.to_owned()),
            };
        }
        Ok(security)
    }
}

/// What `start` has prepared for a plan.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) root: Index,
    pub(crate) namespaces: Namespaces,
    /// Descriptors of binds and volumes, in the order of the record's mounts; `None` for those made in place.
    pub(crate) mounts: Vec<Option<Index>>,
    /// The container's hostname, hosts and resolv.conf: (target, descriptor).
    pub(crate) files: Vec<(&'static str, Index)>,
    /// The host's `/dev/shm`, when it is shared.
    pub(crate) shm: Option<Index>,
    pub(crate) seccomp: Option<Index>,
    pub(crate) init: Option<Index>,
    pub(crate) cgroup: CgroupJoin,
    pub(crate) devices: Vec<Device>,
    pub(crate) user: User,
}

/// The plan for one start.
pub(crate) fn launch(
    record: &Record,
    security: &Security,
    confinement: &Confinement,
    prepared: Prepared,
) -> LaunchPlan {
    let host = &record.spec.host;
    let own_uts = prepared.namespaces.uts == Namespace::New;
    let process = process(record, confinement, &prepared);
    let mounts = mounts(record, security, &prepared);
    LaunchPlan {
        hostname: if own_uts { record.hostname.clone() } else { String::new() },
        domainname: if own_uts { record.spec.domainname.clone() } else { String::new() },
        namespaces: prepared.namespaces,
        root: Root { mount: prepared.root, read_only: host.read_only, propagation: propagation(record) },
        mounts,
        devices: plan::default_devices().into_iter().chain(prepared.devices).collect(),
        masked_paths: paths(host.masked_paths.as_ref(), security, plan::default_masked_paths),
        readonly_paths: paths(host.readonly_paths.as_ref(), security, plan::default_readonly_paths),
        sysctls: host.sysctls.clone(),
        cgroup: prepared.cgroup,
        init: prepared.init,
        process,
        extra: Default::default(),
        external: None,
    }
}

fn paths(asked: Option<&Vec<String>>, security: &Security, default: fn() -> Vec<String>) -> Vec<String> {
    match asked {
        Some(paths) => paths.clone(),
        None if security.paths_unconfined => Vec::new(),
        None => default(),
    }
}

/// A bind that is to see later mounts of the host needs a root that lets them through.
fn propagation(record: &Record) -> hako_model::Propagation {
    use hako_model::Propagation::{RPrivate, RShared, RSlave, Shared, Slave};
    let wanted = record.mounts.iter().filter_map(|mount| mount.propagation);
    wanted.fold(RPrivate, |root, mount| match (root, mount) {
        (_, Shared | RShared) | (RShared, _) => RShared,
        (_, Slave | RSlave) => RSlave,
        (root, _) => root,
    })
}

fn process(record: &Record, confinement: &Confinement, prepared: &Prepared) -> Process {
    let config = &record.config;
    Process {
        argv: std::iter::once(record.path.clone()).chain(record.args.iter().cloned()).collect(),
        env: environment(record, &prepared.user),
        cwd: if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
        user: prepared.user.clone(),
        umask: None,
        capabilities: confinement.capabilities,
        no_new_privileges: confinement.no_new_privileges,
        seccomp: prepared.seccomp,
        rlimits: confinement.rlimits.clone(),
        oom_score_adj: confinement.oom_score_adj,
        special: confinement.special(),
    }
}

/// The search path of a container whose image says none (Docker's).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `PATH`, `HOSTNAME`, `TERM` with a terminal, what was asked for, and `HOME` if nobody said. A name without a value
/// is a variable that is not wanted.
pub(crate) fn environment(record: &Record, user: &User) -> Vec<String> {
    let asked = &record.config.env;
    let has = |name: &str| asked.iter().any(|variable| variable.split('=').next() == Some(name));
    let mut env: Vec<String> = asked.iter().filter(|variable| variable.starts_with("PATH=")).cloned().collect();
    if !has("PATH") {
        env.push(PATH.to_owned());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={}", record.hostname));
    }
    if record.spec.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(record.link_env.iter().filter(|variable| !has(variable.split('=').next().unwrap_or_default())).cloned());
    env.extend(asked.iter().filter(|variable| variable.contains('=') && !variable.starts_with("PATH=")).cloned());
    if !has("HOME") {
        env.push(format!("HOME={}", user.home));
    }
    env
}

fn mounts(record: &Record, security: &Security, prepared: &Prepared) -> Vec<Mount> {
    let host = &record.spec.host;
    let mut defaults = plan::default_mounts(host.shm_size_bytes, security.writable_cgroups);
    if host.privileged {
        for mount in defaults.iter_mut().filter(|mount| mount.target.starts_with("/sys")) {
            mount.flags.read_only = false;
        }
    }
    for mount in defaults.iter_mut().filter(|mount| mount.target == "/sys") {
        mount.flags.read_only = !host.privileged;
    }
    match (host.ipc_mode.as_str(), prepared.shm) {
        ("none", _) => defaults.retain(|mount| mount.target != "/dev/shm"),
        (_, Some(shm)) => {
            for mount in defaults.iter_mut().filter(|mount| mount.target == "/dev/shm") {
                mount.source = MountSource::Descriptor(shm);
            }
        }
        _ => {}
    }
    let asked = record.mounts.iter().zip(&prepared.mounts).map(|(mount, descriptor)| Mount {
        target: mount.target.clone(),
        source: match descriptor {
            Some(index) => MountSource::Descriptor(*index),
            None => MountSource::Tmpfs(tmpfs_options(mount)),
        },
        flags: if mount.kind == MountKind::Tmpfs {
            tmpfs_flags(mount)
        } else {
            // Read-only, recursively or not, was set on the descriptor; other runtimes need to hear it.
            MountFlags { read_only: !mount.writable, ..MountFlags::default() }
        },
    });
    let files = prepared.files.iter().filter(|(target, _)| !record.mounts.iter().any(|mount| mount.target == *target));
    let files = files.map(|(target, index)| Mount {
        target: (*target).to_owned(),
        source: MountSource::Descriptor(*index),
        flags: MountFlags { read_only: host.read_only, ..MountFlags::default() },
    });
    plan::arrange_mounts(defaults, files.chain(asked).collect())
}

/// Options of the file system itself; those that are mount flags are [`tmpfs_flags`]'s.
fn tmpfs_options(mount: &crate::record::MountRecord) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = Vec::new();
    let Some(tmpfs) = &mount.spec.tmpfs else { return vec![("mode".to_owned(), "1777".to_owned())] };
    for option in &tmpfs.options {
        if let Some((key, value)) = option.split_once('=') {
            options.push((key.to_owned(), value.to_owned()));
        }
    }
    if tmpfs.size_bytes > 0 {
        options.push(("size".to_owned(), tmpfs.size_bytes.to_string()));
    }
    match tmpfs.mode {
        Some(mode) => options.push(("mode".to_owned(), format!("{mode:o}"))),
        None if !options.iter().any(|(key, _)| key == "mode") => options.push(("mode".to_owned(), "1777".to_owned())),
        None => {}
    }
    options
}

/// `--tmpfs` is nosuid, nodev and noexec unless it says otherwise; `--mount type=tmpfs` the same.
fn tmpfs_flags(mount: &crate::record::MountRecord) -> MountFlags {
    let said =
        |word: &str| mount.spec.tmpfs.as_ref().is_some_and(|tmpfs| tmpfs.options.iter().any(|option| option == word));
    MountFlags {
        read_only: !mount.writable || said("ro"),
        nosuid: !said("suid"),
        nodev: !said("dev"),
        noexec: !said("exec"),
        ..MountFlags::default()
    }
}

/// The capabilities of a container: all with `--privileged`, else Docker's list changed as asked.
///
/// # Errors
/// A capability that there is none of.
pub(crate) fn capabilities(host: &HostSpec) -> Result<CapSet, EngineError> {
    if host.privileged {
        return Ok(CapSet::all());
    }
    CapSet::adjusted(&host.cap_add, &host.cap_drop).map_err(|error| EngineError::invalid(error.to_string()))
}

/// The capabilities, filter and limits of a container.
///
/// # Errors
/// An unknown capability or ulimit, a seccomp profile that is none.
pub(crate) fn confinement(
    engine: &crate::Engine,
    record: &Record,
    security: &Security,
) -> Result<Confinement, EngineError> {
    let host = &record.spec.host;
    let capabilities = capabilities(host)?;
    let seccomp = match &security.seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Default => Some(seccomp::program(None, capabilities, security.io_uring)),
        Seccomp::Profile(text) => Some(seccomp::program(Some(text), capabilities, security.io_uring)),
    };
    let seccomp = seccomp.transpose().map_err(|error| EngineError::invalid(hako_base::error::chain(&error)))?;
    let rlimits: Result<Vec<Rlimit>, _> = host.limits.ulimits.iter().map(Rlimit::try_from).collect();
    Ok(Confinement {
        capabilities,
        no_new_privileges: security.no_new_privileges || engine.config.no_new_privileges,
        seccomp,
        rlimits: rlimits.map_err(|error| EngineError::invalid(error.to_string()))?,
        oom_score_adj: Some(host.limits.oom_score_adj),
        apparmor: engine.apparmor_profile(&security.apparmor),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[&str], expected: &str) {
        let host = HostSpec {
            security_opt: options.iter().map(|option| (*option).to_owned()).collect(),
            ..HostSpec::default()
        };
        let got = match Security::parse(&host) {
            Ok(security) => format!("{:?} nnp={}", security.seccomp, security.no_new_privileges),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn security_options_are_read_in_both_spellings() {
        check(&[], "Default nnp=false");
        check(&["seccomp=unconfined", "no-new-privileges"], "Unconfined nnp=true");
        check(&["seccomp:unconfined", "no-new-privileges:true"], "Unconfined nnp=true");
        check(&["seccomp={}"], "Profile(\"{}\") nnp=false");
        check(&["label=disable", "apparmor=docker-default", "allow=io_uring"], "Default nnp=false");
        check(&["allow=everything"], "invalid --security-opt 2: \"allow=everything\"");
        check(&["nonsense"], "invalid --security-opt 2: \"nonsense\"");
        check(&["colour=red"], "invalid --security-opt 2: \"colour=red\"");
    }
}
