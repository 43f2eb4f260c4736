//! What is mounted into a container: `Binds`, `Mounts` and `Tmpfs` are three spellings of one list.
//!
//! For `inspect` each mount goes back to the spelling it came in: `from_binds` tells which.

use std::collections::BTreeSet;

use hako_api::{
    Map,
    container::{
        Mount, MountBindOptions, MountDriverConfig, MountIdMapping, MountImageOptions, MountPoint, MountTmpfsOptions,
        MountVolumeOptions,
    },
};
use hako_engine::view::MountView;
use hako_model::{
    BindOptions, IdMapping, ImageOptions, MountKind, MountSpec, Propagation, TmpfsOptions, VolumeOptions,
};

use crate::{convert::unsigned, error::Failure};

/// The three spellings.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Spelled {
    pub(crate) binds: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: Map,
}

/// All mounts of a request.
pub(crate) fn mounts(binds: &[String], mounts: &[Mount], tmpfs: &Map) -> Result<Vec<MountSpec>, Failure> {
    let mut list = Vec::with_capacity(binds.len() + mounts.len() + tmpfs.len());
    for text in binds {
        list.push(bind(text)?);
    }
    for mount in mounts {
        list.push(mount_spec(mount)?);
    }
    for (target, options) in tmpfs {
        let options = options.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let tmpfs = TmpfsOptions { size_bytes: 0, mode: None, options };
        list.push(MountSpec { tmpfs: Some(tmpfs), from_binds: true, ..blank(MountKind::Tmpfs, "", target) });
    }
    Ok(list)
}

fn blank(kind: MountKind, source: &str, target: &str) -> MountSpec {
    MountSpec {
        kind,
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: false,
        bind: None,
        volume: None,
        tmpfs: None,
        image: None,
        consistency: String::new(),
        from_binds: false,
        mode: String::new(),
    }
}

/// `SOURCE:TARGET[:MODE]` or, for a volume without a name, `TARGET`.
fn bind(text: &str) -> Result<MountSpec, Failure> {
    let invalid = || Failure::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(3, ':').collect();
    let (source, target, mode) = match parts[..] {
        [target] if target.starts_with('/') => ("", target, ""),
        [source, target, mode] if !source.is_empty() && !target.is_empty() => (source, target, mode),
        // A target and a mode are no mount; anything else was meant to be a target.
        [source, target] if !source.is_empty() && !matches!(target, "" | "ro" | "rw" | "z" | "Z" | "nocopy") => {
            (source, target, "")
        }
        _ => return Err(invalid()),
    };
    let kind = if source.starts_with('/') { MountKind::Bind } else { MountKind::Volume };
    let read = if mode.is_empty() { Mode::default() } else { Mode::parse(mode)? };
    let foreign = match kind {
        MountKind::Bind => read.no_copy.then_some("VolumeOptions"),
        _ => read.propagation.is_some().then_some("BindOptions"),
    };
    if let Some(field) = foreign {
        return Err(Failure::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type {:?}: field {field} must not be specified",
            kind_name(kind)
        )));
    }
    let (bind, volume) = match kind {
        MountKind::Bind => {
            (Some(BindOptions { create_source: true, propagation: read.propagation, ..BindOptions::default() }), None)
        }
        _ => (None, Some(VolumeOptions { no_copy: read.no_copy, ..VolumeOptions::default() })),
    };
    Ok(MountSpec {
        from_binds: true,
        mode: mode.to_owned(),
        read_only: read.read_only,
        consistency: read.consistency,
        bind,
        volume,
        ..blank(kind, source, target)
    })
}

/// The words behind the second colon of a bind.
#[derive(Default)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    consistency: String,
    propagation: Option<Propagation>,
}

impl Mode {
    /// At most one word of each sort, as Docker has it.
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut mode = Self::default();
        let mut sorts = BTreeSet::new();
        for word in text.split(',') {
            let sort = match word {
                "ro" | "rw" => {
                    mode.read_only = word == "ro";
                    Some("access")
                }
                // SELinux labels: without effect where SELinux is not, as in Docker.
                "z" | "Z" => Some("label"),
                "nocopy" => {
                    mode.no_copy = true;
                    Some("copy")
                }
                "cached" | "consistent" | "delegated" => {
                    word.clone_into(&mut mode.consistency);
                    Some("consistency")
                }
                other => {
                    mode.propagation = propagation(other);
                    mode.propagation.map(|_| "propagation")
                }
            };
            if !sort.is_some_and(|sort| sorts.insert(sort)) {
                return Err(Failure::invalid(format!("invalid mode: {text}")));
            }
        }
        Ok(mode)
    }
}

