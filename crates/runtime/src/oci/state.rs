//! A container's state as JSON, as the specification has it: for hooks, for `state`, for who answers its calls.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::record::{Container, Record, Status};

/// The version of the specification that states comply with.
pub const OCI_VERSION: &str = "1.2.1";

/// What the specification asks for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    pub oci_version: &'static str,
    pub id: &'a str,
    pub status: Status,
    pub pid: u32,
    pub bundle: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Of a container, as hooks read it.
pub(super) fn of(record: &Record, status: Status, pid: u32, annotations: &BTreeMap<String, String>) -> String {
    let state = State {
        oci_version: OCI_VERSION,
        id: &record.id,
        status,
        pid,
        bundle: record.bundle.display().to_string(),
        annotations: annotations.clone(),
    };
    serde_json::to_string(&state).unwrap_or_default()
}

/// The same with what runc adds: what `state` prints, and `list` for each container.
pub fn full(container: &Container) -> serde_json::Value {
    let record = &container.record;
    let status = container.status();
    let annotations = container.config().map(|config| config.annotations).unwrap_or_default();
    let mut state = json!({
        "ociVersion": OCI_VERSION,
        "id": record.id,
        "pid": if matches!(status, Status::Stopped) { 0 } else { record.pid },
        "status": status.word(),
        "bundle": record.bundle.display().to_string(),
        "rootfs": record.rootfs.display().to_string(),
        "created": hako_base::clock::rfc3339_nano(record.created),
        "owner": owner(record.owner),
    });
    if !annotations.is_empty() {
        state["annotations"] = json!(annotations);
    }
    state
}

/// The user who asked for a container, by name if the host has one.
pub fn owner(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    crate::observe::users().remove(&uid).unwrap_or_else(|| format!("#{uid}"))
}
