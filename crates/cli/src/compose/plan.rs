//! `compose plan`: what `up` would do, and why, field by field; nothing is changed.

use hako_compose::{
    observe,
    plan::{self, Recreate, Wishes, text},
};

use super::{project, selection, up::parse_scale};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

/// What the shell gets when something would change.
const CHANGES: u8 = 2;

#[derive(Default)]
pub(crate) struct Plan {
    build: bool,
    force_recreate: bool,
    no_deps: bool,
    pull: Option<String>,
    remove_orphans: bool,
    scale: Vec<String>,
}

impl Command for Plan {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose plan"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Tell what \"up\" would do (exit code 0: nothing, 2: something)",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.build, "--build", "As up --build");
        set.add(&mut self.force_recreate, "--force-recreate", "As up --force-recreate");
        set.add(&mut self.no_deps, "--no-deps", "As up --no-deps");
        set.add(&mut self.pull, "--pull", "As up --pull");
        set.add(&mut self.remove_orphans, "--remove-orphans", "As up --remove-orphans");
        set.add(&mut self.scale, "--scale", "As up --scale");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project(cx, &selection(cx, &services, self.no_deps))?;
        let wishes = Wishes {
            recreate: if self.force_recreate { Recreate::Always } else { Recreate::Diverged },
            recreate_dependencies: Recreate::Diverged,
            scale: parse_scale(&self.scale, &project)?,
            remove_orphans: self.remove_orphans,
            build: self.build,
            no_build: false,
            pull: self.pull,
            services,
        };
        let observed = observe::observe(&cx.client()?, &project).await?;
        let plan = plan::plan(&project, &observed, &wishes).map_err(CommandError::Said)?;
        let told = text::text(&project, &plan);
        if !plan.changes_anything() {
            cx.print(&told)?;
            return cx.print_line(&format!("project {} is as its files say", project.name));
        }
        cx.print(&told)?;
        Err(CommandError::Exit(CHANGES))
    }
}
