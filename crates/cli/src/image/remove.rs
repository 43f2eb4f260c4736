//! `image rm`, `rmi`: takes names from images and removes those without any.

use hako_api::query::ImageRemoveQuery;

use super::save::platforms;
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Remove {
    force: bool,
    no_prune: bool,
    platforms: Vec<String>,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image rm", "image remove", "rmi"],
        usage: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Remove images",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.force, "-f, --force", "Even if containers that do not run use it");
        set.add(&mut self.no_prune, "--no-prune", "Keep the nameless images it was built upon");
        set.add(&mut self.platforms, "--platform", "Remove these platforms alone").kind("strings");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        let query =
            ImageRemoveQuery { force: self.force, no_prune: self.no_prune, platforms: platforms(&self.platforms)? };
        let mut failures = Vec::new();
        let mut fatal = false;
        for name in names {
            match client.image_remove(&name, &query).await {
                Ok(removed) => {
                    let lines: String = removed
                        .iter()
                        .map(|item| match item.deleted.as_str() {
                            "" => format!("Untagged: {}\n", item.untagged),
                            digest => format!("Deleted: {digest}\n"),
                        })
                        .collect();
                    cx.print(&lines)?;
                }
                Err(error) => {
                    fatal |= error.kind() != hako_base::ErrorKind::NotFound;
                    failures.push(client_message(&error));
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        if self.force && !fatal {
            // What is gone already is removed, if the person insists.
            failures.iter().for_each(|failure| cx.remark(failure));
            return Ok(());
        }
        Err(CommandError::Several(failures))
    }
}
