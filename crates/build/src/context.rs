//! A build's context: files that somebody sent, in a directory of the builder's own, without what `.dockerignore`
//! leaves out.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use hako_archive::{Keep, UnpackOptions, unpack, walk};
use rustix::fs::OFlags;

use crate::{error::BuildError, language::Ignore, limits};

/// The files of a context. Dropping it removes them if they were made for one build.
#[derive(Debug)]
pub struct Context {
    directory: OwnedFd,
    remove: Option<PathBuf>,
    ignore: Ignore,
    /// Digests of files that have just come.
    digests: HashMap<Vec<u8>, [u8; 32]>,
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(path) = &self.remove {
            // What stays is swept at the next start.
            let _ = fs::remove_dir_all(path);
        }
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Context {
    /// An empty context below `root`, to be filled.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn empty(root: &Path) -> Result<Self, BuildError> {
        let path = contexts(root).join(hako_base::random::hex(8));
        fs::create_dir_all(&path).map_err(BuildError::io("cannot make a directory for the build context"))?;
        let directory = walk::open_trusted(&path).map_err(BuildError::io("cannot open the build context"))?;
        Ok(Self { directory, remove: Some(path), ignore: Ignore::default(), digests: HashMap::new() })
    }

    /// A context that stays for further builds of the same directory; while a build uses it, another gets an empty one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn lasting(root: &Path, name: &str) -> Result<Self, BuildError> {
        let failed = || BuildError::io("cannot make a directory for the build context");
        let path = lasting(root).join(name);
        fs::create_dir_all(&path).map_err(failed())?;
        let directory = walk::open_trusted(&path).map_err(failed())?;
        // The lock goes with the descriptor.
        match rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory, remove: None, ignore: Ignore::default(), digests: HashMap::new() }),
            Err(_) => Self::empty(root),
        }
    }

    /// Whether it stays for further builds.
    pub(crate) fn is_lasting(&self) -> bool {
        self.remove.is_none()
    }

    /// Removes a context that stays for further builds, unless one uses it; answers whether it is gone.
    pub(crate) fn forget(root: &Path, name: &str) -> bool {
        let path = lasting(root).join(name);
        let Ok(directory) = walk::open_trusted(&path) else { return true };
        let locked = rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        locked.is_ok() && fs::remove_dir_all(&path).is_ok()
    }

    /// A directory of this one as the context; links in its path lead nowhere out.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn below(mut self, path: &str) -> Result<Self, BuildError> {
        let found = walk::open_in_root(self.as_fd(), path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        self.directory =
            found.map_err(BuildError::io(format!("cannot open the directory {path:?} of the repository")))?;
        Ok(self)
    }

    /// Unpacks a tar (plain, gzip or zstd).
    ///
    /// # Errors
    /// What is no tar, climbs out of its root, or does not fit on the disk.
    pub fn unpack(root: &Path, input: impl Read) -> Result<Self, BuildError> {
        let context = Self::empty(root)?;
        let input = hako_archive::plain(input).map_err(BuildError::io("cannot read the build context"))?;
        // Who owns the files on the client's machine means nothing here.
        let options = UnpackOptions { owner: Some((0, 0)), ..UnpackOptions::default() };
        unpack(input, context.as_fd(), &options).map_err(|error| {
            BuildError::invalid(format!("cannot read the build context: {}", hako_base::error::chain(&error)))
        })?;
        Ok(context)
    }

    /// Leaves out what these patterns say.
    #[must_use]
    pub fn with_ignore(mut self, ignore: Ignore) -> Self {
        self.ignore = ignore;
        self
    }

    /// Remembers the SHA-256 of files, by their path.
    pub(crate) fn know(&mut self, digests: HashMap<Vec<u8>, [u8; 32]>) {
        self.digests = digests;
    }

    /// The SHA-256 of a file, if it is known without reading it.
    pub(crate) fn digest(&self, path: &[u8]) -> Option<[u8; 32]> {
        self.digests.get(path).copied()
    }

    /// What is left out.
    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// A text file of the context, whether it is left out for the build or not; `None` when it is not there.
    ///
    /// # Errors
    /// A file that is too long, or no text, or no file.
    pub fn text(&self, path: &str) -> Result<Option<String>, BuildError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match walk::open_in_root(self.as_fd(), path.as_bytes(), flags) {
            Ok(file) => fs::File::from(file),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(BuildError::Io { what: format!("cannot open {path}"), source }),
        };
        let mut bytes = Vec::new();
        file.take(limits::DOCKERFILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(BuildError::io(format!("cannot read {path}")))?;
        if bytes.len() > limits::DOCKERFILE_BYTES_MAX {
            let most = limits::DOCKERFILE_BYTES_MAX;
            return Err(BuildError::invalid(format!("{path} is larger than {most} bytes")));
        }
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| BuildError::invalid(format!("{path} is no text: it is not UTF-8")))
    }

    /// Reads `.dockerignore`: that of the Dockerfile if it has one, else the context's.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn read_ignore(&self, dockerfile: &str) -> Result<Ignore, BuildError> {
        for name in [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()] {
            if let Some(text) = self.text(&name)? {
                let ignore = Ignore::parse(&text);
                return ignore.map_err(|error| BuildError::invalid(format!("failed to parse {name}: {error}")));
            }
        }
        Ok(Ignore::default())
    }

    /// Whether a file is part of the context.
    pub fn keep(&self, path: &[u8], is_directory: bool) -> Keep {
        let path = String::from_utf8_lossy(path);
        match self.ignore.excluded_by(&path) {
            None => Keep::Yes,
            Some(_) if is_directory && self.ignore.may_return_below(&path) => Keep::OnlyBelow,
            Some(_) => Keep::No,
        }
    }
}

/// Where the contexts are that stay from build to build.
pub(crate) fn lasting(root: &Path) -> PathBuf {
    root.join("locals")
}

fn contexts(root: &Path) -> PathBuf {
    root.join("contexts")
}

/// Notes that a lasting context is being filled, until that is taken back.
pub(crate) fn begin_filling(root: &Path, name: &str) {
    // A note that cannot be made leaves at most half a directory to the next build, which looks at each file.
    let _ = fs::create_dir_all(filling(root)).and_then(|()| fs::write(filling(root).join(name), ""));
}

/// It is whole, or it is gone.
pub(crate) fn end_filling(root: &Path, name: &str) {
    let _ = fs::remove_file(filling(root).join(name));
}

fn filling(root: &Path) -> PathBuf {
    root.join("filling")
}

/// Removes what builds of a daemon that was killed have left: their own contexts, and lasting ones that were half there.
pub(crate) fn sweep(root: &Path) {
    let _ = fs::remove_dir_all(contexts(root));
    for entry in fs::read_dir(filling(root)).into_iter().flatten().flatten() {
        let _ = fs::remove_dir_all(lasting(root).join(entry.file_name()));
        let _ = fs::remove_file(entry.path());
    }
}
