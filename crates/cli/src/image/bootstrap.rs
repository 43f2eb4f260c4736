//! `image bootstrap`: an image from what is at hand, where no registry is.
//!
//! `registry` is made of this very program; `debian:SUITE` of Debian's own archive. Both are sent to the daemon as any
//! archive, so that any daemon will do.

mod archive; // what is fetched from Debian's archive
mod debian; // debian:SUITE
mod registry; // registry

use std::io::{self, Write};

use bytes::Bytes;
use hako_client::RequestBody;
use tokio::sync::mpsc;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

/// Pieces of an archive that wait for the daemon.
const CHUNKS_AHEAD: usize = 4;

#[derive(Default)]
pub(crate) struct Bootstrap {
    include: Vec<String>,
    keyring: String,
    mirror: String,
    quiet: bool,
    security_mirror: String,
    tag: String,
}

impl Command for Bootstrap {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image bootstrap"],
        usage: "[OPTIONS] registry|debian:SUITE",
        about: "Make an image from what is at hand, without a registry",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.include, "--include", "Further packages of Debian to install").kind("strings");
        set.add(&mut self.keyring, "--keyring", "File of the keys that may sign the archive");
        set.add(&mut self.mirror, "--mirror", "Debian's archive (default \"http://deb.debian.org/debian\")");
        set.add(&mut self.quiet, "-q, --quiet", "Print the image's name alone");
        set.add(&mut self.security_mirror, "--security-mirror", "Archive of Debian's security updates");
        set.add(&mut self.tag, "-t, --tag", "Name of the image, instead of its own");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let word = words[0].as_str();
        match word.split_once(':').unwrap_or((word, "")) {
            ("registry", "") => {
                let is_meant_otherwise = [&self.keyring, &self.mirror, &self.security_mirror, &self.tag];
                if is_meant_otherwise.iter().any(|flag| !flag.is_empty()) || !self.include.is_empty() {
                    return Err(CommandError::Said("registry takes no flag but --quiet".to_owned()));
                }
                registry::make(cx, self.quiet).await
            }
            ("debian", suite) => debian::make(cx, &self, suite).await,
            _ => {
                let why = format!("cannot make {word:?}: \"registry\" and \"debian:SUITE\" are what can be made");
                Err(CommandError::Said(why))
            }
        }
    }
}

/// A body that a thread writes while it is sent.
fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> RequestBody {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        let mut output = io::BufWriter::with_capacity(256 << 10, ChunkWriter(sender.clone()));
        let result = write(&mut output).and_then(|()| output.flush());
        if let Err(error) = result {
            // The daemon has hung up, or a file cannot be read; the request says so.
            let _ = sender.blocking_send(Err(error));
        }
    });
    RequestBody::Stream(receiver)
}

struct ChunkWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
