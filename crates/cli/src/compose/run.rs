//! `compose run`: one more container of a service, for one command.

use hako_api::query::ContainerStartQuery;
use hako_compose::{
    apply::UpOptions,
    file::words,
    labels, observe,
    plan::Wishes,
    project::{Project, Resource},
    request::{self, Creation},
    service::Service,
};

use super::{
    actor,
    build::{Quiet, plan_with_images},
    project, selection,
};
use crate::{
    command::{Arguments, Command, Shape},
    container::run::{Foreground, detach_keys},
    context::Context,
    error::CommandError,
    flag::{FlagSet, KeyValue},
    parse::{env_file, name::Variable},
    terminal,
};

#[derive(Default)]
pub(crate) struct Run {
    build: bool,
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    detach: bool,
    entrypoint: Option<String>,
    environment: Vec<Variable>,
    environment_files: Vec<String>,
    interactive: Option<bool>,
    labels: Vec<KeyValue>,
    name: Option<String>,
    no_deps: bool,
    no_tty: bool,
    publish: Vec<String>,
    pull: Option<String>,
    quiet: bool,
    quiet_build: bool,
    quiet_pull: bool,
    remove: bool,
    remove_orphans: bool,
    service_ports: bool,
    tty: Option<bool>,
    use_aliases: bool,
    user: Option<String>,
    volumes: Vec<String>,
    workdir: Option<String>,
}

impl Command for Run {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose run"],
        usage: "[OPTIONS] SERVICE [COMMAND] [ARGS...]",
        about: "Run a one-off command in a container of a service",
        arguments: Arguments::AtLeast(1),
        interspersed: false,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.build, "--build", "Build the image first");
        set.add(&mut self.cap_add, "--cap-add", "Capability to add");
        set.add(&mut self.cap_drop, "--cap-drop", "Capability to take away");
        set.add(&mut self.detach, "-d, --detach", "Leave it in the background and print its id");
        set.add(&mut self.entrypoint, "--entrypoint", "Program to run instead of the image's");
        set.add(&mut self.environment, "-e, --env", "Variable (NAME=value, or NAME to pass it on)");
        set.add(&mut self.environment_files, "--env-from-file", "File of variables, one a line");
        set.add(&mut self.interactive, "-i, --interactive", "Keep standard input open (default true)");
        set.add(&mut self.labels, "-l, --label", "Label (name=value)").kind("stringArray");
        set.add(&mut self.name, "--name", "Name of the container");
        set.add(&mut self.no_deps, "--no-deps", "Do not start dependencies");
        set.add(&mut self.no_tty, "-T, --no-TTY", "Give it no terminal");
        set.also("no-tty", "no-TTY");
        set.add(&mut self.publish, "-p, --publish", "Port to publish").kind("stringArray");
        set.add(&mut self.pull, "--pull", "Pull first: always, missing or never (default \"policy\")");
        set.add(&mut self.quiet, "-q, --quiet", "Say nothing but what the command says");
        set.add(&mut self.quiet_build, "--quiet-build", "Do not show what builds say");
        set.add(&mut self.quiet_pull, "--quiet-pull", "Do not show how far pulls are");
        set.add(&mut self.remove, "--rm", "Remove the container when it ends");
        set.add(&mut self.remove_orphans, "--remove-orphans", "Remove containers of services that are gone");
        set.add(&mut self.service_ports, "-P, --service-ports", "Publish the service's ports");
        set.add(&mut self.tty, "-t, --tty", "Tolerated; it has a terminal where there is one").hide();
        set.add(&mut self.use_aliases, "--use-aliases", "Give it the service's names in its networks");
        set.add(&mut self.user, "-u, --user", "User to run as");
        set.add(&mut self.volumes, "-v, --volume", "Bind mount").kind("stringArray");
        set.add(&mut self.workdir, "-w, --workdir", "Working directory");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        super::refuse_dry_run(cx, "run")?;
        if self.service_ports && !self.publish.is_empty() {
            return Err(CommandError::Said("--service-ports and --publish are incompatible".to_owned()));
        }
        if self.quiet {
            cx.compose.progress = "quiet".to_owned();
        }
        let project = project(cx, &selection(cx, &words[..1], self.no_deps))?;
        let client = cx.client()?;
        let wishes = Wishes {
            remove_orphans: self.remove_orphans,
            build: self.build,
            pull: self.pull.clone().filter(|policy| policy != "policy"),
            services: words[..1].to_vec(),
            ..Wishes::default()
        };
        let quiet = Quiet { build: self.quiet_build, pull: self.quiet_pull };
        let (mut plan, observed) = plan_with_images(cx, &client, &project, &wishes, quiet).await?;
        // The service's own containers stay as they are; only what it needs is brought up.
        plan.containers.retain(|step| step.service != words[0]);
        let (creation, tty) = self.prepared(&project, &observed, &words)?;
        let mut needed = project.clone();
        needed.services.remove(&words[0]);
        let (actor, _) = actor(cx, project)?;
        actor.create(&plan, &observed, &UpOptions::default()).await?;
        if !self.no_deps && !needed.services.is_empty() {
            let (starter, _) = super::actor(cx, needed)?;
            starter.start().await?;
            actor.await_dependencies_of(&words[0]).await?;
        }
        let creation = self.with_image(&client, creation).await?;
        let id = actor.create_one(&creation, &creation.name).await?;
        if self.detach {
            client.container_start(&id, &ContainerStartQuery::default()).await?;
            return cx.print_line(&id);
        }
        let foreground = Foreground {
            client,
            id,
            attached: [self.interactive != Some(false), true, true],
            tty,
            removed: self.remove,
            sig_proxy: true,
            key_text: String::new(),
        };
        let keys = detach_keys(cx, "")?;
        foreground.run(cx, keys).await
    }
}

