//! Devices that are asked for by what they are: `--gpus`, and names of the Container Device Interface.
//!
//! A CDI file, in JSON or YAML, says what a device is made of: nodes, mounts, variables. It is the host's administrator who puts it into
//! one of the daemon's folders for them (`--cdi-spec-dir`); a container chooses by name only. Hooks are programs to be run on the way and are
//! refused: nothing here runs programs. What is found is put beside what the person asked for, for one start.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_model::{
    BindOptions, MountKind, MountSpec, Propagation,
    container::{DeviceMapping, DeviceRequest},
};
use serde::Deserialize;

use crate::{
    EngineError,
    record::{MountRecord, Record},
};

/// What descriptions say to builders, by BuildKit's names (reference.md, `RUN --device`).
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const OPEN: &str = "org.mobyproject.buildkit.device.autoallow";

/// NVIDIA's for one host has some 20 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What `--gpus` means where nobody names a vendor.
const GPU: &str = "nvidia.com/gpu";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    container_edits: Edits,
}

/// A device as a build step finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDevice {
    /// `vendor.com/class=name`
    pub name: String,
    /// Its description gives it to every build.
    pub is_open: bool,
}

/// What becomes of a container that has the device.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<serde_json::Value>,
    intel_rdt: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    #[serde(default)]
    host_path: String,
    #[serde(default)]
    permissions: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
}

/// The record as it is to be started: with what its requested devices are made of.
///
/// # Errors
/// A device that nobody describes, or whose description cannot be followed, in Docker's words where it has any.
pub(crate) fn with_devices(record: &Arc<Record>, folders: &[PathBuf]) -> Result<Arc<Record>, EngineError> {
    if record.spec.host.device_requests.is_empty() {
        return Ok(record.clone());
    }
    let known = Known::read(folders);
    let mut edits = Vec::new();
    for request in &record.spec.host.device_requests {
        let names = known.names(request)?;
        edits.extend(known.edits(&names)?);
    }
    let mut changed = (**record).clone();
    let (mut spec, mut config) = ((*changed.spec).clone(), (*changed.config).clone());
    for edit in edits {
        spec.host.devices.extend(edit.device_nodes.into_iter().map(mapping));
        config.env.extend(edit.env);
        changed.mounts.extend(edit.mounts.into_iter().map(mount));
    }
    changed.mounts.sort_by(|a, b| a.target.cmp(&b.target));
    (changed.spec, changed.config) = (Arc::new(spec), Arc::new(config));
    Ok(Arc::new(changed))
}

/// The devices that a build step means: one by its name, the first or all (`*`) of a kind, or those of a class; none if
/// nothing is described so.
pub(crate) fn find(wish: &str, folders: &[PathBuf]) -> Vec<FoundDevice> {
    Known::read(folders).find(wish)
}

/// The full names of all devices that are described on this host.
pub(crate) fn all(folders: &[PathBuf]) -> Vec<String> {
    let kinds = Known::read(folders).0;
    let of_kind = |(kind, found): (&String, &Kind)| -> Vec<String> {
        found.devices.keys().map(|device| format!("{kind}={device}")).collect()
    };
    kinds.iter().flat_map(of_kind).collect()
}

/// Every description of this host: by kind, its devices by name.
struct Known(BTreeMap<String, Kind>);

#[derive(Default)]
struct Kind {
    all: Edits,
    is_open: bool,
    devices: BTreeMap<String, Described>,
}

struct Described {
    edits: Edits,
    class: Option<String>,
    is_open: bool,
}

impl From<Device> for Described {
    fn from(device: Device) -> Self {
        let class = device.annotations.get(CLASS).and_then(|class| class.as_str()).map(str::to_owned);
        Self { edits: device.container_edits, class, is_open: is_open(&device.annotations) }
    }
}

