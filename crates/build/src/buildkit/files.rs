//! Trees of files to a client: fsutil's protocol, as the sender.
//!
//! ```text
//!   receiver                      sender
//!      ◄── STAT … STAT, STAT(end) ──   every file, in order; the number of a file is its place
//!      ── REQ n ──────────────────►    for each regular file that is not here as it is there
//!      ◄── DATA n …, DATA n (empty) ─
//!      ── FIN ── / ◄── FIN ──
//! ```
//! The other way round is `receive.rs`.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use bollard_buildkit_proto::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::packet::file_send_client::FileSendClient,
};
use hako_archive::{go_mode, walk};
use hako_model::Digest;
use rustix::fs::{FileType, OFlags};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::session::Session;
use crate::{cache::Hasher, limits};

fn io_status(what: &str) -> impl Fn(io::Error) -> Status {
    move |error| Status::internal(format!("{what}: {error}"))
}

/// Where a client takes what one of its outputs is: it may have several.
pub(super) struct Outlet {
    pub(super) session: Session,
    /// The output's place among all of them.
    pub(super) number: usize,
}

impl Outlet {
    /// A stream of messages for this output.
    pub(super) fn request<T>(&self, messages: mpsc::Receiver<T>) -> Request<ReceiverStream<T>> {
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("buildkit-attachable-exporter-id", self.number.into());
        request
    }
}

/// A tree of files that is sent.
pub(super) struct Part {
    /// The directory that it is in, if it is not all there is.
    pub(super) prefix: String,
    pub(super) root: OwnedFd,
    /// Further files in it, by name: their bytes.
    pub(super) beside: Vec<(String, Vec<u8>)>,
}

/// Something that a client may ask for, by its number.
enum Offer {
    Directory,
    File { part: usize, path: Vec<u8> },
    Beside { part: usize, number: usize },
}

