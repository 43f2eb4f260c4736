//! `compose version`: which Compose this is.

use hako_compose::labels::COMPOSE_VERSION;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Version {
    format: Option<String>,
    short: bool,
}

impl Command for Version {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose version"],
        usage: "[OPTIONS]",
        about: "Print the version",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "-f, --format", "pretty or json (default \"pretty\")");
        set.add(&mut self.short, "--short", "The number alone");
    }

    // Programs read the version from these lines to know what they may ask for.
    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        if self.short {
            return cx.print_line(COMPOSE_VERSION);
        }
        match self.format.as_deref() {
            Some("json") => cx.print_line(&format!("{{\"version\":\"{COMPOSE_VERSION}\"}}")),
            _ => cx.print_line(&format!("Docker Compose version {COMPOSE_VERSION}")),
        }
    }
}
