//! `compose cp`: files between this machine and the containers of a service.

use super::{containers, one_container, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    container,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Cp {
    inner: container::cp::Cp,
    all: bool,
    index: i64,
}

impl Command for Cp {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose cp"],
        usage: "[OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n  or: [OPTIONS] SRC_PATH|- SERVICE:DEST_PATH",
        about: "Copy files between a service's containers and this machine",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.inner.flags(set);
        set.add(&mut self.all, "--all", "Also containers that do not run, and those of run");
        set.add(&mut self.index, "--index", "Number of the container");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        super::refuse_dry_run(cx, "cp")?;
        let place = |word: &str| container::cp::Place::parse(word).in_container();
        let (service, path, is_source) = match (place(&words[0]), place(&words[1])) {
            (Some((service, path)), None) => (service, path, true),
            (None, Some((service, path))) => (service, path, false),
            (Some(_), Some(_)) => return said("copying between services is not supported"),
            (None, None) => return said("unknown copy direction: one of the two must be SERVICE:PATH"),
        };
        let project = project_or_name(cx, std::slice::from_ref(&service))?;
        let client = cx.client()?;
        let mut targets = match self.index {
            0 => containers(&client, &project, std::slice::from_ref(&service), self.all).await?,
            index => vec![one_container(&client, &project, &service, index, self.all).await?],
        };
        if targets.is_empty() {
            return said(&format!("no container found for service {service:?}"));
        }
        // Files come from one of them, and go to all.
        if is_source {
            targets.truncate(1);
        }
        for seen in targets {
            let there = format!("{}:{path}", seen.id);
            let pair = if is_source { [there, words[1].clone()] } else { [words[0].clone(), there] };
            self.inner.clone().run(cx, pair.to_vec()).await?;
        }
        Ok(())
    }
}

fn said<T>(text: &str) -> Result<T, CommandError> {
    Err(CommandError::Said(text.to_owned()))
}
