//! `container cp`: files between this machine and a container, or as tar archives on a pipe.
//!
//! Where something lands is decided in [`land`], by Docker's table; the trees themselves are read and written by
//! `cp_local`.

use std::path::Path;

use hako_api::{
    archive::PathStat,
    query::{ContainerArchivePutQuery, ContainerArchiveQuery},
};
use hako_client::Client;

use super::cp_local;
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::size,
    image::{import, save},
    parse::path,
};

#[derive(Default, Clone)]
pub(crate) struct Cp {
    archive: bool,
    follow_link: bool,
    quiet: bool,
}

impl Command for Cp {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container cp", "cp"],
        usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n  or: [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        about: "Copy files between a container and this machine",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.archive, "-a, --archive", "Keep users and groups");
        set.add(&mut self.follow_link, "-L, --follow-link", "Copy what SRC_PATH leads to, if it is a link");
        set.add(&mut self.quiet, "-q, --quiet", "Say nothing when it is done");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        match (Place::parse(&words[0]), Place::parse(&words[1])) {
            (Place::Container { name, path }, Place::Here(to)) => self.download(cx, &client, &name, &path, &to).await,
            (Place::Here(from), Place::Container { name, path }) => self.upload(cx, &client, &from, &name, &path).await,
            (Place::Container { .. }, Place::Container { .. }) => said("copying between containers is not supported"),
            (Place::Here(_), Place::Here(_)) => said("must specify at least one container source"),
        }
    }
}

fn said<T>(text: impl Into<String>) -> Result<T, CommandError> {
    Err(CommandError::Said(text.into()))
}

impl Cp {
    async fn download(
        &self,
        cx: &Context,
        client: &Client,
        name: &str,
        from: &str,
        to: &str,
    ) -> Result<(), CommandError> {
        if to != "-" {
            cp_local::check_output(to)?;
        }
        let mut query = ContainerArchiveQuery { path: from.to_owned() };
        let mut rename = None;
        if self.follow_link {
            let stat = client.container_archive_stat(name, &query).await;
            if let Some(stat) = stat.ok().filter(PathStat::is_symlink) {
                rename = Some(base(from));
                query.path = stat.link_target;
            }
        }
        let (stat, archive) = client.container_archive_get(name, &query).await?;
        if to == "-" {
            return save::write_archive(archive, "").await;
        }
        let destination = cp_local::destination(to);
        let landing = land(stat.is_directory(), &destination).map_err(CommandError::Said)?;
        let rename = landing.name.or(rename).map(|new| (stat.name.clone(), new));
        let bytes = cp_local::unpack(archive, &landing.directory, rename, self.archive).await?;
        self.report(cx, bytes, to);
        Ok(())
    }

    async fn upload(
        &self,
        cx: &Context,
        client: &Client,
        from: &str,
        name: &str,
        to: &str,
    ) -> Result<(), CommandError> {
        let destination = destination_in(client, name, to).await?;
        let query =
            |path| ContainerArchivePutQuery { path, no_overwrite_dir_non_dir: true, copy_uid_gid: self.archive };
        if from == "-" {
            if !destination.is_directory {
                return said(format!("destination \"{name}:{to}\" must be a directory"));
            }
            let input = import::from_stdin();
            return Ok(client.container_archive_put(name, &query(destination.path), input).await?);
        }
        let source = cp_local::Source::open(from, self.follow_link)?;
        let landing = land(source.is_directory(), &destination).map_err(CommandError::Said)?;
        let (archive, count) = source.pack(landing.name);
        let sent = client.container_archive_put(name, &query(landing.directory), archive).await;
        // Why the archive broke off is more than that it did.
        let bytes = match (count.await, sent) {
            (Ok(Err(error)), _) => return Err(error),
            (_, Err(error)) => return Err(error.into()),
            (bytes, Ok(())) => bytes.map_or(0, Result::unwrap_or_default),
        };
        self.report(cx, bytes, &format!("{name}:{to}"));
        Ok(())
    }

    fn report(&self, cx: &Context, bytes: u64, to: &str) {
        if !self.quiet && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            cx.remark(&format!("Successfully copied {} to {to}", size::human(bytes.cast_signed(), 3)));
        }
    }
}

/// One of the two words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here(String),
    Container { name: String, path: String },
}

impl Place {
    /// The container's name and the path in it.
    pub(crate) fn in_container(self) -> Option<(String, String)> {
        match self {
            Self::Container { name, path } => Some((name, path)),
            Self::Here(_) => None,
        }
    }

