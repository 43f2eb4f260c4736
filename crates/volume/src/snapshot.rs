//! Copies of a volume: kept beside it (snapshots), as another volume (clones), as an archive (export and import).
//!
//! Each copy is made in a directory that no name leads to and gets its name by one rename, so that a crash leaves either
//! a whole copy or garbage that the next start sweeps. Where the file system shares blocks between files (XFS, btrfs)
//! nothing but metadata is written. Whether somebody writes meanwhile is the engine's matter.

use std::{
    fs, io,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::SystemTime,
};

use hako_archive::{Packer, UnpackOptions, codec, unpack};
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use crate::{
    VolumeError, Volumes, Wish,
    fill::{self, Copied},
    name,
    options::{self, Source},
};

/// Where a volume's snapshots are, beside its data.
const SNAPSHOTS: &str = "snapshots";
/// Begins the name of a directory that is not complete.
const MAKING: &str = ".making-";

/// A copy of a volume that is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub name: String,
    pub created: Timestamp,
}

impl Volumes {
    /// Keeps what the volume has now under a name of its own.
    ///
    /// # Errors
    /// The name is taken or none; those of copying.
    pub fn snapshot_create(&self, volume: &str, snapshot: &str) -> Result<Copied, VolumeError> {
        name::check_name(snapshot)?;
        let content = self.open_content(volume, "")?;
        let place = self.snapshot_path(volume, snapshot);
        if place.exists() {
            return Err(VolumeError::SnapshotExists { volume: volume.to_owned(), name: snapshot.to_owned() });
        }
        let failed = |source| VolumeError::Io { what: "make a snapshot of", name: volume.to_owned(), source };
        let making = Making::begin(&place).map_err(failed)?;
        let data = making.0.join("_data");
        let copied = fs::create_dir(&data)
            .and_then(|()| open(&data))
            .and_then(|target| fill::copy_tree(content.as_fd(), target.as_fd()))
            .map_err(failed)?;
        making.finish(&place).map_err(failed)?;
        Ok(copied)
    }

