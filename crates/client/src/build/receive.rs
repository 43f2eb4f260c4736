//! Results from the builder: a tree of files into a directory, one file, or an image for a daemon.
//!
//! The daemon's names are placed below the directory by descriptor, and none may climb: what was built is somebody
//! else's work.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use bollard_buildkit_proto::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::v1::BytesMessage,
};
use hako_api::query::ImageLoadQuery;
use hako_archive::{go_mode, walk};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::OutputTarget;
use crate::{Client, ClientError, RequestBody, limits};

fn failed(what: &str) -> impl Fn(io::Error) -> Status {
    move |error| Status::unknown(format!("{what}: {error}"))
}

/// Takes a tree of files.
pub(super) async fn directory(
    path: &Path,
    mut packets: Streaming<Packet>,
    out: mpsc::UnboundedSender<Result<Packet, Status>>,
) -> Result<(), Status> {
    let shown = path.display().to_string();
    std::fs::create_dir_all(path).map_err(failed(&format!("cannot make {shown}")))?;
    let root = walk::open_trusted(path).map_err(failed(&format!("cannot open {shown}")))?;
    let mut tree = Tree { root, number: 0, open: HashMap::new(), directories: Vec::new() };
    let (mut listed, mut told) = (false, false);
    let say = |kind: PacketType, id: u32| {
        // A daemon that has gone is noticed where its packets are read.
        let _ = out.send(Ok(Packet { r#type: kind.into(), stat: None, id, data: Vec::new() }));
    };
    while let Some(packet) = packets.message().await? {
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) => {
                    let number = tree.number;
                    tree.number += 1;
                    if tree.place(number, &stat).map_err(failed(&format!("cannot write {}", stat.path)))? {
                        say(PacketType::PacketReq, number);
                    }
                }
                None => listed = true,
            },
            PacketType::PacketData => {
                tree.data(packet.id, &packet.data).map_err(failed(&format!("cannot write into {shown}")))?;
            }
            PacketType::PacketErr => return Err(Status::unknown(String::from_utf8_lossy(&packet.data).into_owned())),
            PacketType::PacketFin => break,
            PacketType::PacketReq => return Err(Status::invalid_argument("a sender asked for a file")),
        }
        if listed && tree.open.is_empty() && !told {
            told = true;
            say(PacketType::PacketFin, 0);
        }
    }
    if !told {
        return Err(Status::aborted("the daemon ended before all files were sent"));
    }
    tree.finish().map_err(failed(&format!("cannot write into {shown}")))
}

/// A file whose bytes were asked for; it is open only while they come.
struct Incoming {
    path: Vec<u8>,
    mode: Mode,
    modified: i64,
    file: Option<OwnedFd>,
}

impl Incoming {
    fn open(&mut self, root: &OwnedFd) -> io::Result<&OwnedFd> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let (above, leaf) = split(&self.path);
                let parent = walk::open_in_root(root.as_fd(), above, OFlags::RDONLY | OFlags::DIRECTORY)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, leaf, flags, Mode::from_raw_mode(0o600))?;
                rustix::fs::fchmod(&file, self.mode)?;
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// A directory that fills.
struct Tree {
    root: OwnedFd,
    number: u32,
    open: HashMap<u32, Incoming>,
    directories: Vec<(Vec<u8>, u32, i64)>,
}

