//! Layers on disk: one private directory while a layer comes in, one named by its chain id when it is whole.
//!
//! A layer is hashed, inflated, stored and unpacked in one pass ([`receive`]) without knowing what will be
//! below it. Only when it gets its place ([`Layers::place`]) do the directories that its tar needed but did
//! not describe take the attributes they have below, so that the merged view shows those. Of a layer that came
//! plain only the recipe is stored: with the unpacked files that is its tar again ([`open_tar`]; decision 4).

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
};

use hako_model::Digest;
use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use crate::{
    ImageError,
    archive::{Spliced, UnpackError, UnpackOptions, Unpacked, unpack, unpack_recorded, walk},
    catalog::Layer,
    codec::{Codec, Peeked},
    content::{Blob, Compressing, Content, Hasher},
    flow::{Feeder, Tap, Worker},
    limits,
    tar::TarError,
};

/// The directories of layers.
#[derive(Debug)]
pub(crate) struct Layers {
    root: PathBuf,
    staging: PathBuf,
    trash: PathBuf,
    reaper: Reaper,
    flusher: Flusher,
    /// Opened before anything is written, so that a flush tells of what could not be written since.
    disk: OwnedFd,
}

/// Removes files in a thread of its own, which ends with the last of its handles when all are gone.
#[derive(Debug)]
struct Reaper(Sender<PathBuf>);

impl Reaper {
    fn start() -> io::Result<Self> {
        let (sender, graves) = channel::<PathBuf>();
        let reap = move || {
            for grave in graves {
                // What stays (a disk that fails) is tried again by the next start.
                if let Err(error) = fs::remove_dir_all(&grave) {
                    tracing::warn!(path = %grave.display(), %error, "cannot remove what nobody needs any more");
                }
            }
        };
        std::thread::Builder::new().name("layer-reaper".to_owned()).spawn(reap)?;
        Ok(Self(sender))
    }

    fn bury(&self, grave: PathBuf) {
        // Without its thread, the next start takes it.
        let _ = self.0.send(grave);
    }
}

/// Has large layers written to the disk while they come, so that the flush at the end finds little to do.
#[derive(Debug)]
struct Flusher {
    waiting: AtomicU64,
    wake: SyncSender<()>,
}

impl Flusher {
    fn start(disk: OwnedFd) -> io::Result<Self> {
        let (wake, wakes) = sync_channel(1);
        let flush = move || {
            for () in wakes {
                // What goes wrong is told by the flush that counts, which sees it by a descriptor of its own.
                let _ = rustix::fs::syncfs(&disk);
            }
        };
        std::thread::Builder::new().name("layer-flusher".to_owned()).spawn(flush)?;
        Ok(Self { waiting: AtomicU64::new(0), wake })
    }

    fn wrote(&self, bytes: u64) {
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting >= limits::UNFLUSHED_BYTES {
            self.waiting.store(0, Ordering::Relaxed);
            // If it is at work, it goes on with this afterwards.
            let _ = self.wake.try_send(());
        }
    }
}

/// A directory without a lasting name; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Private(pub(crate) Option<PathBuf>);

impl Drop for Private {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What stays (a disk that fails) is taken by the start-up sweep.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A layer that is whole but has no place yet.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) directory: Private,
    pub(crate) diff_id: Digest,
    pub(crate) blob: Blob,
    pub(crate) codec: Codec,
    /// The blob is not the tar but its recipe.
    pub(crate) is_recipe: bool,
    /// It came uncompressed, and what is stored of it was made here.
    pub(crate) compressed_here: bool,
    pub(crate) tar_size: u64,
    pub(crate) unpacked: Unpacked,
}

