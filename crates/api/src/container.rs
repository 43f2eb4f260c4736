//! Containers on the wire: what is asked for, what is shown, how a process ends.

pub mod config; // what runs in it: half of `create` and `inspect`
pub mod exec; // further processes in it
pub mod host; // what the host does for it: the other half
pub mod inspect;
pub mod list;
pub mod mount;

pub use config::{ContainerConfig, ContainerCreateRequest, HealthConfig};
pub use exec::{ExecCreateRequest, ExecInspect, ExecProcessConfig, ExecStartRequest};
pub use host::{
    DeviceMapping, DeviceRequest, HostConfig, LogConfig, PortBinding, PortMap, Resources, RestartPolicy,
    ThrottleDevice, Ulimit, WeightDevice,
};
pub use inspect::{
    ContainerInspect, ContainerState, DriverData, Health, HealthcheckResult, MountPoint, NetworkSettings,
};
pub use list::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};
pub use mount::{
    Mount, MountBindOptions, MountDriverConfig, MountIdMapping, MountImageOptions, MountTmpfsOptions,
    MountVolumeOptions,
};

use crate::wire::is_default;

wire! {
    /// The answer to `create`.
    pub struct ContainerCreateResponse {
        pub id: String,
        pub warnings: Vec<String>,
    }

    /// The answer to `wait`.
    pub struct ContainerWaitResponse {
        pub status_code: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitExitError>,
    }

    /// Why waiting failed.
    pub struct WaitExitError {
        #[serde(skip_serializing_if = "is_default")]
        pub message: String,
    }

    /// `top`: one row for each process.
    pub struct ContainerTopResponse {
        pub titles: Vec<String>,
        pub processes: Vec<Vec<String>>,
    }

    /// The body of `edit`, which is hako's own: ports and labels of a container that may be running.
    pub struct ContainerEditRequest {
        pub publish_add: PortMap,
        /// `80/tcp`, or `8080:80/tcp` for what is at one port of the host.
        pub publish_remove: Vec<String>,
        pub labels_add: crate::Map,
        pub labels_remove: Vec<String>,
        /// `max-size`, `max-file`, `compress`.
        pub log_options: crate::Map,
    }

    /// `exposure`, which is hako's own: one published port, and who can reach it.
    pub struct ContainerExposure {
        /// `80/tcp`
        pub port: String,
        pub host_ip: String,
        pub host_port: u16,
        /// `everyone`, `some`, `this host` or `unknown`.
        pub reach: String,
        /// The rules and circumstances that decide.
        pub reasons: Vec<String>,
        /// Whether the kernel translates it; otherwise the daemon relays.
        pub translated: bool,
    }

    /// The answer to `update`.
    pub struct ContainerUpdateResponse {
        pub warnings: Option<Vec<String>>,
    }

    /// The answer to `prune`.
    pub struct ContainerPruneResponse {
        pub containers_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// One changed path of a container's file system.
    pub struct FilesystemChange {
        pub path: String,
        /// 0 changed, 1 added, 2 deleted.
        pub kind: u8,
    }
}

wire_beside! {
    /// The body of `update`; what is zero or missing stays as it is.
    pub struct ContainerUpdateRequest {
        pub restart_policy: RestartPolicy,
        beside pub resources: Resources,
    }
}