impl Tree {
    /// Makes what a stat describes; `true`: its bytes are wanted.
    fn place(&mut self, number: u32, stat: &Stat) -> io::Result<bool> {
        let climbs = || io::Error::new(io::ErrorKind::InvalidData, "the name leads out of the directory");
        let parts = walk::components(stat.path.as_bytes()).filter(|parts| !parts.is_empty()).ok_or_else(climbs)?;
        let path = parts.join(&b'/');
        let (above, leaf) = split(&path);
        let parent = walk::open_in_root(self.root.as_fd(), above, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let there = walk::stat_leaf(parent.as_fd(), leaf)?;
        let permissions = Mode::from_raw_mode(go_mode::bits(stat.mode));
        if stat.mode & go_mode::DIRECTORY != 0 {
            if !there.as_ref().is_some_and(|there| walk::file_type(there) == FileType::Directory) {
                remove(&parent, leaf, there.is_some())?;
                rustix::fs::mkdirat(&parent, leaf, Mode::from_raw_mode(0o755))?;
            }
            self.directories.push((path.clone(), go_mode::bits(stat.mode), stat.mod_time));
            return Ok(false);
        }
        if stat.mode & (go_mode::SOCKET | go_mode::DEVICE) != 0 {
            return Ok(false);
        }
        remove(&parent, leaf, there.is_some())?;
        if stat.mode & go_mode::SYMLINK != 0 {
            rustix::fs::symlinkat(&stat.linkname, &parent, leaf)?;
            rustix::fs::utimensat(&parent, leaf, &times(stat.mod_time), AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(false);
        }
        if stat.mode & go_mode::FIFO != 0 {
            rustix::fs::mknodat(&parent, leaf, FileType::Fifo, permissions, 0)?;
            return Ok(false);
        }
        let incoming = Incoming { path, mode: permissions, modified: stat.mod_time, file: None };
        self.open.insert(number, incoming);
        Ok(true)
    }

    fn data(&mut self, id: u32, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return match self.open.remove(&id) {
                Some(mut done) => {
                    let times = times(done.modified);
                    Ok(rustix::fs::futimens(done.open(&self.root)?, &times)?)
                }
                None => Ok(()),
            };
        }
        let file = self.open.get_mut(&id).ok_or(io::ErrorKind::InvalidData)?.open(&self.root)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rustix::io::write(file, rest)?;
            rest = &rest[count..];
        }
        Ok(())
    }

    // Modes and times of directories, which their contents would have changed.
    fn finish(self) -> io::Result<()> {
        for (path, bits, modified) in self.directories.iter().rev() {
            let directory = walk::open_in_root(self.root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(*bits))?;
            rustix::fs::futimens(&directory, &times(*modified))?;
        }
        Ok(())
    }
}

fn remove(parent: &OwnedFd, leaf: &[u8], is_there: bool) -> io::Result<()> {
    if is_there { walk::remove_tree(parent.as_fd(), leaf) } else { Ok(()) }
}

fn times(nanoseconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: nanoseconds.div_euclid(1_000_000_000), tv_nsec: nanoseconds.rem_euclid(1_000_000_000) };
    Timestamps { last_access: at, last_modification: at }
}

/// Takes one file, which has its name only when all of it is there.
pub(super) async fn file(target: &OutputTarget, mut messages: Streaming<BytesMessage>) -> Result<(), Status> {
    let (mut output, names): (Box<dyn Write + Send>, Option<(PathBuf, PathBuf)>) = match target {
        OutputTarget::File(path) => {
            let mut unfinished = path.clone().into_os_string();
            unfinished.push(format!(".{}", hako_base::random::hex(4)));
            let unfinished = PathBuf::from(unfinished);
            let file = File::create_new(&unfinished).map_err(failed(&format!("cannot write {}", path.display())))?;
            (Box::new(file), Some((unfinished, path.clone())))
        }
        _ => (Box::new(io::stdout()), None),
    };
    let written = async {
        while let Some(message) = messages.message().await? {
            output.write_all(&message.data).map_err(failed("cannot write the result"))?;
        }
        output.flush().map_err(failed("cannot write the result"))
    };
    let written: Result<(), Status> = written.await;
    let Some((unfinished, path)) = names else { return written };
    let done = written.and_then(|()| {
        std::fs::rename(&unfinished, &path).map_err(failed(&format!("cannot write {}", path.display())))
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    done
}

/// Takes a tar of an image, which goes on to a daemon as it comes.
pub(super) async fn image(daemon: &Client, mut messages: Streaming<BytesMessage>) -> Result<(), Status> {
    let (send, chunks) = mpsc::channel(limits::BUILD_PACKETS_QUEUED);
    let sending = async move {
        loop {
            let chunk = match messages.message().await {
                Ok(Some(message)) => Ok(message.data.into()),
                Ok(None) => return,
                // The load must not take for an end what is none.
                Err(status) => Err(io::Error::other(status.message().to_owned())),
            };
            if send.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let loading = async {
        let told = |error: ClientError| Status::unknown(format!("cannot load the image: {error}"));
        let query = ImageLoadQuery::default();
        let mut progress = daemon.image_load(&query, RequestBody::Stream(chunks)).await.map_err(told)?;
        while let Some(line) = progress.next().await.map_err(told)? {
            if !line.error.is_empty() {
                return Err(Status::unknown(format!("cannot load the image: {}", line.error)));
            }
        }
        Ok(())
    };
    let ((), loaded) = tokio::join!(sending, loading);
    loaded
}