impl Layers {
    /// Opens (and makes) the store below `root`; what was half-made or half-removed before goes, while work begins.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let (staging, trash) = (root.join("staging"), root.join("trash"));
        for directory in [root, &trash] {
            hako_base::file::make_dir(directory, 0o700)?;
        }
        let left: Vec<PathBuf> =
            fs::read_dir(&trash)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let (reaper, flusher) = (Reaper::start()?, Flusher::start(walk::open_trusted(root)?)?);
        let layers = Self { root: root.to_owned(), staging, trash, reaper, flusher, disk: walk::open_trusted(root)? };
        left.into_iter().for_each(|grave| layers.reaper.bury(grave));
        layers.remove(&layers.staging)?;
        hako_base::file::make_dir(&layers.staging, 0o700)?;
        hako_base::file::make_dir(&layers.empty(), 0o755)?;
        Ok(layers)
    }

    /// What lies below the skeleton of a container whose image has no layers.
    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty/fs")
    }

    /// Everything of a stack's top layer.
    pub(crate) fn directory(&self, chain_id: Option<Digest>) -> PathBuf {
        chain_id.map_or_else(|| self.root.join("empty"), |chain_id| self.root.join(chain_id.hex()))
    }

    /// The files of a stack's top layer.
    pub(crate) fn files(&self, chain_id: Digest) -> PathBuf {
        self.root.join(chain_id.hex()).join("fs")
    }

    /// Waits until the disk has everything. One flush for all that a record will speak of: it must not survive a power cut
    /// that its layers do not.
    pub(crate) fn flush(&self) -> Result<(), ImageError> {
        let failed = ImageError::io("cannot flush the image store");
        rustix::fs::syncfs(&self.disk).map_err(|error| failed(error.into()))
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn private(&self) -> io::Result<(Private, PathBuf)> {
        let path = self.staging.join(hako_base::random::hex(8));
        fs::create_dir(&path)?;
        let private = Private(Some(path.clone()));
        let files = path.join("fs");
        fs::create_dir(&files)?;
        fs::set_permissions(&files, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok((private, files))
    }

    /// Gives a layer its place on top of `below` (top first). One that is there already stays.
    pub(crate) fn place(&self, received: &mut Received, chain_id: Digest, below: &[PathBuf]) -> io::Result<bool> {
        let target = self.root.join(chain_id.hex());
        let Some(path) = &received.directory.0 else { return Ok(false) };
        if target.exists() {
            return Ok(false);
        }
        inherit(&path.join("fs"), &received.unpacked.implied, below)?;
        fs::rename(path, target)?;
        received.directory.0 = None;
        Ok(true)
    }

    /// Takes a layer (or anything else below the root) away at once; its files go after that, while nobody waits.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let grave = self.trash.join(hako_base::random::hex(8));
        match fs::rename(path, &grave) {
            Ok(()) => {
                self.reaper.bury(grave);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes every layer that `is_known` does not know.
    pub(crate) fn sweep(&self, is_known: impl Fn(Digest) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.as_encoded_bytes(), b"staging" | b"trash" | b"containers" | b"empty") {
                continue;
            }
            let digest = format!("sha256:{}", name.to_string_lossy()).parse::<Digest>();
            if !digest.is_ok_and(&is_known) {
                self.remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

// Directories that the tar did not describe look as they do below.
fn inherit(files: &Path, implied: &BTreeSet<Vec<u8>>, below: &[PathBuf]) -> io::Result<()> {
    let below = below.iter().map(|path| walk::open_trusted(path)).collect::<io::Result<Vec<_>>>()?;
    let root = walk::open_trusted(files)?;
    // Deepest first, since what is set below changes nothing above but what is above could change a time.
    for path in implied.iter().rev() {
        let there = below.iter().find_map(|layer| {
            walk::open_in_root(layer.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW).ok()
        });
        let Some(there) = there else { continue };
        let here = walk::open_in_root(root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stat = rustix::fs::fstat(&there)?;
        rustix::fs::fchown(&here, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        rustix::fs::fchmod(&here, Mode::from_raw_mode(stat.st_mode))?;
        let mut value = vec![0; limits::XATTR_BYTES_MAX];
        if let Ok(length) = rustix::fs::fgetxattr(&there, "system.posix_acl_default", &mut value[..]) {
            rustix::fs::fsetxattr(&here, "system.posix_acl_default", &value[..length], XattrFlags::empty())?;
        }
        let at = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        rustix::fs::futimens(&here, &Timestamps { last_access: at, last_modification: at })?;
    }
    Ok(())
}

/// Takes a layer in: unpacked into a private directory, its tar into the content store.
///
/// `label` names the layer in errors; `progress` hears how many bytes have been read.
pub(crate) fn receive(
    layers: &Layers,
    content: &Content,
    label: &str,
    input: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<Received, ImageError> {
    let io = |source| ImageError::Layer { layer: label.to_owned(), source: read_error(source) };
    let (directory, files) =
        layers.private().map_err(ImageError::io(format!("cannot make a directory for {label}")))?;
    let start = Peeked::new(Counting { input, count: 0, progress }, 4).map_err(io)?;
    let codec = Codec::of(start.start());
    let staging = content.stage().map_err(io)?;
    let mut hash = Worker::start("layer-hash", Hasher::new()).map_err(io)?;
    let hash_feed = hash.feed();
    let options = UnpackOptions { whiteouts: true, ..UnpackOptions::default() };
    let mut blob = match codec {
        Codec::Plain => Worker::start("layer-store", Compressing::new(staging).map_err(io)?),
        Codec::Gzip | Codec::Zstd => Worker::start("layer-store", staging),
    }
    .map_err(io)?;
    let blob_feed = blob.feed();
    let wrote = |bytes| layers.flusher.wrote(bytes);
    let (done, tar_size) = if codec == Codec::Plain {
        let above = walk::open_trusted(files.parent().unwrap_or(&files)).map_err(io)?;
        let mut tap = Tap::new(start, hash_feed.into_iter().collect()).told(&wrote);
        let recipe = Feeder::new(blob_feed.into_iter().collect());
        let done = unpack_recorded(&mut tap, above.as_fd(), &options, recipe);
        (done.and_then(|(done, mut recipe)| recipe.flush().map(|()| done).map_err(read_error)), tap.count)
    } else {
        let root = walk::open_trusted(&files).map_err(io)?;
        let mut raw = Tap::new(start, blob_feed.into_iter().collect());
        let decoder = codec.decoder(&mut raw).map_err(io)?;
        let mut tap = Tap::new(decoder, hash_feed.into_iter().collect()).told(&wrote);
        let done = unpack_all(&mut tap, &root, &options);
        let count = tap.count;
        drop(tap);
        (done.and_then(|done| raw.drain().map(|()| done).map_err(read_error)), count)
    };
    // A worker's failure is the reason for the reader's: it comes first.
    let diff_id = hash.finish().map_err(io)?;
    let stored = blob.finish();
    let failed = |source| ImageError::Layer { layer: label.to_owned(), source };
    let (unpacked, blob) = match (done, stored) {
        (Err(source), _) if !is_broken_pipe(&source) => return Err(failed(source)),
        (_, Err(source)) => return Err(ImageError::Io { what: format!("cannot store {label}"), source }),
        (Err(source), Ok(_)) => return Err(failed(source)),
        (Ok(unpacked), Ok(blob)) => (unpacked, blob),
    };
    let is_recipe = codec == Codec::Plain;
    let codec = if is_recipe { Codec::Zstd } else { codec };
    Ok(Received { directory, diff_id, blob, codec, is_recipe, compressed_here: is_recipe, tar_size, unpacked })
}

fn read_error(source: io::Error) -> UnpackError {
    UnpackError::Tar(TarError::Read { source })
}

fn is_broken_pipe(error: &UnpackError) -> bool {
    matches!(error, UnpackError::Tar(TarError::Read { source }) if source.kind() == io::ErrorKind::BrokenPipe)
}

// Unpacks and then reads on to the end of the stream, since the digest covers what stands behind the end mark.
fn unpack_all<R: Read>(
    tap: &mut Tap<'_, R>,
    root: &impl AsFd,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let (done, tap) = unpack(&mut *tap, root.as_fd(), options)?;
    tap.drain().map_err(read_error)?;
    Ok(done)
}

/// Makes the layer of a directory that overlayfs wrote into: it is packed, hashed and stored, and stays where it is.
/// `None` when nothing is in it.
pub(crate) fn take(content: &Content, label: &str, directory: Private) -> Result<Option<Received>, ImageError> {
    let io = |source| ImageError::Io { what: format!("cannot store {label}"), source };
    let Some(files) = directory.0.as_ref().map(|path| path.join("fs")) else { return Ok(None) };
    let root = walk::open_trusted(&files).map_err(io)?;
    if walk::names(root.as_fd()).map_err(io)?.is_empty() {
        return Ok(None);
    }
    let mut hash = Worker::start("layer-hash", Hasher::new()).map_err(io)?;
    let staging = content.stage().map_err(io)?;
    let mut blob = Worker::start("layer-store", Compressing::new(staging).map_err(io)?).map_err(io)?;
    let feeds = hash.feed().into_iter().chain(blob.feed()).collect();
    let mut unpacked = Unpacked::default();
    let packed = crate::archive::pack_layer(root.as_fd(), Feeder::new(feeds), &mut unpacked)
        .map_err(|error| io::Error::other(hako_base::error::chain(&error)))
        .and_then(|mut feeder| feeder.flush().map(|()| feeder.count));
    let diff_id = hash.finish().map_err(io)?;
    let stored = blob.finish();
    // A worker's failure is the reason for the packer's: it comes first.
    let (blob, tar_size) = (stored.map_err(io)?, packed.map_err(io)?);
    let (codec, compressed_here, is_recipe) = (Codec::Zstd, true, false);
    Ok(Some(Received { directory, diff_id, blob, codec, is_recipe, compressed_here, tar_size, unpacked }))
}

/// Tells how much has been read.
struct Counting<'p, R> {
    input: R,
    count: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        (self.progress)(self.count);
        Ok(count)
    }
}

/// The uncompressed tar of a layer: as its blob has it, or its files and its recipe. Whether it is what it was, its
/// digest says.
pub(crate) fn open_tar(layers: &Layers, content: &Content, layer: &Layer) -> Result<Box<dyn BufRead>, ImageError> {
    if layer.is_recipe {
        let spliced = open_spliced(layers, content, layer)?;
        return Ok(Box::new(io::BufReader::with_capacity(limits::CHUNK_BYTES, spliced)));
    }
    let file = io::BufReader::with_capacity(limits::CHUNK_BYTES, content.file(layer.blob)?);
    let decoder = layer.codec.decoder(file).map_err(ImageError::io(format!("cannot read blob {}", layer.blob)))?;
    Ok(Box::new(io::BufReader::with_capacity(limits::CHUNK_BYTES, decoder)))
}

/// The tar of a layer of which the recipe is stored.
pub(crate) fn open_spliced(
    layers: &Layers,
    content: &Content,
    layer: &Layer,
) -> Result<Spliced<impl BufRead + use<>>, ImageError> {
    let failed = || ImageError::io(format!("cannot read layer {}", layer.diff_id));
    // Nothing else says that it is gone rather than that the disk fails.
    drop(content.file(layer.blob)?);
    let recipe = || {
        let file = fs::File::open(content.path(layer.blob))?;
        let decoder = layer.codec.decoder(io::BufReader::with_capacity(limits::CHUNK_BYTES, file))?;
        Ok(io::BufReader::with_capacity(limits::CHUNK_BYTES, decoder))
    };
    let directory = walk::open_trusted(&layers.directory(Some(layer.chain_id))).map_err(failed())?;
    Spliced::open(directory, recipe).map_err(failed())
}
