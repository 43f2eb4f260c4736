//! Commands of `container` for a container that is named by its service.

use hako_api::query::ContainerTopQuery;

use super::{containers, one_container, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    container,
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::table,
};

#[derive(Default)]
pub(crate) struct Commit {
    inner: container::commit::Commit,
    index: i64,
}

impl Command for Commit {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose commit"],
        usage: "[OPTIONS] SERVICE [REPOSITORY[:TAG]]",
        about: "Make an image of a service's container",
        arguments: Arguments::Between(1, 2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.inner.flags(set);
        set.add(&mut self.index, "--index", "Number of the container");
    }

    async fn run(self, cx: &mut Context, mut words: Vec<String>) -> Result<(), CommandError> {
        super::refuse_dry_run(cx, "commit")?;
        let project = project_or_name(cx, &words[..1])?;
        words[0] = one_container(&cx.client()?, &project, &words[0], self.index, true).await?.id;
        self.inner.run(cx, words).await
    }
}

#[derive(Default)]
pub(crate) struct Export {
    inner: container::export::Export,
    index: i64,
}

impl Command for Export {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose export"],
        usage: "[OPTIONS] SERVICE",
        about: "Write the file system of a service's container as a tar",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.inner.flags(set);
        set.add(&mut self.index, "--index", "Number of the container");
    }

    async fn run(self, cx: &mut Context, mut words: Vec<String>) -> Result<(), CommandError> {
        super::refuse_dry_run(cx, "export")?;
        let project = project_or_name(cx, &words)?;
        words[0] = one_container(&cx.client()?, &project, &words[0], self.index, true).await?.id;
        self.inner.run(cx, words).await
    }
}

#[derive(Default)]
pub(crate) struct Stats {
    inner: container::stats::Stats,
}

impl Command for Stats {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose stats"],
        usage: "[OPTIONS] [SERVICE]",
        about: "Show what services use",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.inner.flags(set);
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let list = containers(&cx.client()?, &project, &services, false).await?;
        if list.is_empty() {
            return Err(CommandError::Said(format!("no container of project {:?} runs", project.name)));
        }
        self.inner.run(cx, list.into_iter().map(|seen| seen.id).collect()).await
    }
}

// As docker compose lays its table out.
const COLUMN_WIDTH_MIN: usize = 5;
const COLUMN_PADDING: usize = 3;

#[derive(Default)]
pub(crate) struct Top;

impl Command for Top {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose top"],
        usage: "[SERVICE...]",
        about: "List the processes of services",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let client = cx.client()?;
        for seen in containers(&client, &project, &services, false).await? {
            let answer = client.container_top(&seen.id, &ContainerTopQuery::default()).await?;
            let mut text = format!("{}\n", answer.titles.join("\t"));
            for process in &answer.processes {
                text.push_str(&format!("{}\n", process.join("\t")));
            }
            cx.print(&format!("{}\n{}\n", seen.name, table::align_with(&text, COLUMN_WIDTH_MIN, COLUMN_PADDING)))?;
        }
        Ok(())
    }
}
