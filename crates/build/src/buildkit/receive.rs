//! Trees of files from a client: fsutil's protocol, as the receiver (see `files.rs`).
//!
//! Names are a client's: they are placed below the directory by descriptor, and none may climb. A file is written once,
//! when it comes, and hashed as it passes; one that changed later is another file in its place. So layers may share
//! files with a context (`solve/copy.rs`).

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use bollard_buildkit_proto::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::packet::file_sync_client::FileSyncClient,
};
use bytes::Bytes;
use hako_archive::{bundle, go_mode, walk};
use prost::Message as _;
use ring::digest::SHA256;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Status,
    metadata::{AsciiMetadataKey, MetadataValue},
};

use super::session::Session;
use crate::{context::Context, limits, request::Wanted};

fn io_status(what: &str) -> impl Fn(io::Error) -> Status {
    move |error| {
        let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
        Status::internal(format!("{what}: {why}"))
    }
}

/// Makes a directory what the client's is; answers it, and how many bytes came.
pub(super) async fn receive(
    session: &Session,
    name: &str,
    wanted: &Wanted,
    context: Context,
) -> Result<(Context, u64), Status> {
    // Without a bound: a client that tells all names first would else wait for us, who wait for it to take what we ask
    // for. A request is smaller than the name it is about, which is kept as well.
    let (send, receive) = mpsc::unbounded_channel();
    let mut request = Request::new(UnboundedReceiverStream::new(receive));
    let invalid = |_| Status::invalid_argument(format!("{name:?} is no name of a client's directory"));
    request.metadata_mut().insert("dir-name", MetadataValue::try_from(name).map_err(invalid)?);
    request.metadata_mut().insert(bundle::HEADER, MetadataValue::from_static("1"));
    for (key, patterns) in [("include-patterns", &wanted.include), ("exclude-patterns", &wanted.exclude)] {
        // Headers are ASCII: where one of the values is not, all are written as in an address, and that is said.
        let is_plain = patterns.iter().all(|pattern| pattern.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        if !is_plain && let Ok(said) = AsciiMetadataKey::from_bytes(format!("{key}-encoded").as_bytes()) {
            request.metadata_mut().insert(said, MetadataValue::from_static("1"));
        }
        for pattern in patterns {
            let value = if is_plain { pattern.clone() } else { escaped(pattern) };
            request.metadata_mut().append(key, MetadataValue::try_from(value).map_err(invalid)?);
        }
    }
    let mut client = FileSyncClient::new(session.channel.clone()).max_decoding_message_size(limits::PACKET_BYTES_MAX);
    let answer = client.diff_copy(request).await?;
    let asker = Asker { send, bundles: answer.metadata().contains_key(bundle::HEADER), waiting: Vec::new() };
    let mut packets = answer.into_inner();
    // The disk is written by a thread of its own, while the next messages are read.
    let (feed, queue) = mpsc::channel(limits::PACKETS_QUEUED);
    let receiving = tokio::task::spawn_blocking(move || Receiver::new(context, asker)?.run(queue));
    while let Some(packet) = packets.message().await? {
        let is_last = packet.r#type == i32::from(PacketType::PacketFin);
        // A receiver that has hung up says itself why.
        if feed.send(packet).await.is_err() || is_last {
            break;
        }
    }
    drop(feed);
    receiving.await.map_err(|_| Status::internal("the builder ended"))?
}

// As the query of an address has it.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Asks for files.
struct Asker {
    send: mpsc::UnboundedSender<Packet>,
    bundles: bool,
    waiting: Vec<u32>,
}

impl Asker {
    fn say(&self, kind: i32, id: u32, data: Vec<u8>) {
        // A client that has gone is noticed where its packets are read.
        let _ = self.send.send(Packet { r#type: kind, stat: None, id, data });
    }

    fn ask(&mut self, number: u32) {
        self.waiting.push(number);
        if self.waiting.len() >= bundle::REQUESTS || !self.bundles {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let kind = PacketType::PacketReq.into();
        if !self.bundles {
            self.waiting.drain(..).collect::<Vec<_>>().into_iter().for_each(|id| self.say(kind, id, Vec::new()));
            return;
        }
        if self.waiting.is_empty() {
            return;
        }
        let mut data = Vec::new();
        for id in self.waiting.drain(..) {
            let packet = Packet { r#type: kind, stat: None, id, data: Vec::new() };
            data.extend_from_slice(&packet.encode_length_delimited_to_vec());
        }
        self.say(bundle::KIND, 0, data);
    }
}

/// A directory that is becoming what another is.
struct Receiver {
    context: Context,
    asker: Asker,
    number: u32,
    open: HashMap<u32, Incoming>,
    seen: HashSet<String>,
    listed: bool,
    told: bool,
    bytes: u64,
    directories: Vec<(String, i64)>,
    links: Vec<(String, String)>,
    parents: Parents,
    digests: HashMap<Vec<u8>, [u8; 32]>,
}

/// A file whose bytes were asked for. It is open only while they come: a context has more files than a process may
/// have descriptors.
struct Incoming {
    path: String,
    mode: u32,
    modified: i64,
    /// The bytes that were told, and those that came.
    size: i64,
    bytes: i64,
    file: Option<OwnedFd>,
    hash: ring::digest::Context,
}

/// Directories that files are placed in. Mostly the next file's is that of the one before.
#[derive(Default)]
struct Parents {
    last: Option<(String, Rc<OwnedFd>)>,
    /// Those that were made now: nothing of before is in them.
    new: HashSet<String>,
}

impl Parents {
    fn get(&mut self, context: &Context, path: &str) -> io::Result<Rc<OwnedFd>> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let found = walk::open_in_root(context.as_fd(), path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        let found = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                hako_archive::make_directory(context, path.as_bytes(), (0, 0))?
            }
            other => other?,
        };
        let found = Rc::new(found);
        self.last = Some((path.to_owned(), found.clone()));
        Ok(found)
    }

    fn stat(&self, parent: &OwnedFd, above: &str, leaf: &str) -> io::Result<Option<rustix::fs::Stat>> {
        if self.new.contains(above) {
            return Ok(None);
        }
        walk::stat_leaf(parent.as_fd(), leaf.as_bytes())
    }
}

impl Incoming {
    // Clients that do not look themselves send what a file has become; one that is gone comes as empty.
    fn check(&self) -> Result<(), Status> {
        let (path, told, came) = (&self.path, self.size, self.bytes);
        if came == told {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "the build context changed while it was sent: {path}: it had {told} bytes when it was listed, and {came} came"
        )))
    }

    fn open(&mut self, context: &Context, parents: &mut Parents) -> io::Result<&OwnedFd> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let (above, leaf) = split(&self.path);
                let parent = parents.get(context, above)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&*parent, leaf, flags, Mode::from_raw_mode(0o600))?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))?;
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn malformed(error: &impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("the client sent a bundle that is none: {error}"))
}

