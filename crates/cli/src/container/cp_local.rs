//! The trees of this machine that `cp` reads and writes.
//!
//! What comes from a container is unpacked by descriptor below the destination, whatever names and links it has.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use hako_archive::{PackError, Packer, UnpackOptions, walk};
use hako_client::{BodyReader, RequestBody};
use tokio::sync::{mpsc, oneshot};

use super::cp::{Destination, base, ends_as_directory};
use crate::{error::CommandError, parse::path};

/// Pieces of an archive that wait for the slower side.
const CHUNKS_AHEAD: usize = 8;
const CHUNK_BYTES: usize = 256 << 10;

fn said<T>(text: impl Into<String>) -> Result<T, CommandError> {
    Err(CommandError::Said(text.into()))
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text)
}

/// Refuses a destination whose directory is not there, before anything is asked of the daemon.
///
/// # Errors
/// In Docker's words.
pub(super) fn check_output(to: &str) -> Result<(), CommandError> {
    let absolute = path::absolute(to);
    let parent = Path::new(&absolute).parent().unwrap_or(Path::new("/"));
    if !parent.exists() {
        return said(format!("invalid output path: directory {:?} does not exist", parent.display().to_string()));
    }
    let kind = fs::metadata(&absolute).map(|metadata| metadata.file_type());
    match kind {
        Ok(kind) if !kind.is_dir() && !kind.is_file() => {
            said(format!("invalid output path: {absolute:?} must be a directory or a regular file"))
        }
        _ => Ok(()),
    }
}

/// What is at a path of this machine, links followed, also one that leads nowhere yet.
pub(super) fn destination(to: &str) -> Destination {
    // Far more than anybody has; a loop of links ends as what it is.
    const LINKS_MAX: usize = 40;
    let mut at = PathBuf::from(path::absolute(to));
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&at) else { break };
        at = at.parent().unwrap_or(Path::new("/")).join(target);
    }
    let metadata = fs::metadata(&at);
    let mut path = at.to_string_lossy().into_owned();
    if ends_as_directory(to) {
        path.push('/');
    }
    Destination { path, exists: metadata.is_ok(), is_directory: metadata.is_ok_and(|metadata| metadata.is_dir()) }
}

/// Something of this machine that is to be copied.
pub(super) struct Source {
    path: PathBuf,
    /// The name of its topmost entry: its own, or `.` for what is in it.
    name: String,
    metadata: fs::Metadata,
}

impl Source {
    /// Looks at `from`; a link is itself, unless it is to be followed or the path says that it is a directory.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn open(from: &str, follow: bool) -> Result<Self, CommandError> {
        let absolute = path::absolute(from);
        let follow = follow || ends_as_directory(from);
        let metadata = if follow { fs::metadata(&absolute) } else { fs::symlink_metadata(&absolute) };
        let metadata = match metadata {
            Ok(metadata) if ends_as_directory(from) && !metadata.is_dir() => {
                return said(format!("lstat {absolute}/: not a directory"));
            }
            Ok(metadata) => metadata,
            Err(error) => return said(format!("lstat {absolute}: {}", reason(&error))),
        };
        let name = if from.rsplit('/').next() == Some(".") { ".".to_owned() } else { base(&absolute) };
        let path = if follow { fs::canonicalize(&absolute).unwrap_or(absolute.into()) } else { absolute.into() };
        Ok(Self { path, name, metadata })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.metadata.is_dir()
    }

    /// Its archive as the body of a request, and how many bytes that was.
    pub(super) fn pack(self, name: Option<String>) -> (RequestBody, oneshot::Receiver<Result<u64, CommandError>>) {
        let (send, receive) = mpsc::channel(CHUNKS_AHEAD);
        let (tell, told) = oneshot::channel();
        // Files block, so a thread reads them.
        std::thread::spawn(move || {
            let counted = Arc::new(AtomicU64::new(0));
            let output = Sender { send: send.clone(), counted: counted.clone() };
            let result = match self.write(name.as_ref().unwrap_or(&self.name), output) {
                Ok(()) => Ok(counted.load(Ordering::Relaxed)),
                // The daemon did not want it; its answer says why.
                Err(PackError::Write { .. }) => Ok(0),
                Err(error) => {
                    let _ = send.blocking_send(Err(io::Error::other("the archive could not be made")));
                    Err(CommandError::Said(hako_base::error::chain(&error)))
                }
            };
            let _ = tell.send(result);
        });
        (RequestBody::Stream(receive), told)
    }

    fn write(&self, name: &str, output: Sender) -> Result<(), PackError> {
        let mut packer = Packer::new(io::BufWriter::with_capacity(CHUNK_BYTES, output));
        let failed = |source| PackError::Read { path: self.path.display().to_string(), source };
        if self.is_directory() {
            let directory = walk::open_trusted(&self.path).map_err(failed)?;
            let name = name.as_bytes();
            let prefix = if name == b"/" { name.to_vec() } else { [name, b"/"].concat() };
            packer.directory(directory.as_fd(), name)?;
            packer.tree_across(directory.as_fd(), &prefix, |_| true)?;
        } else {
            let parent = walk::open_trusted(self.path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
            let leaf = self.path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
            packer.leaf(parent.as_fd(), leaf, name.as_bytes())?;
        }
        io::Write::flush(&mut packer.finish()?).map_err(|source| PackError::Write { source })
    }
}

struct Sender {
    send: mpsc::Sender<io::Result<Bytes>>,
    counted: Arc<AtomicU64>,
}

impl io::Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.counted.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unpacks an answer into a directory; `rename` gives its topmost entry another name. Everything belongs to whoever calls,
/// unless owners are to be kept. Answers the bytes of the archive.
///
/// # Errors
/// Those of the connection, the archive and the disk.
pub(super) async fn unpack(
    mut archive: BodyReader,
    directory: &str,
    rename: Option<(String, String)>,
    keep_owners: bool,
) -> Result<u64, CommandError> {
    let root = walk::open_trusted(Path::new(directory)).map_err(CommandError::local(format!("open {directory}")))?;
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let options = UnpackOptions {
        owner: (!keep_owners).then_some(own),
        keep_kind: true,
        // The directory itself keeps its attributes.
        below: b".".to_vec(),
        across: true,
        rename: rename.map(|(from, to)| (from.into_bytes(), to.into_bytes())),
        ..UnpackOptions::default()
    };
    let (send, chunks) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let unpacking = tokio::task::spawn_blocking(move || {
        let reader = io::BufReader::with_capacity(CHUNK_BYTES, Chunks { chunks, current: Bytes::new() });
        hako_archive::unpack(reader, root.as_fd(), &options).map(drop)
    });
    let mut bytes = 0;
    while let Some(chunk) = archive.chunk().await? {
        bytes += chunk.len() as u64;
        if send.send(chunk).await.is_err() {
            break;
        }
    }
    drop(send);
    match unpacking.await {
        Ok(Ok(())) => Ok(bytes),
        Ok(Err(error)) => said(hako_base::error::chain(&error)),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

struct Chunks {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl io::Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(into.len());
        into[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
