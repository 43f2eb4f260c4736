//! `container cp`: a container's files out of it and into it, as archives.
//!
//! Of a running container these are the files that its process sees, whatever is mounted there included. Of a stopped one
//! they are its root filesystem with its binds and volumes, mounted for as long as the copy takes. All paths are
//! resolved inside that root, by descriptor (`hako_archive::exchange`).

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use hako_archive::exchange::{self, CopyError, Extract, PathStat, Source};
use hako_base::ErrorKind;
use hako_model::MountKind;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{bind_ids::Users, files::TARGETS, filesystem::stream};
use crate::{
    Engine, EngineError,
    record::Record,
    view::{ArchiveOptions, PathView},
};

/// A container's files, for as long as somebody copies.
struct Files {
    engine: Engine,
    record: Arc<Record>,
    view: hako_image::View,
    /// Of a container that does not run: the root with its mounts.
    tree: Option<OwnedFd>,
    /// Where something is mounted that belongs to the container, from the root, without a slash in front.
    mounted: Vec<Vec<u8>>,
    /// What could not be mounted, and why; who asks for something there is told.
    missing: Vec<(Vec<u8>, EngineError)>,
}

impl Files {
    fn open(engine: &Engine, record: &Arc<Record>) -> Result<Self, EngineError> {
        let map = engine.map_snapshot(record)?;
        let view = engine.images.snapshot_view(record.id).map_err(crate::image::error)?;
        let mut files = Self {
            engine: engine.clone(),
            record: record.clone(),
            view,
            tree: None,
            mounted: Vec::new(),
            missing: Vec::new(),
        };
        let running = files.view.process_root().is_some();
        let whom = |name: &str| {
            let name = if name.is_empty() { record.config.user.as_str() } else { name };
            let user = hako_runtime::user::resolve(files.view.as_fd(), name, &[]);
            let user = user.map_err(|error| EngineError::mechanism(error.kind(), &error))?;
            Ok((user.uid, user.gid))
        };
        let mut mounts = Vec::new();
        for mount in record.mounts.iter().filter(|mount| running || mount.kind != MountKind::Tmpfs) {
            let target = files.place(&mount.target)?;
            if !running {
                let users =
                    Users { ids: record.ids.as_ref(), namespace: map.as_ref().map(|map| map.as_fd()), find: &whom };
                match engine.open_mount(mount, &users) {
                    Ok(Some(opened)) => mounts.push((PathBuf::from(&mount.target), opened)),
                    Ok(None) => {}
                    Err(error) => files.missing.push((target.clone(), error)),
                }
            }
            files.mounted.push(target);
        }
        if running {
            for (_, target) in TARGETS {
                files.mounted.push(files.place(target)?);
            }
        } else {
            let tree = files.view.with_mounts(mounts, record.spec.host.read_only);
            files.tree = Some(tree.map_err(|error| EngineError::io("cannot mount the container's volumes", &error))?);
        }
        Ok(files)
    }

    fn root(&self) -> BorrowedFd<'_> {
        match (&self.tree, self.view.process_root()) {
            (Some(tree), _) => tree.as_fd(),
            (None, Some(root)) => root,
            (None, None) => self.view.as_fd(),
        }
    }

    fn place(&self, target: &str) -> Result<Vec<u8>, EngineError> {
        exchange::leads_to(self.root(), target.as_bytes())
            .map_err(|error| EngineError::io(format_args!("cannot find {target}"), &error))
    }

    /// Whether something that is mounted at this path is the container's own, not the kernel's or hako's.
    fn crosses(&self, path: &[u8]) -> bool {
        self.mounted.iter().any(|target| is_at_or_below(path, target))
    }

    fn refuse_missing(&self, path: &str) -> Result<(), EngineError> {
        let place = self.place(path)?;
        match self.missing.iter().find(|(target, _)| is_at_or_below(&place, target)) {
            Some((_, error)) => Err(EngineError::conflict(error.to_string())),
            None => Ok(()),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Volumes in memory were mounted for this copy alone, unless a process has them.
        self.engine.release_volumes(&self.record);
    }
}

