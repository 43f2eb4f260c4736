//! `compose build`: images that the files describe.

use hako_compose::{
    plan::{ImageHow, Plan},
    project::Project,
};

use super::{project, selection};
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
        let project = project(cx, &selection(&services, true))?;
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

/// Builds the images that a plan wants built.
///
/// # Errors
/// When one of them cannot be.
pub(super) async fn build_for_plan(
    _cx: &Context,
    _project: &Project,
    plan: &Plan,
    _quiet: bool,
) -> Result<(), CommandError> {
    match plan.images.iter().find(|step| step.how == ImageHow::Build) {
        Some(step) => Err(not_yet(&step.service, &step.image)),
        None => Ok(()),
    }
}
