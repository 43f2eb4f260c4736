//! `compose build`: images that the files describe, by the builder of `hako build`; and what `up` does about images
//! before it makes containers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use hako_client::{
    Client,
    build::{BuildSecret, ImageBuild},
};
use hako_compose::{
    labels,
    observe::{self, Observed},
    plan::{self, ImageHow, Plan, Wishes},
    project::Project,
    service::{Build as Recipe, Limit, Service},
};

use super::{actor, project, selection};
use crate::{
    build::{self, BuildFlags, Mode},
    builder::site::Site,
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::{Bytes, FlagSet},
};

/// What the command line adds to what the files say.
#[derive(Default)]
struct Asked {
    arguments: Vec<String>,
    no_cache: bool,
    pull: bool,
    push: bool,
    check: bool,
    provenance: Option<String>,
    sbom: Option<String>,
    ssh: Vec<String>,
    builder: Option<String>,
}

#[derive(Default)]
pub(crate) struct Build {
    asked: Asked,
    dependencies: bool,
    memory: Option<Bytes>,
    print: bool,
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
        set.add(&mut self.asked.arguments, "--build-arg", "Variable for the build (NAME=value)").kind("stringArray");
        set.add(&mut self.asked.builder, "--builder", "Builder that makes them (default: what is in use)");
        set.add(&mut self.asked.check, "--check", "Look for mistakes in the Dockerfiles, and build nothing");
        set.add(&mut self.memory, "-m, --memory", "Of the classic builder").hide();
        set.add(&mut self.asked.no_cache, "--no-cache", "Do everything anew");
        set.add(&mut self.print, "--print", "Print a bake file").hide();
        set.add(&mut self.asked.provenance, "--provenance", "Add a provenance attestation");
        set.add(&mut self.asked.pull, "--pull", "Look for newer base images");
        set.add(&mut self.asked.push, "--push", "Push what was built");
        set.add(&mut self.quiet, "-q, --quiet", "Do not show what builds say");
        set.add(&mut self.asked.sbom, "--sbom", "Add an SBOM attestation");
        set.add(&mut self.asked.ssh, "--ssh", "SSH agent for RUN --mount (default|id=socket)").kind("stringArray");
        set.add(&mut self.dependencies, "--with-dependencies", "Also what the services depend on");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        if self.print {
            return Err(CommandError::Said("--print: bake files are not built yet".to_owned()));
        }
        if self.memory.is_some() {
            cx.remark("WARNING: --memory has no effect on builds");
        }
        let alone = !services.is_empty() && !self.dependencies;
        let project = project(cx, &selection(cx, &services, alone))?;
        let wanted: BTreeSet<&str> =
            project.services.values().filter(|service| service.build.is_some()).map(|it| it.name.as_str()).collect();
        if wanted.is_empty() {
            cx.remark("No services to build");
        }
        build_all(cx, &project, &wanted, &self.asked, mode(cx, self.quiet)).await
    }
}

fn mode(cx: &Context, quiet: bool) -> Mode {
    match cx.compose.progress.as_str() {
        _ if quiet => Mode::Quiet,
        "quiet" => Mode::Quiet,
        "plain" => Mode::Plain,
        "tty" => Mode::Terminal,
        _ => Mode::Auto,
    }
}

/// The images that a plan wants are built and pulled; then the plan is made again, from what is there now: an image that
/// came out as it was replaces no container.
///
/// # Errors
/// When one of them cannot be had.
pub(super) async fn plan_with_images(
    cx: &Context,
    client: &Client,
    project: &Project,
    wishes: &Wishes,
    quiet: Quiet,
) -> Result<(Plan, Observed), CommandError> {
    let observed = observe::observe(client, project).await?;
    let plan = plan::plan(project, &observed, wishes).map_err(CommandError::Said)?;
    if plan.images.is_empty() || cx.compose.dry_run {
        return Ok((plan, observed));
    }
    let (puller, _) = actor(cx, project.clone())?;
    puller.with_quiet_transfers(quiet.pull).pull_all(&plan).await?;
    let built: BTreeSet<&str> =
        plan.images.iter().filter(|step| step.how == ImageHow::Build).map(|step| step.service.as_str()).collect();
    build_all(cx, project, &built, &Asked::default(), mode(cx, quiet.build)).await?;
    let wishes = Wishes { build: false, no_build: true, pull: Some("missing".to_owned()), ..wishes.clone() };
    let observed = observe::observe(client, project).await?;
    let plan = plan::plan(project, &observed, &wishes).map_err(CommandError::Said)?;
    Ok((plan, observed))
}

