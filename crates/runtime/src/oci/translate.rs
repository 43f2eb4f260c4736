//! A configuration becomes a plan: pure, tested as text.
//!
//! The descriptors that a plan needs are listed beside it in its own order; `open.rs` opens them. Whatever the
//! specification calls an error is one here, before anything exists; the process is `process.rs`'s part.

use std::path::{Path, PathBuf};

use hako_model::Propagation;

use super::{
    config::{self, Config, IdMapping, Linux},
    error::OciError,
    mount_option::{self as option, Options},
    process,
};
use crate::{
    extra::{ClockOffset, Extra, Hook},
    plan::{
        Device, DeviceKind, IdRange, LaunchPlan, Mount, MountFlags, MountSource, Namespace, Root, UserNamespace,
        default_devices,
    },
    sysctl::{self, Owner},
};

/// A descriptor to open; its place in the list is its index in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// The root, and whether it hears of mounts that the host makes in it later.
    Root {
        path: PathBuf,
        receives: bool,
    },
    Bind(Bind),
    Namespace {
        kind: &'static str,
        path: PathBuf,
    },
    /// A user namespace of these ranges, for a mount that shows its files so.
    Users {
        uids: Vec<IdRange>,
        gids: Vec<IdRange>,
    },
}

/// A bind mount, with all its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) source: PathBuf,
    pub(super) options: Options,
    pub(super) ids: Ids,
}

/// With whose ids a bind shows its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ids {
    Host,
    Ranges {
        uids: Vec<IdRange>,
        gids: Vec<IdRange>,
    },
    /// Those of a user namespace, an earlier need.
    Of(usize),
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Translated {
    pub(super) plan: LaunchPlan,
    pub(super) needs: Vec<Need>,
    /// What could not be granted and is no error.
    pub(super) warnings: Vec<String>,
}

/// Translates the configuration of the bundle in the directory `bundle`.
///
/// # Errors
/// [`OciError::Invalid`] and [`OciError::Unsupported`] say which property and why.
pub(super) fn translate(config: &Config, bundle: &Path) -> Result<Translated, OciError> {
    check_version(&config.oci_version)?;
    refuse(config)?;
    if config.annotations.contains_key("") {
        return Err(OciError::invalid("annotations", "a key is empty"));
    }
    let mut done = Translated::default();
    root(config, bundle, &mut done)?;
    let linux = &config.linux;
    namespaces(linux, &mut done)?;
    names(config, &mut done)?;
    for mount in &config.mounts {
        self::mount(mount, bundle, linux, &mut done)?;
    }
    devices(linux, &mut done.plan)?;
    sysctls(linux, &mut done.plan)?;
    paths(linux)?;
    done.plan.masked_paths.clone_from(&linux.masked_paths);
    done.plan.readonly_paths.clone_from(&linux.readonly_paths);
    let process = config.process.as_ref();
    done.plan.process = process::translate(process, linux.personality.as_ref(), &mut done.warnings)?;
    Ok(done)
}

// Compatible within a major version.
fn check_version(version: &str) -> Result<(), OciError> {
    let (core, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let numbers: Vec<Option<u32>> = core.split('.').map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(major), Some(_), Some(_)] => {
            Err(OciError::unsupported("ociVersion", format!("it is {major}.x, and this runtime knows 1.x")))
        }
        _ => Err(OciError::invalid("ociVersion", format!("{version:?} is no semantic version"))),
    }
}

fn refuse(config: &Config) -> Result<(), OciError> {
    let linux = &config.linux;
    for (property, is_there, reason) in [
        ("vm", config.vm.is_some(), "containers of this runtime are no virtual machines"),
        ("linux.intelRdt", linux.intel_rdt.is_some(), "this runtime does not manage resctrl"),
        ("linux.memoryPolicy", linux.memory_policy.is_some(), "this runtime sets no NUMA policy"),
        ("linux.netDevices", !linux.net_devices.is_empty(), "this runtime moves no network devices"),
    ] {
        if is_there {
            return Err(OciError::unsupported(property, reason));
        }
    }
    Ok(())
}

