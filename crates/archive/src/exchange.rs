//! Copies out of and into a root that somebody else controls: what `docker cp` asks of a container's files.
//!
//! A path is first followed to where it leads, as text and inside the root; then it is opened by that text, again inside
//! the root. Whoever exchanges directories for links meanwhile can only ever lead to another place of their own root
//! (CVE-2018-15664, CVE-2026-42306 were the same thing done with paths of the host).

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hako_base::ErrorKind;
use rustix::{
    fs::{AtFlags, FileType, OFlags, Stat, StatVfsMountFlags, StatxFlags},
    io::Errno,
};

use crate::{Ids, PackError, Packer, UnpackError, UnpackOptions, codec, limits, tar::Time, unpack, walk};

/// What a path of a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last name of the path, `.` or `/`.
    pub name: String,
    pub size: u64,
    /// Kind and permissions, as in `stat(2)`.
    pub mode: u32,
    pub modified: Time,
    /// Where a link leads in the end, from the root; empty for anything else.
    pub link_target: String,
}

/// Why something could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{path}: no such file or directory")]
    NotFound { path: String },
    #[error("lstat {path}: not a directory")]
    NotDirectory { path: String },
    #[error("extraction point is not a directory")]
    NoDirectoryToExtractTo,
    #[error("{path}: too many links")]
    Loop { path: String },
    #[error("container rootfs is marked read-only")]
    ReadOnlyRoot,
    #[error("mounted volume is marked read-only")]
    ReadOnlyMount,
    #[error("cannot look at {path}")]
    Look { path: String, source: io::Error },
    #[error("cannot read the archive")]
    Stream { source: io::Error },
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

impl CopyError {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotDirectory { .. } | Self::NoDirectoryToExtractTo | Self::Loop { .. } => ErrorKind::InvalidInput,
            Self::ReadOnlyRoot | Self::ReadOnlyMount => ErrorKind::Forbidden,
            Self::Stream { source } if source.kind() == io::ErrorKind::InvalidData => ErrorKind::InvalidInput,
            Self::Unpack(error) => error.kind(),
            Self::Look { .. } | Self::Stream { .. } | Self::Pack(_) => ErrorKind::Internal,
        }
    }

    fn look(path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = shown(path);
        move |source| match Errno::from_io_error(&source) {
            Some(Errno::NOENT) => Self::NotFound { path },
            Some(Errno::NOTDIR) => Self::NotDirectory { path },
            Some(Errno::LOOP) => Self::Loop { path },
            _ => Self::Look { path, source },
        }
    }
}

/// Something that is to be copied out of a root.
#[derive(Debug)]
pub struct Source {
    /// Where it is, from the root, without a slash in front.
    place: Vec<u8>,
    /// What its entries in the archive begin with.
    prefix: Vec<u8>,
    what: What,
    stat: PathStat,
}

#[derive(Debug)]
enum What {
    /// `dir/.`, `dir/` and the root: followed, and known to be a directory.
    Directory(OwnedFd),
    Leaf {
        parent: OwnedFd,
        leaf: Vec<u8>,
    },
}

