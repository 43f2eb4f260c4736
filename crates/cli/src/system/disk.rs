//! `system df`: what images, containers and volumes take up.

use hako_api::{build::BuildCache, query::SystemDfQuery, system::DiskUsage};

use super::disk_objects;
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        listing::{self, Row},
        size,
    },
};

#[derive(Default)]
pub(crate) struct Disk {
    format: String,
    verbose: bool,
}

const SHAPE: listing::Shape = listing::Shape {
    columns: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

impl Command for Disk {
    const SHAPE: &'static Shape = &Shape {
        paths: &["system df"],
        usage: "[OPTIONS]",
        about: "Show what images, containers and volumes take up",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.verbose, "-v, --verbose", "Show every object");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let usage = cx.client()?.system_df(&SystemDfQuery::default()).await?;
        if self.verbose {
            return cx.print(&disk_objects::show(&usage, &self.format, hako_base::clock::now())?);
        }
        let rows = summary(&usage);
        cx.print(&listing::render(&SHAPE, &self.format, &rows)?)
    }
}

/// One kind of object.
struct KindRow {
    name: &'static str,
    total: usize,
    active: usize,
    bytes: i64,
    reclaimable: i64,
    with_percentage: bool,
}

impl Row for KindRow {
    fn column(&self, name: &str) -> String {
        match name {
            "Type" => self.name.to_owned(),
            "TotalCount" => self.total.to_string(),
            "Active" => self.active.to_string(),
            "Size" => size::human(self.bytes, 4),
            "Reclaimable" if self.with_percentage && self.bytes > 0 => {
                format!("{} ({}%)", size::human(self.reclaimable, 4), self.reclaimable * 100 / self.bytes)
            }
            "Reclaimable" => size::human(self.reclaimable, 4),
            _ => String::new(),
        }
    }
}

fn summary(usage: &DiskUsage) -> Vec<KindRow> {
    let images = usage.images.as_deref().unwrap_or_default();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let used_images: i64 = images
        .iter()
        .filter(|image| image.containers > 0 && image.size >= 0)
        .map(|image| image.size - image.shared_size.max(0))
        .sum();
    let lives = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let volume_size = |in_use: bool| -> i64 {
        let usages = volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
        usages.filter(|usage| (usage.ref_count > 0) == in_use).map(|usage| usage.size.max(0)).sum()
    };
    let (in_use, unused) = (volume_size(true), volume_size(false));
    vec![
        KindRow {
            name: "Images",
            total: images.len(),
            active: images.iter().filter(|image| image.containers > 0).count(),
            bytes: usage.layers_size,
            reclaimable: (usage.layers_size - used_images).max(0),
            with_percentage: true,
        },
        KindRow {
            name: "Containers",
            total: containers.len(),
            active: containers.iter().filter(|container| lives(&container.state)).count(),
            bytes: containers.iter().map(|container| container.size_rw).sum(),
            reclaimable: containers.iter().filter(|container| !lives(&container.state)).map(|c| c.size_rw).sum(),
            with_percentage: true,
        },
        KindRow {
            name: "Local Volumes",
            total: volumes.len(),
            active: volumes.iter().filter(|v| v.usage_data.as_ref().is_some_and(|usage| usage.ref_count > 0)).count(),
            bytes: in_use + unused,
            reclaimable: unused,
            with_percentage: true,
        },
        KindRow {
            name: "Build Cache",
            total: usage.build_cache.as_ref().map_or(0, Vec::len),
            active: 0,
            bytes: cache_bytes(usage, |_| true),
            reclaimable: cache_bytes(usage, |record| !record.shared),
            with_percentage: false,
        },
    ]
}

// What an image has too is counted with the images.
fn cache_bytes(usage: &DiskUsage, counts: impl Fn(&BuildCache) -> bool) -> i64 {
    let records = usage.build_cache.iter().flatten().filter(|record| counts(record));
    records.map(|record| i64::try_from(record.size).unwrap_or(i64::MAX)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_api::container::ContainerSummary;

    #[test]
    fn what_does_not_run_could_be_reclaimed() {
        let container = |state: &str, size_rw: i64| ContainerSummary {
            state: state.to_owned(),
            size_rw,
            ..ContainerSummary::default()
        };
        let usage = DiskUsage {
            containers: Some(vec![container("running", 1000), container("exited", 3000)]),
            ..DiskUsage::default()
        };
        let expected = "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages          0         0         0B        0B\nContainers      2         1         4kB       3kB (75%)\nLocal Volumes   0         0         0B        0B\nBuild Cache     0         0         0B        0B\n";
        assert_eq!(listing::render(&SHAPE, "", &summary(&usage)).unwrap(), expected);
    }
}