fn root(config: &Config, bundle: &Path, done: &mut Translated) -> Result<(), OciError> {
    let asked = config.root.as_ref().ok_or_else(|| OciError::invalid("root", "there is none"))?;
    if asked.path.is_empty() {
        return Err(OciError::invalid("root.path", "it is empty"));
    }
    let path = bundle.join(&asked.path);
    let mut propagation = Propagation::RPrivate;
    match config.linux.rootfs_propagation.as_str() {
        "" | "private" | "rprivate" => {}
        "slave" | "rslave" => propagation = Propagation::RSlave,
        "shared" | "rshared" => propagation = Propagation::RShared,
        "unbindable" | "runbindable" => done.plan.extra.root_unbindable = true,
        other => return Err(OciError::invalid("linux.rootfsPropagation", format!("{other:?} is none"))),
    }
    let receives = propagation == Propagation::RSlave;
    done.plan.root = Root { mount: done.needs.len(), read_only: asked.readonly, propagation };
    done.plan.extra = Extra { root_place: Some(path.clone()), ..std::mem::take(&mut done.plan.extra) };
    done.needs.push(Need::Root { path, receives });
    Ok(())
}

fn namespaces(linux: &Linux, done: &mut Translated) -> Result<(), OciError> {
    let mut seen: Vec<&str> = Vec::new();
    for asked in &linux.namespaces {
        let kind = asked.kind.as_str();
        if seen.contains(&kind) {
            return Err(OciError::invalid("linux.namespaces", format!("{kind} is there twice")));
        }
        seen.push(kind);
        let from = from_where(asked, done)?;
        let spaces = &mut done.plan.namespaces;
        match kind {
            "pid" => spaces.pid = from,
            "network" => spaces.network = from,
            "ipc" => spaces.ipc = from,
            "uts" => spaces.uts = from,
            "cgroup" => spaces.cgroup = from,
            "time" => spaces.time = from,
            "user" => spaces.user = user_namespace(from, linux)?,
            _ if from == Namespace::New => {}
            _ => return Err(OciError::unsupported("linux.namespaces", "a mount namespace of others cannot be joined")),
        }
    }
    if !seen.contains(&"mount") {
        let reason = "a container always has a mount namespace of its own";
        return Err(OciError::unsupported("linux.namespaces without mount", reason));
    }
    let maps = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if maps && !seen.contains(&"user") {
        return Err(OciError::invalid("linux.uidMappings", "there is no user namespace to map ids of"));
    }
    done.plan.extra.loopback = done.plan.namespaces.network == Namespace::New;
    clocks(linux, &mut done.plan)
}

fn from_where(asked: &config::Namespace, done: &mut Translated) -> Result<Namespace, OciError> {
    const KINDS: [&str; 8] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];
    let kind = KINDS.into_iter().find(|kind| *kind == asked.kind);
    let kind = kind.ok_or_else(|| OciError::invalid("linux.namespaces", format!("{:?} is none", asked.kind)))?;
    if asked.path.is_empty() {
        return Ok(Namespace::New);
    }
    if !asked.path.starts_with('/') {
        return Err(OciError::invalid("linux.namespaces", format!("path {:?} is not absolute", asked.path)));
    }
    done.needs.push(Need::Namespace { kind, path: PathBuf::from(&asked.path) });
    Ok(Namespace::Join(done.needs.len() - 1))
}

fn user_namespace(from: Namespace, linux: &Linux) -> Result<UserNamespace, OciError> {
    match from {
        Namespace::Host => Ok(UserNamespace::Host),
        Namespace::Join(index) => Ok(UserNamespace::Join(index)),
        Namespace::New if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() => {
            Err(OciError::invalid("linux.uidMappings", "a new user namespace needs mappings of uids and gids"))
        }
        Namespace::New => {
            Ok(UserNamespace::New { uids: ranges(&linux.uid_mappings), gids: ranges(&linux.gid_mappings) })
        }
    }
}

