//! `container prune`: removes containers that have ended.

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
    filter: FilterFlag,
    force: bool,
}

impl Command for Prune {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container prune"],
        usage: "[OPTIONS]",
        about: "Remove all containers that do not run",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.filter, "--filter", "Only those that match (\"until=24h\", \"label=name\")");
        set.add(&mut self.force, "-f, --force", "Do not ask");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        if !self.force && !confirm(cx, "WARNING! This will remove all stopped containers.")? {
            return Ok(());
        }
        let pruned = cx.client()?.container_prune(&PruneQuery { filters: self.filter.0 }).await?;
        let mut text = String::new();
        if let Some(deleted) = pruned.containers_deleted.filter(|deleted| !deleted.is_empty()) {
            text.push_str(&format!("Deleted Containers:\n{}\n\n", deleted.join("\n")));
        }
        text.push_str(&format!("Total reclaimed space: {}\n", size::human(pruned.space_reclaimed.cast_signed(), 4)));
        cx.print(&text)
    }
}
