//! What happened, for those who watch: `docker events`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kind of object that something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Container,
    Image,
    Volume,
    Network,
    Daemon,
    Builder,
}

impl EventKind {
    /// Docker's `Type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    /// `create`, `start`, `die`, `exec_start: sh`, …
    pub action: String,
    /// Id of the object (a name for volumes).
    pub actor: String,
    pub attributes: BTreeMap<String, String>,
    pub at: Timestamp,
}
