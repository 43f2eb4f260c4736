//! `compose wait`: until containers of services end; gives the first exit code that is not 0.

use hako_api::query::ContainerWaitQuery;
use hako_compose::apply::DownOptions;

use super::{actor, containers, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Wait {
    down: bool,
}

impl Command for Wait {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose wait"],
        usage: "SERVICE [SERVICE...]",
        about: "Wait until the containers of services end",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.down, "--down-project", "Remove the project when the first one ends");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let client = cx.client()?;
        let list = containers(&client, &project, &services, false).await?;
        if list.is_empty() {
            return Err(CommandError::Said(format!("no containers for project {:?}", project.name)));
        }
        let mut waiting = tokio::task::JoinSet::new();
        for seen in list {
            let client = client.clone();
            waiting.spawn(async move {
                let wait = client.container_wait(&seen.id, &ContainerWaitQuery::default()).await?;
                Ok::<_, CommandError>((seen.name, wait.outcome().await?.status_code))
            });
        }
        let mut first = 0;
        while let Some(done) = waiting.join_next().await {
            let (name, code) = match done {
                Ok(done) => done?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            cx.print_line(&format!("container {name:?} exited with status code {code}"))?;
            first = if first == 0 { code } else { first };
            if self.down {
                break;
            }
        }
        if self.down {
            let (actor, _) = actor(cx, project)?;
            actor.down(&DownOptions::default()).await?;
        }
        match u8::try_from(first & 0xff) {
            Ok(0) | Err(_) => Ok(()),
            Ok(code) => Err(CommandError::Exit(code)),
        }
    }
}