/// Sends trees of files to the client (`--output type=local`).
pub(super) async fn send(outlet: &Outlet, parts: Vec<Part>) -> Result<(), Status> {
    let (send, receive) = mpsc::channel(limits::PACKETS_QUEUED);
    let parts = Arc::new(parts);
    // Begun before the client answers: it answers when it has heard something.
    let listing = {
        let (parts, send) = (parts.clone(), send.clone());
        tokio::task::spawn_blocking(move || list(&parts, &send))
    };
    let mut client = FileSendClient::new(outlet.session.channel.clone());
    let mut asked = client.diff_copy(outlet.request(receive)).await?.into_inner();
    let offers = listing.await.map_err(|_| Status::internal("the builder ended"))?;
    let offers = match offers {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            return Err(last_word(&mut asked, Status::aborted("the client has gone")).await);
        }
        other => other.map_err(io_status("cannot read the result"))?,
    };
    while let Some(packet) = asked.message().await? {
        match packet.r#type() {
            PacketType::PacketReq => {
                let offer = offers.get(packet.id as usize).ok_or_else(|| Status::invalid_argument("no such file"))?;
                if let Err(gone) = send_offer(&send, packet.id, &parts, offer).await {
                    return Err(last_word(&mut asked, gone).await);
                }
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

// Why a client takes no more (its disk is full) is the last that comes from it.
async fn last_word(asked: &mut Streaming<Packet>, gone: Status) -> Status {
    loop {
        match asked.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return gone,
            Err(status) => return status,
        }
    }
}

async fn send_offer(send: &mpsc::Sender<Packet>, id: u32, parts: &[Part], offer: &Offer) -> Result<(), Status> {
    let packet = |data: Vec<u8>| Packet { r#type: PacketType::PacketData.into(), stat: None, id, data };
    let gone = |_| Status::aborted("the client has gone");
    match offer {
        Offer::File { part, path } => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = walk::open_in_root(parts[*part].root.as_fd(), path, flags);
            send_file(send, id, file.map_err(io_status("cannot read the result"))?).await
        }
        Offer::Beside { part, number } => {
            let bytes = &parts[*part].beside[*number].1;
            for piece in bytes.chunks(limits::DATA_BYTES) {
                send.send(packet(piece.to_vec())).await.map_err(gone)?;
            }
            send.send(packet(Vec::new())).await.map_err(gone)
        }
        Offer::Directory => Err(Status::invalid_argument("a directory has no bytes")),
    }
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

// Tells everything that is there; answers what can be asked for, by number.
fn list(parts: &[Part], send: &mpsc::Sender<Packet>) -> io::Result<Vec<Offer>> {
    let mut offers = Vec::new();
    let tell = |stat: Option<Stat>| {
        let packet = Packet { r#type: PacketType::PacketStat.into(), stat, ..Packet::default() };
        send.blocking_send(packet).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    };
    for (part, one) in in_order(parts) {
        let below = |path: &str| if one.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", one.prefix) };
        if !one.prefix.is_empty() {
            offers.push(Offer::Directory);
            let mode = go_mode::DIRECTORY | 0o755;
            tell(Some(Stat { path: one.prefix.clone(), mode, ..Stat::default() }))?;
        }
        // Further files have their places among the names of the tree's root, which come in order.
        let mut beside = one.beside.iter().enumerate().peekable();
        walk::tree(one.root.as_fd(), |visit| -> io::Result<bool> {
            let is_passed = |name: &str| visit.path.split(|byte| *byte == b'/').next() > Some(name.as_bytes());
            while let Some((number, (name, bytes))) = beside.next_if(|(_, (name, _))| is_passed(name)) {
                offers.push(Offer::Beside { part, number });
                tell(Some(beside_stat(below(name), bytes)))?;
            }
            let is_replaced = one.beside.iter().any(|(name, _)| visit.path == name.as_bytes());
            if walk::is_whiteout(visit.stat) || is_replaced {
                return Ok(false);
            }
            let stat = stat_of(&visit)?;
            offers.push(Offer::File { part, path: visit.path.to_vec() });
            tell(Some(Stat { path: below(&stat.path), ..stat }))?;
            Ok(true)
        })?;
        for (number, (name, bytes)) in beside {
            offers.push(Offer::Beside { part, number });
            tell(Some(beside_stat(below(name), bytes)))?;
        }
    }
    tell(None)?;
    Ok(offers)
}

// Names come in order, those of directories too.
fn in_order(parts: &[Part]) -> Vec<(usize, &Part)> {
    let mut parts: Vec<(usize, &Part)> = parts.iter().enumerate().collect();
    parts.sort_by(|(_, a), (_, b)| a.prefix.cmp(&b.prefix));
    parts
}

fn beside_stat(path: String, bytes: &[u8]) -> Stat {
    Stat { path, mode: 0o644, size: i64::try_from(bytes.len()).unwrap_or(i64::MAX), ..Stat::default() }
}

/// What a name is, as clients read it.
pub(super) fn stat_of(visit: &walk::Visit<'_>) -> io::Result<Stat> {
    let described = go_mode::describe(visit)?;
    Ok(Stat {
        path: described.path,
        mode: described.mode,
        uid: visit.stat.st_uid,
        gid: visit.stat.st_gid,
        size: described.size,
        mod_time: described.modified,
        linkname: described.link,
        devmajor: i64::from(rustix::fs::major(visit.stat.st_rdev)),
        devminor: i64::from(rustix::fs::minor(visit.stat.st_rdev)),
        ..Stat::default()
    })
}

/// Names and digests of all regular files of a tree: what a statement about files speaks of.
pub(super) fn digests(root: &OwnedFd) -> io::Result<Vec<(String, Digest)>> {
    let mut found = Vec::new();
    let mut buffer = vec![0; limits::DATA_BYTES];
    walk::tree(root.as_fd(), |visit| -> io::Result<bool> {
        if walk::file_type(visit.stat) != FileType::RegularFile {
            return Ok(!walk::is_whiteout(visit.stat));
        }
        let file = walk::open_leaf(visit.parent, visit.leaf, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let mut hasher = Hasher::default();
        loop {
            match rustix::io::read(&file, &mut buffer[..])? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        found.push((String::from_utf8_lossy(visit.path).into_owned(), hasher.finish()));
        Ok(true)
    })?;
    Ok(found)
}
