//! What a builder is: which BuildKit, for which platforms, with what it says of itself.

use std::collections::BTreeMap;

use bollard_buildkit_proto::moby::buildkit::v1::{ListWorkersRequest, types};

use super::{Builder, build_error};
use crate::ClientError;

/// What a builder says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuilderInfo {
    /// Whose BuildKit it is: `hako`, `github.com/moby/buildkit`; empty where it is older than 0.11.
    pub package: String,
    pub version: String,
    /// What steps of builds run for (`linux/arm64`), the machine's own first.
    pub platforms: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// When the cache is thinned out, rule by rule.
    pub rules: Vec<CacheRule>,
}

/// One rule about what the cache keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheRule {
    pub all: bool,
    pub filters: Vec<String>,
    pub keep_s: i64,
    pub reserved_bytes: i64,
    pub used_bytes_max: i64,
    pub free_bytes_min: i64,
}

impl BuilderInfo {
    /// Whether it understands what only hako's builds ask for.
    pub fn is_hako(&self) -> bool {
        self.package == "hako"
    }
}

impl Builder {
    /// What the builder is.
    ///
    /// # Errors
    /// When it cannot be reached, or speaks none of BuildKit's protocols.
    pub async fn info(&self) -> Result<BuilderInfo, ClientError> {
        let workers = self.control().await?.list_workers(ListWorkersRequest { filter: Vec::new() }).await;
        let workers = workers.map_err(|status| build_error(&status))?.into_inner().record;
        let mut info = BuilderInfo::default();
        for worker in workers {
            info.platforms.extend(worker.platforms.iter().map(platform).collect::<Vec<_>>());
            // Further workers of one BuildKit are for the same machine.
            if info.version.is_empty() {
                let version = worker.buildkit_version.unwrap_or_default();
                (info.package, info.version) = (version.package, version.version);
                info.labels = worker.labels.into_iter().collect();
                info.rules = worker.gc_policy.into_iter().map(rule).collect();
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        info.platforms.retain(|platform| seen.insert(platform.clone()));
        Ok(info)
    }
}

fn platform(platform: &bollard_buildkit_proto::pb::Platform) -> String {
    let variant = if platform.variant.is_empty() { String::new() } else { format!("/{}", platform.variant) };
    format!("{}/{}{variant}", platform.os, platform.architecture)
}

fn rule(policy: types::GcPolicy) -> CacheRule {
    CacheRule {
        all: policy.all,
        filters: policy.filters,
        keep_s: policy.keep_duration / 1_000_000_000,
        reserved_bytes: policy.reserved_space,
        used_bytes_max: policy.max_used_space,
        free_bytes_min: policy.min_free_space,
    }
}
