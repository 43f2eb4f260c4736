//! `buildx use`: which builder `buildx …` means from now on.

use super::{
    chosen,
    store::{Lasting, Store},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    contexts::store::{self as contexts, DEFAULT},
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Use {
    builder: String,
    debug: bool,
    as_default: bool,
    global: bool,
}

impl Command for Use {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx use"],
        usage: "[OPTIONS] NAME",
        about: "Use this builder from now on",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "The builder, where none is named");
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
        set.add(&mut self.as_default, "--default", "Also when nothing else is said with this daemon");
        set.add(&mut self.global, "--global", "With every daemon");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let name = words.first().unwrap_or(&self.builder);
        let store = Store::new(&cx.directory);
        let said = |text: String| Err(CommandError::Said(format!("ERROR: {text}")));
        let _lock = store.lock()?;
        let chosen = match store.get(name)? {
            Some(_) => name.as_str(),
            None if *name == cx.context_name => "",
            None if name == DEFAULT => {
                return said("run `docker context use default` to switch to default context".to_owned());
            }
            None if contexts::Store::new(&cx.directory).exists(name) => {
                return said(format!("run `docker context use {name}` to switch to context {name}"));
            }
            None => return said(format!("failed to find instance {name:?}: there is no builder of that name")),
        };
        let lasting = Lasting { everywhere: self.global, as_default: self.as_default };
        store.set_current(&chosen::key(cx)?, chosen, lasting)
    }
}
