//! `container wait`: waits until containers have ended and prints their exit codes.

use hako_api::query::ContainerWaitQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
};

#[derive(Default)]
pub(crate) struct Wait;

impl Command for Wait {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container wait", "wait"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Wait until containers have ended and print their exit codes",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        let mut failures = Vec::new();
        for name in names {
            let outcome = match client.container_wait(&name, &ContainerWaitQuery::default()).await {
                Ok(waiting) => waiting.outcome().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(ended) => match ended.error {
                    Some(error) => failures.push(error.message),
                    None => cx.print_line(&ended.status_code.to_string())?,
                },
                Err(error) => failures.push(client_message(&error)),
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(CommandError::Several(failures)) }
    }
}
