//! Files to the daemon, by fsutil's protocol: every name first, then the bytes of those it asks for.
//!
//! To a daemon that reads bundles (`archive::bundle`), packets go in those. Only what the patterns keep is told. A
//! directory that is left out is told after all when something below it is kept. A file that is no more what was told of it ends the build by its name.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use bollard_buildkit_proto::fsutil::types::{Packet, Stat, packet::PacketType};
use bytes::Bytes;
use hako_archive::{Ignore, IgnoreError, bundle, go_mode, walk};
use prost::Message as _;
use rustix::fs::{FileType, OFlags};
use tokio::sync::mpsc;
use tonic::{Status, Streaming, metadata::MetadataMap};

use super::BuildSource;
use crate::limits;

pub(super) type Sender = mpsc::Sender<Result<Packet, Status>>;

/// Packets on their way to the daemon: one by one, or in bundles if it reads those.
pub(super) struct Outbox {
    out: Sender,
    bundle: Option<Vec<u8>>,
}

impl Outbox {
    pub(super) fn new(out: Sender, bundles: bool) -> Self {
        Self { out, bundle: bundles.then(Vec::new) }
    }

    // The message that is due after this packet.
    fn put(&mut self, packet: Packet) -> Option<Packet> {
        let Some(bundle) = &mut self.bundle else { return Some(packet) };
        bundle.extend_from_slice(&packet.encode_length_delimited_to_vec());
        if bundle.len() >= bundle::BYTES { self.rest() } else { None }
    }

