//! Query strings of `/build`.

use crate::{Filters, query::query};

query! {
    /// Of `POST /build`; the context's tar is the body.
    pub struct BuildStartQuery {
        pub dockerfile: String = "dockerfile",
        pub names: Vec<String> = "t",
        pub extra_hosts: Vec<String> = "extrahosts",
        /// A git repository or a URL instead of a body.
        pub remote: String = "remote",
        pub quiet: bool = "q",
        pub no_cache: bool = "nocache",
        /// JSON: names of images.
        pub cache_from: String = "cachefrom",
        pub pull: bool = "pull",
        /// Says yes unless it says no.
        pub remove: Option<bool> = "rm",
        pub force_remove: bool = "forcerm",
        pub memory: Option<i64> = "memory",
        pub memory_swap: Option<i64> = "memswap",
        pub cpu_shares: Option<i64> = "cpushares",
        pub cpuset_cpus: String = "cpusetcpus",
        pub cpuset_mems: String = "cpusetmems",
        pub cpu_period: Option<i64> = "cpuperiod",
        pub cpu_quota: Option<i64> = "cpuquota",
        pub cgroup_parent: String = "cgroupparent",
        /// JSON: name to value or null.
        pub build_args: String = "buildargs",
        pub shm_size: Option<i64> = "shmsize",
        pub squash: bool = "squash",
        /// JSON: name to value.
        pub labels: String = "labels",
        /// JSON: list of limits.
        pub ulimits: String = "ulimits",
        pub network_mode: String = "networkmode",
        pub platform: String = "platform",
        pub target: String = "target",
        pub outputs: String = "outputs",
        /// `2` is BuildKit's over this row.
        pub version: String = "version",
    }

    /// Of `POST /build/prune`.
    pub struct BuildPruneQuery {
        pub all: bool = "all",
        /// Bytes that may stay: the name of it before and since 1.48.
        pub keep_storage: Option<i64> = "keep-storage",
        pub reserved_space: Option<i64> = "reserved-space",
        pub max_used_space: Option<i64> = "max-used-space",
        pub min_free_space: Option<i64> = "min-free-space",
        pub filters: Filters = "filters",
    }
}
