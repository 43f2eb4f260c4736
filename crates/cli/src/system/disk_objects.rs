//! `system df -v`: every image, container, volume and record of the build cache, as tables or through a template.

use std::collections::BTreeMap;

use gotmpl::Value;
use hako_api::{build::BuildCache, system::DiskUsage};
use jiff::Timestamp;

use crate::{
    container::list as containers,
    error::CommandError,
    format::{
        duration,
        json::KeyOrder,
        listing::{self, Row},
        size,
        template::{Format, Missing},
        text,
    },
    image::list as images,
    volume as volumes,
};

const CONTAINER_TABLE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const IMAGE_TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const VOLUME_TABLE: &str = "{{.Name}}\t{{.Links}}\t{{.Size}}";
const CACHE_TABLE: &str =
    "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

const CACHE_COLUMNS: &[listing::Column] = &[
    ("CacheType", "CACHE TYPE"),
    ("CreatedAt", "CREATED"),
    ("CreatedSince", "CREATED"),
    ("Description", "DESCRIPTION"),
    ("ID", "CACHE ID"),
    ("InUse", "IN USE"),
    ("LastUsedAt", "LAST USED"),
    ("LastUsedSince", "LAST USED"),
    ("Parent", "PARENT"),
    ("Shared", "SHARED"),
    ("Size", "SIZE"),
    ("UsageCount", "USAGE"),
];

struct CacheRow<'a> {
    record: &'a BuildCache,
    now: Timestamp,
}

impl Row for CacheRow<'_> {
    fn column(&self, name: &str) -> String {
        let it = self.record;
        let since = |at: &str| {
            at.parse::<Timestamp>().map_or_else(|_| String::new(), |at| duration::ago(at.as_second(), self.now))
        };
        let used = it.last_used_at.as_deref().unwrap_or_default();
        match name {
            "ID" => it.id.clone(),
            "Parent" => it.parents.as_deref().unwrap_or_default().join(", "),
            "CacheType" => it.kind.clone(),
            "Size" => size::human(i64::try_from(it.size).unwrap_or(i64::MAX), 4),
            "CreatedAt" => text::go_time_exact(&it.created_at),
            "CreatedSince" => since(&it.created_at),
            "LastUsedAt" if used.is_empty() => String::new(),
            "LastUsedAt" => text::go_time_exact(used),
            "LastUsedSince" => since(used),
            "UsageCount" => it.usage_count.to_string(),
            "InUse" => it.in_use.to_string(),
            "Shared" => it.shared.to_string(),
            "Description" => it.description.clone(),
            _ => String::new(),
        }
    }
}

/// Four tables, or what a template makes of `.Images`, `.Containers`, `.Volumes` and `.BuildCache`.
///
/// # Errors
/// A template that does not fit them.
pub(super) fn show(usage: &DiskUsage, format: &str, now: Timestamp) -> Result<String, CommandError> {
    let as_tables = matches!(format, "" | "table");
    let of_images: Vec<_> =
        usage.images.iter().flatten().flat_map(|image| images::rows(image.clone(), now, !as_tables, false)).collect();
    let mut written = usage.containers.clone().unwrap_or_default();
    // Only what they have written counts here, not the images below them.
    written.iter_mut().for_each(|container| container.size_root_fs = 0);
    let of_containers = containers::rows(written, now, !as_tables);
    let of_volumes: Vec<_> = usage.volumes.iter().flatten().cloned().map(volumes::VolumeRow).collect();
    let of_cache: Vec<_> = usage.build_cache.iter().flatten().map(|record| CacheRow { record, now }).collect();
    if as_tables {
        let table = |columns, table, rows: &dyn Fn(&listing::Shape) -> Result<String, _>| {
            rows(&listing::Shape { columns, table })
        };
        let sum: u64 = usage.build_cache.iter().flatten().filter(|one| !one.shared).map(|one| one.size).sum();
        return Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
            table(images::COLUMNS, IMAGE_TABLE, &|shape| listing::render(shape, "", &of_images))?,
            table(containers::COLUMNS, CONTAINER_TABLE, &|shape| listing::render(shape, "", &of_containers))?,
            table(volumes::COLUMNS, VOLUME_TABLE, &|shape| listing::render(shape, "", &of_volumes))?,
            size::human(i64::try_from(sum).unwrap_or(i64::MAX), 4),
            table(CACHE_COLUMNS, CACHE_TABLE, &|shape| listing::render(shape, "", &of_cache))?,
        ));
    }
    let all: BTreeMap<std::sync::Arc<str>, Value> = [
        ("Images", listing::objects(images::COLUMNS, &of_images)),
        ("Containers", listing::objects(containers::COLUMNS, &of_containers)),
        ("Volumes", listing::objects(volumes::COLUMNS, &of_volumes)),
        ("BuildCache", listing::objects(CACHE_COLUMNS, &of_cache)),
    ]
    .map(|(name, rows)| (name.into(), rows))
    .into();
    let template = if format == "json" { "{{json .}}" } else { format };
    let order = KeyOrder::escaping_html().with(&["Images", "Containers", "Volumes", "BuildCache"]);
    let text = Format::parse(template, order, Missing::Error)?.row(&Value::Map(all.into()))?;
    Ok(format!("{text}\n"))
}
