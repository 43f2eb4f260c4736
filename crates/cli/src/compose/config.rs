//! `compose config`: what the files say once everything is filled in, checked and resolved.

use hako_compose::project::Project;
use hako_model::Reference;

use super::{options, project_with, selection};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    credentials::Credentials,
    error::CommandError,
    flag::FlagSet,
    format::table,
};

#[derive(Default)]
pub(crate) struct Config {
    environment: bool,
    format: Option<String>,
    hash: Option<String>,
    images: bool,
    lock_digests: bool,
    networks: bool,
    no_consistency: bool,
    no_env_resolution: bool,
    no_interpolate: bool,
    no_normalize: bool,
    no_path_resolution: bool,
    output: Option<String>,
    profiles: bool,
    quiet: bool,
    resolve_digests: bool,
    services: bool,
    variables: bool,
    volumes: bool,
}

impl Command for Config {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose config", "compose convert"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Check the files and print what they mean",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.environment, "--environment", "Print the variables that are replaced");
        set.add(&mut self.format, "--format", "yaml or json (default \"yaml\")");
        set.add(&mut self.hash, "--hash", "Print the hash of a service, or of all (\"*\")");
        set.add(&mut self.images, "--images", "Print the images, one a line");
        set.add(&mut self.lock_digests, "--lock-image-digests", "Print an override file that pins images");
        set.add(&mut self.networks, "--networks", "Print the networks, one a line");
        set.add(&mut self.no_consistency, "--no-consistency", "Do not check whether the parts fit together");
        set.add(&mut self.no_env_resolution, "--no-env-resolution", "Do not read env_file");
        set.add(&mut self.no_interpolate, "--no-interpolate", "Do not replace variables");
        set.add(&mut self.no_normalize, "--no-normalize", "Do not fill in what is implied");
        set.add(&mut self.no_path_resolution, "--no-path-resolution", "Do not make paths absolute");
        set.add(&mut self.output, "-o, --output", "File to write to");
        set.add(&mut self.profiles, "--profiles", "Print the profiles, one a line");
        set.add(&mut self.quiet, "-q, --quiet", "Check only");
        set.add(&mut self.resolve_digests, "--resolve-image-digests", "Pin images to what registries have now");
        set.add(&mut self.services, "--services", "Print the services, one a line");
        set.add(&mut self.variables, "--variables", "Print the variables that the files mention");
        set.add(&mut self.volumes, "--volumes", "Print the volumes, one a line");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let mut options = options(cx);
        options.interpolate = !self.no_interpolate;
        options.normalize = !self.no_normalize;
        options.resolve_paths = !self.no_path_resolution;
        options.consistency = !self.no_consistency && !self.no_interpolate;
        options.resolve_environment = !self.no_env_resolution;
        let mut project = project_with(cx, &options, &selection(cx, &services, false))?;
        if self.resolve_digests || self.lock_digests {
            pin(cx, &mut project).await?;
        }
        if self.quiet {
            return Ok(());
        }
        let text = self.text(&project)?;
        match &self.output {
            Some(path) => std::fs::write(path, text).map_err(CommandError::local(format!("write {path}"))),
            None => cx.print(&text),
        }
    }
}

impl Config {
    fn text(&self, project: &Project) -> Result<String, CommandError> {
        let lines = |names: Vec<String>| names.into_iter().map(|name| format!("{name}\n")).collect::<String>();
        if let Some(wanted) = &self.hash {
            let all = project.services.values();
            let named: Vec<&str> = wanted.split(',').collect();
            if let Some(name) = named.iter().find(|name| wanted != "*" && !project.services.contains_key(**name)) {
                return Err(CommandError::Said(format!("no such service: {name}: not found")));
            }
            let chosen = all.filter(|service| wanted == "*" || named.contains(&service.name.as_str()));
            return Ok(chosen.map(|service| format!("{} {}\n", service.name, service.hash)).collect());
        }
        if self.lock_digests {
            return Ok(lock(project));
        }
        if self.services {
            return Ok(lines(project.in_order().iter().map(|service| service.name.clone()).collect()));
        }
        if self.volumes {
            return Ok(lines(project.volumes.keys().cloned().collect()));
        }
        if self.networks {
            return Ok(lines(project.networks.keys().cloned().collect()));
        }
        if self.images {
            return Ok(lines(project.services.values().map(|service| project.image_of(service)).collect()));
        }
        if self.profiles {
            return Ok(lines(project.all_profiles.iter().cloned().collect()));
        }
        if self.environment {
            return Ok(lines(project.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()));
        }
        if self.variables {
            return Ok(variables(project));
        }
        match self.format.as_deref() {
            None | Some("" | "yaml") => Ok(project.yaml()),
            // Without an end of line, as docker compose prints it.
            Some("json") => Ok(project.json()),
            Some(other) => Err(CommandError::Said(format!("unsupported format {other:?}; yaml and json are known"))),
        }
    }
}

/// Every image by the digest that its registry has for it now.
async fn pin(cx: &Context, project: &mut Project) -> Result<(), CommandError> {
    let credentials = Credentials::read(&cx.directory)?;
    let client = cx.client()?;
    for service in project.services.values_mut().filter(|service| !service.image.is_empty()) {
        let failed =
            |error: String| CommandError::Said(format!("service {}: {}: {error}", service.name, service.image));
        let reference: Reference = service.image.parse().map_err(|error| failed(format!("{error}")))?;
        if reference.digest().is_some() {
            continue;
        }
        let known = credentials.of_image(&reference);
        let there = client
            .distribution_inspect(&reference.with_default_tag().familiar(), &known)
            .await
            .map_err(|error| failed(hako_base::error::chain(&error)))?;
        service.image = format!("{}@{}", service.image, there.descriptor.digest);
        project.tree.set_at(&["services", &service.name, "image"], &service.image);
    }
    Ok(())
}

// A file that is laid over the others, and says nothing but which images are meant.
fn lock(project: &Project) -> String {
    let services = project.services.values().filter(|service| !service.image.is_empty());
    let lines = services.map(|service| format!("  {}:\n    image: {}\n", service.name, service.image));
    format!("services:\n{}", lines.collect::<String>())
}

fn variables(project: &Project) -> String {
    let mut all = project.mentioned.clone();
    all.sort();
    all.dedup_by(|left, right| left.name == right.name);
    let mut text = "NAME\tREQUIRED\tDEFAULT VALUE\tALTERNATE VALUE\n".to_owned();
    for it in &all {
        text.push_str(&format!("{}\t{}\t{}\t{}\n", it.name, it.required, it.default, it.alternate));
    }
    table::align_with(&text, 20, 3)
}
