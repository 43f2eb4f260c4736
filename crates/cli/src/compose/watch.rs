//! `compose watch`, and what `up --watch` does beside: changes of sources followed into running containers.

use std::collections::BTreeMap;

use hako_client::Client;
use hako_compose::{
    apply::{Actor, UpOptions},
    observe::Seen,
    plan::Wishes,
    project::Project,
    watch::{self, Rule, Work, notice::Notices},
};
use tokio::sync::mpsc;

use super::{
    actor,
    attached::interrupts,
    build::{Quiet, plan_with_images},
    containers, project, selection,
    up::Up,
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Watch {
    no_up: bool,
    prune: bool,
    quiet: bool,
}

impl Command for Watch {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose watch", "compose alpha watch"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Follow changes of sources into running services",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.no_up, "--no-up", "Do not build and start services first");
        set.add(&mut self.prune, "--prune", "Remove images that rebuilding has replaced");
        set.add(&mut self.quiet, "--quiet", "Do not show what builds say");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project(cx, &selection(cx, &services, false))?;
        let watching = Watching::begin(cx, project, &services, Habits { quiet: self.quiet, prune: self.prune })?;
        if !self.no_up {
            Up::for_watch(self.quiet).run(cx, services).await?;
        }
        if cx.compose.dry_run {
            return Ok(());
        }
        // Building catches interrupts too, and they would end nothing afterwards.
        let mut interrupts = interrupts()?;
        tokio::select! {
            done = watching.run(cx, None) => done,
            Some(()) = interrupts.recv() => Err(CommandError::Exit(130)),
        }
    }
}

/// How rebuilding goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Habits {
    pub quiet: bool,
    pub prune: bool,
}

/// Sources that are followed.
pub(super) struct Watching {
    actor: Actor,
    client: Client,
    rules: Vec<Rule>,
    notices: Notices,
    habits: Habits,
}

impl Watching {
    /// Listens to the sources of the named services (none: of all).
    ///
    /// # Errors
    /// When none of them says what to watch, or one of them cannot be watched.
    pub(super) fn begin(
        cx: &Context,
        project: Project,
        services: &[String],
        habits: Habits,
    ) -> Result<Self, CommandError> {
        let mut watched = watch::watched(&project);
        watched.retain(|service| services.is_empty() || services.contains(&service.name));
        if watched.is_empty() {
            let message =
                "none of the selected services is configured for watch, consider setting an 'develop' section";
            return Err(CommandError::Said(message.to_owned()));
        }
        let rules = watch::rules(watched.into_iter()).map_err(CommandError::Said)?;
        let notices = Notices::begin(rules.iter().map(|rule| rule.path.as_path())).map_err(CommandError::Said)?;
        let client = cx.client()?;
        let (actor, _) = actor(cx, project)?;
        Ok(Self { actor, client, rules, notices, habits })
    }

    /// Follows changes until the program is told to leave. What goes wrong with one of them is told, and the next one is
    /// waited for. `rebuilt` hears of services that have new containers.
    ///
    /// # Errors
    /// When changes can no longer be heard of, or nobody reads the output.
    pub(super) async fn run(
        mut self,
        cx: &Context,
        rebuilt: Option<mpsc::UnboundedSender<String>>,
    ) -> Result<(), CommandError> {
        cx.print_line("Watch enabled")?;
        self.carry_out(cx, watch::initial(&self.rules), rebuilt.as_ref()).await?;
        loop {
            let changed = self.notices.next().await.map_err(CommandError::Said)?;
            self.carry_out(cx, watch::work(&self.rules, &changed), rebuilt.as_ref()).await?;
        }
    }

    async fn carry_out(
        &self,
        cx: &Context,
        work: BTreeMap<String, Work>,
        rebuilt: Option<&mpsc::UnboundedSender<String>>,
    ) -> Result<(), CommandError> {
        for (service, work) in work {
            // What is built anew has everything that has changed.
            let done = if work.rebuild {
                cx.print_line(&format!("Rebuilding service {service:?} after changes were detected..."))?;
                self.rebuild(cx, &service).await
            } else {
                let words = if work.copies.is_empty() && work.removals.is_empty() { "Restarting" } else { "Syncing" };
                cx.print_line(&format!("{words} {service:?} after changes were detected"))?;
                self.actor.sync(&service, &work).await.map_err(CommandError::from)
            };
            match done {
                Ok(()) if work.rebuild => {
                    cx.print_line(&format!("service {service:?} successfully built"))?;
                    // Whoever shows output wants to show the new containers' too.
                    rebuilt.map(|tell| tell.send(service));
                }
                Ok(()) => {}
                Err(error) => cx.remark(&format!("service {service:?}: {error}")),
            }
        }
        Ok(())
    }

    async fn rebuild(&self, cx: &Context, service: &str) -> Result<(), CommandError> {
        let names = [service.to_owned()];
        let project = project(cx, &selection(cx, &names, true))?;
        let before = containers(&self.client, &project, &names, true).await?;
        let mut wishes = Wishes { build: true, services: names.to_vec(), ..Wishes::default() };
        if !before.is_empty() {
            // Somebody may have scaled it.
            wishes.scale.insert(service.to_owned(), u32::try_from(before.len()).unwrap_or(u32::MAX));
        }
        let quiet = Quiet { build: self.habits.quiet, pull: self.habits.quiet };
        let (plan, observed) = plan_with_images(cx, &self.client, &project, &wishes, quiet).await?;
        let (maker, _) = actor(cx, project)?;
        maker.create(&plan, &observed, &UpOptions::default()).await?;
        maker.start().await?;
        if self.habits.prune { self.prune(&before).await } else { Ok(()) }
    }

    // An image that still has a name, or that somebody uses, stays.
    async fn prune(&self, before: &[Seen]) -> Result<(), CommandError> {
        let mut ids: Vec<&str> = before.iter().map(|seen| seen.image_id.as_str()).collect();
        ids.dedup();
        for id in ids {
            let nameless = self.client.image_inspect(id).await.is_ok_and(|image| image.repo_tags.is_empty());
            if nameless {
                let _ = self.client.image_remove(id, &hako_api::query::ImageRemoveQuery::default()).await;
            }
        }
        Ok(())
    }
}
