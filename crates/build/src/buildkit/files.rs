//! Trees of files over a session: fsutil's protocol.
//!
//! ```text
//!   receiver                      sender
//!      ◄── STAT … STAT, STAT(end) ──   every file, in order; the number of a file is its place
//!      ── REQ n ──────────────────►    for each regular file that is not here as it is there
//!      ◄── DATA n …, DATA n (empty) ─
//!      ── FIN ── / ◄── FIN ──
//! ```
//! Names are a client's: they are placed below the directory by descriptor, and none may climb.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
};

use bollard_buildkit_proto::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::{packet::file_send_client::FileSendClient, packet::file_sync_client::FileSyncClient},
};
use hako_archive::{Copier, CopyOptions, Keep, go_mode, walk};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Status, metadata::MetadataValue};

use super::session::Session;
use crate::{context::Context, limits};

/// What is wanted of a client's directory.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
}

fn io_status(what: &str) -> impl Fn(io::Error) -> Status {
    move |error| Status::internal(format!("{what}: {error}"))
}

/// Makes a directory what the client's is; answers how many bytes came.
pub(super) async fn receive(session: &Session, name: &str, wanted: &Wanted, context: &Context) -> Result<u64, Status> {
    // Without a bound: a client that tells all names first would else wait for us, who wait for it to take what we ask
    // for. A request is smaller than the name it is about, which is kept as well.
    let (send, receive) = mpsc::unbounded_channel();
    let mut request = Request::new(UnboundedReceiverStream::new(receive));
    let text = |text: &str| MetadataValue::try_from(text);
    let invalid = |_| Status::invalid_argument(format!("{name}: names in other scripts than Latin are not built yet"));
    request.metadata_mut().insert("dir-name", text(name).map_err(invalid)?);
    for (key, patterns) in [("include-patterns", &wanted.include), ("exclude-patterns", &wanted.exclude)] {
        for pattern in patterns {
            request.metadata_mut().append(key, text(pattern).map_err(invalid)?);
        }
    }
    let mut client = FileSyncClient::new(session.channel.clone()).max_decoding_message_size(limits::PACKET_BYTES_MAX);
    let mut packets = client.diff_copy(request).await?.into_inner();
    let mut receiver = Receiver::new(context, send)?;
    while let Some(packet) = packets.message().await? {
        if receiver.packet(packet)? {
            break;
        }
    }
    receiver.finish()
}

/// A directory that is becoming what another is.
struct Receiver<'c> {
    context: &'c Context,
    send: mpsc::UnboundedSender<Packet>,
    number: u32,
    open: HashMap<u32, Incoming>,
    seen: BTreeSet<String>,
    listed: bool,
    told: bool,
    bytes: u64,
    directories: Vec<(String, i64)>,
    links: Vec<(String, String)>,
}

/// A file whose bytes were asked for. It is open only while they come: a context has more files than a process may
/// have descriptors.
struct Incoming {
    path: String,
    mode: u32,
    modified: i64,
    file: Option<OwnedFd>,
}

impl Incoming {
    fn open(&mut self, context: &Context) -> io::Result<&OwnedFd> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let (above, leaf) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let parent = walk::open_in_root(context.as_fd(), above.as_bytes(), flags)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, leaf, flags, Mode::from_raw_mode(0o600))?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))?;
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

impl<'c> Receiver<'c> {
    fn new(context: &'c Context, send: mpsc::UnboundedSender<Packet>) -> Result<Self, Status> {
        Ok(Self {
            context,
            send,
            number: 0,
            open: HashMap::new(),
            seen: BTreeSet::new(),
            listed: false,
            told: false,
            bytes: 0,
            directories: Vec::new(),
            links: Vec::new(),
        })
    }

