//! `system prune`: removes everything that nothing uses.

use hako_api::query::PruneQuery;
use hako_base::ErrorKind;
use hako_client::{Client, RequestBody};
use serde::Deserialize;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::size,
    network,
    system::{confirm::confirm, request},
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
            return Err(CommandError::Said("the \"until\" filter is not supported with \"--volumes\"".to_owned()));
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
        match network::change::prune(&client, self.filter.clone()).await {
            Ok(deleted) => text.push_str(&deleted),
            // A daemon whose networks cannot be removed has none to prune.
            Err(error) if error.kind() == ErrorKind::NotImplemented => {}
            Err(error) => return Err(error),
        }
        if self.volumes {
            let volumes = client.volume_prune(&query).await?;
            reclaimed += volumes.space_reclaimed;
            list(&mut text, "Deleted Volumes", volumes.volumes_deleted);
        }
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
        reclaimed += prune_build_cache(&client, self.all).await?;
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
        warning.push_str("  - unused build cache\n");
        if !self.filter.0.is_empty() {
            let items = self.filter.0.0.iter();
            let shown: Vec<String> =
                items.flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}"))).collect();
            warning.push_str(&format!("\n  Items to be pruned will be filtered with:\n  - {}\n", shown.join("\n  - ")));
        }
        warning
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BuildPruneAnswer {
    space_reclaimed: u64,
}

async fn prune_build_cache(client: &Client, all: bool) -> Result<u64, CommandError> {
    let target = if all { "/build/prune?all=1" } else { "/build/prune" };
    match request::send(client, "POST", target, RequestBody::Empty).await {
        Ok(answer) => Ok(request::json_from::<BuildPruneAnswer>(answer)?.space_reclaimed),
        // A daemon that does not build has no cache.
        Err(error) if matches!(error.kind(), ErrorKind::NotImplemented | ErrorKind::NotFound) => Ok(0),
        Err(error) => Err(error),
    }
}

fn list(text: &mut String, title: &str, deleted: Option<Vec<String>>) {
    if let Some(deleted) = deleted.filter(|deleted| !deleted.is_empty()) {
        text.push_str(&format!("{title}:\n{}\n\n", deleted.join("\n")));
    }
}
