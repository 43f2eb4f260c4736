//! `context use` and `context rm`.

use super::store::{DEFAULT, Store};
use crate::{
    command::{Arguments, Command, Shape},
    config,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Use;

impl Command for Use {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context use"],
        usage: "CONTEXT",
        about: "Talk to this daemon from now on",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let name = words[0].as_str();
        if name != DEFAULT {
            Store::new(&cx.directory).get(name)?;
        }
        set_current(cx, name)?;
        cx.print_line(name)?;
        if name != DEFAULT && std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
            cx.remark(&format!(
                "Warning: DOCKER_HOST environment variable overrides the active context. To use \"{name}\", either set \
                 the global --context flag, or unset DOCKER_HOST environment variable."
            ));
        }
        cx.remark(&format!("Current context is now \"{name}\""));
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Remove {
    force: bool,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context rm", "context remove"],
        usage: "CONTEXT [CONTEXT...]",
        about: "Remove contexts",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.force, "-f, --force", "Also the one that is in use, and no word about missing ones");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let store = Store::new(&cx.directory);
        let mut failures = Vec::new();
        for name in &words {
            let refusal = if name == DEFAULT {
                Some(format!("context \"{DEFAULT}\" cannot be removed"))
            } else if !store.exists(name) && !self.force {
                Some(format!("context \"{name}\" does not exist"))
            } else if *name == cx.context_name && !self.force {
                Some(format!("context \"{name}\" is in use, set -f flag to force remove"))
            } else {
                None
            };
            match refusal {
                Some(refusal) => failures.push(refusal),
                None => {
                    if *name == cx.config.current_context {
                        set_current(cx, DEFAULT)?;
                    }
                    store.remove(name)?;
                    cx.print_line(name)?;
                }
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(CommandError::Several(failures)) }
    }
}

fn set_current(cx: &Context, name: &str) -> Result<(), CommandError> {
    config::edit(&cx.directory, |keys| match name {
        DEFAULT => drop(keys.remove("currentContext")),
        name => drop(keys.insert("currentContext".to_owned(), name.into())),
    })
}
