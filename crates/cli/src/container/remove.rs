//! `container rm`: removes containers, and what only they used.

use hako_api::query::ContainerRemoveQuery;
use hako_base::ErrorKind;

use crate::{
    command::{Arguments, Command, Shape},
    context::{Context, failures_of_each},
    error::{CommandError, client_message},
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Remove {
    force: bool,
    link: bool,
    volumes: bool,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container rm", "container remove", "rm"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Remove containers",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.force, "-f, --force", "Kill those that run");
        set.add(&mut self.link, "-l, --link", "Remove the link of that name instead");
        set.add(&mut self.volumes, "-v, --volumes", "Remove their unnamed volumes too");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let query = ContainerRemoveQuery { volumes: self.volumes, force: self.force, link: self.link };
        let failures = failures_of_each(cx, names, move |client, name| {
            let query = query.clone();
            async move { client.container_remove(name.trim_matches('/'), &query).await }
        })
        .await?;
        // What is gone already is removed, if the person insists; it is mentioned all the same.
        let (gone, failed): (Vec<_>, Vec<_>) =
            failures.iter().partition(|error| self.force && error.kind() == ErrorKind::NotFound);
        if failed.is_empty() {
            gone.iter().for_each(|error| cx.remark(&client_message(error)));
            return Ok(());
        }
        Err(CommandError::Several(failures.iter().map(client_message).collect()))
    }
}
