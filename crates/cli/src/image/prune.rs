//! `image prune`: removes images that nothing uses.

use hako_api::query::PruneQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::size,
    system::confirm::confirm,
};

#[derive(Default)]
pub(crate) struct Prune {
    all: bool,
    filter: FilterFlag,
    force: bool,
}

impl Command for Prune {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image prune"],
        usage: "[OPTIONS]",
        about: "Remove images that nothing uses",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that have a name");
        set.add(&mut self.filter, "--filter", "Only those that match (\"until=24h\", \"label=name\")");
        set.add(&mut self.force, "-f, --force", "Do not ask");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let warning = match self.all {
            true => "WARNING! This will remove all images without at least one container associated to them.",
            false => "WARNING! This will remove all dangling images.",
        };
        if !self.force && !confirm(cx, warning)? {
            return Ok(());
        }
        let mut filters = self.filter.0;
        filters.add("dangling", if self.all { "false" } else { "true" });
        let pruned = cx.client()?.image_prune(&PruneQuery { filters }).await?;
        let mut text = String::new();
        if let Some(deleted) = pruned.images_deleted.filter(|deleted| !deleted.is_empty()) {
            text.push_str("Deleted Images:\n");
            for item in deleted {
                match item.untagged.as_str() {
                    "" => text.push_str(&format!("deleted: {}\n", item.deleted)),
                    name => text.push_str(&format!("untagged: {name}\n")),
                }
            }
            text.push('\n');
        }
        text.push_str(&format!("Total reclaimed space: {}\n", size::human(pruned.space_reclaimed.cast_signed(), 4)));
        cx.print(&text)
    }
}
