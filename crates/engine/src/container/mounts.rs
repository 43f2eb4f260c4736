//! What a container's mounts are on this host: from wishes to sources, volumes made where needed.
//!
//! Deciding is [`resolve`]; [`make_volumes`] carries it out at create. Nothing is mounted before the start.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use hako_base::ErrorKind;
use hako_model::{ContainerId, ContainerSpec, ImageConfig, MountKind, MountSpec, Propagation};

use super::bind_ids::Users;
use super::start::start_error;
use crate::{Engine, EngineError, record::MountRecord};

/// The mounts of a container to be made.
pub(crate) struct Resolved {
    pub(crate) list: Vec<MountRecord>,
    /// Volumes that do not exist yet, by name.
    pub(crate) fresh: Vec<String>,
}

/// Finds the source of every mount, in the order of their targets: parents first.
///
/// # Errors
/// Two mounts at one target, a missing host path, a target that is none.
pub(crate) fn resolve(engine: &Engine, spec: &ContainerSpec, config: &ImageConfig) -> Result<Resolved, EngineError> {
    let mut list = Vec::new();
    let mut targets = BTreeSet::new();
    let mut fresh = Vec::new();
    let driver = spec.host.volume_driver.as_str();
    for wish in &spec.host.mounts {
        check_target(&wish.target).map_err(|why| refused(wish, &why))?;
        if !targets.insert(clean(&wish.target)) {
            return Err(EngineError::invalid(format!("Duplicate mount point: {}", wish.target)));
        }
        list.push(resolve_one(engine, wish, driver, &mut fresh)?);
    }
    for source in &spec.host.volumes_from {
        for mount in inherited(engine, source)? {
            if targets.insert(clean(&mount.target)) {
                list.push(mount);
            }
        }
    }
    // Paths that the image or `-v /path` wants kept get a volume without a name.
    for target in &config.volumes {
        check_target(target).map_err(EngineError::invalid)?;
        if targets.insert(clean(target)) {
            let wish = MountSpec {
                kind: MountKind::Volume,
                source: String::new(),
                target: clean(target),
                read_only: false,
                bind: None,
                volume: None,
                tmpfs: None,
                image: None,
                consistency: String::new(),
                from_binds: true,
                mode: String::new(),
            };
            list.push(resolve_one(engine, &wish, driver, &mut fresh)?);
        }
    }
    list.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(Resolved { list, fresh })
}

fn check_target(target: &str) -> Result<(), String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    if clean(target) == "/" {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(())
}

/// What is wrong with a mount, behind the words it was asked for with.
fn refused(wish: &MountSpec, why: &str) -> EngineError {
    let kind = match wish.kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Image => "image",
    };
    let text = format!("invalid mount config for type {kind:?}: {why}");
    if !wish.from_binds || wish.kind == MountKind::Tmpfs {
        return EngineError::invalid(text);
    }
    let words = [&wish.source, &wish.target, &wish.mode];
    let words: Vec<&str> = words.into_iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    EngineError::invalid(format!("invalid volume specification: '{}': {text}", words.join(":")))
}

/// `--tmpfs PATH:OPTIONS`: flags of the mount, and what a tmpfs knows.
fn check_tmpfs(options: &[String]) -> Result<(), EngineError> {
    const FLAGS: [&str; 32] = [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "bind",
        "rbind",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
        "relatime",
        "norelatime",
        "strictatime",
    ];
    const SETTINGS: [&str; 7] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"];
    for option in options {
        let known = match option.split_once('=') {
            Some((key, _)) => SETTINGS.contains(&key),
            None => FLAGS.contains(&option.as_str()) || option == "nostrictatime",
        };
        if !known {
            let name = option.split('=').next().unwrap_or_default();
            return Err(EngineError::invalid(format!("invalid tmpfs option {name:?}")));
        }
    }
    Ok(())
}