fn is_at_or_below(path: &[u8], target: &[u8]) -> bool {
    path.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

impl Engine {
    /// What a path of a container is.
    ///
    /// # Errors
    /// No such container or path.
    pub async fn container_archive_stat(&self, name: &str, path: &str) -> Result<PathView, EngineError> {
        self.with_source(name, path, |_, source, _| path_view(source.stat())).await
    }

    /// A path of a container as an archive.
    ///
    /// # Errors
    /// No such container or path. What fails later is the last item of the stream.
    pub async fn container_archive_get(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathView, mpsc::Receiver<io::Result<Bytes>>), EngineError> {
        self.with_source(name, path, |engine, source, (files, record)| {
            engine.publish_container("archive-path", &record, []);
            let view = path_view(source.stat());
            let write = move |output: &mut dyn io::Write| {
                let ids = crate::userns::of_archives(&files.record);
                source
                    .write(|path| files.crosses(path), &ids, output)
                    .map_err(|error| io::Error::other(hako_base::error::chain(&error)))
            };
            (view, stream(write))
        })
        .await
    }

    /// Unpacks an archive into a directory of a container.
    ///
    /// # Errors
    /// No such container or directory, one that is read-only, or an archive that is none.
    pub async fn container_archive_put(
        &self,
        name: &str,
        path: &str,
        options: ArchiveOptions,
        archive: Box<dyn Read + Send>,
    ) -> Result<(), EngineError> {
        let record = self.containers.find(name)?.record();
        let (engine, name, path) = (self.clone(), name.to_owned(), path.to_owned());
        crate::blocking(move || {
            let files = Files::open(&engine, &record)?;
            files.refuse_missing(&path)?;
            let user = &record.config.user;
            let owner = match options.owner_of_user && !user.is_empty() {
                true => Some(
                    hako_runtime::user::resolve(files.root(), user, &[])
                        .map_err(|error| EngineError::mechanism(error.kind(), &error))?,
                ),
                false => None,
            };
            let how = Extract {
                keep_kind: options.keep_kind,
                owner: owner.map(|user| (user.uid, user.gid)),
                ids: crate::userns::of_archives(&record),
            };
            let extract = || exchange::extract(files.root(), path.as_bytes(), archive, how);
            crate::userns::as_root_of(&record, extract)?.map_err(|error| copy_error(&error, &name, &path))?;
            engine.publish_container("extract-to-dir", &record, []);
            Ok(())
        })
        .await
    }

    async fn with_source<T: Send + 'static>(
        &self,
        name: &str,
        path: &str,
        then: impl FnOnce(&Self, Source, (Files, Arc<Record>)) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let record = self.containers.find(name)?.record();
        let (engine, name, path) = (self.clone(), name.to_owned(), path.to_owned());
        crate::blocking(move || {
            let files = Files::open(&engine, &record)?;
            files.refuse_missing(&path)?;
            let source = Source::open(files.root(), path.as_bytes());
            let source = source.map_err(|error| copy_error(&error, &name, &path))?;
            Ok(then(&engine, source, (files, record)))
        })
        .await
    }
}

/// Docker's sentence for a path that is not there; clients look for it.
fn copy_error(error: &CopyError, name: &str, path: &str) -> EngineError {
    match error.kind() {
        ErrorKind::NotFound => EngineError::Mechanism {
            kind: ErrorKind::NotFound,
            text: format!("Could not find the file {path} in container {name}"),
        },
        kind => EngineError::mechanism(kind, error),
    }
}

fn path_view(stat: &PathStat) -> PathView {
    let nanoseconds = i32::try_from(stat.modified.nanoseconds).unwrap_or(0);
    PathView {
        name: stat.name.clone(),
        size: stat.size,
        mode: stat.mode,
        modified: Timestamp::new(stat.modified.seconds, nanoseconds).unwrap_or_default(),
        link_target: stat.link_target.clone(),
    }
}
