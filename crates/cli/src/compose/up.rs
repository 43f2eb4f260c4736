//! `compose up`: makes what is there what the files say, and stays with it unless told otherwise.

use std::{collections::BTreeMap, collections::BTreeSet};

use hako_compose::{
    apply::{Actor, UpOptions},
    error::LoadError,
    plan::{self, Action, Recreate, Wishes, text},
    project::Project,
    suggest,
};

use super::{
    actor,
    attached::Attached,
    build::{Quiet, plan_with_images},
    project, selection,
    watch::{Habits, Watching},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Up {
    pub(super) abort_on_exit: bool,
    pub(super) abort_on_failure: bool,
    always_recreate_deps: bool,
    pub(super) attach: Vec<String>,
    pub(super) attach_dependencies: bool,
    build: bool,
    detach: bool,
    pub(super) exit_code_from: Option<String>,
    force_recreate: bool,
    menu: bool,
    pub(super) no_attach: Vec<String>,
    no_build: bool,
    pub(super) no_color: bool,
    no_deps: bool,
    pub(super) no_log_prefix: bool,
    no_recreate: bool,
    no_start: bool,
    pull: Option<String>,
    quiet_build: bool,
    quiet_pull: bool,
    remove_orphans: bool,
    renew_anonymous: bool,
    scale: Vec<String>,
    pub(super) timeout: Option<i64>,
    pub(super) timestamps: bool,
    wait: bool,
    wait_timeout: Option<i64>,
    watch: bool,
    yes: bool,
}

impl Command for Up {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose up"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Create and start containers",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.abort_on_exit, "--abort-on-container-exit", "Stop everything when one container ends");
        set.add(&mut self.abort_on_failure, "--abort-on-container-failure", "Stop everything when one container fails");
        set.add(&mut self.always_recreate_deps, "--always-recreate-deps", "Recreate dependent containers too");
        set.add(&mut self.attach, "--attach", "Show the output of these services only").kind("stringArray");
        set.add(&mut self.attach_dependencies, "--attach-dependencies", "Show the output of dependencies too");
        set.add(&mut self.build, "--build", "Build images first");
        set.add(&mut self.detach, "-d, --detach", "Leave everything in the background");
        set.add(&mut self.exit_code_from, "--exit-code-from", "End as this service ends; stops everything then");
        set.add(&mut self.force_recreate, "--force-recreate", "Recreate containers although nothing has changed");
        set.add(&mut self.menu, "--menu", "Accepted: there is no menu").hide();
        set.add(&mut self.no_attach, "--no-attach", "Do not show the output of these services").kind("stringArray");
        set.add(&mut self.no_build, "--no-build", "Do not build images, even if they are missing");
        set.add(&mut self.no_color, "--no-color", "No colours");
        set.add(&mut self.no_deps, "--no-deps", "Leave dependencies alone");
        set.add(&mut self.no_log_prefix, "--no-log-prefix", "No names before lines");
        set.add(&mut self.no_recreate, "--no-recreate", "Leave existing containers as they are");
        set.add(&mut self.no_start, "--no-start", "Create only");
        set.add(&mut self.pull, "--pull", "Pull first: always, missing or never (default \"policy\")");
        set.add(&mut self.quiet_build, "--quiet-build", "Do not show what builds say");
        set.add(&mut self.quiet_pull, "--quiet-pull", "Do not show how far pulls are");
        set.add(&mut self.remove_orphans, "--remove-orphans", "Remove containers of services that are gone");
        set.add(&mut self.renew_anonymous, "-V, --renew-anon-volumes", "Give new containers new anonymous volumes");
        set.add(&mut self.scale, "--scale", "Number of containers (SERVICE=NUM)").kind("scale");
        set.add(&mut self.timeout, "-t, --timeout", "Seconds before a container that stops is killed");
        set.add(&mut self.timestamps, "--timestamps", "Show when each line was written");
        set.add(&mut self.wait, "--wait", "Wait until all run and are healthy; implies --detach");
        set.add(&mut self.wait_timeout, "--wait-timeout", "Seconds to wait at most");
        set.add(&mut self.watch, "-w, --watch", "Follow changes of sources into the containers");
        set.add(&mut self.yes, "-y, --yes", "Say yes to every question").hide();
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        self.check()?;
        let project = project(cx, &selection(cx, &services, self.no_deps))?;
        self.check_names(&project)?;
        let wishes = self.wishes(&project, services.clone())?;
        let client = cx.client()?;
        let quiet = Quiet { build: self.quiet_build, pull: self.quiet_pull };
        let (plan, observed) = plan_with_images(cx, &client, &project, &wishes, quiet).await?;
        if cx.compose.dry_run {
            return cx.print(&text::text(&project, &plan));
        }
        remark_orphans(cx, &project, &plan);
        let existed: BTreeSet<String> = plan
            .containers
            .iter()
            .filter(|step| matches!(step.action, Action::Keep(_) | Action::Start(_)))
            .map(|step| step.name.clone())
            .collect();
        let (actor, display) = actor(cx, project)?;
        let options = UpOptions { timeout_s: self.timeout, renew_anonymous: self.renew_anonymous };
        actor.create(&plan, &observed, &options).await?;
        if self.no_start {
            return Ok(());
        }
        if self.detach || self.wait {
            actor.start().await?;
            return if self.wait { self.wait_until_up(&actor, &services).await } else { Ok(()) };
        }
        let watching = match self.watch {
            true => {
                // Builds and new containers are told between the lines of the old ones.
                if matches!(cx.compose.progress.as_str(), "auto" | "tty") {
                    cx.compose.progress = "plain".to_owned();
                }
                let habits = Habits { quiet: self.quiet_build, prune: false };
                Some(Watching::begin(cx, Project::clone(&actor.project), &services, habits)?)
            }
            false => None,
        };
        let attached = Attached { up: &self, actor, display, services, existed };
        attached.run(cx, watching).await
    }
}

