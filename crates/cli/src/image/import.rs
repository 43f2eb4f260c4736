//! `image import`: an image of one layer from a root file system; and how archives are read.

use std::{fs::File, io::Read};

use bytes::Bytes;
use hako_api::query::ImageCreateQuery;
use hako_client::RequestBody;
use tokio::sync::mpsc;

use crate::{
    command::{Arguments, Command, Shape},
    config::default_platform,
    container::commit::repository_and_tag,
    context::Context,
    error::CommandError,
    flag::FlagSet,
    progress::{self, Place},
    terminal,
};

/// One piece of an archive on its way to the daemon.
const CHUNK_BYTES: usize = 256 << 10;
/// Pieces read ahead of the daemon.
const CHUNKS_AHEAD: usize = 4;

#[derive(Default)]
pub(crate) struct Import {
    changes: Vec<String>,
    message: String,
    platform: Option<String>,
}

impl Command for Import {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image import", "import"],
        usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        about: "Make an image from the tar archive of a root file system",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.changes, "-c, --change", "Dockerfile instruction to apply to it");
        set.add(&mut self.message, "-m, --message", "What was done");
        set.add(&mut self.platform, "--platform", "Platform of the image (os/architecture)");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let source = words[0].as_str();
        let is_url = source.starts_with("http://") || source.starts_with("https://");
        let (from_src, body) = match source {
            "-" if terminal::stdin_is_terminal() => {
                return Err(CommandError::Said("requested import from stdin, but stdin is a terminal".to_owned()));
            }
            "-" => ("-".to_owned(), from_stdin()),
            _ if is_url => (source.to_owned(), RequestBody::Empty),
            _ => ("-".to_owned(), from_file(source)?),
        };
        let (repo, tag) = match words.get(1) {
            Some(name) => repository_and_tag(name)?,
            None => (String::new(), String::new()),
        };
        let query = ImageCreateQuery {
            from_src,
            repo,
            tag,
            message: self.message,
            changes: self.changes,
            platform: self.platform.or_else(default_platform),
            ..ImageCreateQuery::default()
        };
        let stream = cx.client()?.image_create(&query, None, body).await?;
        progress::show(stream, Place::Stdout).await
    }
}

/// Standard input as the body of a request.
pub(crate) fn from_stdin() -> RequestBody {
    pump(std::io::stdin())
}

/// A file as the body of a request.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn from_file(path: &str) -> Result<RequestBody, CommandError> {
    let file = File::open(path).map_err(|error| {
        let reason = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
        CommandError::Said(format!("open {path}: {reason}"))
    })?;
    Ok(pump(file))
}

// Files and pipes block, so a thread reads them.
fn pump(mut input: impl Read + Send + 'static) -> RequestBody {
    let (send, receive) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if send.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    RequestBody::Stream(receive)
}