fn ranges(mappings: &[IdMapping]) -> Vec<IdRange> {
    mappings.iter().map(|one| IdRange { container: one.container, host: one.host, count: one.size }).collect()
}

fn clocks(linux: &Linux, plan: &mut LaunchPlan) -> Result<(), OciError> {
    if linux.time_offsets.is_empty() {
        return Ok(());
    }
    if plan.namespaces.time != Namespace::New {
        return Err(OciError::invalid("linux.timeOffsets", "there is no new time namespace"));
    }
    for (clock, offset) in &linux.time_offsets {
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            return Err(OciError::invalid("linux.timeOffsets", format!("{clock:?} is no clock of a time namespace")));
        }
        let (clock, seconds, nanoseconds) = (clock.clone(), offset.secs, offset.nanosecs);
        plan.extra.clocks.push(ClockOffset { clock, seconds, nanoseconds });
    }
    Ok(())
}

fn names(config: &Config, done: &mut Translated) -> Result<(), OciError> {
    let named = !config.hostname.is_empty() || !config.domainname.is_empty();
    if named && done.plan.namespaces.uts == Namespace::Host {
        return Err(OciError::invalid("hostname", "unable to set hostname without a private UTS namespace"));
    }
    done.plan.hostname.clone_from(&config.hostname);
    done.plan.domainname.clone_from(&config.domainname);
    Ok(())
}

fn mount(asked: &config::Mount, bundle: &Path, linux: &Linux, done: &mut Translated) -> Result<(), OciError> {
    let mut options = Options::parse(&asked.options);
    // Older configurations have relative ones, meant from the root.
    let target = Path::new("/").join(&asked.destination);
    let target = in_root(&target, done).map_or(target.clone(), |inside| Path::new("/").join(inside));
    let target = target.to_str().map(str::to_owned).unwrap_or_default();
    let is_bind = options.bind.is_some() || (asked.kind == "bind" && !options.remount);
    let bits = |bit: u64| (options.set | options.below_set) & bit != 0;
    let flags = MountFlags {
        read_only: bits(option::RDONLY),
        nosuid: bits(option::NOSUID),
        nodev: bits(option::NODEV),
        noexec: bits(option::NOEXEC),
        noatime: bits(option::NOATIME),
        strict_atime: bits(option::STRICTATIME),
        nodiratime: bits(option::NODIRATIME),
        nosymfollow: bits(option::NOSYMFOLLOW),
        copy_up: options.copy_up && asked.kind == "tmpfs",
        travel: options.travel,
        ..MountFlags::NONE
    };
    let (source, flags) = if options.remount {
        let change = MountSource::Remount { set: options.set, clear: options.clear };
        (change, MountFlags::NONE)
    } else if is_bind {
        options.bind.get_or_insert(true);
        match own(&bundle.join(&asked.source), &options, asked, linux, done)? {
            Some(own) => (own, MountFlags { travel: options.travel, ..MountFlags::NONE }),
            None => (bind(asked, options, bundle, linux, done)?, MountFlags::NONE),
        }
    } else if options.mapped.is_some() || !asked.uid_mappings.is_empty() || !asked.gid_mappings.is_empty() {
        return Err(OciError::unsupported("mounts with mapped ids", "only binds can have them"));
    } else {
        (filesystem(asked, options.data)?, flags)
    };
    done.plan.mounts.push(Mount { target, source, flags });
    Ok(())
}

// The part of a path of the host's that is below the container's root.
fn in_root<'a>(path: &'a Path, done: &Translated) -> Option<&'a Path> {
    let root = done.plan.extra.root_place.as_deref().filter(|root| *root != Path::new("/"))?;
    path.strip_prefix(root).ok()
}

