//! The build cache on the wire.

use serde::{Deserialize, Serialize};

use crate::wire::is_default;

/// Of `POST /build/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildPruneResponse {
    pub caches_deleted: Option<Vec<String>>,
    pub space_reclaimed: u64,
}

/// One record of the build cache (`system df`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct BuildCache {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parents: Option<Vec<String>>,
    #[serde(rename = "Type")]
    pub kind: String,
    pub description: String,
    pub in_use: bool,
    pub shared: bool,
    pub size: u64,
    pub created_at: String,
    pub last_used_at: Option<String>,
    pub usage_count: u64,
}

/// A build that was or is: what the daemon remembers of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildRecord {
    #[serde(rename = "ref")]
    pub reference: String,
    pub attributes: std::collections::BTreeMap<String, String>,
    pub created: String,
    /// Empty while it goes on.
    pub completed: String,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// What clients were told of the result.
    pub result: std::collections::BTreeMap<String, String>,
    pub steps: i32,
    pub completed_steps: i32,
    pub cached_steps: i32,
    pub warnings: i32,
}

/// What a build tells, in the form of BuildKit's `rawjson`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildNews {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vertexes: Vec<BuildVertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<BuildStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<BuildLog>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<BuildWarning>,
}

/// A step: there is one of it, it begins, it ends. Each message repeats what is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildVertex {
    pub digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub cached: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
}

/// How far a part of a step is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildStatus {
    pub id: String,
    pub vertex: String,
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub total: i64,
    pub current: i64,
    pub timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
}

/// What a step printed: 1 is its output, 2 its errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildLog {
    #[serde(skip_serializing_if = "is_default")]
    pub vertex: String,
    #[serde(skip_serializing_if = "is_default")]
    pub stream: i64,
    #[serde(with = "crate::text::bytes")]
    pub data: Vec<u8>,
    pub timestamp: String,
}

/// Something that is not wrong yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildWarning {
    pub vertex: String,
    #[serde(skip_serializing_if = "is_default")]
    pub level: i64,
    pub short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub url: String,
    #[serde(skip_serializing_if = "is_default")]
    pub line: i32,
}
