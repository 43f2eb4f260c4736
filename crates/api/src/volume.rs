//! Volumes on the wire.

use crate::wire::{Map, is_default};

wire! {
    /// One volume.
    pub struct Volume {
        #[serde(skip_serializing_if = "is_default")]
        pub created_at: String,
        pub driver: String,
        pub labels: Option<Map>,
        pub mountpoint: String,
        pub name: String,
        pub options: Option<Map>,
        pub scope: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<VolumeUsage>,
    }

    /// Only in `system df`.
    pub struct VolumeUsage {
        /// −1: not known.
        pub ref_count: i64,
        pub size: i64,
    }

    /// The body of `POST /volumes/create`.
    pub struct VolumeCreateRequest {
        pub name: String,
        pub driver: String,
        pub driver_opts: Option<Map>,
        pub labels: Option<Map>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster_volume_spec: Option<serde_json::Value>,
    }

    /// The answer of `GET /volumes`.
    pub struct VolumeListResponse {
        pub volumes: Vec<Volume>,
        pub warnings: Option<Vec<String>>,
    }

    /// The answer to `prune`.
    pub struct VolumePruneResponse {
        pub volumes_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// A copy of a volume that is kept beside it (hako's own).
    pub struct VolumeSnapshot {
        pub name: String,
        pub created_at: String,
    }

    /// A copy of a volume that was made (hako's own).
    pub struct VolumeCopy {
        pub name: String,
        pub bytes: u64,
        /// Bytes that both share on the disk.
        pub shared_bytes: u64,
    }
}
