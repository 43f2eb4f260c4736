//! The content store: bytes by their digest, `content/sha256/<hex>`.
//!
//! A blob is written under a private name and gets its own by a rename when its digest is known. Blobs are
//! never changed; who still needs one is `store`'s knowledge.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use hako_model::Digest;
use ring::digest::{Context, SHA256};

use crate::{ImageError, flow::Sink};

/// The digest of bytes at hand.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.digest()
}

/// SHA-256 as it goes.
pub(crate) struct Hasher(Context);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn digest(self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Digest::from_sha256(bytes)
    }
}

impl Sink for Hasher {
    type Output = Digest;

    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.update(chunk);
        Ok(())
    }

    fn done(self) -> io::Result<Digest> {
        Ok(self.digest())
    }
}

/// A blob that is being written.
pub(crate) struct Staging {
    path: Staged,
    file: File,
    hasher: Hasher,
    size: u64,
}

/// A file without a lasting name; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Staged(Option<PathBuf>);

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It may be gone with its directory; the start-up sweep takes what stays.
            let _ = fs::remove_file(path);
        }
    }
}

/// A blob that is whole but has not got its name yet.
#[derive(Debug)]
pub(crate) struct Blob {
    path: Staged,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Write for Staging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Staging {
    type Output = Blob;

    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.write_all(chunk)
    }

    fn done(self) -> io::Result<Blob> {
        Ok(Blob { path: self.path, digest: self.hasher.digest(), size: self.size })
    }
}

/// Compresses on the way to a blob.
///
/// Level 1: it keeps pace with the disk (about 500 MB/s a core) and takes a root filesystem to 40 %.
pub(crate) struct Compressing(zstd::Encoder<'static, Staging>);

impl Compressing {
    pub(crate) fn new(staging: Staging) -> io::Result<Self> {
        Ok(Self(zstd::Encoder::new(staging, 1)?))
    }
}

impl Sink for Compressing {
    type Output = Blob;

    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.write_all(chunk)
    }

    fn done(self) -> io::Result<Blob> {
        self.0.finish()?.done()
    }
}

/// The directory of blobs.
#[derive(Debug)]
pub(crate) struct Content {
    blobs: PathBuf,
    staging: PathBuf,
}

impl Content {
    /// Opens (and makes) the store below `root`; what was half-written before is removed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let content = Self { blobs: root.join("sha256"), staging: root.join("staging") };
        if content.staging.exists() {
            fs::remove_dir_all(&content.staging)?;
        }
        for directory in [root, &content.blobs, &content.staging] {
            hako_base::file::make_dir(directory, 0o700)?;
        }
        Ok(content)
    }

    pub(crate) fn stage(&self) -> io::Result<Staging> {
        let path = self.staging.join(hako_base::random::hex(16));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Staging { path: Staged(Some(path)), file, hasher: Hasher::new(), size: 0 })
    }

    /// Gives a blob its name; one that is there already stays.
    pub(crate) fn keep(&self, mut blob: Blob) -> io::Result<bool> {
        let target = self.path(blob.digest);
        if target.exists() {
            return Ok(false);
        }
        if let Some(staged) = &blob.path.0 {
            fs::rename(staged, target)?;
        }
        blob.path.0 = None;
        Ok(true)
    }

    /// Gives a blob its name, whatever has that name now.
    pub(crate) fn replace(&self, mut blob: Blob) -> io::Result<()> {
        if let Some(staged) = &blob.path.0 {
            fs::rename(staged, self.path(blob.digest))?;
        }
        blob.path.0 = None;
        Ok(())
    }

    /// Stores bytes at hand.
    pub(crate) fn put(&self, bytes: &[u8]) -> io::Result<(Digest, bool)> {
        let mut staging = self.stage()?;
        staging.write_all(bytes)?;
        let blob = staging.done()?;
        let digest = blob.digest;
        Ok((digest, self.keep(blob)?))
    }

    /// A blob's bytes, which must be at most `limit` and still what they were.
    pub(crate) fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let file = self.file(digest)?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(ImageError::io(format!("cannot read blob {digest}")))?;
        let found = digest_of(&bytes);
        if found != digest {
            return Err(ImageError::DigestMismatch { what: format!("blob {digest}"), expected: digest, found });
        }
        Ok(bytes)
    }

    pub(crate) fn file(&self, digest: Digest) -> Result<File, ImageError> {
        File::open(self.path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::Missing { what: format!("blob {digest}") },
            _ => ImageError::Io { what: format!("cannot open blob {digest}"), source: error },
        })
    }

    pub(crate) fn remove(&self, digest: Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Bytes of all blobs.
    pub(crate) fn size(&self) -> u64 {
        let entries = fs::read_dir(&self.blobs).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Removes every blob that `is_needed` does not know.
    pub(crate) fn sweep(&self, is_needed: impl Fn(Digest) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy()).parse::<Digest>();
            if !digest.is_ok_and(&is_needed) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }
}
