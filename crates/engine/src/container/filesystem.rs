//! `container diff` and `export`: a container's files, seen from outside.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Engine, EngineError, view::ChangeView};

/// Chunks of a stream that wait for a slow client.
const QUEUED: usize = 8;

impl Engine {
    /// What differs from the image, sorted by path.
    ///
    /// # Errors
    /// No such container; an unreadable snapshot.
    pub async fn container_changes(&self, name: &str) -> Result<Vec<ChangeView>, EngineError> {
        let id = self.containers.find(name)?.id;
        let engine = self.clone();
        let changes = crate::blocking(move || engine.images.snapshot_changes(id)).await.map_err(crate::image::error)?;
        Ok(changes.into_iter().map(|change| ChangeView { path: change.path, kind: kind_number(change.kind) }).collect())
    }

    /// The whole root file system as a tar stream.
    ///
    /// # Errors
    /// No such container. What fails later is the last item of the stream.
    pub async fn container_export(&self, name: &str) -> Result<mpsc::Receiver<io::Result<Bytes>>, EngineError> {
        let container = self.containers.find(name)?;
        let engine = self.clone();
        self.publish_container("export", &container.record(), []);
        Ok(stream(move |writer| {
            let record = container.record();
            engine.map_snapshot(&record).map_err(io::Error::other)?;
            engine
                .images
                .snapshot_export(container.id, &crate::userns::of_archives(&record), writer)
                .map_err(|error| io::Error::other(hako_base::error::chain(&error)))
        }))
    }
}

/// Docker's numbers.
fn kind_number(kind: hako_image::ChangeKind) -> u8 {
    match kind {
        hako_image::ChangeKind::Changed => 0,
        hako_image::ChangeKind::Added => 1,
        hako_image::ChangeKind::Deleted => 2,
    }
}

/// Runs `write` on a thread; what it writes arrives at the receiver, an error as the last item.
pub(crate) fn stream(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (send, receive) = mpsc::channel(QUEUED);
    tokio::task::spawn_blocking(move || {
        let mut writer = io::BufWriter::with_capacity(64 << 10, Sender(send.clone()));
        if let Err(error) = write(&mut writer).and_then(|()| writer.flush()) {
            let _ = send.blocking_send(Err(error));
        }
    });
    receive
}

struct Sender(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