impl Receiver {
    fn new(context: Context, asker: Asker) -> Result<Self, Status> {
        let mut parents = Parents::default();
        let there = walk::names(context.as_fd()).map_err(io_status("cannot read the context that is here"))?;
        if there.is_empty() {
            parents.new.insert(String::new());
        }
        Ok(Self {
            context,
            asker,
            number: 0,
            open: HashMap::new(),
            seen: HashSet::new(),
            listed: false,
            told: false,
            bytes: 0,
            directories: Vec::new(),
            links: Vec::new(),
            parents,
            digests: HashMap::new(),
        })
    }

    // Takes packets to the end.
    fn run(mut self, mut queue: mpsc::Receiver<Packet>) -> Result<(Context, u64), Status> {
        loop {
            let packet = match queue.try_recv() {
                Ok(packet) => packet,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    // Whoever waits for us gets what it waits for.
                    self.asker.flush();
                    let Some(packet) = queue.blocking_recv() else { break };
                    packet
                }
            };
            let is_over = if packet.r#type == bundle::KIND {
                let mut rest = Bytes::from(packet.data);
                while !rest.is_empty() {
                    let inner = Packet::decode_length_delimited(&mut rest).map_err(|error| malformed(&error))?;
                    self.packet(inner)?;
                }
                false
            } else {
                self.packet(packet)?
            };
            if is_over {
                break;
            }
        }
        self.finish()
    }

    /// Takes one packet; `true` at the end.
    fn packet(&mut self, packet: Packet) -> Result<bool, Status> {
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) => self.stat(&stat)?,
                None => self.listed = true,
            },
            PacketType::PacketData if packet.data.is_empty() => {
                if let Some(done) = self.open.remove(&packet.id) {
                    done.check()?;
                    self.store(done).map_err(io_status("cannot store a file of the context"))?;
                }
            }
            PacketType::PacketData => {
                let file = self.open.get_mut(&packet.id).ok_or_else(|| Status::invalid_argument("data of no file"))?;
                self.bytes += packet.data.len() as u64;
                file.bytes = file.bytes.saturating_add(i64::try_from(packet.data.len()).unwrap_or(i64::MAX));
                file.hash.update(&packet.data);
                let stored = file.open(&self.context, &mut self.parents);
                let stored = stored.and_then(|file| write_all(file, &packet.data));
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
            self.asker.flush();
            self.asker.say(PacketType::PacketFin.into(), 0, Vec::new());
        }
        Ok(false)
    }

    fn store(&mut self, mut done: Incoming) -> io::Result<()> {
        let times = times(done.modified);
        rustix::fs::futimens(done.open(&self.context, &mut self.parents)?, &times)?;
        let mut digest = [0; 32];
        digest.copy_from_slice(done.hash.finish().as_ref());
        self.digests.insert(done.path.into_bytes(), digest);
        Ok(())
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
            let (mode, hash) = (go_mode::bits(stat.mode), ring::digest::Context::new(&SHA256));
            let (modified, size) = (stat.mod_time, stat.size);
            let incoming = Incoming { path: path.clone(), mode, modified, size, bytes: 0, file: None, hash };
            self.open.insert(number, incoming);
            self.asker.ask(number);
        }
        self.seen.insert(path);
        Ok(())
    }

    // Makes what a stat describes; `true`: a file whose bytes are wanted.
    fn place(&mut self, path: &str, stat: &Stat) -> io::Result<bool> {
        let (above, leaf) = split(path);
        let parent = self.parents.get(&self.context, above)?;
        let there = self.parents.stat(&parent, above, leaf)?;
        let mode = go_mode::bits(stat.mode);
        if stat.mode & go_mode::DIRECTORY != 0 {
            let is_directory = there.as_ref().is_some_and(|there| walk::file_type(there) == FileType::Directory);
            if !is_directory {
                remove(&parent, leaf, there.is_some())?;
                rustix::fs::mkdirat(&*parent, leaf, Mode::from_raw_mode(0o755))?;
                self.parents.new.insert(path.to_owned());
            }
            rustix::fs::chmodat(&*parent, leaf, Mode::from_raw_mode(mode), AtFlags::empty())?;
            self.directories.push((path.to_owned(), stat.mod_time));
            return Ok(false);
        }
        if stat.mode & (go_mode::SOCKET | go_mode::DEVICE) != 0 {
            return Ok(false);
        }
        if stat.mode & go_mode::SYMLINK != 0 {
            remove(&parent, leaf, there.is_some())?;
            rustix::fs::symlinkat(&stat.linkname, &*parent, leaf)?;
            rustix::fs::utimensat(&*parent, leaf, &times(stat.mod_time), AtFlags::SYMLINK_NOFOLLOW)?;
            return Ok(false);
        }
        if stat.mode & go_mode::FIFO != 0 {
            remove(&parent, leaf, there.is_some())?;
            rustix::fs::mknodat(&*parent, leaf, FileType::Fifo, Mode::from_raw_mode(mode), 0)?;
            return Ok(false);
        }
        if !stat.linkname.is_empty() {
            self.links.push((path.to_owned(), stat.linkname.clone()));
            return Ok(false);
        }
        if there.as_ref().is_some_and(|there| is_same(there, stat)) {
            return Ok(false);
        }
        remove(&parent, leaf, there.is_some())?;
        Ok(true)
    }

    // Further names of files, what is no more, and the times of directories.
    fn finish(mut self) -> Result<(Context, u64), Status> {
        if !self.listed || !self.open.is_empty() {
            return Err(Status::aborted("the client ended before all files of the context were sent"));
        }
        let failed = io_status("cannot store the context");
        // In a directory that was empty before there is nothing else.
        if !self.parents.new.contains("") {
            self.remove_unseen().map_err(&failed)?;
        }
        self.finish_tree().map_err(&failed)?;
        for (path, target) in &self.links {
            if let Some(digest) = self.digests.get(target.trim_start_matches('/').as_bytes()).copied() {
                self.digests.insert(path.clone().into_bytes(), digest);
            }
        }
        self.context.know(std::mem::take(&mut self.digests));
        Ok((self.context, self.bytes))
    }

    fn remove_unseen(&self) -> io::Result<()> {
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
            let (above, leaf) = split(path);
            let parent = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            walk::remove_tree(parent.as_fd(), leaf.as_bytes())?;
        }
        Ok(())
    }

    fn finish_tree(&self) -> io::Result<()> {
        let root = self.context.as_fd();
        for (path, target) in &self.links {
            let (above, leaf) = split(target.trim_start_matches('/'));
            let there = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            let (above, name) = split(path);
            let parent = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            if let (Some(first), Some(again)) =
                (walk::stat_leaf(there.as_fd(), leaf.as_bytes())?, walk::stat_leaf(parent.as_fd(), name.as_bytes())?)
            {
                if first.st_ino == again.st_ino {
                    continue;
                }
                walk::remove_tree(parent.as_fd(), name.as_bytes())?;
            }
            rustix::fs::linkat(&there, leaf, &parent, name, AtFlags::empty())?;
        }
        for (path, modified) in self.directories.iter().rev() {
            let directory = walk::open_in_root(root, path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fchown(&directory, Some(Uid::ROOT), Some(Gid::ROOT))?;
            rustix::fs::futimens(&directory, &times(*modified))?;
        }
        Ok(())
    }
}

fn remove(parent: &OwnedFd, leaf: &str, is_there: bool) -> io::Result<()> {
    if is_there { walk::remove_tree(parent.as_fd(), leaf.as_bytes()) } else { Ok(()) }
}

fn is_same(there: &rustix::fs::Stat, wanted: &Stat) -> bool {
    walk::file_type(there) == FileType::RegularFile
        && there.st_size == wanted.size
        && go_mode::modified(there) == wanted.mod_time
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_in_other_scripts_travel_as_addresses_do() {
        assert_eq!(escaped("dü /*.txt"), "d%C3%BC+%2F%2A.txt");
    }

    #[test]
    fn times_before_1970_are_times() {
        let at = times(-1).last_modification;
        assert_eq!((at.tv_sec, at.tv_nsec), (-1, 999_999_999));
    }
}
