//! `container restart`: stops containers and starts them again.

use hako_api::query::ContainerStopQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::{Context, for_each_name},
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Restart {
    signal: Option<String>,
    timeout: Option<i64>,
}

impl Command for Restart {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container restart", "restart"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Restart containers",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.signal, "-s, --signal", "Signal that asks the container to end");
        set.add(&mut self.timeout, "-t, --timeout", "Seconds until it is killed; -1 for never");
        set.also("time", "timeout");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let query = ContainerStopQuery { signal: self.signal, timeout_s: self.timeout };
        for_each_name(cx, names, move |client, name| {
            let query = query.clone();
            async move { client.container_restart(&name, &query).await }
        })
        .await
    }
}