fn mount_spec(from: &Mount) -> Result<MountSpec, Failure> {
    let invalid = |why: &str| Failure::invalid(format!("invalid mount config for type {:?}: {why}", from.kind));
    let kind = match from.kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" | "" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        // Clustered volumes are a swarm's, npipes are Windows': neither exists on this host, and Docker says no more.
        _ => return Err(invalid("mount type unknown")),
    };
    if from.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    if matches!(kind, MountKind::Bind | MountKind::Image) && from.source.is_empty() {
        return Err(invalid("field Source must not be empty"));
    }
    if kind == MountKind::Tmpfs && !from.source.is_empty() {
        return Err(invalid("field Source must not be specified"));
    }
    for (name, given, allowed) in [
        ("BindOptions", from.bind_options.is_some(), MountKind::Bind),
        ("VolumeOptions", from.volume_options.is_some(), MountKind::Volume),
        ("TmpfsOptions", from.tmpfs_options.is_some(), MountKind::Tmpfs),
        ("ImageOptions", from.image_options.is_some(), MountKind::Image),
    ] {
        if given && kind != allowed {
            return Err(invalid(&format!("field {name} must not be specified")));
        }
    }
    Ok(MountSpec {
        read_only: from.read_only,
        consistency: from.consistency.clone(),
        bind: from.bind_options.as_ref().map(bind_options).transpose()?,
        volume: from.volume_options.as_ref().map(volume_options),
        tmpfs: from.tmpfs_options.as_ref().map(tmpfs_options).transpose()?,
        image: from.image_options.as_ref().map(|image| ImageOptions { subpath: image.subpath.clone() }),
        ..blank(kind, &from.source, &from.target)
    })
}

fn bind_options(from: &MountBindOptions) -> Result<BindOptions, Failure> {
    let propagation = match from.propagation.as_str() {
        "" => None,
        text => {
            let invalid = || {
                Failure::invalid(format!("invalid mount config for type \"bind\": invalid propagation mode: {text}"))
            };
            Some(propagation(text).ok_or_else(invalid)?)
        }
    };
    Ok(BindOptions {
        propagation,
        non_recursive: from.non_recursive,
        create_source: from.create_mountpoint,
        read_only_non_recursive: from.read_only_non_recursive,
        read_only_force_recursive: from.read_only_force_recursive,
        id_mapping: from.id_mapping.as_ref().map(id_mapping).transpose()?,
    })
}

fn id_mapping(from: &MountIdMapping) -> Result<IdMapping, Failure> {
    let invalid =
        |why: &str| Err(Failure::invalid(format!("invalid mount config for type \"bind\": IDMapping: {why}")));
    match (from.source.as_str(), from.user.as_str()) {
        ("match-user", user) => Ok(IdMapping::MatchUser { user: user.to_owned() }),
        ("userns", "") => Ok(IdMapping::Userns),
        ("userns", _) => invalid("source userns takes no user"),
        (other, _) => invalid(&format!("unknown source {other:?}")),
    }
}

fn volume_options(from: &MountVolumeOptions) -> VolumeOptions {
    let driver = from.driver_config.clone().unwrap_or_default();
    VolumeOptions {
        no_copy: from.no_copy,
        labels: from.labels.clone(),
        driver: driver.name,
        driver_options: driver.options,
        subpath: from.subpath.clone(),
    }
}

fn tmpfs_options(from: &MountTmpfsOptions) -> Result<TmpfsOptions, Failure> {
    Ok(TmpfsOptions {
        size_bytes: unsigned("tmpfs size", from.size_bytes)?,
        mode: (from.mode != 0).then_some(from.mode),
        options: from.options.iter().map(|words| words.join("=")).collect(),
    })
}

fn propagation(text: &str) -> Option<Propagation> {
    Some(match text {
        "private" => Propagation::Private,
        "rprivate" => Propagation::RPrivate,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::RShared,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::RSlave,
        _ => return None,
    })
}

fn propagation_name(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::RPrivate => "rprivate",
        Propagation::Shared => "shared",
        Propagation::RShared => "rshared",
        Propagation::Slave => "slave",
        Propagation::RSlave => "rslave",
    }
}

fn kind_name(kind: MountKind) -> &'static str {
    match kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
        MountKind::Image => "image",
    }
}

/// Each mount in the spelling it came in.
pub(crate) fn spell(mounts: &[MountSpec]) -> Spelled {
    let mut spelled = Spelled::default();
    for mount in mounts {
        match (mount.from_binds, mount.kind) {
            (true, MountKind::Tmpfs) => {
                let options = mount.tmpfs.as_ref().map_or_else(String::new, |tmpfs| tmpfs.options.join(","));
                spelled.tmpfs.insert(mount.target.clone(), options);
            }
            (true, _) => {
                let parts = [&mount.source, &mount.target, &mount.mode];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
                spelled.binds.push(parts.join(":"));
            }
            (false, _) => spelled.mounts.push(mount_to_api(mount)),
        }
    }
    spelled
}

