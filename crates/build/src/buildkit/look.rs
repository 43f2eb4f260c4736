//! Files of results that front ends look at: by path, within the result's own root.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::fd::BorrowedFd,
};

use bollard_buildkit_proto::{fsutil::types::Stat, moby::buildkit::v1::frontend::FileRange};
use hako_archive::{path_matches, walk};
use rustix::fs::{FileType, OFlags};
use tonic::Status;

use super::files::stat_of;
use crate::limits;

fn failed(path: &str) -> impl Fn(io::Error) -> Status {
    move |error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Status::not_found(format!("open {path}: no such file or directory"))
        }
        _ => Status::internal(format!("open {path}: {error}")),
    }
}

/// The bytes of a file, or a part of them.
pub(super) fn read(root: BorrowedFd<'_>, path: &str, range: Option<&FileRange>) -> Result<Vec<u8>, Status> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = File::from(walk::open_in_root(root, path.as_bytes(), flags).map_err(failed(path))?);
    let most = limits::PACKET_BYTES_MAX as u64;
    let mut length = most;
    if let Some(range) = range {
        let offset = u64::try_from(range.offset).map_err(|_| Status::invalid_argument("a negative offset"))?;
        file.seek(SeekFrom::Start(offset)).map_err(failed(path))?;
        length = u64::try_from(range.length).unwrap_or(0);
    }
    let mut bytes = Vec::new();
    file.take(length.min(most) + 1).read_to_end(&mut bytes).map_err(failed(path))?;
    if bytes.len() as u64 > most {
        return Err(Status::resource_exhausted(format!("{path} has more than {most} bytes")));
    }
    bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// What is in a directory, as far as its name fits the pattern.
pub(super) fn list(root: BorrowedFd<'_>, path: &str, pattern: &str) -> Result<Vec<Stat>, Status> {
    let directory = walk::open_in_root(root, path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
    let directory = directory.map_err(failed(path))?;
    let mut entries = Vec::new();
    walk::tree(std::os::fd::AsFd::as_fd(&directory), |visit| -> io::Result<bool> {
        let stat = stat_of(&visit)?;
        if !walk::is_whiteout(visit.stat) && (pattern.is_empty() || path_matches(pattern, &stat.path)) {
            entries.push(stat);
        }
        Ok(false)
    })
    .map_err(failed(path))?;
    Ok(entries)
}

/// What a path is; a link is told as one.
pub(super) fn stat(root: BorrowedFd<'_>, path: &str) -> Result<Stat, Status> {
    let clean = path.trim_matches('/');
    let (above, leaf) = clean.rsplit_once('/').unwrap_or(("", clean));
    let parent = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
    let parent = parent.map_err(failed(path))?;
    let parent = std::os::fd::AsFd::as_fd(&parent);
    let leaf = if leaf.is_empty() { "." } else { leaf };
    let found = walk::stat_leaf(parent, leaf.as_bytes()).map_err(failed(path))?;
    let found = found.ok_or_else(|| failed(path)(io::ErrorKind::NotFound.into()))?;
    let directory = (walk::file_type(&found) == FileType::Directory).then_some(parent);
    let visit =
        walk::Visit { parent, leaf: leaf.as_bytes(), path: leaf.as_bytes(), stat: &found, directory, across: false };
    stat_of(&visit).map_err(failed(path))
}
