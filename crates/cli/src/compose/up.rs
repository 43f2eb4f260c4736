//! `compose up`: makes what is there what the files say, and stays with it unless told otherwise.

use std::{collections::BTreeMap, collections::BTreeSet};

use hako_client::Client;
use hako_compose::{
    apply::{Actor, Deed, UpOptions},
    observe::Seen,
    plan::{self, Action, Recreate, Wishes, text},
    project::Project,
    service::{Condition, Service},
};
use tokio::sync::mpsc;

use super::{
    actor,
    build::{Quiet, plan_with_images},
    console::Console,
    containers,
    follow::{self, Ended, Wanted},
    progress::Display,
    project, selection,
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Up {
    abort_on_exit: bool,
    abort_on_failure: bool,
    always_recreate_deps: bool,
    attach: Vec<String>,
    attach_dependencies: bool,
    build: bool,
    detach: bool,
    exit_code_from: Option<String>,
    force_recreate: bool,
    no_attach: Vec<String>,
    no_build: bool,
    no_color: bool,
    no_deps: bool,
    no_log_prefix: bool,
    no_recreate: bool,
    no_start: bool,
    pull: Option<String>,
    quiet_build: bool,
    quiet_pull: bool,
    remove_orphans: bool,
    renew_anonymous: bool,
    scale: Vec<String>,
    timeout: Option<i64>,
    timestamps: bool,
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
        set.add(&mut self.watch, "-w, --watch", "Follow changes of sources").hide();
        set.add(&mut self.yes, "-y, --yes", "Say yes to every question").hide();
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        self.check()?;
        let project = project(cx, &selection(cx, &services, self.no_deps))?;
        let wishes = self.wishes(&project, services.clone())?;
        let client = cx.client()?;
        let quiet = Quiet { build: self.quiet_build, pull: self.quiet_pull };
        let (plan, observed) = plan_with_images(cx, &client, &project, &wishes, quiet).await?;
        if cx.compose.dry_run {
            return cx.print(&text::text(&project, &plan));
        }
        remark_orphans(cx, &plan);
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
        let attached = Attached { up: &self, actor, display, services, existed };
        attached.run(cx).await
    }
}

