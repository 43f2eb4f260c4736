//! `compose`: the flags that stand before its commands, how its files are found, and what all its commands share.

pub(crate) mod attach;
pub(crate) mod build;
pub(crate) mod config;
pub(crate) mod container; // commit, export, top: one container of a service
pub(crate) mod cp;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod image; // images, pull, push
pub(crate) mod lifecycle; // create, start, stop, restart, kill, pause, unpause, rm, scale
pub(crate) mod list; // ls, ps, port, volumes
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod watch;

mod attached; // up in the foreground
mod console; // lines of several containers, each with its name before it
mod follow; // the output of containers that run
mod progress; // what is being done, as a tree or as lines

use std::{collections::BTreeMap, io::Read, path::PathBuf, sync::Arc};

use hako_client::Client;
use hako_compose::{
    apply::Actor,
    error::{ApplyError, LoadError},
    file::load::{Options, Surroundings},
    observe::{self, Seen},
    project::{self, Project, Selection},
    suggest,
};
use hako_model::Reference;

use crate::{
    context::Context,
    credentials::Credentials,
    error::CommandError,
    flag::{FlagError, FlagSet},
    help, terminal,
};

/// The flags between `compose` and its command.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    all_resources: bool,
    ansi: String,
    compatibility: bool,
    pub(crate) dry_run: bool,
    environment_files: Vec<String>,
    files: Vec<String>,
    parallel: i64,
    profiles: Vec<String>,
    progress: String,
    project_directory: Option<String>,
    project_name: Option<String>,
    verbose: bool,
    version: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            all_resources: false,
            ansi: "auto".to_owned(),
            compatibility: false,
            dry_run: false,
            environment_files: Vec::new(),
            files: Vec::new(),
            parallel: -1,
            profiles: Vec::new(),
            progress: "auto".to_owned(),
            project_directory: None,
            project_name: None,
            verbose: false,
            version: false,
        }
    }
}

impl Globals {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all_resources, "--all-resources", "Also what no service uses");
        set.add(&mut self.ansi, "--ansi", "Colours and redrawing: never, always or auto (default \"auto\")");
        set.add(&mut self.compatibility, "--compatibility", "Put underscores into names, as docker-compose 1 did");
        set.add(&mut self.dry_run, "--dry-run", "Tell what would be done, and do nothing");
        set.add(&mut self.environment_files, "--env-file", "File of variables (default .env)").kind("stringArray");
        set.add(&mut self.files, "-f, --file", "Compose file; several are laid over each other").kind("stringArray");
        set.add(&mut self.parallel, "--parallel", "Requests at the same time, -1 for no limit (default -1)");
        set.add(&mut self.profiles, "--profile", "Profile to enable").kind("stringArray");
        set.add(&mut self.progress, "--progress", "auto, tty, plain or quiet (default \"auto\")");
        set.add(&mut self.project_directory, "--project-directory", "Directory that paths are relative to");
        set.add(&mut self.project_name, "-p, --project-name", "Name of the project");
        set.add(&mut self.verbose, "--verbose", "Say more").hide();
        set.add(&mut self.version, "-v, --version", "Print the version and leave").hide();
    }
}

/// Reads the flags between `compose` and its command; other lines come back as they are.
///
/// # Errors
/// When one of them is wrong, or help was asked for, which is printed.
pub(crate) fn globals(program: &str, words: &[String]) -> Result<(Globals, Vec<String>), CommandError> {
    let mut globals = Globals::default();
    if words.first().map(String::as_str) != Some("compose") {
        return Ok((globals, words.to_vec()));
    }
    let mut set = FlagSet::default();
    globals.bind(&mut set);
    let rest = match set.parse(&words[1..], false) {
        Ok(rest) => rest,
        Err(FlagError::Help) => Vec::new(),
        Err(error) => {
            let message = format!(
                "{error}\n\nUsage:  {program} compose [OPTIONS] COMMAND\n\nRun '{program} compose --help' for more information"
            );
            return Err(CommandError::Usage { message, hint: None, code: 16 });
        }
    };
    if rest.is_empty() {
        let options = help::options(set.flags(), terminal::columns_for_help());
        drop(set);
        if globals.version {
            return Ok((globals, vec!["compose".to_owned(), "version".to_owned()]));
        }
        let text = format!(
            "{}\nOptions:\n{options}",
            help::group(program, "compose", "Run applications that Compose files describe")
        );
        print!("{text}");
        return Err(CommandError::Exit(0));
    }
    drop(set);
    let words = std::iter::once("compose".to_owned()).chain(rest).collect();
    Ok((globals, words))
}

// Scripts tell by the code whether a file was not there or was wrong.
impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        let message = hako_base::error::chain(&error);
        match error {
            LoadError::NoFile { .. } | LoadError::NoEnvironmentFile { .. } | LoadError::Read { .. } => {
                Self::Usage { message, hint: None, code: 14 }
            }
            LoadError::Mistake(_) | LoadError::Dotenv { .. } | LoadError::Project(_) => {
                Self::Usage { message, hint: None, code: 15 }
            }
            LoadError::Name { .. } | LoadError::NoName | LoadError::NoService { .. } => Self::Said(message),
        }
    }
}

/// docker compose's exit code for an image that could not be pulled.
const PULL_FAILED: u8 = 18;

impl From<ApplyError> for CommandError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Client(error) => Self::Client(error),
            ApplyError::Pull(error) => {
                let message = Self::from(*error).message().unwrap_or_default();
                Self::Usage { message, hint: None, code: PULL_FAILED }
            }
            other => Self::Said(hako_base::error::chain(&other)),
        }
    }
}

