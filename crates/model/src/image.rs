//! An image's configuration, in the engine's words.
//!
//! The stored bytes of a configuration are kept as they came (their digest is the image's id);
//! this is what hako reads out of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, HealthSpec, PortKey};

/// What an image says about the process to start and about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    pub user: String,
    pub env: Vec<String>,
    /// `None`: the image does not say; `Some([])`: it says "nothing".
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub working_dir: String,
    pub exposed_ports: Vec<PortKey>,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: Option<String>,
    pub health: Option<HealthSpec>,
    pub on_build: Vec<String>,
    pub shell: Option<Vec<String>>,
    pub args_escaped: bool,
}

/// One line of `history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHistory {
    pub created: Option<Timestamp>,
    pub created_by: String,
    pub author: String,
    pub comment: String,
    /// Whether this line made no layer.
    pub empty_layer: bool,
    /// Bytes of the layer it made; 0 without one.
    pub size: u64,
    /// The image that this line completes: only known for the top line and for parents made here.
    pub image: Option<Digest>,
    /// Tags of that image, as people write them.
    pub tags: Vec<String>,
}