impl Source {
    /// Finds `path` in `root`. A link is itself, unless the path ends with a slash or a dot.
    ///
    /// # Errors
    /// There is no such thing, or it is data of the kernel (`/proc`, `/sys`).
    pub fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<Self, CopyError> {
        let is_directory = path.ends_with(b"/") || path.split(|byte| *byte == b'/').next_back() == Some(b".");
        let parts = cleaned(path);
        let look = || CopyError::look(path);
        let Some((leaf, parents)) = parts.split_last().filter(|_| !is_directory) else {
            let place = leads_to(root, &parts.join(&b'/')).map_err(look())?;
            let fd = walk::open_in_root(root, &place, OFlags::PATH | OFlags::DIRECTORY).map_err(look())?;
            refuse_kernel_data(fd.as_fd(), path)?;
            // A dot at the end, with or without slashes behind it, means what is inside.
            let last = path.split(|byte| *byte == b'/').rfind(|part| !part.is_empty());
            let name = match (last, parts.last()) {
                (Some(b"."), _) => b".",
                (_, Some(last)) => *last,
                (_, None) => &b"/"[..],
            };
            let stat = rustix::fs::fstat(&fd).map_err(|error| look()(error.into()))?;
            let stat = path_stat(&stat, name, Vec::new());
            return Ok(Self { place, prefix: name.to_vec(), what: What::Directory(fd), stat });
        };
        let above = leads_to(root, &parents.join(&b'/')).map_err(look())?;
        let parent = walk::open_in_root(root, &above, OFlags::PATH | OFlags::DIRECTORY).map_err(look())?;
        refuse_kernel_data(parent.as_fd(), path)?;
        let missing = || CopyError::NotFound { path: shown(path) };
        let stat = walk::stat_leaf(parent.as_fd(), leaf).map_err(look())?.ok_or_else(missing)?;
        let target = match walk::file_type(&stat) {
            FileType::Symlink => [b"/", &leads_to(root, &parts.join(&b'/')).map_err(look())?[..]].concat(),
            _ => Vec::new(),
        };
        let place = if above.is_empty() { leaf.to_vec() } else { [&above[..], b"/", leaf].concat() };
        let stat = path_stat(&stat, leaf, target);
        Ok(Self { place, prefix: leaf.to_vec(), what: What::Leaf { parent, leaf: leaf.to_vec() }, stat })
    }

    /// What it is.
    pub fn stat(&self) -> &PathStat {
        &self.stat
    }

    /// Where it is, from the root, after following links on the way.
    pub fn place(&self) -> String {
        shown(&[b"/", &self.place[..]].concat())
    }

    /// Writes it as an archive. File systems that are mounted inside are left out, unless `crosses` says otherwise of
    /// their paths (from the root, without a slash in front).
    ///
    /// # Errors
    /// Those of reading and of the output.
    pub fn write(&self, crosses: impl Fn(&[u8]) -> bool, ids: &Ids, output: impl Write) -> Result<(), CopyError> {
        let mut packer = Packer::new(output).with_ids(ids.clone());
        match &self.what {
            What::Directory(fd) => self.write_directory(fd.as_fd(), crosses, &mut packer)?,
            What::Leaf { parent, leaf } => {
                let across = crosses(&self.place);
                let open = if across { walk::open_leaf_across } else { walk::open_leaf };
                match open(parent.as_fd(), leaf, OFlags::RDONLY | OFlags::DIRECTORY) {
                    Ok(fd) => self.write_directory(fd.as_fd(), crosses, &mut packer)?,
                    Err(_) => packer.leaf(parent.as_fd(), leaf, &self.prefix)?,
                }
            }
        }
        packer.finish()?;
        Ok(())
    }

    fn write_directory<W: Write>(
        &self,
        directory: BorrowedFd<'_>,
        crosses: impl Fn(&[u8]) -> bool,
        packer: &mut Packer<W>,
    ) -> Result<(), CopyError> {
        let open = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = walk::open_leaf(directory, b".", open).map_err(CopyError::look(&self.place))?;
        let inside = |place: &[u8], path: &[u8]| match place {
            b"" => path.to_vec(),
            place => [place, b"/", path].concat(),
        };
        packer.directory(directory.as_fd(), &self.prefix)?;
        let prefix = if self.prefix == b"/" { b"/".to_vec() } else { [&self.prefix[..], b"/"].concat() };
        packer.tree_across(directory.as_fd(), &prefix, |path| crosses(&inside(&self.place, path)))?;
        Ok(())
    }
}

/// How an archive is put into a root.
#[derive(Debug, Clone, Default)]
pub struct Extract {
    /// Refuse to put a directory in the place of something else, or the reverse.
    pub keep_kind: bool,
    /// Everything belongs to this user and group, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// Where ids are shifted.
    pub ids: Ids,
}

