//! A blob that is coming in: a file that grows, hashed as it does, until its digest is named and it gets its place.
//!
//! The running hash lives in memory; after a restart it is computed again from the file.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use hako_base::file::{Durability, make_dir, write_atomic};

use super::{Storage, names_in};
use crate::{
    digest::{Algorithm, ContentDigest, Hasher},
    limits,
    name::Repository,
};

/// An upload in progress.
pub(crate) struct Upload {
    directory: PathBuf,
    hasher: Hasher,
    pub(crate) size: u64,
}

/// How writing to an upload went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    Whole,
    /// The blob would be longer than any may be.
    TooLong,
}

impl Storage {
    fn upload(&self, name: &Repository, id: &str) -> PathBuf {
        self.repository(name).join("_uploads").join(id)
    }

    /// Begins an upload; its id is a fresh UUID's text, and it will be named by a digest of this algorithm.
    pub(crate) fn upload_begin(&self, name: &Repository, id: &str, algorithm: Algorithm) -> io::Result<Upload> {
        let directory = self.upload(name, id);
        make_dir(&directory, 0o755)?;
        let now = hako_base::clock::rfc3339_nano(hako_base::clock::now());
        write_atomic(&directory.join("startedat"), now.as_bytes(), 0o644, Durability::Process)?;
        File::create(directory.join("data"))?;
        Ok(Upload { directory, hasher: algorithm.hasher(), size: 0 })
    }

    /// Takes an upload up again that an earlier process began; `None` if there is none.
    pub(crate) fn upload_resume(&self, name: &Repository, id: &str) -> io::Result<Option<Upload>> {
        let directory = self.upload(name, id);
        let mut file = match File::open(directory.join("data")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut upload = Upload { directory, hasher: Algorithm::Sha256.hasher(), size: 0 };
        let mut buffer = vec![0; limits::CHUNK_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(Some(upload));
            }
            upload.hasher.update(&buffer[..count]);
            upload.size += count as u64;
        }
    }

    /// The blob gets its place and belongs to the repository; the upload is over.
    pub(crate) fn upload_finish(&self, name: &Repository, upload: Upload, digest: ContentDigest) -> io::Result<()> {
        let _guard = self.write_guard()?;
        let target = self.blob(digest);
        let data = upload.directory.join("data");
        if target.exists() {
            self.blob_link_guarded(name, digest)?;
        } else {
            let folder = super::parent(&target);
            make_dir(folder, 0o755)?;
            // What was acknowledged is there after a power cut.
            File::open(&data)?.sync_data()?;
            fs::rename(&data, &target)?;
            File::open(folder)?.sync_all()?;
            self.blob_link_guarded(name, digest)?;
        }
        upload.cancel()
    }

    /// Removes uploads that nobody has touched for long. Answers how many.
    pub(crate) fn uploads_purge(&self) -> io::Result<usize> {
        let mut purged = 0;
        for name in self.repositories_with("_uploads")? {
            let folder = self.repository(&name).join("_uploads");
            for id in names_in(&folder)? {
                let path = folder.join(id);
                let touched = fs::metadata(path.join("data")).and_then(|data| data.modified());
                let old = touched.ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age > limits::UPLOAD_AGE_MAX);
                if old {
                    fs::remove_dir_all(&path)?;
                    purged += 1;
                }
            }
        }
        Ok(purged)
    }
}

impl Upload {
    /// The file, to append to.
    pub(crate) fn open(&self) -> io::Result<File> {
        let mut file = File::options().write(true).open(self.directory.join("data"))?;
        // What a process that died had written but not counted is written again.
        file.set_len(self.size)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    }

    /// The file, to read while it grows.
    pub(crate) fn read(&self) -> io::Result<File> {
        File::open(self.directory.join("data"))
    }

    /// Appends to the file that [`Self::open`] gave.
    pub(crate) fn append(&mut self, file: &mut File, chunk: &[u8]) -> io::Result<Appended> {
        if self.size + chunk.len() as u64 > limits::BLOB_BYTES_MAX {
            return Ok(Appended::TooLong);
        }
        file.write_all(chunk)?;
        self.hasher.update(chunk);
        self.size += chunk.len() as u64;
        Ok(Appended::Whole)
    }

    /// The digest of what has come so far; read again if the running hash is of the other algorithm.
    pub(crate) fn digest(&self, algorithm: Algorithm) -> io::Result<ContentDigest> {
        if self.hasher.algorithm == algorithm {
            return Ok(self.hasher.digest());
        }
        let mut file = File::open(self.directory.join("data"))?;
        let mut hasher = algorithm.hasher();
        let mut buffer = vec![0; limits::CHUNK_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.digest()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    /// Takes everything back.
    pub(crate) fn cancel(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
