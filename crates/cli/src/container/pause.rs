//! `container pause` and `unpause`: freezes and thaws all processes of containers.

use crate::{
    command::{Arguments, Command, Shape},
    context::{Context, for_each_name},
    error::CommandError,
};

#[derive(Default)]
pub(crate) struct Pause;

impl Command for Pause {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container pause", "pause"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Freeze all processes of containers",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        for_each_name(cx, names, |client, name| async move { client.container_pause(&name).await }).await
    }
}

#[derive(Default)]
pub(crate) struct Unpause;

impl Command for Unpause {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container unpause", "unpause"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Thaw all processes of containers",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        for_each_name(cx, names, |client, name| async move { client.container_unpause(&name).await }).await
    }
}
