//! Images on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ApiVersion,
    container::{DriverData, HealthConfig},
    wire::{Empty, Map, StringList, is_default},
};

wire! {
    /// One image of a list.
    pub struct ImageSummary {
        /// −1: not counted.
        pub containers: i64,
        /// Seconds since 1970.
        pub created: i64,
        pub id: String,
        pub labels: Option<Map>,
        pub parent_id: String,
        pub repo_digests: Vec<String>,
        pub repo_tags: Vec<String>,
        /// −1: not counted.
        pub shared_size: i64,
        pub size: i64,
        /// Until 1.43; the same as `size`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub virtual_size: Option<i64>,
    }

    /// What a close look at a layer found (hako's own).
    pub struct ImageLayerCheck {
        pub diff_id: String,
        pub blob: String,
        /// What is wrong with the blob; empty: nothing.
        pub blob_damage: String,
        /// Files that are not as the blob has them, the first of them.
        pub files: Vec<ImageFileNote>,
        pub files_damaged: u64,
        pub repaired: bool,
        /// Why it could not be repaired.
        pub failure: String,
    }

    /// Something about a file of an image (hako's own).
    pub struct ImageFileNote {
        pub path: String,
        pub note: String,
        pub bytes: i64,
    }

    /// What a layer costs (hako's own).
    pub struct ImageLayerCost {
        pub diff_id: String,
        /// The line of the history that made it.
        pub created_by: String,
        pub size: u64,
        pub blob_size: u64,
        pub files: u64,
        /// Bytes of its files that no container sees.
        pub wasted: u64,
        /// Those files, the largest of them.
        pub hidden: Vec<ImageFileNote>,
    }

    /// What is other in a second image (hako's own).
    pub struct ImageDiff {
        /// The note is `A` (added), `C` (changed) or `D` (deleted); the bytes are gained or lost.
        pub files: Vec<ImageFileNote>,
        pub shared: Vec<ImageLayerSize>,
        pub removed: Vec<ImageLayerSize>,
        pub added: Vec<ImageLayerSize>,
    }

    /// A layer and the bytes of its files (hako's own).
    pub struct ImageLayerSize {
        pub diff_id: String,
        pub size: u64,
    }

    /// Everything about one image.
    pub struct ImageInspect {
        pub id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub parent: String,
        pub comment: String,
        #[serde(skip_serializing_if = "is_default")]
        pub created: String,
        pub docker_version: String,
        pub author: String,
        pub config: ImageConfig,
        pub architecture: String,
        #[serde(skip_serializing_if = "is_default")]
        pub variant: String,
        pub os: String,
        #[serde(skip_serializing_if = "is_default")]
        pub os_version: String,
        pub size: i64,
        /// Until 1.43; the same as `size`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub virtual_size: Option<i64>,
        pub graph_driver: DriverData,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: ImageMetadata,
        /// Until 1.44: always empty values, but there.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub container: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub container_config: Option<Box<crate::container::ContainerConfig>>,
    }

    /// What an image says about the process to start.
    pub struct ImageConfig {
        pub user: String,
        #[serde(skip_serializing_if = "is_default")]
        pub exposed_ports: BTreeMap<String, Empty>,
        pub env: Option<Vec<String>>,
        pub cmd: Option<StringList>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        #[serde(skip_serializing_if = "is_default")]
        pub args_escaped: bool,
        pub volumes: Option<BTreeMap<String, Empty>>,
        pub working_dir: String,
        pub entrypoint: Option<StringList>,
        pub on_build: Option<Vec<String>>,
        pub labels: Option<Map>,
        #[serde(skip_serializing_if = "is_default")]
        pub stop_signal: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub shell: Option<StringList>,
        flatten /// Until 1.49: fields of containers that images never set.
        #[serde(skip_deserializing)] pub legacy: Option<LegacyImageConfig>,
    }

    /// Always empty; printed until 1.49 because Docker used one type for images and containers.
    pub struct LegacyImageConfig {
        pub hostname: String,
        pub domainname: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        pub tty: bool,
        pub open_stdin: bool,
        pub stdin_once: bool,
        pub image: String,
    }

    /// The layers.
    pub struct RootFs {
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(skip_serializing_if = "is_default")]
        pub layers: Vec<String>,
    }

    /// What this host knows about an image beyond the image itself.
    pub struct ImageMetadata {
        /// The zero time when it was never tagged here.
        pub last_tag_time: String,
    }

    /// One line of `history`.
    pub struct ImageHistoryItem {
        pub comment: String,
        pub created: i64,
        pub created_by: String,
        pub id: String,
        pub size: i64,
        pub tags: Option<Vec<String>>,
    }

    /// One line of what `rmi` did.
    pub struct ImageDeleteItem {
        #[serde(skip_serializing_if = "is_default")]
        pub untagged: String,
        #[serde(skip_serializing_if = "is_default")]
        pub deleted: String,
    }

    /// The answer to `prune`.
    pub struct ImagePruneResponse {
        pub images_deleted: Option<Vec<ImageDeleteItem>>,
        pub space_reclaimed: u64,
    }

    /// What a push left at the registry; in the last line of its stream.
    pub struct PushResult {
        pub tag: String,
        pub digest: String,
        pub size: i64,
    }

    /// What a registry has under a name.
    pub struct DistributionInspect {
        pub descriptor: RemoteDescriptor,
        pub platforms: Vec<RemotePlatform>,
    }

    /// The answer to `commit`.
    pub struct IdResponse {
        pub id: String,
    }
}

/// A manifest at a registry; spelled as OCI spells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RemoteDescriptor {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
}

/// A platform that an image at a registry is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemotePlatform {
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "is_default")]
    pub variant: String,
}

/// One repository that a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchItem {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}

impl ImageSummary {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        self.virtual_size = (!version.at_least(44)).then_some(self.size);
        // Clients of old versions take an empty list for a broken image.
        if !version.at_least(43) && self.repo_tags.is_empty() && self.repo_digests.is_empty() {
            self.repo_tags = vec!["<none>:<none>".to_owned()];
            self.repo_digests = vec!["<none>@<none>".to_owned()];
        }
        self
    }
}

impl ImageInspect {
    /// The same as this version of the API shows it.
    #[must_use]
    pub fn for_version(mut self, version: ApiVersion) -> Self {
        self.virtual_size = (!version.at_least(44)).then_some(self.size);
        if !version.at_least(45) {
            self.container = Some(String::new());
            self.container_config = Some(Box::default());
        }
        self.config.legacy = (!version.at_least(50)).then(LegacyImageConfig::default);
        self
    }
}
