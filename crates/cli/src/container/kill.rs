//! `container kill`: sends a signal to containers' first processes.

use hako_api::query::ContainerKillQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::{Context, for_each_name},
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Kill {
    signal: Option<String>,
}

impl Command for Kill {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container kill", "kill"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Send a signal to running containers",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.signal, "-s, --signal", "The signal (default KILL)");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let query = ContainerKillQuery { signal: self.signal };
        for_each_name(cx, names, move |client, name| {
            let query = query.clone();
            async move { client.container_kill(&name, &query).await }
        })
        .await
    }
}