/// What is not shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quiet {
    pub build: bool,
    pub pull: bool,
}

/// Builds the named services' images, each after those it is built from.
/// docker compose's exit code for it.
const BUILD_FAILED: u8 = 17;

async fn build_all(
    cx: &Context,
    project: &Project,
    wanted: &BTreeSet<&str>,
    asked: &Asked,
    mode: Mode,
) -> Result<(), CommandError> {
    for service in in_order(project, wanted) {
        let Some(recipe) = &service.build else { continue };
        let image = project.image_of(service);
        if cx.compose.dry_run {
            cx.remark(&format!(" Image {image} (dry run)  Built"));
            continue;
        }
        let flags = flags_of(project, service, recipe, asked);
        let site = Site::find(cx, asked.builder.as_deref(), &flags.platforms).await?;
        let wanted = wanted_of(cx, &site, project, (recipe, &flags))?;
        let built = build::build(cx, &site, wanted, mode).await;
        built.map_err(|error| {
            let message = format!("service {}: image {image}: {error}", service.name);
            CommandError::Usage { message, hint: None, code: BUILD_FAILED }
        })?;
        if !asked.check {
            cx.remark(&format!(" Image {image}  Built"));
        }
    }
    Ok(())
}

/// What `hako build` would be told for each service of a file that has a recipe, with its context; for bake files.
pub(crate) fn recipes(cx: &mut Context, file: &str) -> Result<BTreeMap<String, (String, BuildFlags)>, CommandError> {
    cx.compose.files = vec![file.to_owned()];
    let project = project(cx, &selection(cx, &[], false))?;
    let mut all = BTreeMap::new();
    for service in project.services.values() {
        let Some(recipe) = &service.build else { continue };
        let mut flags = flags_of(&project, service, recipe, &Asked::default());
        // Whose container an image is for is Compose's to say, and the name of one without a name too.
        flags.labels.retain(|label| !label.starts_with("com.docker.compose."));
        if service.image.is_empty() {
            let made_up = project.image_of(service);
            flags.tags.retain(|tag| *tag != made_up);
        }
        let place = |place: &String| match place.strip_prefix("service:") {
            Some(other) => format!("target:{other}"),
            None => place.clone(),
        };
        flags.contexts = recipe.additional_contexts.iter().map(|(name, at)| format!("{name}={}", place(at))).collect();
        flags.file =
            (!recipe.dockerfile.is_empty() && recipe.dockerfile_inline.is_none()).then(|| recipe.dockerfile.clone());
        all.insert(service.name.clone(), (recipe.context.clone(), flags));
    }
    Ok(all)
}

// `additional_contexts: {base: "service:other"}` wants the other first.
fn in_order<'p>(project: &'p Project, wanted: &BTreeSet<&str>) -> Vec<&'p Service> {
    fn visit<'p>(project: &'p Project, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<&'p Service>) {
        let Some(service) = project.services.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        let contexts = service.build.iter().flat_map(|recipe| recipe.additional_contexts.values());
        contexts.filter_map(|place| place.strip_prefix("service:")).for_each(|name| visit(project, name, seen, order));
        order.push(service);
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    wanted.iter().for_each(|name| visit(project, name, &mut seen, &mut order));
    order
}