fn from_yaml(text: &str) -> Result<Description, String> {
    let value = hako_base::yaml::value(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

// YAML's `true` becomes a boolean in JSON; an annotation proper is text.
fn is_open(annotations: &BTreeMap<String, serde_json::Value>) -> bool {
    annotations.get(OPEN).is_some_and(|value| *value == true || *value == "true")
}

impl Known {
    fn read(folders: &[PathBuf]) -> Self {
        let mut known = Self(BTreeMap::new());
        for folder in folders {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            let mut files: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
            files.sort();
            for file in files {
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("json") => {
                        known.add(&file, |text| serde_json::from_str(text).map_err(|error| error.to_string()))
                    }
                    Some("yaml" | "yml") => known.add(&file, from_yaml),
                    _ => {}
                }
            }
        }
        known
    }

    fn add(&mut self, file: &Path, parse: impl Fn(&str) -> Result<Description, String>) {
        let read = || -> Result<Description, String> {
            let mut text = String::new();
            let open = fs::File::open(file).map_err(|error| error.to_string())?;
            open.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
            parse(&text)
        };
        match read() {
            Ok(description) => self.describe(description),
            Err(error) => tracing::warn!(file = %file.display(), error, "is no CDI description"),
        }
    }

    fn describe(&mut self, description: Description) {
        let kind = self.0.entry(description.kind).or_default();
        kind.all = description.container_edits;
        kind.is_open = is_open(&description.annotations);
        kind.devices.extend(description.devices.into_iter().map(|one| (one.name.clone(), one.into())));
    }

    fn find(&self, wish: &str) -> Vec<FoundDevice> {
        let (of_kind, device) = wish.split_once('=').map_or((wish, None), |(kind, device)| (kind, Some(device)));
        let mut found = Vec::new();
        for (name, kind) in &self.0 {
            for (own, described) in &kind.devices {
                let is_meant = match device {
                    _ if name != of_kind => device.is_none() && described.class.as_deref() == Some(wish),
                    None => found.is_empty(),
                    Some(device) => device == "*" || device == own,
                };
                if is_meant {
                    let is_open = kind.is_open || described.is_open;
                    found.push(FoundDevice { name: format!("{name}={own}"), is_open });
                }
            }
        }
        found
    }

    /// The full names of what a request asks for.
    fn names(&self, request: &DeviceRequest) -> Result<Vec<String>, EngineError> {
        if request.driver == "cdi" && !request.ids.is_empty() {
            return Ok(request.ids.clone());
        }
        let gpu = request.capabilities.iter().flatten().any(|capability| capability == "gpu");
        let device = |id: &str| if id.contains('=') { id.to_owned() } else { format!("{GPU}={id}") };
        match (request.driver.as_str(), self.0.get(GPU)) {
            ("" | "nvidia", Some(kind)) if gpu => Ok(match (request.ids.is_empty(), request.count) {
                (false, _) => request.ids.iter().map(|id| device(id)).collect(),
                (true, -1) if kind.devices.contains_key("all") => vec![device("all")],
                (true, -1) => kind.devices.keys().map(|name| device(name)).collect(),
                (true, count) => (0..count).map(|number| device(&number.to_string())).collect(),
            }),
            _ => {
                let sets: Vec<String> = request.capabilities.iter().map(|set| format!("[{}]", set.join(" "))).collect();
                Err(refused(format!(
                    "could not select device driver {:?} with capabilities: [{}]",
                    request.driver,
                    sets.join(" ")
                )))
            }
        }
    }

    fn edits(&self, names: &[String]) -> Result<Vec<Edits>, EngineError> {
        let mut edits: Vec<Edits> = Vec::new();
        let (mut missing, mut kinds) = (Vec::new(), Vec::new());
        for name in names {
            let found = name.split_once('=').and_then(|(kind, device)| {
                let found = self.0.get(kind)?;
                Some((kind, found, found.devices.get(device)?))
            });
            let Some((kind, of_kind, of_device)) = found else {
                missing.push(name.as_str());
                continue;
            };
            // What belongs to every device of a kind belongs to the container once.
            if !kinds.contains(&kind) {
                kinds.push(kind);
                edits.push(of_kind.all.clone());
            }
            edits.push(of_device.edits.clone());
        }
        if !missing.is_empty() {
            return Err(refused(format!(
                "CDI device injection failed: unresolvable CDI devices {}",
                missing.join(", ")
            )));
        }
        if edits.iter().any(|edit| !edit.hooks.is_empty() || edit.intel_rdt.is_some()) {
            return Err(EngineError::NotBuilt {
                text: format!(
                    "CDI device injection failed: {} wants hooks or Intel RDT, which are not built",
                    names.join(", ")
                ),
            });
        }
        Ok(edits)
    }
}

fn refused(text: String) -> EngineError {
    EngineError::Start { text, exit_code: 128, kind: hako_base::ErrorKind::Internal }
}

fn mapping(node: Node) -> DeviceMapping {
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    DeviceMapping {
        host: or(node.host_path, &node.path),
        container: node.path,
        permissions: or(node.permissions, "rwm"),
    }
}

fn mount(mount: Mount) -> MountRecord {
    let read_only = mount.options.iter().any(|option| option == "ro");
    let recursive = !mount.options.iter().any(|option| option == "bind");
    let spec = MountSpec {
        kind: MountKind::Bind,
        source: mount.host_path.clone(),
        target: mount.container_path.clone(),
        read_only,
        bind: Some(BindOptions { non_recursive: !recursive, ..BindOptions::default() }),
        volume: None,
        tmpfs: None,
        image: None,
        consistency: String::new(),
        from_binds: false,
        mode: String::new(),
    };
    MountRecord {
        kind: MountKind::Bind,
        name: String::new(),
        source: mount.host_path,
        target: super::mounts::clean(&mount.container_path),
        driver: String::new(),
        mode: String::new(),
        writable: !read_only,
        propagation: Some(Propagation::RPrivate),
        anonymous: false,
        stack: None,
        spec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let mut known = Known(BTreeMap::new());
        for text in [
            r#"{"cdiVersion":"0.6.0","kind":"nvidia.com/gpu","containerEdits":{"env":["ALL=1"]},"devices":[
                {"name":"0","containerEdits":{"deviceNodes":[{"path":"/dev/nvidia0"}]}},
                {"name":"all","containerEdits":{"env":["EVERY=1"]}},
                {"name":"hooked","containerEdits":{"hooks":[{"hookName":"x"}]}}]}"#,
            r#"{"cdiVersion":"0.6.0","kind":"a.com/b","annotations":{"org.mobyproject.buildkit.device.autoallow":true},
                "devices":[{"name":"c","annotations":{"org.mobyproject.buildkit.device.class":"kind1"}},{"name":"d"}]}"#,
        ] {
            known.describe(serde_json::from_str(text).unwrap());
        }
        known
    }

    #[test]
    fn builds_find_devices_by_name_kind_and_class() {
        let known = known();
        let found = |wish: &str| {
            let shown = |one: FoundDevice| format!("{}{}", one.name, if one.is_open { " open" } else { "" });
            known.find(wish).into_iter().map(shown).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(found("a.com/b=d"), "a.com/b=d open");
        assert_eq!(found("a.com/b"), "a.com/b=c open");
        assert_eq!(found("a.com/b=*"), "a.com/b=c open, a.com/b=d open");
        assert_eq!(found("kind1"), "a.com/b=c open");
        assert_eq!(found("nvidia.com/gpu=0"), "nvidia.com/gpu=0");
        assert_eq!(found("a.com/b=none"), "");
        assert_eq!(found("none"), "");
    }

    fn check(request: DeviceRequest, expected: &str) {
        let known = known();
        let got = known.names(&request).and_then(|names| Ok((known.edits(&names)?, names)));
        let got = match got {
            Ok((edits, names)) => format!("{} of {} edits", names.join(" "), edits.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn requests_become_names_and_names_edits() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let gpus = |count, ids: &[&str]| DeviceRequest {
            count,
            ids: words(ids),
            capabilities: vec![words(&["gpu"])],
            ..DeviceRequest::default()
        };
        let cdi = |id: &str| DeviceRequest { driver: "cdi".to_owned(), ids: words(&[id]), ..DeviceRequest::default() };
        check(gpus(-1, &[]), "nvidia.com/gpu=all of 2 edits");
        check(gpus(1, &[]), "nvidia.com/gpu=0 of 2 edits");
        check(gpus(0, &["0", "all"]), "nvidia.com/gpu=0 nvidia.com/gpu=all of 3 edits");
        check(gpus(2, &[]), "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=1");
        check(cdi("nvidia.com/gpu=0"), "nvidia.com/gpu=0 of 2 edits");
        check(cdi("x/y=z"), "CDI device injection failed: unresolvable CDI devices x/y=z");
        check(
            cdi("nvidia.com/gpu=hooked"),
            "CDI device injection failed: nvidia.com/gpu=hooked wants hooks or Intel RDT, which are not built",
        );
        check(
            DeviceRequest { driver: "amd".to_owned(), capabilities: vec![words(&["gpu"])], ..DeviceRequest::default() },
            "could not select device driver \"amd\" with capabilities: [[gpu]]",
        );
    }
}