// A bind of something that an earlier mount brings, named by where the root is on the host: it is there only when that
// mount has been made.
fn own(
    source: &Path,
    options: &Options,
    asked: &config::Mount,
    linux: &Linux,
    done: &mut Translated,
) -> Result<Option<MountSource>, OciError> {
    let Some(inside) = in_root(source, done).map(|path| Path::new("/").join(path)) else { return Ok(None) };
    let brought = |mount: &Mount| inside.starts_with(&mount.target) || Path::new(&mount.target).starts_with(&inside);
    if !done.plan.mounts.iter().any(brought) {
        return Ok(None);
    }
    let below = options.mapped == Some(true);
    let mapped = match ids(asked, options, linux, done)? {
        Ids::Host => None,
        Ids::Of(index) => Some((index, below)),
        Ids::Ranges { uids, gids } => {
            done.needs.push(Need::Users { uids, gids });
            Some((done.needs.len() - 1, below))
        }
    };
    Ok(Some(MountSource::Own {
        path: inside,
        recursive: options.bind == Some(true),
        set: [options.set, options.below_set],
        clear: [options.clear, options.below_clear],
        mapped,
    }))
}

fn bind(
    asked: &config::Mount,
    options: Options,
    bundle: &Path,
    linux: &Linux,
    done: &mut Translated,
) -> Result<MountSource, OciError> {
    if asked.source.is_empty() {
        return Err(OciError::invalid("mounts", format!("the bind at {} has no source", asked.destination)));
    }
    let ids = ids(asked, &options, linux, done)?;
    done.needs.push(Need::Bind(Bind { source: bundle.join(&asked.source), options, ids }));
    Ok(MountSource::Descriptor(done.needs.len() - 1))
}

fn ids(asked: &config::Mount, options: &Options, linux: &Linux, done: &Translated) -> Result<Ids, OciError> {
    let own = !asked.uid_mappings.is_empty() || !asked.gid_mappings.is_empty();
    if own && (asked.uid_mappings.is_empty() || asked.gid_mappings.is_empty()) {
        return Err(OciError::invalid("mounts", "uidMappings and gidMappings come together"));
    }
    Ok(match &done.plan.namespaces.user {
        _ if own => Ids::Ranges { uids: ranges(&asked.uid_mappings), gids: ranges(&asked.gid_mappings) },
        _ if options.mapped.is_none() => Ids::Host,
        UserNamespace::New { .. } => {
            Ids::Ranges { uids: ranges(&linux.uid_mappings), gids: ranges(&linux.gid_mappings) }
        }
        UserNamespace::Join(index) => Ids::Of(*index),
        UserNamespace::Host => {
            return Err(OciError::invalid(
                "mounts",
                "idmap without mappings and without a user namespace to take them from",
            ));
        }
    })
}

fn filesystem(asked: &config::Mount, mut options: Vec<(String, Option<String>)>) -> Result<MountSource, OciError> {
    match asked.kind.as_str() {
        "" => Err(OciError::invalid("mounts", format!("the mount at {} has no type", asked.destination))),
        "proc" if options.is_empty() => Ok(MountSource::Proc),
        "sysfs" => Ok(MountSource::Sysfs),
        "mqueue" => Ok(MountSource::Mqueue),
        "cgroup" | "cgroup2" => Ok(MountSource::Cgroup),
        "devpts" if options.is_empty() => Ok(MountSource::Devpts),
        "tmpfs" if options.iter().all(|(_, value)| value.is_some()) => {
            let source = (!asked.source.is_empty()).then(|| ("source".to_owned(), Some(asked.source.clone())));
            let with_value = |(name, value): (String, Option<String>)| Some((name, value?));
            Ok(MountSource::Tmpfs(source.into_iter().chain(options).filter_map(with_value).collect()))
        }
        kind => {
            if !asked.source.is_empty() {
                options.insert(0, ("source".to_owned(), Some(asked.source.clone())));
            }
            Ok(MountSource::Filesystem { kind: kind.to_owned(), options })
        }
    }
}

