//! `HostConfig.Mounts`: mounts as `--mount` asks for them.

use crate::wire::{Map, is_default};

wire! {
    /// One mount.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe`, `cluster`
        #[serde(rename = "Type", skip_serializing_if = "is_default")]
        pub kind: String,
        #[serde(skip_serializing_if = "is_default")]
        pub source: String,
        #[serde(skip_serializing_if = "is_default")]
        pub target: String,
        #[serde(skip_serializing_if = "is_default")]
        pub read_only: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<MountBindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<MountVolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<MountImageOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<MountTmpfsOptions>,
    }

    /// Of a bind mount.
    pub struct MountBindOptions {
        #[serde(skip_serializing_if = "is_default")]
        pub propagation: String,
        #[serde(skip_serializing_if = "is_default")]
        pub non_recursive: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub create_mountpoint: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub read_only_force_recursive: bool,
        #[serde(rename = "IDMapping", skip_serializing_if = "Option::is_none")]
        pub id_mapping: Option<MountIdMapping>,
    }

    /// Whose the files of a bind mount are: `match-user` or `userns`.
    pub struct MountIdMapping {
        pub source: String,
        #[serde(skip_serializing_if = "is_default")]
        pub user: String,
    }

    /// Of a volume.
    pub struct MountVolumeOptions {
        #[serde(skip_serializing_if = "is_default")]
        pub no_copy: bool,
        #[serde(skip_serializing_if = "is_default")]
        pub labels: Map,
        #[serde(skip_serializing_if = "is_default")]
        pub subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<MountDriverConfig>,
    }

    /// The driver of a volume made on the way.
    pub struct MountDriverConfig {
        #[serde(skip_serializing_if = "is_default")]
        pub name: String,
        #[serde(skip_serializing_if = "is_default")]
        pub options: Map,
    }

    /// Of an image.
    pub struct MountImageOptions {
        #[serde(skip_serializing_if = "is_default")]
        pub subpath: String,
    }

    /// Of a tmpfs.
    pub struct MountTmpfsOptions {
        #[serde(skip_serializing_if = "is_default")]
        pub size_bytes: i64,
        #[serde(skip_serializing_if = "is_default")]
        pub mode: u32,
        /// `[["noexec"], ["uid", "7"]]`
        #[serde(skip_serializing_if = "is_default")]
        pub options: Vec<Vec<String>>,
    }
}