    /// Takes one packet; `true` at the end.
    fn packet(&mut self, packet: Packet) -> Result<bool, Status> {
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) => self.stat(&stat)?,
                None => self.listed = true,
            },
            PacketType::PacketData if packet.data.is_empty() => {
                if let Some(mut done) = self.open.remove(&packet.id) {
                    let times = times(done.modified);
                    let stored = done.open(self.context).and_then(|file| Ok(rustix::fs::futimens(file, &times)?));
                    stored.map_err(io_status("cannot store a file of the context"))?;
                }
            }
            PacketType::PacketData => {
                let file = self.open.get_mut(&packet.id).ok_or_else(|| Status::invalid_argument("data of no file"))?;
                self.bytes += packet.data.len() as u64;
                let stored = file.open(self.context).and_then(|file| write_all(file, &packet.data));
                stored.map_err(io_status("cannot store a file of the context"))?;
            }
            PacketType::PacketErr => {
                return Err(Status::unknown(String::from_utf8_lossy(&packet.data).into_owned()));
            }
            PacketType::PacketFin => return Ok(true),
            PacketType::PacketReq => return Err(Status::invalid_argument("a sender asked for a file")),
        }
        if self.listed && self.open.is_empty() && !self.told {
            self.told = true;
            self.say(PacketType::PacketFin, 0);
        }
        Ok(false)
    }

    fn say(&self, kind: PacketType, id: u32) {
        // A client that has gone is noticed where its packets are read.
        let _ = self.send.send(Packet { r#type: kind.into(), stat: None, id, data: Vec::new() });
    }

    fn stat(&mut self, stat: &Stat) -> Result<(), Status> {
        let number = self.number;
        self.number += 1;
        let parts = walk::components(stat.path.as_bytes());
        let parts = parts.filter(|parts| !parts.is_empty());
        let parts = parts.ok_or_else(|| Status::invalid_argument(format!("invalid path {:?}", stat.path)))?;
        let path = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
        if self.seen.len() >= limits::CONTEXT_FILES_MAX {
            return Err(Status::resource_exhausted("the context has too many files"));
        }
        let is_wanted = self.place(&path, stat).map_err(io_status(&format!("cannot store {path:?} of the context")))?;
        if is_wanted {
            let mode = go_mode::bits(stat.mode);
            let incoming = Incoming { path: path.clone(), mode, modified: stat.mod_time, file: None };
            self.open.insert(number, incoming);
            self.say(PacketType::PacketReq, number);
        }
        self.seen.insert(path);
        Ok(())
    }

    // Makes what a stat describes; `true`: a file whose bytes are wanted.
    fn place(&mut self, path: &str, stat: &Stat) -> io::Result<bool> {
        let (above, leaf) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = walk::open_in_root(self.context.as_fd(), above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        let parent = match parent {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                hako_archive::make_directory(self.context, above.as_bytes())?
            }
            other => other?,
        };
        let there = walk::stat_leaf(parent.as_fd(), leaf.as_bytes())?;
        let mode = go_mode::bits(stat.mode);
        if stat.mode & go_mode::DIRECTORY != 0 {
            let is_directory = there.as_ref().is_some_and(|there| walk::file_type(there) == FileType::Directory);
            if !is_directory {
                self.remove(&parent, leaf, there.is_some())?;
                rustix::fs::mkdirat(&parent, leaf, Mode::from_raw_mode(0o755))?;
            }
            rustix::fs::chmodat(&parent, leaf, Mode::from_raw_mode(mode), AtFlags::empty())?;
            self.directories.push((path.to_owned(), stat.mod_time));
            return Ok(false);
        }
        if stat.mode & (go_mode::SOCKET | go_mode::DEVICE) != 0 {
            return Ok(false);
        }
        if stat.mode & go_mode::SYMLINK != 0 {
            self.remove(&parent, leaf, there.is_some())?;
            rustix::fs::symlinkat(&stat.linkname, &parent, leaf)?;
            rustix::fs::utimensat(&parent, leaf, &times(stat.mod_time), AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(false);
        }
        if stat.mode & go_mode::FIFO != 0 {
            self.remove(&parent, leaf, there.is_some())?;
            rustix::fs::mknodat(&parent, leaf, FileType::Fifo, Mode::from_raw_mode(mode), 0)?;
            return Ok(false);
        }
        if !stat.linkname.is_empty() {
            self.links.push((path.to_owned(), stat.linkname.clone()));
            return Ok(false);
        }
        if there.as_ref().is_some_and(|there| is_same(there, stat)) {
            return Ok(false);
        }
        self.remove(&parent, leaf, there.is_some())?;
        Ok(true)
    }

    fn remove(&self, parent: &OwnedFd, leaf: &str, is_there: bool) -> io::Result<()> {
        if is_there { walk::remove_tree(parent.as_fd(), leaf.as_bytes()) } else { Ok(()) }
    }

    // Further names of files, what is no more, and the times of directories.
    fn finish(self) -> Result<u64, Status> {
        if !self.listed || !self.open.is_empty() {
            return Err(Status::aborted("the client ended before all files of the context were sent"));
        }
        let done = || -> io::Result<()> {
            let root = self.context.as_fd();
            let mut gone = Vec::new();
            walk::tree(root, |visit| -> io::Result<bool> {
                let path = String::from_utf8_lossy(visit.path).into_owned();
                let is_kept = self.seen.contains(&path);
                if !is_kept {
                    gone.push(path);
                }
                Ok(is_kept)
            })?;
            for path in gone.iter().rev() {
                let (above, leaf) = path.rsplit_once('/').unwrap_or(("", path));
                let parent = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                walk::remove_tree(parent.as_fd(), leaf.as_bytes())?;
            }
            let keep = |_: &[u8], _: bool| Keep::Yes;
            let options = CopyOptions { owner: Some((0, 0)), mode: None, keep: &keep };
            let mut copier = Copier::new(root, &options);
            for (path, target) in &self.links {
                let (above, leaf) = target.trim_start_matches('/').rsplit_once('/').unwrap_or(("", target));
                let parent = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                copier.leaf(parent.as_fd(), leaf.trim_start_matches('/').as_bytes(), path.as_bytes())?;
            }
            copier.finish()?;
            for (path, modified) in self.directories.iter().rev() {
                let directory = walk::open_in_root(root, path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                rustix::fs::fchown(&directory, Some(Uid::ROOT), Some(Gid::ROOT))?;
                rustix::fs::futimens(&directory, &times(*modified))?;
            }
            Ok(())
        };
        done().map_err(io_status("cannot store the context"))?;
        Ok(self.bytes)
    }
}

fn is_same(there: &rustix::fs::Stat, wanted: &Stat) -> bool {
    let modified =
        there.st_mtime.saturating_mul(1_000_000_000).saturating_add(i64::try_from(there.st_mtime_nsec).unwrap_or(0));
    walk::file_type(there) == FileType::RegularFile
        && there.st_size == wanted.size
        && modified == wanted.mod_time
        && there.st_mode & 0o7777 == go_mode::bits(wanted.mode)
}

fn times(nanoseconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: nanoseconds.div_euclid(1_000_000_000), tv_nsec: nanoseconds.rem_euclid(1_000_000_000) };
    Timestamps { last_access: at, last_modification: at }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::write(file, bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Sends a tree of files to the client (`--output type=local`).
pub(super) async fn send(session: &Session, root: OwnedFd) -> Result<(), Status> {
    let (send, receive) = mpsc::channel(limits::PACKETS_QUEUED);
    // Begun before the client answers: it answers when it has heard something.
    let listing = {
        let (root, send) = (root.try_clone().map_err(io_status("cannot read the result"))?, send.clone());
        tokio::task::spawn_blocking(move || list(&root, &send))
    };
    let mut client = FileSendClient::new(session.channel.clone());
    let mut asked = client.diff_copy(Request::new(ReceiverStream::new(receive))).await?.into_inner();
    let files = listing.await.map_err(|_| Status::internal("the builder ended"))?;
    let files = files.map_err(io_status("cannot read the result"))?;
    while let Some(packet) = asked.message().await? {
        match packet.r#type() {
            PacketType::PacketReq => {
                let path = files.get(packet.id as usize).ok_or_else(|| Status::invalid_argument("no such file"))?;
                let file = walk::open_in_root(root.as_fd(), path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK);
                let file = file.map_err(io_status("cannot read the result"))?;
                send_file(&send, packet.id, file).await?;
            }
            PacketType::PacketFin => {
                let _ = send.send(Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() }).await;
                // The client ends the stream.
                drop(send);
                while asked.message().await?.is_some() {}
                return Ok(());
            }
            PacketType::PacketErr => return Err(Status::unknown(String::from_utf8_lossy(&packet.data).into_owned())),
            _ => {}
        }
    }
    Err(Status::aborted("the client ended before all files were sent"))
}

async fn send_file(send: &mpsc::Sender<Packet>, id: u32, file: OwnedFd) -> Result<(), Status> {
    loop {
        let mut data = vec![0; limits::DATA_BYTES];
        let count = rustix::io::read(&file, &mut data[..]);
        let count = count.map_err(|error| io_status("cannot read the result")(error.into()))?;
        data.truncate(count);
        let packet = Packet { r#type: PacketType::PacketData.into(), stat: None, id, data };
        send.send(packet).await.map_err(|_| Status::aborted("the client has gone"))?;
        if count == 0 {
            return Ok(());
        }
    }
}

// Tells everything that is there; answers the paths by number.
fn list(root: &OwnedFd, send: &mpsc::Sender<Packet>) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    walk::tree(root.as_fd(), |visit| -> io::Result<bool> {
        if walk::is_whiteout(visit.stat) {
            return Ok(false);
        }
        let linkname = if walk::file_type(visit.stat) == FileType::Symlink {
            let link = rustix::fs::readlinkat(visit.parent, visit.leaf, Vec::new())?;
            String::from_utf8_lossy(link.as_bytes()).into_owned()
        } else {
            String::new()
        };
        let seconds = visit.stat.st_mtime.saturating_mul(1_000_000_000);
        let stat = Stat {
            path: String::from_utf8_lossy(visit.path).into_owned(),
            mode: go_mode::of(visit.stat),
            uid: visit.stat.st_uid,
            gid: visit.stat.st_gid,
            size: if walk::file_type(visit.stat) == FileType::RegularFile { visit.stat.st_size } else { 0 },
            mod_time: seconds.saturating_add(i64::try_from(visit.stat.st_mtime_nsec).unwrap_or(0)),
            linkname,
            devmajor: i64::from(rustix::fs::major(visit.stat.st_rdev)),
            devminor: i64::from(rustix::fs::minor(visit.stat.st_rdev)),
            ..Stat::default()
        };
        paths.push(visit.path.to_vec());
        let packet = Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() };
        send.blocking_send(packet).map_err(gone)?;
        Ok(true)
    })?;
    let end = Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() };
    send.blocking_send(end).map_err(gone)?;
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_times() {
        let at = times(-1).last_modification;
        assert_eq!((at.tv_sec, at.tv_nsec), (-1, 999_999_999));
    }
}