fn wanted_of(
    cx: &Context,
    site: &Site,
    project: &Project,
    (recipe, flags): (&Recipe, &BuildFlags),
) -> Result<ImageBuild, CommandError> {
    match recipe.additional_contexts.values().find(|place| place.starts_with("service:")) {
        Some(place) if !site.is_daemon() => {
            return Err(CommandError::Said(format!(
                "the context {place} is not built with the {} driver: the daemon's own builder has it",
                site.driver()
            )));
        }
        _ => {}
    }
    let mut wanted = build::wanted(cx, site, flags, &recipe.context)?;
    for reference in &recipe.secrets {
        let id = if reference.target.is_empty() { &reference.source } else { &reference.target };
        let secret = secret(project, &reference.source).map_err(CommandError::Said)?;
        wanted.secrets.insert(id.clone(), secret);
    }
    Ok(wanted)
}

fn secret(project: &Project, source: &str) -> Result<BuildSecret, String> {
    let resource = project.secrets.get(source).ok_or_else(|| format!("there is no secret {source}"))?;
    match (&resource.file, &resource.environment, &resource.content) {
        (Some(file), ..) => Ok(BuildSecret::File(file.clone())),
        (_, Some(name), _) => match project.variables.get(name) {
            Some(value) => Ok(BuildSecret::Value(value.clone().into_bytes())),
            None => Err(format!("environment variable {name:?} required by secret {source:?} is not set")),
        },
        (.., Some(content)) => Ok(BuildSecret::Value(content.clone().into_bytes())),
        _ => Err(format!("unsupported external secret {source}; only a swarm keeps those")),
    }
}

// What `hako build` would be told. Pure.
fn flags_of(project: &Project, service: &Service, recipe: &Recipe, asked: &Asked) -> BuildFlags {
    let pairs = |map: &std::collections::BTreeMap<String, String>| -> Vec<String> {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let own = [
        (labels::PROJECT, project.name.as_str()),
        (labels::SERVICE, service.name.as_str()),
        (labels::VERSION, labels::COMPOSE_VERSION),
    ];
    let mut arguments: Vec<String> = project.proxies.clone();
    arguments.extend(recipe.args.iter().map(argument));
    arguments.extend(asked.arguments.iter().cloned());
    let mut allow = recipe.entitlements.clone();
    if recipe.privileged {
        allow.push("security.insecure".to_owned());
    }
    let platforms = match recipe.platforms.is_empty() {
        true => some(&service.platform).into_iter().collect(),
        false => recipe.platforms.clone(),
    };
    // No daemon takes several under one name: they are for a registry.
    let outputs = if platforms.len() > 1 { vec!["type=image".to_owned()] } else { Vec::new() };
    let text = |value: &Option<serde_json::Value>| match value {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    BuildFlags {
        add_hosts: hosts(recipe),
        allow,
        arguments,
        contexts: recipe.additional_contexts.iter().map(|(name, place)| context(project, name, place)).collect(),
        cache_from: recipe.cache_from.clone(),
        cache_to: recipe.cache_to.clone(),
        check: asked.check,
        file: dockerfile(recipe),
        inline: recipe.dockerfile_inline.clone(),
        labels: pairs(&recipe.labels).into_iter().chain(own.map(|(key, value)| format!("{key}={value}"))).collect(),
        network: some(&recipe.network),
        // Containers are made of it, whoever builds it.
        load: outputs.is_empty(),
        outputs,
        no_cache: recipe.no_cache || asked.no_cache,
        no_cache_filter: recipe.no_cache_filter.clone(),
        platforms,
        provenance: asked.provenance.clone().or_else(|| text(&recipe.provenance)),
        pull: recipe.pull || asked.pull,
        push: asked.push && !service.image.is_empty(),
        sbom: asked.sbom.clone().or_else(|| text(&recipe.sbom)),
        shm_size: (recipe.shm_size > 0).then_some(Bytes(recipe.shm_size)),
        ssh: if asked.ssh.is_empty() { agents(recipe) } else { asked.ssh.clone() },
        tags: std::iter::once(project.image_of(service)).chain(recipe.tags.iter().cloned()).collect(),
        target: some(&recipe.target),
        ulimits: recipe.ulimits.iter().map(|(name, limit)| ulimit(name, limit)).collect(),
        ..BuildFlags::default()
    }
}

fn argument((name, value): (&String, &Option<String>)) -> String {
    value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))
}

