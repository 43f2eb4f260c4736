//! `container create`: a container that could be started, and the pulling of its image on the way.

use std::{io::Write, path::Path};

use hako_api::{
    auth::AuthConfig,
    container::ContainerCreateRequest,
    query::{ContainerCreateQuery, ImageCreateQuery},
};
use hako_base::ErrorKind;
use hako_client::RequestBody;
use hako_model::{Platform, Reference};

use super::{
    create_body::{self, Surroundings},
    create_flags::{CreateFlags, Identity},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    credentials::Credentials,
    error::{CommandError, client_message},
    flag::FlagSet,
    progress::{self, Place},
    terminal,
};

#[derive(Default)]
pub(crate) struct Create(CreateFlags);

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container create", "create"],
        usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        about: "Create a container without starting it",
        arguments: Arguments::AtLeast(1),
        interspersed: false,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.0.bind(set);
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        check_pull(cx, &self.0.identity)?;
        let request = request(cx, &self.0, &words, false)?;
        let id = create(cx, &self.0.identity, &request).await?;
        cx.print_line(&id)
    }
}

/// The request for these flags and words.
///
/// # Errors
/// With exit code 125 when they make no sense together.
pub(crate) fn request(
    cx: &Context,
    flags: &CreateFlags,
    words: &[String],
    detach: bool,
) -> Result<ContainerCreateRequest, CommandError> {
    refuse_windows_flags(flags)?;
    let host = cx.host()?;
    let (rows, columns) = terminal::size().unwrap_or_default();
    let around = Surroundings {
        image: &words[0],
        command: &words[1..],
        proxies: cx.config.proxy_variables(host),
        console: [rows, columns],
        socket: host.strip_prefix("unix://").map(str::to_owned),
        detach,
    };
    let request = create_body::build(flags, around).map_err(|reason| with_help(cx, &reason, 125))?;
    if let Some(server) = flags.network.dns.iter().find(|server| is_loopback(&server.0)) {
        cx.remark(&format!("WARNING: Localhost DNS ({}) may fail in containers.", server.0));
    }
    Ok(request)
}

