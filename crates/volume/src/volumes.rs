//! All volumes: create, find, open, fill, remove.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_base::{clock, database::Database};
use hako_sys::copies::Original;
use parking_lot::{Mutex, RwLock};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    Volume, VolumeError, bind, fill, name,
    options::{self, Source},
    record,
};

/// Named and anonymous volumes. Clones share one state.
#[derive(Debug, Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    database: Arc<Database>,
    volumes: RwLock<BTreeMap<String, Arc<Volume>>>,
    /// Held while a volume gets or loses its directory and record.
    writing: Mutex<()>,
    /// Mounts whose data is only in memory, while somebody uses them.
    shared: Mutex<HashMap<String, Original>>,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    pub name: String,
    /// Options of the driver: `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Made for one container: `prune` takes it when nobody uses it.
    pub anonymous: bool,
}

/// Begins the name of a directory whose volume is being removed; no volume can be called so.
const REMOVING: &str = ".removing-";

impl Volumes {
    /// Opens the volumes below `data_root`. A directory without a record (a data root that was copied) becomes a volume.
    ///
    /// # Errors
    /// When the directories or the records cannot be read.
    pub fn open(data_root: &Path, database: Arc<Database>) -> Result<Self, VolumeError> {
        let root = data_root.join("volumes");
        let failed = |source| VolumeError::Store { what: "open", source };
        hako_base::file::make_dir(&root, 0o701).map_err(failed)?;
        let mut volumes = record::read(&database)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(REMOVING) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
                continue;
            }
            crate::snapshot::sweep(&entry.path()).map_err(failed)?;
            if entry.path().join("_data").is_dir() && !volumes.contains_key(&name) && name::check_name(&name).is_ok() {
                let volume = Volume {
                    name: name.clone(),
                    labels: BTreeMap::new(),
                    options: BTreeMap::new(),
                    created: clock::now(),
                    anonymous: false,
                };
                found.push(Arc::new(volume.clone()));
                volumes.insert(name, volume);
            }
        }
        if !found.is_empty() {
            record::write(&database, &found, &[])?;
        }
        let volumes = volumes.into_iter().map(|(name, volume)| (name, Arc::new(volume))).collect();
        let inner = Inner {
            root,
            database,
            volumes: RwLock::new(volumes),
            writing: Mutex::default(),
            shared: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a volume; one of that name that is there is the answer as it is.
    ///
    /// # Errors
    /// When the name or the options are none.
    pub fn create(&self, wish: &Wish) -> Result<Arc<Volume>, VolumeError> {
        let Wish { name, options, labels, anonymous } = wish.clone();
        name::check_name(&name)?;
        options::parse(&options).map_err(|why| VolumeError::Options { name: name.clone(), why })?;
        let inner = &*self.inner;
        let _writing = inner.writing.lock();
        if let Some(known) = inner.volumes.read().get(&name) {
            return Ok(known.clone());
        }
        let content = self.path(&name);
        let made = hako_base::file::make_dir(&inner.root.join(&name), 0o701)
            .and_then(|()| hako_base::file::make_dir(&content, 0o755));
        made.map_err(|source| VolumeError::Io { what: "make", name: name.clone(), source })?;
        let volume = Arc::new(Volume { name: name.clone(), labels, options, created: clock::now(), anonymous });
        if let Err(error) = record::write(&inner.database, std::slice::from_ref(&volume), &[]) {
            // Without a record it would come back at the next start.
            let _ = fs::remove_dir_all(inner.root.join(&name));
            return Err(error);
        }
        inner.volumes.write().insert(name, volume.clone());
        Ok(volume)
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// [`VolumeError::NoSuchVolume`].
    pub fn inspect(&self, name: &str) -> Result<Arc<Volume>, VolumeError> {
        let found = self.inner.volumes.read().get(name).cloned();
        found.ok_or_else(|| VolumeError::NoSuchVolume { name: name.to_owned() })
    }

    /// Every volume, by name.
    pub fn list(&self) -> Vec<Arc<Volume>> {
        self.inner.volumes.read().values().cloned().collect()
    }

    /// Where a volume's data lies on this host (`Mountpoint` of `inspect`).
    pub fn path(&self, name: &str) -> PathBuf {
        self.inner.root.join(name).join("_data")
    }

    /// The volume's data, or a directory in it, to be bound: a descriptor of the directory, or of a detached mount where
    /// the volume's options ask for one.
    ///
    /// # Errors
    /// When there is no such volume or subdirectory, or what its options ask for cannot be mounted.
    pub fn open_content(&self, name: &str, subpath: &str) -> Result<OwnedFd, VolumeError> {
        let content = self.open_root(name)?;
        if subpath.is_empty() {
            return Ok(content);
        }
        // Links in a volume are its users': they lead nowhere else.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        hako_sys::walk::open_beneath(content.as_fd(), Path::new(subpath), flags)
            .map_err(|source| self.unreachable(name, subpath, source))
    }

    fn unreachable(&self, name: &str, subpath: &str, source: io::Error) -> VolumeError {
        let base = self.path(name);
        if source.raw_os_error() == Some(Errno::XDEV.raw_os_error()) {
            return VolumeError::Escapes { base: base.display().to_string(), subpath: subpath.to_owned() };
        }
        VolumeError::Subpath { path: base.join(subpath).display().to_string(), source }
    }

    /// The volume, or a directory in it, as a detached mount to be moved into a container.
    ///
    /// # Errors
    /// As [`Volumes::open_content`].
    pub fn mount(&self, name: &str, subpath: &str, options: &bind::Options) -> Result<OwnedFd, VolumeError> {
        let failed = |source| VolumeError::Io { what: "open", name: name.to_owned(), source };
        if self.is_only_memory(name) {
            // Made, if nobody has it yet.
            drop(self.open_root(name)?);
            let shared = self.inner.shared.lock();
            let original = shared.get(name).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            let mount = original.copy_below(Path::new(subpath));
            let mount = mount.map_err(|source| self.unreachable(name, subpath, source))?;
            return bind::restrict(mount, options).map_err(failed);
        }
        let content = self.open_content(name, subpath)?;
        bind::of(content.as_fd(), options).map_err(failed)
    }

    fn open_root(&self, name: &str) -> Result<OwnedFd, VolumeError> {
        let volume = self.inspect(name)?;
        let source =
            options::parse(&volume.options).map_err(|why| VolumeError::Options { name: name.to_owned(), why })?;
        let failed = |error: io::Error| match (hako_sys::mount::errno(&error), source.kind()) {
            (Some(number), Some(kind)) if number == Errno::NODEV.raw_os_error() => {
                VolumeError::NoFilesystem { name: name.to_owned(), kind: kind.to_owned() }
            }
            _ => match source.mount_words() {
                Some((device, flags)) => {
                    VolumeError::Mount { path: self.path(name).display().to_string(), device, flags, source: error }
                }
                None => VolumeError::Io { what: "open", name: name.to_owned(), source: error },
            },
        };
        if source.is_only_memory() {
            return self.open_shared(name, &source).map_err(failed);
        }
        if let Some(mount) = source.mount().map_err(failed)? {
            return Ok(mount);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(self.path(name), flags, Mode::empty()).map_err(|error| failed(error.into()))
    }

    /// Whether a volume, or the directory `subpath` in it, has nothing in it yet; one that cannot be looked into counts
    /// as not empty.
    pub fn is_empty(&self, name: &str, subpath: &str) -> bool {
        let names = self.open_content(name, subpath).ok().and_then(|content| fill::names_in(content.as_fd()).ok());
        names.is_some_and(|names| names.is_empty())
    }

    /// Fills an empty volume, or an empty directory in it, with what `path` is in the root filesystem `root`. Answers
    /// whether it did.
    ///
    /// # Errors
    /// Those of reading and writing; a half-filled volume is emptied again.
    pub fn fill(&self, name: &str, subpath: &str, root: BorrowedFd<'_>, path: &Path) -> Result<bool, VolumeError> {
        let content = self.open_content(name, subpath)?;
        fill::fill(content.as_fd(), root, path).map_err(|source| VolumeError::Io {
            what: "fill",
            name: name.to_owned(),
            source,
        })
    }

    // Every user of a tmpfs gets a copy of one mount; it ends with `release`.
    fn open_shared(&self, name: &str, source: &Source) -> io::Result<OwnedFd> {
        let mut shared = self.inner.shared.lock();
        if let Some(original) = shared.get(name) {
            return original.copy();
        }
        let original = Original::new(source.mount()?.ok_or(io::ErrorKind::NotFound)?)?;
        let copy = original.copy()?;
        shared.insert(name.to_owned(), original);
        Ok(copy)
    }

    /// Whether the volume's data is in memory and goes with its last user.
    pub fn is_only_memory(&self, name: &str) -> bool {
        self.inspect(name)
            .is_ok_and(|volume| options::parse(&volume.options).is_ok_and(|source| source.is_only_memory()))
    }

    /// The process `pid`, found running, has the volume at `target`: its data is not lost with the last daemon.
    ///
    /// # Errors
    /// There is no memory mounted, or the process has ended.
    pub fn adopt(&self, name: &str, pid: u32, target: &Path) -> io::Result<()> {
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58f6;
        let found = Original::in_process(pid, target)?;
        let kind = rustix::fs::fstatfs(&found)?.f_type;
        #[expect(clippy::cast_sign_loss, reason = "the kernel's numbers are 32 bits wide, whatever type carries them")]
        if !matches!(kind as u64, TMPFS | RAMFS) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let original = Original::housed(found.copy()?)?;
        self.inner.shared.lock().entry(name.to_owned()).or_insert(original);
        Ok(())
    }

    /// No running container uses the volume any more: data that was only in memory goes.
    pub fn release(&self, name: &str) {
        self.inner.shared.lock().remove(name);
    }

    /// Removes a volume; that nobody uses it is for the caller to know.
    ///
    /// # Errors
    /// [`VolumeError::NoSuchVolume`]; those of the disk and the records.
    pub fn remove(&self, name: &str) -> Result<(), VolumeError> {
        let _writing = self.inner.writing.lock();
        self.inspect(name)?;
        self.delete(name)
    }

    // The directory gets a name that is no volume's, the record goes, then the data.
    fn delete(&self, name: &str) -> Result<(), VolumeError> {
        let inner = &*self.inner;
        let failed = |source| VolumeError::Io { what: "remove", name: name.to_owned(), source };
        let grave = inner.root.join(format!("{REMOVING}{}", hako_base::random::hex(8)));
        match fs::rename(inner.root.join(name), &grave) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        record::write(&inner.database, &[], &[name.to_owned()])?;
        inner.volumes.write().remove(name);
        self.release(name);
        match fs::remove_dir_all(&grave) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Bytes of the files in a volume's directory, each file once; 0 for a volume that is not there.
    pub fn size(&self, name: &str) -> u64 {
        match hako_archive::size_of(&self.path(name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => {
                tracing::warn!(volume = %name, %error, "cannot measure");
                0
            }
        }
    }
}
