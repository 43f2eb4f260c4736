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
};

use bollard_buildkit_proto::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::packet::file_send_client::FileSendClient,
};
use hako_archive::{go_mode, walk};
use rustix::fs::{FileType, OFlags};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::session::Session;
use crate::limits;

fn io_status(what: &str) -> impl Fn(io::Error) -> Status {
    move |error| Status::internal(format!("{what}: {error}"))
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
