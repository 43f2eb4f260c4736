//! What a builder's cache keeps. A daemon is asked by its API, which every Docker daemon has; BuildKit by itself by its
//! own calls.

use bollard_buildkit_proto::moby::buildkit::v1::{DiskUsageRequest, PruneRequest, UsageRecord};
use hako_api::{
    build::{BuildCache, BuildPruneResponse},
    query::{BuildPruneQuery, SystemDfQuery},
};
use hako_base::ErrorKind;

use super::{Builder, build_error, news};
use crate::ClientError;

impl Builder {
    /// Every record of the cache.
    ///
    /// # Errors
    /// When the builder cannot be asked.
    pub async fn disk_usage(&self) -> Result<Vec<BuildCache>, ClientError> {
        if let Self::Daemon(client) = self {
            return Ok(client.system_df(&SystemDfQuery::default()).await?.build_cache.unwrap_or_default());
        }
        let answer = self.control().await?.disk_usage(DiskUsageRequest::default()).await;
        let records = answer.map_err(|status| build_error(&status))?.into_inner().record;
        Ok(records.into_iter().map(read).collect())
    }

    /// Forgets what the cache keeps.
    ///
    /// # Errors
    /// When the builder cannot be asked, or a filter is not one.
    pub async fn prune(&self, query: &BuildPruneQuery) -> Result<BuildPruneResponse, ClientError> {
        if let Self::Daemon(client) = self {
            return client.build_prune(query).await;
        }
        let (mut filter, mut keep_duration) = (Vec::new(), 0);
        for (key, value) in query.filters.0.iter().flat_map(|(key, values)| values.iter().map(move |it| (key, it))) {
            match key.as_str() {
                "until" | "unused-for" => keep_duration = age(value)?,
                key => filter.push(condition(key, value)),
            }
        }
        let request = PruneRequest {
            filter,
            all: query.all,
            keep_duration,
            reserved_space: query.reserved_space.or(query.keep_storage).unwrap_or_default(),
            max_used_space: query.max_used_space.unwrap_or_default(),
            min_free_space: query.min_free_space.unwrap_or_default(),
        };
        let gone = self.control().await?.prune(request).await.map_err(|status| build_error(&status))?;
        let (mut gone, mut answer) = (gone.into_inner(), BuildPruneResponse::default());
        while let Some(record) = gone.message().await.map_err(|status| build_error(&status))? {
            answer.space_reclaimed += record.size.max(0).cast_unsigned();
            answer.caches_deleted.get_or_insert_default().push(record.id);
        }
        Ok(answer)
    }
}

fn age(text: &str) -> Result<i64, ClientError> {
    hako_base::duration::parse_go(text).map_err(|_| ClientError::Build {
        kind: ErrorKind::InvalidInput,
        message: format!("\"until\" filter expects a duration, not {text:?}"),
        excerpt: String::new(),
    })
}

// A filter as BuildKit writes conditions.
fn condition(key: &str, value: &str) -> String {
    match (key, value) {
        ("private" | "shared" | "inuse" | "mutable" | "immutable", "" | "true" | "1") => key.to_owned(),
        _ => format!("{key}=={value}"),
    }
}

fn read(record: UsageRecord) -> BuildCache {
    BuildCache {
        id: record.id,
        parents: Some(record.parents).filter(|parents| !parents.is_empty()),
        kind: record.record_type,
        description: record.description,
        in_use: record.in_use,
        shared: record.shared,
        size: record.size.max(0).cast_unsigned(),
        created_at: news::time(record.created_at).unwrap_or_default(),
        last_used_at: news::time(record.last_used_at),
        usage_count: record.usage_count.max(0).cast_unsigned(),
    }
}

#[cfg(test)]
mod tests {
    use super::condition;

    #[test]
    fn filters_are_conditions() {
        let check = |key: &str, value: &str, expected: &str| assert_eq!(condition(key, value), expected);
        check("type", "exec.cachemount", "type==exec.cachemount");
        check("shared", "true", "shared");
        check("shared", "false", "shared==false");
    }
}