// One that is meant from elsewhere would leave open what it is to close.
fn paths(linux: &Linux) -> Result<(), OciError> {
    for (property, paths) in
        [("linux.maskedPaths", &linux.masked_paths), ("linux.readonlyPaths", &linux.readonly_paths)]
    {
        if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
            return Err(OciError::invalid(property, format!("path {path:?} is not absolute")));
        }
    }
    Ok(())
}

fn devices(linux: &Linux, plan: &mut LaunchPlan) -> Result<(), OciError> {
    let mut devices = linux.devices.iter().map(device).collect::<Result<Vec<_>, _>>()?;
    let asked: Vec<String> = devices.iter().map(|device| device.path.clone()).collect();
    plan.devices = default_devices().into_iter().filter(|device| !asked.contains(&device.path)).collect();
    plan.devices.append(&mut devices);
    Ok(())
}

fn device(asked: &config::Device) -> Result<Device, OciError> {
    let kind = match asked.kind.as_str() {
        "c" | "u" => DeviceKind::Character,
        "b" => DeviceKind::Block,
        "p" => DeviceKind::Fifo,
        other => return Err(OciError::invalid("linux.devices", format!("{other:?} is no type of device"))),
    };
    if !asked.path.starts_with('/') {
        return Err(OciError::invalid("linux.devices", format!("path {:?} is not absolute", asked.path)));
    }
    let number = |number: Option<i64>| match number {
        None if kind == DeviceKind::Fifo => Ok(0),
        None => Err(OciError::invalid("linux.devices", format!("{} has no number", asked.path))),
        Some(number) => u32::try_from(number)
            .map_err(|_| OciError::invalid("linux.devices", format!("{number} is no device number"))),
    };
    Ok(Device {
        path: asked.path.clone(),
        host: asked.path.clone(),
        kind,
        major: number(asked.major)?,
        minor: number(asked.minor)?,
        mode: asked.file_mode.unwrap_or(0o666) & 0o7777,
        uid: asked.uid.unwrap_or(0),
        gid: asked.gid.unwrap_or(0),
    })
}

// A parameter of the kernel that no namespace of the container owns would be the host's.
fn sysctls(linux: &Linux, plan: &mut LaunchPlan) -> Result<(), OciError> {
    for (name, value) in &linux.sysctl {
        let spaces = &plan.namespaces;
        let is_own = match sysctl::owner(name) {
            Some(Owner::Network) => spaces.network != Namespace::Host,
            Some(Owner::Ipc) => spaces.ipc != Namespace::Host,
            Some(Owner::Uts) => spaces.uts != Namespace::Host,
            Some(Owner::User) => spaces.user != UserNamespace::Host,
            None => false,
        };
        if !is_own {
            let reason = format!("sysctl {name:?} is not in a separate kernel namespace");
            return Err(OciError::invalid("linux.sysctl", reason));
        }
        plan.sysctls.insert(name.clone(), value.clone());
    }
    Ok(())
}

/// Hooks in the runtime's own words.
///
/// # Errors
/// For a path that is not absolute, and a time that is none.
pub(super) fn hooks(asked: &[config::Hook]) -> Result<Vec<Hook>, OciError> {
    let one = |hook: &config::Hook| {
        if !hook.path.starts_with('/') {
            return Err(OciError::invalid("hooks", format!("path {:?} is not absolute", hook.path)));
        }
        let timeout_s = hook.timeout.map(u32::try_from).transpose().ok().filter(|timeout| *timeout != Some(0));
        let timeout_s = timeout_s.ok_or_else(|| OciError::invalid("hooks", "a timeout must be greater than zero"))?;
        Ok(Hook { path: hook.path.clone(), args: hook.args.clone(), env: hook.env.clone(), timeout_s })
    };
    asked.iter().map(one).collect()
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