/// The path without `.`, `..` and doubled slashes.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn resolve_one(
    engine: &Engine,
    wish: &MountSpec,
    driver: &str,
    fresh: &mut Vec<String>,
) -> Result<MountRecord, EngineError> {
    let mut mount = MountRecord {
        kind: wish.kind,
        name: String::new(),
        source: String::new(),
        target: clean(&wish.target),
        driver: String::new(),
        mode: wish.mode.clone(),
        writable: !wish.read_only,
        propagation: None,
        anonymous: false,
        stack: None,
        spec: wish.clone(),
    };
    match wish.kind {
        MountKind::Bind => {
            mount.source = bind_source(wish)?;
            mount.propagation =
                Some(wish.bind.as_ref().and_then(|bind| bind.propagation).unwrap_or(Propagation::RPrivate));
        }
        MountKind::Volume => {
            let options = wish.volume.clone().unwrap_or_default();
            let driver = if options.driver.is_empty() { driver } else { &options.driver };
            crate::volume::check_driver(&wish.source, driver, hako_base::ErrorKind::InvalidInput)?;
            mount.anonymous = wish.source.is_empty();
            if mount.anonymous && !options.subpath.is_empty() {
                return Err(EngineError::invalid("must not set Subpath when using anonymous volumes"));
            }
            check_subpath("volume", &options.subpath)?;
            mount.name = if mount.anonymous { hako_base::random::hex(32) } else { wish.source.clone() };
            hako_volume::check_name(&mount.name).map_err(|error| EngineError::mechanism(error.kind(), &error))?;
            if engine.volumes.inspect(&mount.name).is_err() && !fresh.contains(&mount.name) {
                fresh.push(mount.name.clone());
            }
            mount.source = engine.volumes.path(&mount.name).display().to_string();
            "local".clone_into(&mut mount.driver);
            if mount.mode.is_empty() && !(wish.from_binds && mount.anonymous) {
                // Docker's default for volumes that somebody named or described; without effect where SELinux is not.
                "z".clone_into(&mut mount.mode);
            }
        }
        MountKind::Tmpfs if wish.from_binds => check_tmpfs(wish.tmpfs.as_ref().map_or(&[], |tmpfs| &tmpfs.options))?,
        MountKind::Tmpfs => {}
        MountKind::Image => {
            check_subpath("image", wish.image.as_ref().map_or("", |image| image.subpath.as_str()))?;
            // Not a 404: the command line would take the container's own image for missing.
            let image = engine.images.resolve(&wish.source).map_err(|error| EngineError::invalid(error.to_string()))?;
            mount.name.clone_from(&wish.source);
            mount.source = image.id.to_string();
            mount.stack = image.chain_id;
            mount.writable = false;
        }
    }
    Ok(mount)
}

fn check_subpath(kind: &str, subpath: &str) -> Result<(), EngineError> {
    if subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") {
        let text = format!("invalid mount config for type {kind:?}: subpath must be a relative path within the volume");
        return Err(EngineError::invalid(text));
    }
    Ok(())
}

/// A host path that exists, or that may be made: `-v` makes a missing directory, `--mount` does not.
fn bind_source(wish: &MountSpec) -> Result<String, EngineError> {
    let path = Path::new(&wish.source);
    if !path.is_absolute() {
        return Err(refused(wish, &format!("invalid mount path: '{}' mount path must be absolute", wish.source)));
    }
    let make = wish.from_binds || wish.bind.as_ref().is_some_and(|bind| bind.create_source);
    if path.exists() {
        return Ok(wish.source.clone());
    }
    let missing = || {
        EngineError::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            wish.source
        ))
    };
    // A socket that is not there yet must not become a directory: the daemon that owns it could then
    // never start again (the trap of `-v /var/run/docker.sock:…` on a host without Docker).
    if !make || path.extension().is_some_and(|extension| extension == "sock") {
        return Err(missing());
    }
    hako_base::file::make_dir(path, 0o755)
        .map_err(|error| EngineError::io(format_args!("cannot make the bind source {}", wish.source), &error))?;
    Ok(wish.source.clone())
}

/// `--volumes-from NAME[:ro|rw]`
fn inherited(engine: &Engine, source: &str) -> Result<Vec<MountRecord>, EngineError> {
    let (name, mode) = source.split_once(':').unwrap_or((source, ""));
    let mut read_only = false;
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        match word {
            "ro" => read_only = true,
            // SELinux labels: without effect where SELinux is not, as in Docker.
            "rw" | "z" | "Z" => {}
            _ => return Err(EngineError::invalid(format!("invalid mode: {mode}"))),
        }
    }
    let found = engine.containers.find(name).map_err(|error| EngineError::invalid(error.to_string()))?;
    let record = found.record();
    let mut mounts: Vec<MountRecord> =
        record.mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs).cloned().collect();
    for mount in &mut mounts {
        mount.writable &= !read_only;
        // Its owner is the container it came from.
        mount.anonymous = false;
    }
    Ok(mounts)
}

impl Engine {
    /// A bind, a volume or an image as a detached mount; `None` for what the runtime makes in place.
    ///
    /// # Errors
    /// Its source is not there any more, or cannot be mounted.
    pub(crate) fn open_mount(&self, mount: &MountRecord, users: &Users<'_>) -> Result<Option<OwnedFd>, EngineError> {
        let map = users.namespace;
        let bind = mount.spec.bind.clone().unwrap_or_default();
        let options = hako_volume::bind::Options {
            read_only: !mount.writable,
            recursive: !bind.non_recursive,
            read_only_recursive: !bind.read_only_non_recursive,
            propagation: mount.propagation.unwrap_or(Propagation::RPrivate),
        };
        let opened = match mount.kind {
            MountKind::Tmpfs => return Ok(None),
            MountKind::Image => {
                let subpath = mount.spec.image.as_ref().map_or("", |image| image.subpath.as_str());
                let mounted = self.images.stack_mount(mount.stack, Path::new(subpath), map);
                return mounted
                    .map(Some)
                    .map_err(|error| start_error(mount_text(mount, &error), 128, ErrorKind::InvalidInput));
            }
            MountKind::Bind => {
                let source = Path::new(&mount.source);
                if let Ok(Some(why)) = hako_volume::bind::lacks_peers(source, options.propagation) {
                    return Err(EngineError::invalid(why));
                }
                let opened = hako_volume::bind::open(source, &options);
                if let (Ok(opened), Some(how)) = (&opened, &bind.id_mapping) {
                    users.map(opened, how)?.map_err(|error| unmapped(mount, &error))?;
                }
                opened
            }
            MountKind::Volume => {
                let mounted = self.volumes.mount(&mount.name, subpath_of(mount), &options);
                let mounted = mounted.map_err(|error| EngineError::mechanism(error.kind(), &error))?;
                if let Some(map) = map {
                    hako_volume::bind::map(mounted.as_fd(), map).map_err(|error| unmapped(mount, &error))?;
                }
                return Ok(Some(mounted));
            }
        };
        opened.map(Some).map_err(|error| start_error(mount_text(mount, &error), 128, ErrorKind::InvalidInput))
    }
}

