//! `compose build`: images that the files describe; and what `up` does about images before it makes containers.

use hako_client::Client;
use hako_compose::{
    observe::{self, Observed},
    plan::{self, ImageHow, Plan, Wishes},
    project::Project,
};

use super::{actor, project, selection};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Build {
    arguments: Vec<String>,
    no_cache: bool,
    pull: bool,
    quiet: bool,
}

impl Command for Build {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose build"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Build images",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.arguments, "--build-arg", "Variable for the build (NAME=value)").kind("stringArray");
        set.add(&mut self.no_cache, "--no-cache", "Do everything anew");
        set.add(&mut self.pull, "--pull", "Look for newer base images");
        set.add(&mut self.quiet, "-q, --quiet", "Do not show what builds say");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project(cx, &selection(cx, &services, true))?;
        match project.services.values().find(|service| service.build.is_some()) {
            None => {
                cx.remark("No services to build");
                Ok(())
            }
            Some(service) => Err(not_yet(&service.name, &project.image_of(service))),
        }
    }
}

fn not_yet(service: &str, image: &str) -> CommandError {
    CommandError::Said(format!(
        "service {service:?} wants image {image} built, and hako compose does not build images so far; build it with docker compose build, or use --no-build"
    ))
}

/// The images that a plan wants are pulled; then the plan is made again, from what is there now: an image that came out
/// as it was replaces no container.
///
/// # Errors
/// When one of them cannot be had, or would have to be built.
pub(super) async fn plan_with_images(
    cx: &Context,
    client: &Client,
    project: &Project,
    wishes: &Wishes,
    quiet_pull: bool,
) -> Result<(Plan, Observed), CommandError> {
    let observed = observe::observe(client, project).await?;
    let plan = plan::plan(project, &observed, wishes).map_err(CommandError::Said)?;
    if plan.images.is_empty() || cx.compose.dry_run {
        return Ok((plan, observed));
    }
    if let Some(step) = plan.images.iter().find(|step| step.how == ImageHow::Build) {
        return Err(not_yet(&step.service, &step.image));
    }
    let (puller, _) = actor(cx, project.clone())?;
    puller.with_quiet_transfers(quiet_pull).pull_all(&plan).await?;
    let wishes = Wishes { pull: Some("missing".to_owned()), ..wishes.clone() };
    let observed = observe::observe(client, project).await?;
    let plan = plan::plan(project, &observed, &wishes).map_err(CommandError::Said)?;
    Ok((plan, observed))
}
