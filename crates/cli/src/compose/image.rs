//! Images of services: which containers have which, pulling and pushing them.

use std::collections::BTreeSet;

use hako_compose::plan::{ImageHow, ImageStep};

use super::{actor, containers, project, project_or_name, selection};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{size, table, text},
};

#[derive(Default)]
pub(crate) struct Images {
    format: Option<String>,
    quiet: bool,
}

impl Command for Images {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose images"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "List the images of containers",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\" or \"json\"");
        set.add(&mut self.quiet, "-q, --quiet", "Ids alone");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let client = cx.client()?;
        let mut rows = Vec::new();
        for seen in containers(&client, &project, &services, true).await? {
            let there = client.container_inspect(&seen.id, &hako_api::query::ContainerInspectQuery::default()).await?;
            let image = client.image_inspect(&there.image).await?;
            let named = image.repo_tags.first().cloned().unwrap_or_else(|| "<none>:<none>".to_owned());
            let (repository, tag) =
                named.rsplit_once(':').map(|(r, t)| (r.to_owned(), t.to_owned())).unwrap_or_default();
            rows.push((seen.name, repository, tag, image.id, image.size));
        }
        if self.quiet {
            let ids: BTreeSet<&str> = rows.iter().map(|row| row.3.trim_start_matches("sha256:")).collect();
            return ids.iter().try_for_each(|id| cx.print_line(id));
        }
        if self.format.as_deref() == Some("json") {
            // In the order in which docker compose writes them.
            let text = |text: &String| serde_json::Value::from(text.as_str()).to_string();
            let rows: Vec<String> = rows
                .iter()
                .map(|(name, repository, tag, id, size)| {
                    let [id, name, repository, tag] = [id, name, repository, tag].map(text);
                    format!(
                        r#"{{"ID":{id},"ContainerName":{name},"Repository":{repository},"Tag":{tag},"Size":{size}}}"#
                    )
                })
                .collect();
            return cx.print_line(&format!("[{}]", rows.join(",")));
        }
        let mut out = "CONTAINER\tREPOSITORY\tTAG\tIMAGE ID\tSIZE\n".to_owned();
        for (name, repository, tag, id, bytes) in rows {
            let size = size::human(bytes, 3);
            out.push_str(&format!("{name}\t{repository}\t{tag}\t{}\t{size}\n", text::short_id(&id)));
        }
        cx.print(&table::align_with(&out, 20, 1))
    }
}

#[derive(Default)]
pub(crate) struct Pull {
    ignore_buildable: bool,
    ignore_failures: bool,
    include_deps: bool,
    policy: Option<String>,
    quiet: bool,
}

impl Command for Pull {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose pull"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Pull the images of services",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.ignore_buildable, "--ignore-buildable", "Leave out images that can be built");
        set.add(&mut self.ignore_failures, "--ignore-pull-failures", "Pull what can be pulled");
        set.add(&mut self.include_deps, "--include-deps", "Also those of dependencies");
        set.add(&mut self.policy, "--policy", "missing or always");
        set.add(&mut self.quiet, "-q, --quiet", "Do not show how far it is");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        if self.quiet {
            cx.compose.progress = "quiet".to_owned();
        }
        let project = project(cx, &selection(cx, &services, !self.include_deps))?;
        let client = cx.client()?;
        let mut steps: Vec<ImageStep> = Vec::new();
        for service in project.services.values().filter(|service| !service.image.is_empty()) {
            let image = project.image_of(service);
            let skipped = (self.ignore_buildable && service.build.is_some()) || service.pull_policy == "never";
            let present = self.policy.as_deref() == Some("missing") && client.image_inspect(&image).await.is_ok();
            if !skipped && !present && !steps.iter().any(|step| step.image == image) {
                steps.push(ImageStep { service: service.name.clone(), image, how: ImageHow::Pull, present: false });
            }
        }
        let (actor, _) = actor(cx, project)?;
        for step in steps {
            match actor.pull(&step.image, &step.service).await {
                Err(error) if self.ignore_failures => cx.remark(&format!("warning: {error}")),
                done => done?,
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Push {
    ignore_failures: bool,
    include_deps: bool,
    quiet: bool,
}

impl Command for Push {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose push"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Push the images that are built for services",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.ignore_failures, "--ignore-push-failures", "Push what can be pushed");
        set.add(&mut self.include_deps, "--include-deps", "Also those of dependencies");
        set.add(&mut self.quiet, "-q, --quiet", "Do not show how far it is");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        if self.quiet {
            cx.compose.progress = "quiet".to_owned();
        }
        let project = project(cx, &selection(cx, &services, !self.include_deps))?;
        // What is only pulled has a home already, and what has no name has nowhere to go.
        let mut images = BTreeSet::new();
        for service in project.services.values().filter(|service| !service.image.is_empty()) {
            if let Some(build) = &service.build {
                images.insert(service.image.clone());
                images.extend(build.tags.iter().cloned());
            }
        }
        if images.is_empty() {
            cx.remark("No image to push: a service has one when it has both \"build\" and \"image\"");
        }
        let (actor, _) = actor(cx, project)?;
        for image in images {
            match actor.push(&image).await {
                Err(error) if self.ignore_failures => cx.remark(&format!("warning: {error}")),
                done => done?,
            }
        }
        Ok(())
    }
}