    /// `NAME:PATH`, unless it can only be a path: `/a:b`, `./a:b`.
    pub(crate) fn parse(word: &str) -> Self {
        match word.split_once(':') {
            Some((name, path)) if !name.is_empty() && !name.starts_with(['/', '.']) => {
                Self::Container { name: name.to_owned(), path: path.to_owned() }
            }
            _ => Self::Here(word.to_owned()),
        }
    }
}

/// Where something is to go, and what is there now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Destination {
    pub path: String,
    pub exists: bool,
    pub is_directory: bool,
}

/// The directory that the archive is unpacked in, and the name that its topmost entry gets there, if another than its own.
#[derive(Debug, PartialEq, Eq)]
struct Landing {
    directory: String,
    name: Option<String>,
}

/// Docker's rules: into a directory that is there, over a file that is there, or under a new name.
fn land(source_is_directory: bool, to: &Destination) -> Result<Landing, String> {
    if to.is_directory {
        return Ok(Landing { directory: to.path.clone(), name: None });
    }
    if to.exists && source_is_directory {
        return Err("cannot copy directory".to_owned());
    }
    if to.path.is_empty() || (!to.exists && !source_is_directory && ends_as_directory(&to.path)) {
        return Err("no such directory".to_owned());
    }
    let clean = path::clean(&to.path);
    let directory = Path::new(&clean).parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.map_or_else(|| ".".to_owned(), |parent| parent.to_string_lossy().into_owned());
    Ok(Landing { directory, name: Some(base(&clean)) })
}

/// Whether a path says that it is a directory.
pub(super) fn ends_as_directory(path: &str) -> bool {
    path.ends_with('/') || path.rsplit('/').next() == Some(".")
}

/// The last name of a path.
pub(super) fn base(path: &str) -> String {
    Path::new(&path::clean(path)).file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What the daemon says of a path of a container; nothing if it says nothing: then the copy itself will fail or not.
async fn destination_in(client: &Client, name: &str, to: &str) -> Result<Destination, CommandError> {
    let mut path = if to.starts_with('/') || to.is_empty() { to.to_owned() } else { format!("/{to}") };
    let look = async |path: &str| {
        client.container_archive_stat(name, &ContainerArchiveQuery { path: path.to_owned() }).await.ok()
    };
    let mut stat = look(&path).await;
    if let Some(link) = stat.as_ref().filter(|stat| stat.is_symlink()) {
        path.clone_from(&link.link_target);
        stat = look(&path).await;
    }
    let Some(stat) = stat else { return Ok(Destination { path, ..Destination::default() }) };
    if stat.mode & hako_api::archive::mode::DEVICE != 0 {
        return said(format!("destination \"{name}:{to}\" must be a directory or a regular file: got a device"));
    }
    Ok(Destination { path, exists: true, is_directory: stat.is_directory() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_a_container_unless_a_path_comes_before_it() {
        let container = |name: &str, path: &str| Place::Container { name: name.to_owned(), path: path.to_owned() };
        assert_eq!(Place::parse("web:/etc"), container("web", "/etc"));
        assert_eq!(Place::parse("web:"), container("web", ""));
        assert_eq!(Place::parse("web:a:b"), container("web", "a:b"));
        for here in ["file", "-", "/a:b", "./a:b", ":x"] {
            assert_eq!(Place::parse(here), Place::Here(here.to_owned()));
        }
    }

    #[test]
    fn things_land_where_docker_puts_them() {
        let at = |path: &str, exists, is_directory| Destination { path: path.to_owned(), exists, is_directory };
        let shown = |source_is_directory, to| match land(source_is_directory, &to) {
            Ok(Landing { directory, name }) => format!("in {directory} as {}", name.unwrap_or("itself".to_owned())),
            Err(why) => why,
        };
        for (source_is_directory, to, expected) in [
            (false, at("/w/new", false, false), "in /w as new"),
            (false, at("/w/new/", false, false), "no such directory"),
            (false, at("", false, false), "no such directory"),
            (false, at("/w/old", true, false), "in /w as old"),
            (false, at("/w", true, true), "in /w as itself"),
            (true, at("/w/new", false, false), "in /w as new"),
            (true, at("/w/new/", false, false), "in /w as new"),
            (true, at("/w/old", true, false), "cannot copy directory"),
            (true, at("/w", true, true), "in /w as itself"),
            (true, at("new", false, false), "in . as new"),
        ] {
            assert_eq!(shown(source_is_directory, to.clone()), expected, "{to:?}");
        }
    }
}