fn hosts(recipe: &Recipe) -> Vec<String> {
    let each = |(name, addresses): (&String, &Vec<String>)| -> Vec<String> {
        addresses.iter().map(|address| format!("{name}={address}")).collect()
    };
    recipe.extra_hosts.iter().flat_map(each).collect()
}

fn agents(recipe: &Recipe) -> Vec<String> {
    let one = |(id, path): (&String, &String)| if path.is_empty() { id.clone() } else { format!("{id}={path}") };
    recipe.ssh.iter().map(one).collect()
}

fn ulimit(name: &str, limit: &Limit) -> String {
    match limit {
        Limit::Both(both) => format!("{name}={both}:{both}"),
        Limit::Each { soft, hard } => format!("{name}={soft}:{hard}"),
    }
}

// The result of another service is an image here.
fn context(project: &Project, name: &str, place: &str) -> String {
    match place.strip_prefix("service:").and_then(|other| project.services.get(other)) {
        Some(other) => format!("{name}=docker-image://{}", project.image_of(other)),
        None => format!("{name}={place}"),
    }
}

// A Dockerfile is looked for in its context, wherever the command runs.
fn dockerfile(recipe: &Recipe) -> Option<String> {
    let is_here = Path::new(&recipe.context).is_absolute();
    match recipe.dockerfile.as_str() {
        _ if recipe.dockerfile_inline.is_some() => None,
        "" => None,
        file if is_here => Some(Path::new(&recipe.context).join(file).display().to_string()),
        file => Some(file.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use hako_compose::file::load::{Options, Surroundings};

    use super::*;

    fn check(recipe: &str, asked: &Asked, expected: &str) {
        let folder = std::env::temp_dir().join(format!("hako-build-{}-{}", std::process::id(), recipe.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("compose.yaml");
        std::fs::write(&file, format!("name: p\nservices:\n  web: {{build: {recipe}}}\n  base: {{build: /b}}\n"))
            .unwrap();
        let options = Options {
            files: vec![file.display().to_string()],
            project_directory: Some("/p".into()),
            ..Options::default()
        };
        let read = hako_compose::project::read(&options, &Surroundings::default(), &Default::default());
        std::fs::remove_dir_all(&folder).unwrap();
        let project = read.unwrap();
        let service = &project.services["web"];
        let flags = flags_of(&project, service, service.build.as_ref().unwrap(), asked);
        let lists = [
            ("arg", &flags.arguments),
            ("context", &flags.contexts),
            ("host", &flags.add_hosts),
            ("tag", &flags.tags),
            ("ulimit", &flags.ulimits),
            ("allow", &flags.allow),
            ("ssh", &flags.ssh),
        ];
        let mut told: Vec<String> =
            lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name} {list:?}")).collect();
        told.extend(flags.file.map(|file| format!("file {file}")));
        told.extend(flags.inline.map(|text| format!("inline {text}")));
        told.extend(flags.target.map(|target| format!("target {target}")));
        assert_eq!(told.join("; "), expected);
    }

    #[test]
    fn a_recipe_is_what_the_builder_would_be_told() {
        check("/c", &Asked::default(), r#"tag ["p-web"]; file /c/Dockerfile"#);
        let asked = Asked { arguments: vec!["A=2".into()], ..Asked::default() };
        check(
            "{context: ./c, args: {A: 1}, target: t, tags: [x], dockerfile_inline: FROM y}",
            &asked,
            r#"arg ["A=1", "A=2"]; tag ["p-web", "x"]; inline FROM y; target t"#,
        );
        check(
            "{context: /c, dockerfile: D, additional_contexts: {b: 'service:base'}, ulimits: {nofile: 9}, privileged: true}",
            &Asked::default(),
            r#"context ["b=docker-image://p-base"]; tag ["p-web"]; ulimit ["nofile=9:9"]; allow ["security.insecure"]; file /c/D"#,
        );
    }
}