    /// The snapshots of a volume, by name.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn snapshot_list(&self, volume: &str) -> Result<Vec<Snapshot>, VolumeError> {
        self.inspect(volume)?;
        let Ok(entries) = fs::read_dir(self.directory(volume).join(SNAPSHOTS)) else { return Ok(Vec::new()) };
        let mut found: Vec<Snapshot> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))?;
                let made: SystemTime = entry.metadata().ok()?.modified().ok()?;
                Some(Snapshot { name, created: Timestamp::try_from(made).ok()? })
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn snapshot_remove(&self, volume: &str, snapshot: &str) -> Result<(), VolumeError> {
        let place = self.snapshot_known(volume, snapshot)?;
        let failed = |source| VolumeError::Io { what: "remove a snapshot of", name: volume.to_owned(), source };
        // Its name goes at once, its files follow.
        let grave = place.with_file_name(format!("{MAKING}{}", hako_base::random::hex(8)));
        fs::rename(&place, &grave).and_then(|()| fs::remove_dir_all(&grave)).map_err(failed)
    }

    /// Takes a volume back to what a snapshot has. That nobody uses it is for the caller to know.
    ///
    /// # Errors
    /// There is no such snapshot, or the volume's data is not in a directory of its own.
    pub fn snapshot_restore(&self, volume: &str, snapshot: &str) -> Result<Copied, VolumeError> {
        let kept = self.snapshot_known(volume, snapshot)?.join("_data");
        let failed = |source| VolumeError::Io { what: "restore", name: volume.to_owned(), source };
        let kept = open(&kept).map_err(failed)?;
        self.replace(volume, |target| fill::copy_tree(kept.as_fd(), target.as_fd()).map_err(failed))
    }

    /// Makes another volume with what this one, or a snapshot of it, has.
    ///
    /// # Errors
    /// A volume of the new name is there already; those of making and copying.
    pub fn clone_volume(&self, volume: &str, snapshot: Option<&str>, wish: &Wish) -> Result<Copied, VolumeError> {
        name::check_name(&wish.name)?;
        if self.inspect(&wish.name).is_ok() {
            return Err(VolumeError::Exists { name: wish.name.clone() });
        }
        let from = self.open_copy(volume, snapshot)?;
        self.create(wish)?;
        let failed = |source| VolumeError::Io { what: "clone", name: volume.to_owned(), source };
        self.replace(&wish.name, |target| fill::copy_tree(from.as_fd(), target.as_fd()).map_err(failed)).inspect_err(
            |_| {
                // What is there of it is garbage, and says so by going.
                let _ = self.remove(&wish.name);
            },
        )
    }

    /// Writes a volume, or a snapshot of it, as an archive.
    ///
    /// # Errors
    /// Those of reading and of the output.
    pub fn export(&self, volume: &str, snapshot: Option<&str>, output: impl Write) -> Result<(), VolumeError> {
        let content = self.open_copy(volume, snapshot)?;
        let mut packer = Packer::new(output);
        let written = packer
            .directory(content.as_fd(), b"./")
            .and_then(|()| packer.tree(content.as_fd(), b"./"))
            .and_then(|()| packer.finish().map(drop));
        written.map_err(|error| VolumeError::Archive {
            what: "export",
            name: volume.to_owned(),
            kind: hako_base::ErrorKind::Internal,
            text: hako_base::error::chain(&error),
        })
    }

    /// Fills a volume from an archive; what it has is replaced, or must be nothing.
    ///
    /// # Errors
    /// The volume is not empty, its data is not in a directory of its own, or the archive is none: then it is as before.
    pub fn import(&self, volume: &str, replace: bool, archive: impl Read) -> Result<(), VolumeError> {
        if !replace && !self.is_empty(volume, "") {
            return Err(VolumeError::NotEmpty { name: volume.to_owned() });
        }
        let failed = |kind, text| VolumeError::Archive { what: "import", name: volume.to_owned(), kind, text };
        let (_, input) = codec::plain(archive)
            .map_err(|error| failed(hako_base::ErrorKind::InvalidInput, hako_base::error::chain(&error)))?;
        self.replace(volume, |target| {
            unpack(input, target.as_fd(), &UnpackOptions::default())
                .map(drop)
                .map_err(|error| failed(error.kind(), hako_base::error::chain(&error)))
        })
    }

    fn open_copy(&self, volume: &str, snapshot: Option<&str>) -> Result<OwnedFd, VolumeError> {
        let Some(snapshot) = snapshot else { return self.open_content(volume, "") };
        let place = self.snapshot_known(volume, snapshot)?.join("_data");
        open(&place).map_err(|source| VolumeError::Io { what: "open a snapshot of", name: volume.to_owned(), source })
    }

    /// Fills a new directory and puts it in the place of the volume's own, all at once.
    fn replace<T>(
        &self,
        volume: &str,
        fill: impl FnOnce(&OwnedFd) -> Result<T, VolumeError>,
    ) -> Result<T, VolumeError> {
        let known = self.inspect(volume)?;
        let source =
            options::parse(&known.options).map_err(|why| VolumeError::Options { name: volume.to_owned(), why })?;
        if source != Source::Directory {
            return Err(VolumeError::Elsewhere { name: volume.to_owned() });
        }
        let failed = |source| VolumeError::Io { what: "replace what is in", name: volume.to_owned(), source };
        let data = self.path(volume);
        let making = Making::begin(&data).map_err(failed)?;
        let target = open(&making.0).map_err(failed)?;
        rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755)).map_err(|error| failed(error.into()))?;
        let done = fill(&target)?;
        rustix::fs::syncfs(&target).map_err(|error| failed(error.into()))?;
        // The old content is now where the new one was made, and goes with it.
        rustix::fs::renameat_with(CWD, &making.0, CWD, &data, RenameFlags::EXCHANGE)
            .map_err(|error| failed(error.into()))?;
        Ok(done)
    }

    fn snapshot_path(&self, volume: &str, snapshot: &str) -> PathBuf {
        self.directory(volume).join(SNAPSHOTS).join(snapshot)
    }

    fn snapshot_known(&self, volume: &str, snapshot: &str) -> Result<PathBuf, VolumeError> {
        self.inspect(volume)?;
        let missing = || VolumeError::NoSuchSnapshot { volume: volume.to_owned(), name: snapshot.to_owned() };
        name::check_name(snapshot).map_err(|_| missing())?;
        Some(self.snapshot_path(volume, snapshot)).filter(|place| place.is_dir()).ok_or_else(missing)
    }

    fn directory(&self, volume: &str) -> PathBuf {
        self.path(volume).parent().map(Path::to_owned).unwrap_or_default()
    }
}

/// Removes what an interrupted copy left in a volume's directory.
pub(crate) fn sweep(volume: &Path) -> io::Result<()> {
    for directory in [volume.to_owned(), volume.join(SNAPSHOTS)] {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(MAKING.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}

/// A directory that is being made; what is left of it goes at the end.
struct Making(PathBuf);

impl Making {
    fn begin(place: &Path) -> io::Result<Self> {
        let path = place.with_file_name(format!("{MAKING}{}", hako_base::random::hex(8)));
        if let Some(parent) = path.parent() {
            hako_base::file::make_dir(parent, 0o701)?;
        }
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn finish(self, place: &Path) -> io::Result<()> {
        rustix::fs::syncfs(&open(&self.0)?)?;
        fs::rename(&self.0, place)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