fn mount_to_api(mount: &MountSpec) -> Mount {
    Mount {
        kind: kind_name(mount.kind).to_owned(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: mount.bind.as_ref().map(|bind| MountBindOptions {
            propagation: bind.propagation.map(propagation_name).unwrap_or_default().to_owned(),
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_source,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
            id_mapping: bind.id_mapping.as_ref().map(|mapping| match mapping {
                IdMapping::MatchUser { user } => MountIdMapping { source: "match-user".to_owned(), user: user.clone() },
                IdMapping::Userns => MountIdMapping { source: "userns".to_owned(), user: String::new() },
            }),
        }),
        volume_options: mount.volume.as_ref().map(|volume| MountVolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels.clone(),
            subpath: volume.subpath.clone(),
            driver_config: (!volume.driver.is_empty() || !volume.driver_options.is_empty())
                .then(|| MountDriverConfig { name: volume.driver.clone(), options: volume.driver_options.clone() }),
        }),
        image_options: mount.image.as_ref().map(|image| MountImageOptions { subpath: image.subpath.clone() }),
        tmpfs_options: mount.tmpfs.as_ref().map(|tmpfs| MountTmpfsOptions {
            size_bytes: super::signed(tmpfs.size_bytes),
            mode: tmpfs.mode.unwrap_or_default(),
            options: tmpfs.options.iter().map(|option| option.splitn(2, '=').map(str::to_owned).collect()).collect(),
        }),
    }
}

/// A mount as it was carried out.
pub(crate) fn point(mount: MountView) -> MountPoint {
    MountPoint {
        kind: kind_name(mount.kind).to_owned(),
        name: mount.name,
        source: mount.source,
        destination: mount.target,
        driver: mount.driver,
        mode: mount.mode,
        rw: mount.writable,
        propagation: mount.propagation.map(propagation_name).unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match bind(text) {
            Ok(mount) => format!(
                "{} {:?} {:?} ro={} {:?}",
                kind_name(mount.kind),
                mount.source,
                mount.target,
                mount.read_only,
                mount.bind.and_then(|bind| bind.propagation),
            ),
            Err(failure) => failure.message,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn binds_are_read_as_docker_reads_them() {
        check("/a:/b", "bind \"/a\" \"/b\" ro=false None");
        check("/a:/b:ro,rslave", "bind \"/a\" \"/b\" ro=true Some(RSlave)");
        check("data:/b:nocopy", "volume \"data\" \"/b\" ro=false None");
        check("/b", "volume \"\" \"/b\" ro=false None");
        check("/a:/b:z", "bind \"/a\" \"/b\" ro=false None");
        check("/a:ro", "invalid volume specification: '/a:ro'");
        check("/a:b", "bind \"/a\" \"b\" ro=false None");
        check("b", "invalid volume specification: 'b'");
        check(":/b", "invalid volume specification: ':/b'");
        check("", "invalid volume specification: ''");
        check("/a:/b:bad", "invalid mode: bad");
        check("/a:/b:ro,rw", "invalid mode: ro,rw");
        let refused = |text: &str, kind: &str, field: &str| {
            let why = format!("invalid mount config for type {kind:?}: field {field} must not be specified");
            check(text, &format!("invalid volume specification: '{text}': {why}"));
        };
        refused("data:/b:shared", "volume", "BindOptions");
        refused("/a:/b:nocopy", "bind", "VolumeOptions");
    }

    #[test]
    fn every_mount_goes_back_to_its_spelling() {
        let text = r#"[
            {"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rshared","CreateMountpoint":true}},
            {"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"NoCopy":true,"Subpath":"x","DriverConfig":{"Name":"local","Options":{"o":"1"}}}},
            {"Type":"image","Source":"i","Target":"/i","ImageOptions":{"Subpath":"x"}},
            {"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":4096,"Mode":448,"Options":[["noexec"],["uid","7"]]}}]"#;
        let asked = Spelled {
            binds: vec!["/x:/y:ro".into(), "/anonymous".into(), "named:/n".into()],
            mounts: serde_json::from_str(text).unwrap(),
            tmpfs: [("/run".to_owned(), "size=1m,noexec".to_owned())].into(),
        };
        assert_eq!(spell(&mounts(&asked.binds, &asked.mounts, &asked.tmpfs).unwrap()), asked);
    }

    #[test]
    fn mounts_that_make_no_sense_are_refused() {
        for (text, message) in [
            (
                r#"{"Type":"bind","Source":"/a"}"#,
                "invalid mount config for type \"bind\": field Target must not be empty",
            ),
            (
                r#"{"Type":"bind","Target":"/a"}"#,
                "invalid mount config for type \"bind\": field Source must not be empty",
            ),
            (
                r#"{"Type":"tmpfs","Target":"/a","BindOptions":{}}"#,
                "invalid mount config for type \"tmpfs\": field BindOptions must not be specified",
            ),
            (r#"{"Type":"npipe","Target":"/a"}"#, "invalid mount config for type \"npipe\": mount type unknown"),
            (
                r#"{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"Propagation":"x"}}"#,
                "invalid mount config for type \"bind\": invalid propagation mode: x",
            ),
        ] {
            let mount: Mount = serde_json::from_str(text).unwrap();
            assert_eq!(mount_spec(&mount).unwrap_err().message, message);
        }
    }
}