fn remark_orphans(cx: &Context, project: &Project, plan: &plan::Plan) {
    let ignored = project.is_set("COMPOSE_IGNORE_ORPHANS");
    if plan.remove_orphans || plan.orphans.is_empty() || ignored {
        return;
    }
    let names: Vec<&str> = plan.orphans.iter().map(|seen| seen.name.as_str()).collect();
    cx.remark(&format!(
        "warning: Found orphan containers ({}) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.",
        names.join(", ")
    ));
}

/// The wanted numbers of `--scale`.
///
/// # Errors
/// When one is no pair, or names a service that is not there.
pub(super) fn parse_scale(texts: &[String], project: &Project) -> Result<BTreeMap<String, u32>, CommandError> {
    let mut scale = BTreeMap::new();
    for text in texts {
        let pair = text.split_once('=').and_then(|(name, count)| Some((name, count.parse().ok()?)));
        let Some((name, count)) = pair else {
            return Err(CommandError::Said(format!("invalid --scale option {text:?}. Should be SERVICE=NUM")));
        };
        let Some(service) = project.services.get(name) else {
            return Err(CommandError::Said(format!("no such service: {name}")));
        };
        if count > 1 && !service.container_name.is_empty() {
            return Err(CommandError::Said(format!(
                "service {name:?} has the container name {:?}, and a name belongs to one container",
                service.container_name
            )));
        }
        scale.insert(name.to_owned(), count);
    }
    Ok(scale)
}

impl Up {
    /// What `watch` does first.
    pub(super) fn for_watch(quiet: bool) -> Self {
        Self { detach: true, quiet_build: quiet, ..Self::default() }
    }

    fn check(&self) -> Result<(), CommandError> {
        let said = |text: &str| Err(CommandError::Said(text.to_owned()));
        if self.watch && (self.detach || self.wait || self.no_start) {
            return said("--watch stays in the foreground: it cannot be combined with --detach, --wait or --no-start");
        }
        if self.detach && (self.abort_on_exit || self.abort_on_failure || self.exit_code_from.is_some()) {
            return said("--detach cannot be combined with --abort-on-container-exit or --exit-code-from");
        }
        if self.detach && (!self.attach.is_empty() || self.attach_dependencies) {
            return said("--detach cannot be combined with --attach or --attach-dependencies");
        }
        if self.force_recreate && self.no_recreate {
            return said("--force-recreate and --no-recreate are incompatible");
        }
        if self.build && self.no_build {
            return said("--build and --no-build are incompatible");
        }
        if self.renew_anonymous && self.no_recreate {
            return said("--no-recreate and --renew-anon-volumes are incompatible");
        }
        Ok(())
    }

    fn check_names(&self, project: &Project) -> Result<(), CommandError> {
        let named = self.exit_code_from.iter().chain(&self.attach).chain(&self.no_attach);
        match named.into_iter().find(|name| !project.all_services.contains(*name)) {
            None => Ok(()),
            Some(name) => {
                let hint = suggest::nearest(name, project.all_services.iter().map(String::as_str));
                let hint = hint.map(|meant| format!("did you mean {meant:?}?"));
                Err(LoadError::NoService { name: name.clone(), hint }.into())
            }
        }
    }

    fn wishes(&self, project: &Project, services: Vec<String>) -> Result<Wishes, CommandError> {
        let variable = project.is_set("COMPOSE_REMOVE_ORPHANS");
        let recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Diverged,
        };
        Ok(Wishes {
            recreate,
            recreate_dependencies: match self.always_recreate_deps {
                true => Recreate::Always,
                false if self.no_recreate => Recreate::Never,
                false => Recreate::Diverged,
            },
            scale: parse_scale(&self.scale, project)?,
            remove_orphans: self.remove_orphans || variable,
            build: self.build,
            no_build: self.no_build,
            pull: self.pull.clone().filter(|policy| policy != "policy"),
            services,
        })
    }

    async fn wait_until_up(&self, actor: &Actor, services: &[String]) -> Result<(), CommandError> {
        let waiting = actor.wait_until_up(services);
        let Some(seconds) = self.wait_timeout.and_then(|seconds| u64::try_from(seconds).ok()) else {
            return Ok(waiting.await?);
        };
        match tokio::time::timeout(std::time::Duration::from_secs(seconds), waiting).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(CommandError::Said(format!("application not healthy after {seconds}s"))),
        }
    }
}
