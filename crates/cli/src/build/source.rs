//! Where the context and the Dockerfile are: a directory, an address, or standard input.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use hako_client::build::{BuildSource, BuildUpload};

use crate::error::CommandError;

/// A Dockerfile on standard input is no larger than this.
const DOCKERFILE_BYTES_MAX: u64 = 4 << 20;
/// Enough to see that a stream is a tar.
const HEAD_BYTES: usize = 512;

/// What the daemon may ask for, and what it is told about it.
#[derive(Default)]
pub(super) struct Sources {
    pub attributes: BTreeMap<String, String>,
    pub sources: BTreeMap<String, BuildSource>,
    pub upload: Option<BuildUpload>,
    /// The directory, if the context is one: the same directory is sent once.
    pub directory: Option<PathBuf>,
}

/// Whether a context is somewhere else: the daemon fetches it.
pub(crate) fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/"].iter().any(|start| context.starts_with(start))
}

/// Looks at the words for context and Dockerfile.
///
/// # Errors
/// A directory that is not there, or standard input that was to be two things.
pub(super) fn of(context: &str, file: Option<&str>, inline: Option<&str>) -> Result<Sources, CommandError> {
    let mut found = Sources::default();
    match context {
        "-" if file == Some("-") => {
            return Err(CommandError::Said(
                "invalid argument: can't use stdin for both build context and dockerfile".to_owned(),
            ));
        }
        "-" => from_stdin(&mut found, file)?,
        address if is_remote(address) => {
            found.attributes.insert("context".to_owned(), address.to_owned());
            if let Some(name) = file.filter(|name| *name != "-") {
                found.attributes.insert("filename".to_owned(), name.to_owned());
            }
        }
        // No file of the directory is looked for where the Dockerfile is given.
        path => from_directory(&mut found, path, inline.map_or(file, |_| Some("-")))?,
    }
    if let Some(text) = inline {
        given(&mut found, text.as_bytes().to_vec());
        return Ok(found);
    }
    if file == Some("-") {
        let mut text = Vec::new();
        io::stdin()
            .take(DOCKERFILE_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(CommandError::local("read standard input"))?;
        given(&mut found, text);
    }
    Ok(found)
}

// A Dockerfile that is in no directory.
fn given(found: &mut Sources, text: Vec<u8>) {
    let files = BTreeMap::from([("Dockerfile".to_owned(), text)]);
    found.sources.insert("dockerfile".to_owned(), BuildSource::Files(files));
    found.attributes.insert("filename".to_owned(), "Dockerfile".to_owned());
    // A context that the daemon fetches has a Dockerfile of its own, unless it is told of this one.
    if found.attributes.contains_key("context") {
        found.attributes.insert("dockerfilekey".to_owned(), "dockerfile".to_owned());
    }
}

fn from_directory(found: &mut Sources, path: &str, file: Option<&str>) -> Result<(), CommandError> {
    let unable = |why: String| CommandError::Said(format!("unable to prepare context: {why}"));
    let directory = Path::new(path);
    if !directory.exists() {
        return Err(unable(format!("path {path:?} not found")));
    }
    if !directory.is_dir() {
        return Err(unable(format!("path {path:?} is not a directory; a Dockerfile is named with -f")));
    }
    let directory = directory.canonicalize().map_err(CommandError::local(format!("open {path}")))?;
    found.sources.insert("context".to_owned(), BuildSource::Directory(directory.clone()));
    if file != Some("-") {
        let (above, name) = match file {
            Some(file) => {
                let file = Path::new(file);
                let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let above = file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
                (above.to_owned(), name)
            }
            None => (directory.clone(), "Dockerfile".to_owned()),
        };
        if !above.join(&name).exists() {
            let shown = if file.is_some() { above.join(&name).display().to_string() } else { name };
            let error = format!(
                "ERROR: failed to build: failed to solve: failed to read dockerfile: open {shown}: no such file or directory"
            );
            return Err(CommandError::Said(error));
        }
        found.sources.insert("dockerfile".to_owned(), BuildSource::Directory(above));
        found.attributes.insert("filename".to_owned(), name);
    }
    found.directory = Some(directory);
    Ok(())
}

fn from_stdin(found: &mut Sources, file: Option<&str>) -> Result<(), CommandError> {
    let failed = || CommandError::local("read standard input");
    let mut head = Vec::new();
    io::stdin().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed())?;
    if is_archive(&head) {
        let id = hako_base::random::hex(12);
        found.attributes.insert("context".to_owned(), format!("http://buildkit-session/{id}"));
        if let Some(file) = file {
            found.attributes.insert("filename".to_owned(), file.to_owned());
        }
        found.upload = Some(BuildUpload { id, begin: head });
        return Ok(());
    }
    if head.is_empty() {
        return Err(CommandError::Said("standard input is empty: a Dockerfile or a tar was expected".to_owned()));
    }
    io::stdin().take(DOCKERFILE_BYTES_MAX).read_to_end(&mut head).map_err(failed())?;
    found.sources.insert("context".to_owned(), BuildSource::Files(BTreeMap::new()));
    given(found, head);
    Ok(())
}

// By what tars, plain or compressed, begin with.
fn is_archive(head: &[u8]) -> bool {
    let compressed: [&[u8]; 4] =
        [&[0x1f, 0x8b, 0x08], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z'], &[0x28, 0xb5, 0x2f, 0xfd]];
    compressed.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}