/// Not every file system can show other ids than it has (overlayfs and some of the network cannot).
fn unmapped(mount: &MountRecord, error: &std::io::Error) -> EngineError {
    let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
    let text = format!(
        "cannot mount {} {} with other ids: its file system maps none: {why}",
        if mount.kind == MountKind::Volume { "volume" } else { "bind" },
        if mount.kind == MountKind::Volume { &mount.name } else { &mount.source },
    );
    start_error(text, 128, ErrorKind::InvalidInput)
}

fn mount_text(mount: &MountRecord, error: &std::io::Error) -> String {
    let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
    if mount.kind == MountKind::Image {
        let subpath = mount.spec.image.as_ref().map_or("", |image| image.subpath.as_str());
        // Docker's words, which clients look for.
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => format!("cannot access path {subpath}: {why}"),
            std::io::ErrorKind::CrossesDevices => "path concatenation escapes the base directory".to_owned(),
            _ => why,
        };
        return format!("error while mounting {subpath:?} of image {} on {}: {why}", mount.name, mount.target);
    }
    if error.kind() == std::io::ErrorKind::NotFound {
        return format!("invalid mount config for type \"bind\": bind source path does not exist: {}", mount.source);
    }
    format!("error while mounting {} on {}: {why}", mount.source, mount.target)
}

/// Keeps the layers of images that are mounted, until the container is removed.
///
/// # Errors
/// An image that was removed meanwhile.
pub(crate) fn keep_images(engine: &Engine, id: ContainerId, resolved: &Resolved) -> Result<(), EngineError> {
    for stack in resolved.list.iter().filter_map(|mount| mount.stack) {
        let kept = engine.images.snapshot_keep(id, stack);
        kept.map_err(|error| EngineError::invalid(hako_base::error::chain(&error)))?;
    }
    Ok(())
}

/// Makes the volumes that do not exist and fills new ones with what the image has at their targets.
///
/// # Errors
/// Those of the volumes and of copying; what was made is removed by [`unmake_volumes`].
pub(crate) fn make_volumes(engine: &Engine, id: ContainerId, resolved: &Resolved) -> Result<(), EngineError> {
    // A step that fails half-way takes back its own half.
    make_and_fill(engine, id, resolved).inspect_err(|_| unmake_volumes(engine, &resolved.fresh))
}

fn make_and_fill(
    engine: &Engine,
    id: ContainerId,
    Resolved { list: mounts, fresh }: &Resolved,
) -> Result<(), EngineError> {
    for mount in mounts.iter().filter(|mount| fresh.contains(&mount.name)) {
        let options = mount.spec.volume.clone().unwrap_or_default();
        let made = engine.volumes.create(&hako_volume::Wish {
            name: mount.name.clone(),
            options: options.driver_options,
            labels: options.labels,
            anonymous: mount.anonymous,
        });
        made.map_err(|error| EngineError::mechanism(error.kind(), &error))?;
        crate::volume::publish_created(engine, &mount.name);
    }
    let to_fill: Vec<&MountRecord> = mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume && !mount.spec.volume.as_ref().is_some_and(|v| v.no_copy))
        .filter(|mount| engine.volumes.is_empty(&mount.name, subpath_of(mount)))
        .collect();
    if to_fill.is_empty() {
        return Ok(());
    }
    let root = engine.images.snapshot_view(id).map_err(crate::image::error)?;
    for mount in to_fill {
        engine
            .volumes
            .fill(&mount.name, subpath_of(mount), root.as_fd(), Path::new(&mount.target))
            .map_err(|error| EngineError::mechanism(error.kind(), &error))?;
    }
    Ok(())
}

/// The directory of a volume that is mounted; empty: all of it.
fn subpath_of(mount: &MountRecord) -> &str {
    mount.spec.volume.as_ref().map_or("", |volume| volume.subpath.as_str())
}

/// Takes [`make_volumes`] back.
pub(crate) fn unmake_volumes(engine: &Engine, fresh: &[String]) {
    for name in fresh {
        if let Err(error) = engine.volumes.remove(name) {
            tracing::debug!(volume = %name, %error, "was not made or cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_without_asking_the_file_system() {
        for (path, expected) in [("/a//b/./c", "/a/b/c"), ("/a/../../b", "/b"), ("/", "/"), ("/a/", "/a")] {
            assert_eq!(clean(path), expected);
        }
    }
}
