//! `container rename`: gives a container another name.

use hako_api::query::ContainerRenameQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
};

#[derive(Default)]
pub(crate) struct Rename;

impl Command for Rename {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container rename", "rename"],
        usage: "CONTAINER NEW_NAME",
        about: "Rename a container",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let (old, new) = (names[0].trim(), names[1].trim());
        if old.is_empty() || new.is_empty() {
            return Err(CommandError::Said("Error: Neither old nor new names may be empty".to_owned()));
        }
        let query = ContainerRenameQuery { name: new.to_owned() };
        cx.client()?.container_rename(old, &query).await.map_err(|error| {
            CommandError::Said(format!("{}\nError: failed to rename container named {old}", client_message(&error)))
        })
    }
}
