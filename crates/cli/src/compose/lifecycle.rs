//! Commands that do the same to the containers of many services, in the order of their dependencies.

use hako_compose::{
    apply::{Deed, UpOptions},
    observe,
    plan::{self, Recreate, Wishes},
};

use super::{
    actor,
    build::{Quiet, plan_with_images},
    project, project_or_name, selection,
    up::parse_scale,
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    system::confirm::confirm,
};

async fn act(cx: &Context, services: Vec<String>, deed: Deed, alone: bool) -> Result<(), CommandError> {
    let project = project_or_name(cx, &services)?;
    let (actor, _) = actor(cx, project)?;
    Ok(actor.act(&services, &deed, alone).await?)
}

macro_rules! deed {
    ($name:ident, $path:literal, $about:literal, $deed:expr) => {
        #[derive(Default)]
        pub(crate) struct $name;

        impl Command for $name {
            const SHAPE: &'static Shape = &Shape {
                paths: &[$path],
                usage: "[SERVICE...]",
                about: $about,
                arguments: Arguments::AtLeast(0),
                interspersed: true,
            };

            async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
                act(cx, services, $deed, false).await
            }
        }
    };
}

deed!(Pause, "compose pause", "Pause services", Deed::Pause);
deed!(Unpause, "compose unpause", "Let paused services go on", Deed::Unpause);

#[derive(Default)]
pub(crate) struct Start {
    wait: bool,
    wait_timeout: Option<i64>,
}

impl Command for Start {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose start"],
        usage: "[SERVICE...]",
        about: "Start services",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.wait, "--wait", "Wait until all run and are healthy");
        set.add(&mut self.wait_timeout, "--wait-timeout", "Seconds to wait at most");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let (actor, _) = actor(cx, project)?;
        actor.start_again(&services).await?;
        if !self.wait {
            return Ok(());
        }
        let waiting = actor.wait_until_up(&services);
        let seconds = self.wait_timeout.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(u64::from(u32::MAX));
        match tokio::time::timeout(std::time::Duration::from_secs(seconds), waiting).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(CommandError::Said(format!("application not healthy after {seconds}s"))),
        }
    }
}

#[derive(Default)]
pub(crate) struct Stop {
    timeout: Option<i64>,
}

impl Command for Stop {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose stop"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Stop services",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.timeout, "-t, --timeout", "Seconds before a container is killed");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        act(cx, services, Deed::Stop(self.timeout), false).await
    }
}

#[derive(Default)]
pub(crate) struct Restart {
    no_deps: bool,
    timeout: Option<i64>,
}

impl Command for Restart {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose restart"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Restart services, and those that ask to be restarted with them",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.no_deps, "--no-deps", "Leave dependent services alone");
        set.add(&mut self.timeout, "-t, --timeout", "Seconds before a container is killed");
    }

    async fn run(self, cx: &mut Context, mut services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let (actor, _) = actor(cx, project)?;
        if !services.is_empty() && !self.no_deps {
            // `depends_on: {x: {restart: true}}`, however far away.
            loop {
                let more = actor.project.services.values().find(|service| {
                    let follows = service.depends_on.iter().any(|(name, it)| it.restart && services.contains(name));
                    follows && !services.contains(&service.name)
                });
                let Some(more) = more else { break };
                services.push(more.name.clone());
            }
        }
        Ok(actor.act(&services, &Deed::Restart(self.timeout), false).await?)
    }
}

#[derive(Default)]
pub(crate) struct Kill {
    remove_orphans: bool,
    signal: Option<String>,
}

impl Command for Kill {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose kill"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Send a signal to services, SIGKILL if none is named",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.remove_orphans, "--remove-orphans", "Remove containers of services that are gone");
        set.add(&mut self.signal, "-s, --signal", "Signal (default \"SIGKILL\")");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let (actor, _) = actor(cx, project)?;
        actor.act(&services, &Deed::Kill(self.signal), true).await?;
        if self.remove_orphans { Ok(actor.remove_orphans().await?) } else { Ok(()) }
    }
}

