//! A container's state as JSON, as the specification has it: for hooks, for `state`, for who answers its calls.

use std::collections::BTreeMap;

use serde::Serialize;

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
pub fn full(container: &Container) -> FullState<'_> {
    let record = &container.record;
    let status = container.status();
    FullState {
        oci_version: OCI_VERSION,
        id: &record.id,
        pid: if matches!(status, Status::Stopped) { 0 } else { record.process.pid },
        status,
        bundle: record.bundle.display().to_string(),
        rootfs: record.rootfs.display().to_string(),
        created: hako_base::clock::rfc3339_nano(record.created),
        annotations: container.config().map(|config| config.annotations).unwrap_or_default(),
        owner: owner(record.owner),
    }
}

/// [`State`] with what runc adds, in runc's order: there are readers who take the text apart.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FullState<'a> {
    pub oci_version: &'static str,
    pub id: &'a str,
    pub pid: u32,
    pub status: Status,
    pub bundle: String,
    pub rootfs: String,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub owner: String,
}

/// The user who asked for a container, by name if the host has one.
pub fn owner(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    crate::observe::users().remove(&uid).unwrap_or_else(|| format!("#{uid}"))
}
