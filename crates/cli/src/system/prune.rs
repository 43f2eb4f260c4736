//! `system prune`: removes everything that nothing uses.

use hako_api::query::{BuildPruneQuery, PruneQuery};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::size,
    network,
    system::confirm::confirm,
};

#[derive(Default)]
pub(crate) struct Prune {
    all: bool,
    filter: FilterFlag,
    force: bool,
    volumes: bool,
}

impl Command for Prune {
    const SHAPE: &'static Shape = &Shape {
        paths: &["system prune"],
        usage: "[OPTIONS]",
        about: "Remove everything that nothing uses",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also images that have a name");
        set.add(&mut self.filter, "--filter", "Only what matches (\"until=24h\", \"label=name\")");
        set.add(&mut self.force, "-f, --force", "Do not ask");
        set.add(&mut self.volumes, "--volumes", "Also unnamed volumes");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        if self.volumes && self.filter.0.0.contains_key("until") {
            return Err(CommandError::Said(
                "ERROR: The \"until\" filter is not supported with \"--volumes\"".to_owned(),
            ));
        }
        if !self.force && !confirm(cx, &self.warning())? {
            return Ok(());
        }
        let client = cx.client()?;
        let query = PruneQuery { filters: self.filter.0.clone() };
        let mut text = String::new();
        let mut reclaimed = 0;

        let containers = client.container_prune(&query).await?;
        reclaimed += containers.space_reclaimed;
        list(&mut text, "Deleted Containers", containers.containers_deleted);
        text.push_str(&network::change::prune(&client, self.filter.clone()).await?);
        if self.volumes {
            let volumes = client.volume_prune(&query).await?;
            reclaimed += volumes.space_reclaimed;
            list(&mut text, "Deleted Volumes", volumes.volumes_deleted);
        }
        let cache_filters = self.filter.0.clone();
        let mut filters = self.filter.0;
        filters.add("dangling", if self.all { "false" } else { "true" });
        let images = client.image_prune(&PruneQuery { filters }).await?;
        reclaimed += images.space_reclaimed;
        let lines = images.images_deleted.map(|items| {
            let line = |item: hako_api::image::ImageDeleteItem| match item.untagged.as_str() {
                "" => format!("deleted: {}", item.deleted),
                name => format!("untagged: {name}"),
            };
            items.into_iter().map(line).collect()
        });
        list(&mut text, "Deleted Images", lines);
        let query = BuildPruneQuery { all: self.all, filters: cache_filters, ..BuildPruneQuery::default() };
        let cache = client.build_prune(&query).await?;
        reclaimed += cache.space_reclaimed;
        list(&mut text, "Deleted build cache objects", cache.caches_deleted);
        text.push_str(&format!("Total reclaimed space: {}\n", size::human(reclaimed.cast_signed(), 4)));
        cx.print(&text)
    }
}

impl Prune {
    fn warning(&self) -> String {
        let mut warning = String::from(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
        );
        if self.volumes {
            warning.push_str("  - all anonymous volumes not used by at least one container\n");
        }
        warning.push_str(match self.all {
            true => "  - all images without at least one container associated to them\n",
            false => "  - all dangling images\n",
        });
        warning.push_str(if self.all { "  - all build cache\n" } else { "  - unused build cache\n" });
        if !self.filter.0.is_empty() {
            let items = self.filter.0.0.iter();
            let shown: Vec<String> =
                items.flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}"))).collect();
            warning.push_str(&format!("\n  Items to be pruned will be filtered with:\n  - {}\n", shown.join("\n  - ")));
        }
        warning
    }
}

fn list(text: &mut String, title: &str, deleted: Option<Vec<String>>) {
    if let Some(deleted) = deleted.filter(|deleted| !deleted.is_empty()) {
        text.push_str(&format!("{title}:\n{}\n\n", deleted.join("\n")));
    }
}
