//! `compose logs`: what the containers of services have printed.

use hako_api::query::{ContainerInspectQuery, ContainerLogsQuery};

use super::{console::Console, containers, follow::short_name, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    container::logs::instant,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Logs {
    follow: bool,
    index: i64,
    no_color: bool,
    no_log_prefix: bool,
    since: String,
    tail: Option<String>,
    timestamps: bool,
    until: String,
}

impl Command for Logs {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose logs"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Print what containers have written",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.follow, "-f, --follow", "Go on with what is written from now on");
        set.add(&mut self.index, "--index", "Number of the container");
        set.add(&mut self.no_color, "--no-color", "No colours");
        set.add(&mut self.no_log_prefix, "--no-log-prefix", "No names before lines");
        set.add(&mut self.since, "--since", "Begin at a time, or so long ago (\"42m\")");
        set.add(&mut self.tail, "-n, --tail", "Lines from the end (default \"all\")");
        set.add(&mut self.timestamps, "-t, --timestamps", "Show when each line was written");
        set.add(&mut self.until, "--until", "End at a time, or so long ago (\"42m\")");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let client = cx.client()?;
        let mut list = containers(&client, &project, &services, true).await?;
        list.retain(|seen| self.index == 0 || i64::from(seen.number) == self.index);
        let names: Vec<String> = list.iter().map(|seen| short_name(&project.name, seen)).collect();
        let console = Console::new(&names, !self.no_log_prefix, self.no_color, &cx.compose.ansi).joined();
        let query = ContainerLogsQuery {
            follow: self.follow,
            stdout: true,
            stderr: true,
            since: instant("since", &self.since)?,
            until: instant("until", &self.until)?,
            timestamps: self.timestamps,
            tail: self.tail.unwrap_or_else(|| "all".to_owned()),
            details: false,
        };
        let mut copying = tokio::task::JoinSet::new();
        for (seen, name) in list.into_iter().zip(names) {
            let (client, console, query) = (client.clone(), console.clone(), query.clone());
            let copy = async move {
                let log = client.container_logs(&seen.id, &query).await?;
                let tty = match log.multiplexed {
                    Some(_) => false,
                    None => client.container_inspect(&seen.id, &ContainerInspectQuery::default()).await?.config.tty,
                };
                console.copy(&name, log, tty).await
            };
            if self.follow {
                copying.spawn(copy);
            } else {
                copy.await?;
            }
        }
        while let Some(done) = copying.join_next().await {
            match done {
                Ok(done) => done?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        Ok(())
    }
}