    // What waits, as one message.
    fn rest(&mut self) -> Option<Packet> {
        let bundle = self.bundle.as_mut().filter(|bundle| !bundle.is_empty())?;
        Some(Packet { r#type: bundle::KIND, stat: None, id: 0, data: std::mem::take(bundle) })
    }

    async fn send(&mut self, packet: Packet) -> Result<(), Status> {
        let due = self.put(packet);
        self.pass(due).await
    }

    async fn flush(&mut self) -> Result<(), Status> {
        let due = self.rest();
        self.pass(due).await
    }

    async fn pass(&self, due: Option<Packet>) -> Result<(), Status> {
        let Some(due) = due else { return Ok(()) };
        self.out.send(Ok(due)).await.map_err(|_| Status::aborted("the daemon has gone"))
    }

    fn send_blocking(&mut self, packet: Packet) -> io::Result<()> {
        match self.put(packet) {
            Some(due) => self.out.blocking_send(Ok(due)).map_err(gone),
            None => Ok(()),
        }
    }

    fn flush_blocking(&mut self) -> io::Result<()> {
        match self.rest() {
            Some(due) => self.out.blocking_send(Ok(due)).map_err(gone),
            None => Ok(()),
        }
    }
}

/// Which files of a source are wanted.
pub(super) struct Wanted {
    exclude: Ignore,
    include: Option<Included>,
}

struct Included {
    these: Ignore,
    /// The same as exceptions, to know what may be below a directory.
    below: Ignore,
}

/// The values of a header, which the daemon writes percent-encoded when they are not ASCII.
pub(super) fn values(headers: &MetadataMap, key: &str) -> Vec<String> {
    let encoded = headers.contains_key(format!("{key}-encoded").as_str());
    let texts = headers.get_all(key).iter().filter_map(|value| value.to_str().ok());
    texts.map(|text| if encoded { unescape(text) } else { text.to_owned() }).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (other, _) => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Wanted {
    pub(super) fn read(headers: &MetadataMap) -> Result<Self, Status> {
        let invalid = |error: IgnoreError| Status::invalid_argument(error.to_string());
        let exclude = values(headers, "exclude-patterns");
        let include = values(headers, "include-patterns");
        let exclude = Ignore::of(exclude.iter().map(String::as_str)).map_err(invalid)?;
        let include = if include.is_empty() {
            None
        } else {
            let negated: Vec<String> = include.iter().map(|pattern| format!("!{pattern}")).collect();
            let these = Ignore::of(include.iter().map(String::as_str)).map_err(invalid)?;
            Some(Included { these, below: Ignore::of(negated.iter().map(String::as_str)).map_err(invalid)? })
        };
        Ok(Self { exclude, include })
    }

    fn keeps(&self, path: &str) -> bool {
        self.exclude.excluded_by(path).is_none()
            && self.include.as_ref().is_none_or(|include| include.these.excluded_by(path).is_some())
    }

    fn may_keep_below(&self, path: &str) -> bool {
        let excluded = self.exclude.excluded_by(path).is_some() && !self.exclude.may_return_below(path);
        let included = self
            .include
            .as_ref()
            .is_none_or(|include| include.these.excluded_by(path).is_some() || include.below.may_return_below(path));
        !excluded && included
    }
}

/// A source that is being told: where the bytes of each number are.
enum Told {
    Directory(OwnedFd, Vec<Listed>),
    Files(Vec<Vec<u8>>),
}

/// A file as it was when it was told.
struct Listed {
    path: Vec<u8>,
    size: i64,
    modified: i64,
}

impl Listed {
    // The first difference between what was told and what is there.
    fn change(&self, stat: &rustix::fs::Stat) -> Option<String> {
        if stat.st_size != self.size {
            return Some(format!("it had {} bytes and has {}", self.size, stat.st_size));
        }
        (go_mode::modified(stat) != self.modified).then(|| "it was written to".to_owned())
    }
}

// Nobody wants an image of which a part is of before a change and a part of after it.
fn changed(path: &str, how: &str) -> Status {
    Status::failed_precondition(format!(
        "the build context changed while it was sent: {path}: {how} (leave it out by .dockerignore, or build when it is at rest)"
    ))
}

fn failed(error: &io::Error) -> Status {
    Status::internal(error.to_string())
}

fn packet(kind: PacketType, stat: Option<Stat>, id: u32, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), stat, id, data }
}

/// Tells and sends a source, until the daemon says that it has everything.
pub(super) async fn send(
    source: BuildSource,
    wanted: Wanted,
    mut asked: Streaming<Packet>,
    mut outbox: Outbox,
) -> Result<(), Status> {
    let told = tokio::task::spawn_blocking(move || {
        let told = match source {
            BuildSource::Directory(path) => list(&path, &wanted, &mut outbox)
                .map_err(|error| Status::unknown(format!("cannot read the build context {}: {error}", path.display()))),
            BuildSource::Files(files) => list_files(files, &wanted, &mut outbox).map_err(|error| failed(&error)),
        };
        told.map(|told| (told, outbox))
    });
    let (told, mut outbox) = told.await.map_err(|_| Status::aborted("the client ended"))??;
    let mut buffer = vec![0; limits::BUILD_DATA_BYTES];
    while let Some(request) = asked.message().await? {
        if request.r#type == bundle::KIND {
            let mut rest = Bytes::from(request.data);
            while !rest.is_empty() {
                let inner = Packet::decode_length_delimited(&mut rest);
                let inner = inner.map_err(|error| Status::invalid_argument(format!("no bundle: {error}")))?;
                bytes(&told, inner.id, &mut outbox, &mut buffer).await?;
            }
            outbox.flush().await?;
            continue;
        }
        match request.r#type() {
            PacketType::PacketReq => {
                bytes(&told, request.id, &mut outbox, &mut buffer).await?;
                outbox.flush().await?;
            }
            PacketType::PacketFin => {
                outbox.flush().await?;
                return outbox.pass(Some(packet(PacketType::PacketFin, None, 0, Vec::new()))).await;
            }
            PacketType::PacketErr => {
                return Err(Status::unknown(String::from_utf8_lossy(&request.data).into_owned()));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn bytes(told: &Told, id: u32, outbox: &mut Outbox, buffer: &mut [u8]) -> Result<(), Status> {
    let unknown = || Status::invalid_argument("no such file");
    match told {
        Told::Files(files) => {
            let file = files.get(id as usize).ok_or_else(unknown)?;
            for part in file.chunks(limits::BUILD_DATA_BYTES) {
                outbox.send(packet(PacketType::PacketData, None, id, part.to_vec())).await?;
            }
        }
        Told::Directory(root, files) => {
            let listed = files.get(id as usize).ok_or_else(unknown)?;
            let shown = String::from_utf8_lossy(&listed.path).into_owned();
            let unread = |error: io::Error| Status::unknown(format!("cannot read {shown}: {error}"));
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = match walk::open_in_root(root.as_fd(), &listed.path, flags) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(changed(&shown, "it is gone")),
                other => other.map_err(unread)?,
            };
            loop {
                let count = rustix::io::read(&file, &mut buffer[..]).map_err(|error| unread(error.into()))?;
                if count > 0 {
                    outbox.send(packet(PacketType::PacketData, None, id, buffer[..count].to_vec())).await?;
                }
                // A regular file that gives less than was asked for is at its end.
                if count < buffer.len() {
                    break;
                }
            }
            let now = rustix::fs::fstat(&file).map_err(|error| unread(error.into()))?;
            if let Some(how) = listed.change(&now) {
                return Err(changed(&shown, &how));
            }
        }
    }
    outbox.send(packet(PacketType::PacketData, None, id, Vec::new())).await
}

fn gone<T>(_: T) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn list(path: &Path, wanted: &Wanted, out: &mut Outbox) -> io::Result<Told> {
    let root = walk::open_trusted(path)?;
    let mut listed: Vec<Listed> = Vec::new();
    // Directories that are not told yet: they are if something below them is.
    let mut waiting: Vec<(Vec<u8>, Stat)> = Vec::new();
    // The first name of every file that has several.
    let mut several: HashMap<(u64, u64), String> = HashMap::new();
    let mut tell = |listed: &mut Vec<Listed>, path: &[u8], stat: Stat| {
        listed.push(Listed { path: path.to_vec(), size: stat.size, modified: stat.mod_time });
        out.send_blocking(packet(PacketType::PacketStat, Some(stat), 0, Vec::new()))
    };
    walk::tree_across(
        root.as_fd(),
        |_| true,
        |visit| -> io::Result<bool> {
            let described = go_mode::describe(&visit)?;
            let path = described.path.clone();
            let mut stat = of(described);
            waiting.retain(|(above, _)| visit.path.starts_with(above) && visit.path.get(above.len()) == Some(&b'/'));
            let is_directory = visit.directory.is_some();
            if !wanted.keeps(&path) {
                let goes_on = is_directory && wanted.may_keep_below(&path);
                if goes_on {
                    waiting.push((visit.path.to_vec(), stat));
                }
                return Ok(goes_on);
            }
            // What is no file anybody could copy is passed over, as Docker does.
            if stat.mode & (go_mode::SOCKET | go_mode::DEVICE) != 0 {
                return Ok(false);
            }
            for (above, stat) in waiting.drain(..) {
                tell(&mut listed, &above, stat)?;
            }
            if visit.stat.st_nlink > 1 && walk::file_type(visit.stat) == FileType::RegularFile {
                match several.entry((visit.stat.st_dev, visit.stat.st_ino)) {
                    Entry::Occupied(first) => (stat.linkname, stat.size) = (first.get().clone(), 0),
                    Entry::Vacant(first) => drop(first.insert(path)),
                }
            }
            tell(&mut listed, visit.path, stat)?;
            Ok(true)
        },
    )?;
    out.send_blocking(packet(PacketType::PacketStat, None, 0, Vec::new()))?;
    out.flush_blocking()?;
    Ok(Told::Directory(root, listed))
}

// Who owns a file here means nothing there.
fn of(described: go_mode::Described) -> Stat {
    let go_mode::Described { path, mode, size, modified, link } = described;
    Stat { path, mode, size, mod_time: modified, linkname: link, ..Stat::default() }
}

fn list_files(files: BTreeMap<String, Vec<u8>>, wanted: &Wanted, out: &mut Outbox) -> io::Result<Told> {
    let mut told = Vec::new();
    for (name, content) in files.into_iter().filter(|(name, _)| wanted.keeps(name)) {
        let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
        // The time is no part of any key; one that differs makes the daemon ask for the bytes.
        let mod_time = i64::try_from(hako_base::clock::now().as_nanosecond()).unwrap_or_default();
        let stat = Stat { path: name, mode: 0o644, size, mod_time, ..Stat::default() };
        told.push(content);
        out.send_blocking(packet(PacketType::PacketStat, Some(stat), 0, Vec::new()))?;
    }
    out.send_blocking(packet(PacketType::PacketStat, None, 0, Vec::new()))?;
    out.flush_blocking()?;
    Ok(Told::Files(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_may_be_encoded() {
        let mut headers = MetadataMap::new();
        headers.append("exclude-patterns", "d%C3%BC+%2F".parse().unwrap());
        assert_eq!(values(&headers, "exclude-patterns"), ["d%C3%BC+%2F"]);
        headers.append("exclude-patterns-encoded", "1".parse().unwrap());
        assert_eq!(values(&headers, "exclude-patterns"), ["dü /"]);
    }

    #[test]
    fn what_is_included_is_found_below_its_directories() {
        let mut headers = MetadataMap::new();
        headers.append("include-patterns", "sub/Dockerfile".parse().unwrap());
        headers.append("exclude-patterns", "*.log".parse().unwrap());
        let wanted = Wanted::read(&headers).unwrap();
        assert!(wanted.keeps("sub/Dockerfile") && !wanted.keeps("sub/other") && !wanted.keeps("sub"));
        assert!(wanted.may_keep_below("sub") && !wanted.may_keep_below("elsewhere"));
        assert!(!wanted.keeps("a.log"));
    }
}
