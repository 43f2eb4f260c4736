//! `buildx rm` and `buildx stop`.

use super::{
    chosen::{self, Chosen, Driver},
    driver,
    store::Store,
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::{FlagSet, GoDuration},
    system::confirm::confirm,
};

#[derive(Default)]
pub(crate) struct Remove {
    all_inactive: bool,
    builder: Option<String>,
    debug: bool,
    force: bool,
    keep_daemon: bool,
    keep_state: bool,
    timeout: Option<GoDuration>,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx rm"],
        usage: "[OPTIONS] [NAME...]",
        about: "Remove builders",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all_inactive, "--all-inactive", "All that do not run");
        set.add(&mut self.builder, "--builder", "The builder, where none is named");
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
        set.add(&mut self.force, "-f, --force", "Do not ask");
        set.add(&mut self.keep_daemon, "--keep-daemon", "Leave BuildKit running");
        set.add(&mut self.keep_state, "--keep-state", "Leave its cache for a builder of the same name");
        set.add(&mut self.timeout, "--timeout", "Accepted: a builder has 20 seconds to answer").hide();
    }

    async fn run(self, cx: &mut Context, mut words: Vec<String>) -> Result<(), CommandError> {
        if self.all_inactive {
            if !words.is_empty() {
                return Err(CommandError::Said("ERROR: cannot specify builder name when --all-inactive is set".into()));
            }
            let warning = "WARNING! This will remove all builders that are not in running state.";
            if !self.force && !confirm(cx, warning)? {
                return Ok(());
            }
            words = idle(cx).await;
        } else if words.is_empty() {
            words.push(chosen::chosen(cx, self.builder.as_deref())?.name);
        }
        let mut has_failed = false;
        for name in &words {
            match self.remove(cx, name).await {
                Ok(()) => cx.remark(&format!("{name} removed")),
                Err(error) => {
                    has_failed = true;
                    let why = error.message().unwrap_or_default();
                    cx.remark(&format!("failed to remove {name}: {}", why.trim_start_matches("ERROR: ")));
                }
            }
        }
        if has_failed {
            return Err(CommandError::Said("ERROR: failed to remove one or more builders".to_owned()));
        }
        Ok(())
    }
}

impl Remove {
    async fn remove(&self, cx: &Context, name: &str) -> Result<(), CommandError> {
        let chosen = chosen::named(cx, name)?;
        if chosen.driver == Driver::Docker {
            return Err(CommandError::Said(format!(
                "context builder cannot be removed, run `docker context rm {name}` to remove this context"
            )));
        }
        let mut failure = None;
        for node in &chosen.nodes {
            let removed = driver::remove(&chosen, node, !self.keep_daemon, !self.keep_state).await;
            failure = failure.or(removed.err());
        }
        // A daemon that is gone for good must not keep its builder in the list.
        let store = Store::new(&cx.directory);
        let _lock = store.lock()?;
        store.remove(name)?;
        failure.map_or(Ok(()), Err)
    }
}

async fn idle(cx: &Context) -> Vec<String> {
    let mut names = Vec::new();
    for chosen in chosen::all(cx).into_iter().filter(|chosen| chosen.driver != Driver::Docker) {
        let states = super::list::states(&chosen).await;
        if !states.iter().any(|state| state.word == "running") {
            names.push(chosen.name);
        }
    }
    names
}

#[derive(Default)]
pub(crate) struct Stop {
    builder: Option<String>,
    debug: bool,
}

impl Command for Stop {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx stop"],
        usage: "[NAME]",
        about: "Stop a builder; the next build starts it",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "The builder, where none is named");
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let asked = words.first().or(self.builder.as_ref());
        let chosen: Chosen = chosen::chosen(cx, asked.map(String::as_str))?;
        for node in &chosen.nodes {
            driver::stop(&chosen, node).await?;
        }
        Ok(())
    }
}