fn is_loopback(address: &str) -> bool {
    address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refuse_windows_flags(flags: &CreateFlags) -> Result<(), CommandError> {
    let used = [
        ("cpu-count", flags.cpu.count != 0),
        ("cpu-percent", flags.cpu.percent != 0),
        ("io-maxbandwidth", flags.block_io.windows_bandwidth.0 != 0),
        ("io-maxiops", flags.block_io.windows_operations != 0),
    ];
    let complaint = |name: &str| {
        format!(
            "\"--{name}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux"
        )
    };
    let complaints: Vec<String> = used.iter().filter(|(_, used)| *used).map(|(name, _)| complaint(name)).collect();
    if complaints.is_empty() { Ok(()) } else { Err(CommandError::Several(complaints)) }
}

/// An error of `run` or `create` itself, with the pointer to help that Docker prints.
pub(crate) fn with_help(cx: &Context, reason: &str, code: u8) -> CommandError {
    let (program, path) = (cx.program, cx.path.rsplit(' ').next().unwrap_or_default());
    CommandError::Usage {
        message: format!("{program}: {reason}\n\nRun '{program} {path} --help' for more information"),
        hint: None,
        code,
    }
}

/// Checks `--pull`.
///
/// # Errors
/// When it is not one of its three words.
pub(crate) fn check_pull(cx: &Context, identity: &Identity) -> Result<(), CommandError> {
    match identity.pull.as_str() {
        "always" | "missing" | "never" | "" => Ok(()),
        other => {
            let reason = format!("invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\"");
            Err(with_help(cx, &reason, 125))
        }
    }
}

/// Creates the container, pulling its image first where that is wanted, and gives its id.
///
/// # Errors
/// When the image's name is none, or the daemon refuses.
pub(crate) async fn create(
    cx: &mut Context,
    identity: &Identity,
    request: &ContainerCreateRequest,
) -> Result<String, CommandError> {
    let image = &request.config.image;
    let reference = image_name(image)?;
    let mut id_file = IdFile::reserve(&identity.cidfile)?;
    let query = ContainerCreateQuery {
        name: (!identity.name.is_empty()).then(|| identity.name.clone()),
        platform: identity.platform.as_deref().map(platform).transpose()?,
    };
    let client = cx.client()?;
    let place = if identity.quiet { Place::Nowhere } else { Place::Stderr };
    if identity.pull == "always" {
        pull(cx, image, query.platform.clone(), place).await?;
    }
    let created = match client.container_create(&query, request).await {
        Err(error) if error.kind() == ErrorKind::NotFound && reference.is_some() && identity.pull == "missing" => {
            if !identity.quiet {
                let name = reference.map_or_else(|| image.clone(), |reference| reference.with_default_tag().familiar());
                cx.remark(&format!("Unable to find image '{name}' locally"));
            }
            pull(cx, image, query.platform.clone(), place).await?;
            client.container_create(&query, request).await?
        }
        other => other?,
    };
    for warning in &created.warnings {
        cx.remark(&format!("WARNING: {warning}"));
    }
    id_file.write(&created.id)?;
    Ok(created.id)
}

/// `--platform` by its usual names.
fn platform(text: &str) -> Result<String, CommandError> {
    let read = text.parse::<Platform>().map(|platform| platform.to_string());
    read.map_err(|error| CommandError::Said(format!("error parsing specified platform: {error}")))
}

// Nothing for an image's id, which cannot be pulled.
fn image_name(image: &str) -> Result<Option<Reference>, CommandError> {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex(image) || image.strip_prefix("sha256:").is_some_and(hex) {
        return Ok(None);
    }
    image.parse().map(Some).map_err(|error| CommandError::Said(format!("{error}")))
}

/// Pulls an image and shows how far it is.
///
/// # Errors
/// What the daemon or the registry says.
pub(crate) async fn pull(
    cx: &mut Context,
    image: &str,
    platform: Option<String>,
    place: Place,
) -> Result<(), CommandError> {
    let (from_image, tag) = match image_name(image)? {
        Some(reference) => match reference.digest() {
            Some(digest) => (format!("{}/{}", reference.domain(), reference.path()), digest.to_string()),
            None => super::commit::repository_and_tag(image)?,
        },
        None => (image.to_owned(), String::new()),
    };
    let query = ImageCreateQuery { from_image, tag, platform, ..ImageCreateQuery::default() };
    let credentials = match image_name(image)? {
        Some(reference) => Credentials::read(&cx.directory)?.of_image(&reference),
        None => AuthConfig::default(),
    };
    let stream = cx.client()?.image_create(&query, Some(&credentials), RequestBody::Empty).await?;
    progress::show(stream, place).await
}

/// The same for every tag of a repository.
///
/// # Errors
/// What the daemon or the registry says.
pub(crate) async fn pull_all(
    cx: &mut Context,
    repository: &Reference,
    platform: Option<String>,
    place: Place,
) -> Result<(), CommandError> {
    let credentials = Credentials::read(&cx.directory)?.of_image(repository);
    // No tag at all means all of them.
    let query = ImageCreateQuery { from_image: repository.to_string(), platform, ..ImageCreateQuery::default() };
    let stream = cx.client()?.image_create(&query, Some(&credentials), RequestBody::Empty).await?;
    progress::show(stream, place).await
}

/// The file of `--cidfile`: taken before the container exists, removed if it never does.
struct IdFile {
    path: String,
    written: bool,
}

impl IdFile {
    fn reserve(path: &str) -> Result<Self, CommandError> {
        // Only a file of our own is ever removed.
        let mut file = Self { path: path.to_owned(), written: true };
        if path.is_empty() {
            return Ok(file);
        }
        match std::fs::File::create_new(path) {
            Ok(_) => {
                file.written = false;
                Ok(file)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(CommandError::Said(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))),
            Err(error) => {
                let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
                Err(CommandError::Said(format!("cannot create the container ID file {path}: {why}")))
            }
        }
    }

    fn write(&mut self, id: &str) -> Result<(), CommandError> {
        if self.written {
            return Ok(());
        }
        let path = Path::new(&self.path);
        let mut file = std::fs::File::create(path).map_err(CommandError::local(format!("write {}", self.path)))?;
        file.write_all(id.as_bytes()).map_err(CommandError::local(format!("write {}", self.path)))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.written {
            // It holds nothing, and the next attempt would refuse to run because of it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// An error on the way to a container as `run` prints it.
pub(crate) fn run_error(cx: &Context, error: CommandError) -> CommandError {
    match error {
        CommandError::Client(error) => {
            let code = start_code(&error.to_string());
            with_help(cx, &client_message(&error), code)
        }
        // As docker: by its words alone, even where it is the file for the id that has no place.
        CommandError::Said(reason) => with_help(cx, &reason, start_code(&reason)),
        other => other,
    }
}

// 127 for a program that is not there, 126 for one that cannot be executed, as shells have it.
fn start_code(text: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["executable file not found", "no such file or directory", "system cannot find the file specified"]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}
