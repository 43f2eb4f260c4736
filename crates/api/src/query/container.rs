//! Query strings of `/containers`.

use crate::{Filters, query::query};

query! {
    /// Of `GET /containers/json`.
    pub struct ContainerListQuery {
        pub all: bool = "all",
        pub limit: Option<i64> = "limit",
        pub size: bool = "size",
        pub filters: Filters = "filters",
    }

    /// Of `POST /containers/create`.
    pub struct ContainerCreateQuery {
        pub name: Option<String> = "name",
        pub platform: Option<String> = "platform",
    }

    /// Of `GET /containers/{id}/json`.
    pub struct ContainerInspectQuery {
        pub size: bool = "size",
    }

    /// Of `GET /containers/{id}/top`.
    pub struct ContainerTopQuery {
        pub ps_args: Option<String> = "ps_args",
    }

    /// Of `GET /containers/{id}/stats`.
    pub struct ContainerStatsQuery {
        pub stream: Option<bool> = "stream",
        pub one_shot: bool = "one-shot",
    }

    /// Of `GET /containers/{id}/logs`.
    pub struct ContainerLogsQuery {
        pub follow: bool = "follow",
        pub stdout: bool = "stdout",
        pub stderr: bool = "stderr",
        /// Seconds since 1970, perhaps with a fraction.
        pub since: String = "since",
        pub until: String = "until",
        pub timestamps: bool = "timestamps",
        /// `all` or a number.
        pub tail: String = "tail",
        pub details: bool = "details",
    }

    /// Of `POST /containers/{id}/resize` and `POST /exec/{id}/resize`.
    pub struct ResizeQuery {
        pub rows: u16 = "h",
        pub columns: u16 = "w",
    }

    /// Of `POST /containers/{id}/start`.
    pub struct ContainerStartQuery {
        pub detach_keys: String = "detachKeys",
        pub checkpoint: Option<String> = "checkpoint",
        pub checkpoint_dir: Option<String> = "checkpoint-dir",
    }

    /// Of `POST /containers/{id}/stop` and `restart`.
    pub struct ContainerStopQuery {
        pub signal: Option<String> = "signal",
        /// Negative: without end.
        pub timeout_s: Option<i64> = "t",
    }

    /// Of `POST /containers/{id}/kill`.
    pub struct ContainerKillQuery {
        pub signal: Option<String> = "signal",
    }

    /// Of `POST /containers/{id}/rename`.
    pub struct ContainerRenameQuery {
        pub name: String = "name",
    }

    /// Of `POST /containers/{id}/attach`.
    pub struct ContainerAttachQuery {
        /// The default is ctrl-p,ctrl-q; only a terminal has them.
        pub detach_keys: Option<String> = "detachKeys",
        pub logs: bool = "logs",
        pub stream: bool = "stream",
        pub stdin: bool = "stdin",
        pub stdout: bool = "stdout",
        pub stderr: bool = "stderr",
    }

    /// Of `POST /containers/{id}/wait`.
    pub struct ContainerWaitQuery {
        /// `not-running` (the default), `next-exit`, `removed`.
        pub condition: Option<String> = "condition",
    }

    /// Of `DELETE /containers/{id}`.
    pub struct ContainerRemoveQuery {
        pub volumes: bool = "v",
        pub force: bool = "force",
        pub link: bool = "link",
    }

    /// Of `HEAD` and `GET /containers/{id}/archive`.
    pub struct ContainerArchiveQuery {
        pub path: String = "path",
    }

    /// Of `PUT /containers/{id}/archive`.
    pub struct ContainerArchivePutQuery {
        pub path: String = "path",
        pub no_overwrite_dir_non_dir: bool = "noOverwriteDirNonDir",
        /// Everything belongs to the container's user.
        pub copy_uid_gid: bool = "copyUIDGID",
    }
}
