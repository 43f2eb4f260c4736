//! `compose down`: removes containers and networks, and what else is asked for.

use hako_compose::apply::{DownOptions, Rmi};

use super::{actor, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Down {
    orphans: bool,
    rmi: Option<String>,
    timeout: Option<i64>,
    volumes: bool,
}

impl Command for Down {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose down"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Stop and remove containers and networks",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.orphans, "--remove-orphans", "Remove containers of services that are gone");
        set.add(&mut self.rmi, "--rmi", "Remove images too: local or all");
        set.add(&mut self.timeout, "-t, --timeout", "Seconds before a container is killed");
        set.add(&mut self.volumes, "-v, --volumes", "Remove volumes too");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let images = match self.rmi.as_deref() {
            None | Some("") => Rmi::None,
            Some("local") => Rmi::Local,
            Some("all") => Rmi::All,
            Some(other) => {
                return Err(CommandError::Said(format!("invalid value for --rmi: {other:?}; local and all are known")));
            }
        };
        let variable = project.is_set("COMPOSE_REMOVE_ORPHANS");
        let options = DownOptions {
            services,
            volumes: self.volumes,
            orphans: self.orphans || variable,
            images,
            timeout_s: self.timeout,
        };
        let (actor, _) = actor(cx, project)?;
        Ok(actor.down(&options).await?)
    }
}