fn options(cx: &Context) -> Options {
    let globals = &cx.compose;
    Options {
        files: globals.files.clone(),
        project_directory: globals.project_directory.as_ref().map(PathBuf::from),
        project_name: globals.project_name.clone(),
        environment_files: globals.environment_files.iter().map(PathBuf::from).collect(),
        profiles: globals.profiles.clone(),
        ..Options::default()
    }
}

fn surroundings(cx: &Context) -> Result<Surroundings, CommandError> {
    let directory = std::env::current_dir().map_err(CommandError::local("find the current directory"))?;
    // Variables that are no text cannot be meant.
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let stdin = match cx.compose.files.iter().any(|file| file == "-") {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(CommandError::local("read standard input"))?;
            Some(text)
        }
        false => None,
    };
    let home = variables.get("HOME").map(PathBuf::from);
    Ok(Surroundings { directory, home, variables, stdin })
}

/// The project of the files; remarks go to standard error.
fn project(cx: &Context, selection: &Selection) -> Result<Project, CommandError> {
    project_with(cx, &options(cx), selection)
}

fn project_with(cx: &Context, options: &Options, selection: &Selection) -> Result<Project, CommandError> {
    let project = settled(cx, project::read(options, &surroundings(cx)?, selection)?);
    project.warnings.iter().for_each(|warning| cx.remark(&format!("warning: {warning}")));
    Ok(project)
}

// What is not said in the files.
fn settled(cx: &Context, mut project: Project) -> Project {
    if cx.compose.compatibility || project.is_set("COMPOSE_COMPATIBILITY") {
        project.separator = '_';
    }
    // Without a daemon there is nothing that could need them.
    project.proxies = cx.host().map(|host| cx.config.proxy_variables(host)).unwrap_or_default();
    project
}

/// The project of the files, or of the given name where there are none.
fn project_or_name(cx: &Context, services: &[String]) -> Result<Project, CommandError> {
    let surroundings = surroundings(cx)?;
    let named =
        cx.compose.project_name.clone().or_else(|| surroundings.variable("COMPOSE_PROJECT_NAME").map(str::to_owned));
    match (project::read(&options(cx), &surroundings, &Selection::default()), named) {
        (Ok(project), _) => {
            let project = settled(cx, project);
            if let Some(name) = services.iter().find(|name| !project.all_services.contains(*name)) {
                let hint = suggest::nearest(name, project.all_services.iter().map(String::as_str));
                let hint = hint.map(|meant| format!("did you mean {meant:?}?"));
                return Err(LoadError::NoService { name: name.clone(), hint }.into());
            }
            Ok(project)
        }
        (Err(LoadError::NoFile { .. }), Some(name)) => {
            Ok(settled(cx, Project { variables: surroundings.variables, ..Project::named(&name) }))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Selects these services and what they depend on.
fn selection(cx: &Context, services: &[String], alone: bool) -> Selection {
    Selection { services: services.to_vec(), alone, all_resources: cx.compose.all_resources }
}

/// Who carries plans out, and the display of what is being done.
fn actor(cx: &Context, project: Project) -> Result<(Actor, progress::Display), CommandError> {
    let display = progress::Display::new(cx, &project)?;
    let listed = project.setting("COMPOSE_PARALLEL_LIMIT").and_then(|text| text.parse().ok());
    let at_once = usize::try_from(cx.compose.parallel).ok().or(listed);
    let credentials = Credentials::read(&cx.directory)?;
    let find = Arc::new(move |image: &Reference| Some(credentials.of_image(image)));
    Ok((
        Actor::new(cx.client()?, project, display.tell(), at_once)
            .with_credentials(find)
            .with_dry_run(cx.compose.dry_run),
        display,
    ))
}

/// Says that a command cannot pretend.
fn refuse_dry_run(cx: &Context, command: &str) -> Result<(), CommandError> {
    match cx.compose.dry_run {
        true => Err(CommandError::Said(format!("{command} has no --dry-run: it would have to do it to show it"))),
        false => Ok(()),
    }
}

/// The containers of a project's services (none named: of all), sorted.
async fn containers(
    client: &Client,
    project: &Project,
    services: &[String],
    all: bool,
) -> Result<Vec<Seen>, CommandError> {
    let list = observe::containers(client, Some(&project.name), all).await?;
    let mut seen: Vec<Seen> = list.iter().map(Seen::from_summary).collect();
    seen.retain(|seen| !seen.one_off && (services.is_empty() || services.contains(&seen.service)));
    seen.sort_by(|left, right| (&left.service, left.number).cmp(&(&right.service, right.number)));
    Ok(seen)
}

/// One running container of a service: the numbered one, or the first.
async fn one_container(
    client: &Client,
    project: &Project,
    service: &str,
    index: i64,
    all: bool,
) -> Result<Seen, CommandError> {
    let mut list = containers(client, project, &[service.to_owned()], all).await?;
    if index > 0 {
        list.retain(|seen| i64::from(seen.number) == index);
        if list.is_empty() {
            return Err(CommandError::Said(format!("service {service:?} is not running container #{index}")));
        }
    }
    match list.into_iter().next() {
        Some(seen) => Ok(seen),
        None if all => Err(CommandError::Said(format!("no container found for service {service:?}"))),
        None => Err(CommandError::Said(format!("service {service:?} is not running"))),
    }
}