impl Run {
    // The request, and whether it has a terminal.
    fn prepared(
        &self,
        project: &Project,
        observed: &observe::Observed,
        words: &[String],
    ) -> Result<(Creation, bool), CommandError> {
        let Some(service) = project.services.get(&words[0]) else {
            return Err(CommandError::Said(format!("no such service: {}", words[0])));
        };
        let tty = !self.no_tty && terminal::stdin_is_terminal() && terminal::stdout_is_terminal();
        let slug = hako_base::random::hex(32);
        let mut one = self.changed(project, service, words, tty)?;
        one.container_name =
            self.name.clone().unwrap_or_else(|| format!("{}-{}-run-{}", project.name, service.name, &slug[..12]));
        let mut known = observe::known(observed);
        known.image_id = observed.images.get(&project.image_of(service)).cloned().flatten().unwrap_or_default();
        let mut creation =
            request::creation(&with_volumes(project, &one), &one, 1, &known).map_err(CommandError::Said)?;
        let config = &mut creation.request.config;
        config.attach_stdin = one.stdin_open;
        config.stdin_once = one.stdin_open;
        let labels = config.labels.get_or_insert_default();
        labels.insert(labels::ONE_OFF.to_owned(), "True".to_owned());
        labels.insert(labels::SLUG.to_owned(), slug);
        labels.extend(self.labels.iter().map(|pair| (pair.key.clone(), pair.value.clone())));
        if let Some(host) = &mut creation.request.host_config {
            host.auto_remove = self.remove;
        }
        if !self.use_aliases
            && let Some(networking) = &mut creation.request.networking_config
        {
            for endpoint in networking.endpoints_config.values_mut().flatten() {
                endpoint.aliases = Some(vec![creation.name.clone()]);
            }
        }
        Ok((creation, tty))
    }

    // The service as this run wants it.
    fn changed(
        &self,
        project: &Project,
        service: &Service,
        words: &[String],
        tty: bool,
    ) -> Result<Service, CommandError> {
        let mut one = service.clone();
        one.tty = tty;
        // In the background too: "attach" may come later.
        one.stdin_open = self.interactive != Some(false);
        one.restart.clear();
        if let Some(deploy) = &mut one.deploy {
            deploy.restart_policy = None;
        }
        if words.len() > 1 {
            one.command = Some(words[1..].to_vec());
        }
        if let Some(entrypoint) = &self.entrypoint {
            one.entrypoint = Some(words::split(entrypoint).map_err(CommandError::Said)?);
            if words.len() == 1 {
                one.command = Some(Vec::new());
            }
        }
        for path in &self.environment_files {
            for line in env_file::read(path, |name| std::env::var(name).ok()).map_err(CommandError::Said)? {
                set_variable(&mut one, &line);
            }
        }
        self.environment.iter().for_each(|variable| set_variable(&mut one, &variable.0));
        one.user = self.user.clone().unwrap_or(one.user);
        one.working_dir = self.workdir.clone().unwrap_or(one.working_dir);
        one.cap_add.extend(self.cap_add.iter().cloned());
        one.cap_drop.extend(self.cap_drop.iter().cloned());
        if !self.service_ports {
            one.ports.clear();
        }
        let added = hako_compose::file::parts(&self.publish, &self.volumes, &project.directory)
            .map_err(|mistake| CommandError::Said(mistake.message))?;
        one.ports.extend(added.0);
        one.volumes.retain(|mount| added.1.iter().all(|other| other.target != mount.target));
        one.volumes.extend(added.1);
        Ok(one)
    }

    // An image that was only pulled now has an id only now.
    async fn with_image(&self, client: &hako_client::Client, mut creation: Creation) -> Result<Creation, CommandError> {
        let labels = creation.request.config.labels.get_or_insert_default();
        if labels.get(labels::IMAGE).is_some_and(String::is_empty) {
            let image = client.image_inspect(&creation.request.config.image).await?;
            labels.insert(labels::IMAGE.to_owned(), image.id);
        }
        Ok(creation)
    }
}

// A volume of `--volume` that no file declares is one of that very name.
fn with_volumes(project: &Project, service: &Service) -> Project {
    let mut project = project.clone();
    for mount in service.volumes.iter().filter(|mount| mount.kind == "volume" && !mount.source.is_empty()) {
        let own = || Resource { name: mount.source.clone(), ..Resource::default() };
        project.volumes.entry(mount.source.clone()).or_insert_with(own);
    }
    project
}

fn set_variable(service: &mut Service, line: &str) {
    match line.split_once('=') {
        Some((name, value)) => drop(service.environment.insert(name.to_owned(), Some(value.to_owned()))),
        None => drop(service.environment.insert(line.to_owned(), None)),
    }
}