/// Unpacks an archive, compressed or not, into the directory `path` of `root`. Links are followed to the directory, and on
/// the way to what the archive names, inside the root.
///
/// # Errors
/// There is no such directory, it cannot be written to, or the archive is none.
pub fn extract(root: BorrowedFd<'_>, path: &[u8], input: impl Read, how: Extract) -> Result<(), CopyError> {
    let look = || CopyError::look(path);
    let place = leads_to(root, &cleaned(path).join(&b'/')).map_err(look())?;
    let directory = walk::open_in_root(root, &place, OFlags::PATH).map_err(look())?;
    refuse_kernel_data(directory.as_fd(), path)?;
    let stat = rustix::fs::fstat(&directory).map_err(|error| look()(error.into()))?;
    if walk::file_type(&stat) != FileType::Directory {
        return Err(CopyError::NoDirectoryToExtractTo);
    }
    refuse_read_only(root, directory.as_fd()).map_err(look())?.map_or(Ok(()), Err)?;
    let below = if place.is_empty() { b".".to_vec() } else { place };
    let (owner, ids) = (how.owner, how.ids);
    let options =
        UnpackOptions { owner, ids, keep_kind: how.keep_kind, below, across: true, ..UnpackOptions::default() };
    let (_, input) = codec::plain(input).map_err(|source| CopyError::Stream { source })?;
    unpack(input, root, &options)?;
    Ok(())
}

// What stands in the way of writing, if anything does.
fn refuse_read_only(root: BorrowedFd<'_>, directory: BorrowedFd<'_>) -> io::Result<Option<CopyError>> {
    if !rustix::fs::fstatvfs(directory)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(None);
    }
    let mount = |fd| rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id);
    let is_root = mount(root)? == mount(directory)?;
    Ok(Some(if is_root { CopyError::ReadOnlyRoot } else { CopyError::ReadOnlyMount }))
}

// procfs and its like are no files of the container: they have no sizes, and writing there is an order to the kernel.
fn refuse_kernel_data(directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), CopyError> {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    const CGROUP: u64 = 0x0027_e0eb;
    const CGROUP2: u64 = 0x6367_7270;
    const DEBUGFS: u64 = 0x6462_6720;
    const TRACEFS: u64 = 0x7472_6163;
    const SECURITYFS: u64 = 0x7363_6673;
    const BPF: u64 = 0xcafe_4a11;
    let system = rustix::fs::fstatfs(directory).map_err(|error| CopyError::look(path)(error.into()))?;
    #[expect(clippy::cast_sign_loss, reason = "the kernel's numbers are 32 bits wide, whatever type carries them")]
    match system.f_type as u64 {
        PROC | SYSFS | CGROUP | CGROUP2 | DEBUGFS | TRACEFS | SECURITYFS | BPF => {
            Err(CopyError::NotFound { path: shown(path) })
        }
        _ => Ok(()),
    }
}

fn path_stat(stat: &Stat, name: &[u8], link_target: Vec<u8>) -> PathStat {
    PathStat {
        name: shown(name),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode,
        modified: Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        link_target: shown(&link_target),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The components of a path, `.` and `..` taken out as text, as Docker does; above the root there is nothing.
fn cleaned(path: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts
}

/// Links that are followed on the way to one path: the kernel's own limit.
const LINKS_MAX: usize = 40;

/// Where a path leads in `root`, as text without a slash in front. What does not exist leads to itself.
///
/// # Errors
/// `ELOOP`, and whatever else keeps from looking.
pub fn leads_to(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Vec<u8>> {
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut rest: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        match &name[..] {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => done.push(name),
        }
        if done.len() + rest.len() > limits::PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let place = match walk::open_in_root(root, &done.join(&b'/'), OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(place) => place,
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => continue,
            Err(error) => return Err(error),
        };
        if walk::file_type(&rustix::fs::fstat(&place)?) != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&place, "", Vec::new())?.into_bytes();
        done.pop();
        if target.starts_with(b"/") {
            done.clear();
        }
        rest.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
    }
    Ok(done.join(&b'/'))
}