fn remark_orphans(cx: &Context, plan: &plan::Plan) {
    let ignored = std::env::var("COMPOSE_IGNORE_ORPHANS").is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
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
    fn check(&self) -> Result<(), CommandError> {
        let said = |text: &str| Err(CommandError::Said(text.to_owned()));
        if self.watch {
            return said("up --watch is not there yet: hako does not follow changes of sources so far");
        }
        if self.detach && (self.abort_on_exit || self.abort_on_failure || self.exit_code_from.is_some()) {
            return said("--detach cannot be combined with --abort-on-container-exit or --exit-code-from");
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

    fn wishes(&self, project: &Project, services: Vec<String>) -> Result<Wishes, CommandError> {
        let variable =
            std::env::var("COMPOSE_REMOVE_ORPHANS").is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
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

/// `up` in the foreground.
struct Attached<'u> {
    up: &'u Up,
    actor: Actor,
    display: Display,
    services: Vec<String>,
    existed: BTreeSet<String>,
}

impl Attached<'_> {
    async fn run(self, cx: &Context) -> Result<(), CommandError> {
        let client = cx.client()?;
        let project = self.actor.project.clone();
        let shown: Vec<Seen> = containers(&client, &project, &[], true)
            .await?
            .into_iter()
            .filter(|seen| project.services.contains_key(&seen.service))
            .collect();
        let wanted = Wanted { timestamps: self.up.timestamps, silent: self.silent() };
        let names: Vec<String> = shown
            .iter()
            .filter(|seen| !wanted.silent.contains(&seen.service))
            .map(|seen| follow::short_name(&project.name, seen))
            .collect();
        cx.remark(&format!("Attaching to {}", names.join(", ")));
        let console = Console::new(&names, !self.up.no_log_prefix, self.up.no_color, &cx.compose.ansi);
        let count = shown.len();
        let pairs = shown.into_iter().map(|seen| {
            let is_new = !self.existed.contains(&seen.name);
            (seen, is_new)
        });
        let ends = follow::follow(&client, &project.name, pairs.collect(), &console, &wanted).await?;
        let interrupts = interrupts()?;
        self.watch_over(cx, &client, ends, interrupts, count).await
    }

    // Whose output is not shown.
    fn silent(&self) -> Vec<String> {
        let services = self.actor.project.services.values();
        let silent = services.filter(|service| {
            let name = &service.name;
            let named = self.services.is_empty() || self.services.contains(name) || self.up.attach_dependencies;
            let chosen = if self.up.attach.is_empty() { named } else { self.up.attach.contains(name) };
            !chosen || self.up.no_attach.contains(name) || service.attach == Some(false)
        });
        silent.map(|service| service.name.clone()).collect()
    }

    async fn watch_over(
        self,
        cx: &Context,
        client: &Client,
        mut ends: mpsc::UnboundedReceiver<Result<Ended, CommandError>>,
        mut interrupts: mpsc::UnboundedReceiver<()>,
        count: usize,
    ) -> Result<(), CommandError> {
        let starter = self.actor.clone();
        let mut starting = tokio::spawn(async move { starter.start().await });
        let mut started = false;
        let mut running = count;
        let mut exit_code = 0;
        while running > 0 {
            tokio::select! {
                done = &mut starting, if !started => {
                    started = true;
                    match done {
                        Ok(done) => done?,
                        Err(error) => std::panic::resume_unwind(error.into_panic()),
                    }
                }
                Some(()) = interrupts.recv() => {
                    starting.abort();
                    cx.remark("Gracefully stopping... (press Ctrl+C again to force)");
                    self.stop_all(&mut interrupts).await?;
                    return Err(CommandError::Exit(130));
                }
                Some(ended) = ends.recv() => {
                    let ended = ended?;
                    running -= 1;
                    if let Some(code) = self.verdict(&ended) {
                        exit_code = code;
                        if self.aborts(&ended) {
                            cx.remark("Aborting on container exit...");
                            self.stop_all(&mut interrupts).await?;
                            // Its own code may only be known now, when it was stopped with the others.
                            exit_code = self.code_of_chosen(client).await?.unwrap_or(exit_code);
                            break;
                        }
                    }
                }
                else => break,
            }
        }
        match u8::try_from(exit_code & 0xff) {
            Ok(0) | Err(_) => Ok(()),
            Ok(code) => Err(CommandError::Exit(code)),
        }
    }

    fn aborts(&self, ended: &Ended) -> bool {
        // Whoever is waited for to end well has done so: that is the beginning of the others, not their end.
        let completes = |service: &Service| {
            service.depends_on.get(&ended.service).is_some_and(|it| it.condition == Condition::Completed)
        };
        if ended.exit_code == 0 && self.actor.project.services.values().any(completes) {
            return false;
        }
        self.up.abort_on_exit || self.up.exit_code_from.is_some() || (self.up.abort_on_failure && ended.exit_code != 0)
    }

    // The exit code that counts, if this end has one.
    fn verdict(&self, ended: &Ended) -> Option<i64> {
        match &self.up.exit_code_from {
            Some(service) if *service != ended.service => Some(0),
            _ if self.aborts(ended) => Some(ended.exit_code),
            _ => None,
        }
    }

    async fn code_of_chosen(&self, client: &Client) -> Result<Option<i64>, CommandError> {
        let Some(service) = &self.up.exit_code_from else { return Ok(None) };
        let seen = super::one_container(client, &self.actor.project, service, 0, true).await?;
        let there = client.container_inspect(&seen.id, &hako_api::query::ContainerInspectQuery::default()).await?;
        Ok(Some(there.state.exit_code))
    }

    // A second interrupt does not wait any longer.
    async fn stop_all(&self, interrupts: &mut mpsc::UnboundedReceiver<()>) -> Result<(), CommandError> {
        self.display.next_tree();
        let stop = Deed::Stop(self.up.timeout);
        tokio::select! {
            done = self.actor.act(&[], &stop, false) => Ok(done?),
            Some(()) = interrupts.recv() => Ok(self.actor.act(&[], &Deed::Kill(None), true).await?),
        }
    }
}

fn interrupts() -> Result<mpsc::UnboundedReceiver<()>, CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (send, receive) = mpsc::unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut caught = signal(kind).map_err(CommandError::local("catch signals"))?;
        let send = send.clone();
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                if send.send(()).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
}
