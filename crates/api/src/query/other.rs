//! Query strings of networks, volumes, the system and every `prune`.

use crate::{Filters, query::query};

query! {
    /// Of every `POST …/prune`.
    pub struct PruneQuery {
        pub filters: Filters = "filters",
    }

    /// Of `GET /networks`.
    pub struct NetworkListQuery {
        pub filters: Filters = "filters",
    }

    /// Of `GET /networks/{id}`.
    pub struct NetworkInspectQuery {
        pub verbose: bool = "verbose",
        pub scope: Option<String> = "scope",
    }

    /// Of `GET /volumes`.
    pub struct VolumeListQuery {
        pub filters: Filters = "filters",
    }

    /// Of `DELETE /volumes/{name}`.
    pub struct VolumeRemoveQuery {
        pub force: bool = "force",
    }

    /// Of `GET /events`.
    pub struct SystemEventsQuery {
        /// Seconds since 1970, perhaps with a fraction.
        pub since: String = "since",
        pub until: String = "until",
        pub filters: Filters = "filters",
    }

    /// Of `GET /system/df`.
    pub struct SystemDfQuery {
        /// `container`, `image`, `volume`, `build-cache`; none: all.
        pub types: Vec<String> = "type",
    }

    /// Of `POST /hako/volumes/{volume}/snapshots`.
    pub struct VolumeSnapshotCreateQuery {
        pub name: String = "name",
    }

    /// Of `restore` and `export` below `/hako/volumes/{volume}`.
    pub struct VolumeSnapshotQuery {
        pub snapshot: Option<String> = "snapshot",
    }

    /// Of `POST /hako/volumes/{volume}/clone`.
    pub struct VolumeCloneQuery {
        pub to: String = "to",
        pub snapshot: Option<String> = "snapshot",
    }

    /// Of `PUT /hako/volumes/{volume}/import`.
    pub struct VolumeImportQuery {
        pub replace: bool = "replace",
    }
}