#[derive(Default)]
pub(crate) struct Remove {
    all: bool,
    force: bool,
    stop: bool,
    volumes: bool,
}

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose rm"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Remove containers that have ended",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Tolerated").hide();
        set.add(&mut self.force, "-f, --force", "Do not ask");
        set.add(&mut self.stop, "-s, --stop", "Stop them first");
        set.add(&mut self.volumes, "-v, --volumes", "Remove their anonymous volumes too");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let client = cx.client()?;
        let (actor, display) = actor(cx, project)?;
        if self.stop {
            actor.act(&services, &Deed::Stop(None), false).await?;
            display.next_tree();
        }
        let list = observe::containers(&client, Some(&actor.project.name), true).await?;
        let mut going: Vec<observe::Seen> = list.iter().map(observe::Seen::from_summary).collect();
        going.retain(|seen| {
            !seen.is_running() && seen.state != "paused" && (services.is_empty() || services.contains(&seen.service))
        });
        if going.is_empty() {
            cx.remark("No stopped containers");
            return Ok(());
        }
        let names: Vec<&str> = going.iter().map(|seen| seen.name.as_str()).collect();
        if !self.force && !confirm(cx, &format!("Going to remove {}", names.join(", ")))? {
            return Ok(());
        }
        for seen in &going {
            actor.remove_container(seen, self.volumes).await?;
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Create {
    build: bool,
    force_recreate: bool,
    no_build: bool,
    no_recreate: bool,
    pull: Option<String>,
    quiet_pull: bool,
    remove_orphans: bool,
    scale: Vec<String>,
    yes: bool,
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose create"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Create containers without starting them",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.build, "--build", "Build images first");
        set.add(&mut self.force_recreate, "--force-recreate", "Recreate containers although nothing has changed");
        set.add(&mut self.no_build, "--no-build", "Do not build images, even if they are missing");
        set.add(&mut self.no_recreate, "--no-recreate", "Leave existing containers as they are");
        set.add(&mut self.pull, "--pull", "Pull first: always, missing, never or build (default \"policy\")");
        set.add(&mut self.quiet_pull, "--quiet-pull", "Do not show how far pulls are");
        set.add(&mut self.remove_orphans, "--remove-orphans", "Remove containers of services that are gone");
        set.add(&mut self.yes, "-y, --yes", "Say yes to every question").hide();
        set.add(&mut self.scale, "--scale", "Number of containers (SERVICE=NUM)").kind("scale");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project(cx, &selection(cx, &services, false))?;
        let wishes = Wishes {
            recreate: match (self.force_recreate, self.no_recreate) {
                (true, true) => {
                    return Err(CommandError::Said("--force-recreate and --no-recreate are incompatible".to_owned()));
                }
                (true, _) => Recreate::Always,
                (_, true) => Recreate::Never,
                _ => Recreate::Diverged,
            },
            scale: parse_scale(&self.scale, &project)?,
            remove_orphans: self.remove_orphans,
            build: self.build,
            no_build: self.no_build,
            pull: self.pull.filter(|policy| policy != "policy"),
            services,
            ..Wishes::default()
        };
        converge(cx, project, &wishes, false, self.quiet_pull).await
    }
}

/// Plans and carries the plan out.
async fn converge(
    cx: &Context,
    project: hako_compose::project::Project,
    wishes: &Wishes,
    starts: bool,
    quiet_pull: bool,
) -> Result<(), CommandError> {
    let quiet = Quiet { build: false, pull: quiet_pull };
    let (plan, observed) = plan_with_images(cx, &cx.client()?, &project, wishes, quiet).await?;
    if cx.compose.dry_run {
        return cx.print(&plan::text::text(&project, &plan));
    }
    let (actor, _) = actor(cx, project)?;
    actor.create(&plan, &observed, &UpOptions::default()).await?;
    if starts { Ok(actor.start().await?) } else { Ok(()) }
}

#[derive(Default)]
pub(crate) struct Scale {
    no_deps: bool,
}

impl Command for Scale {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose scale"],
        usage: "[OPTIONS] SERVICE=REPLICAS [SERVICE=REPLICAS...]",
        about: "Change how many containers services have",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.no_deps, "--no-deps", "Leave dependencies alone");
    }

    async fn run(self, cx: &mut Context, pairs: Vec<String>) -> Result<(), CommandError> {
        let names: Vec<String> = pairs.iter().filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect();
        let project = project(cx, &selection(cx, &names, self.no_deps))?;
        let scale = parse_scale(&pairs, &project)?;
        converge(cx, project, &Wishes { services: names, scale, ..Wishes::default() }, true, false).await
    }
}
