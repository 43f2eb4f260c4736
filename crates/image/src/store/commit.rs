//! `commit`: what a container wrote becomes a layer, and with it a new image.

use std::io;

use hako_base::clock;
use hako_model::{ContainerId, Digest, Platform};

use super::{Arrivals, Candidate, Store, diff};
use crate::{
    CommitOptions, Image, ImageError,
    archive::PackError,
    catalog::ImageRecord,
    change,
    config::{Document, Line, RootFs},
    content::digest_of,
    flow::pipe,
    layer::{Received, receive},
};

impl Store {
    /// Makes an image of a container's root filesystem. Answers its id.
    ///
    /// Whether the container should stand still meanwhile is the caller's matter.
    ///
    /// # Errors
    /// When a change is malformed, the container has no snapshot, or the disk fails; nothing is left then.
    pub fn commit(&self, container: ContainerId, options: &CommitOptions) -> Result<Digest, ImageError> {
        let mut config = options.config.clone();
        change::apply(&mut config, &options.changes)?;
        let base = options.base.and_then(|id| self.image(id).ok());
        let lease = self.inner.leases.take();
        let below = self.inner.base_of(container)?;
        let mut diff_ids: Vec<Digest> =
            self.inner.catalog.read().stack(below).iter().rev().map(|layer| layer.diff_id).collect();
        for diff_id in &diff_ids {
            lease.hold(*diff_id);
        }
        let received = self.written(container)?;
        // As in Docker, a container that changed nothing makes a line of history but no layer.
        let is_empty = received.unpacked.entries == 0;
        let mut arrivals = Arrivals::default();
        if !is_empty {
            diff_ids.push(received.diff_id);
            arrivals.received.insert(received.diff_id, received);
        }
        let mut document = describe(base.as_deref(), &config, options, diff_ids.clone());
        document.history.extend([line(options, is_empty)]);
        let raw = document.bytes();
        let id = digest_of(&raw);
        let candidate = Candidate {
            config: raw.into(),
            id,
            diff_ids,
            record: ImageRecord { parent: base.map(|image| image.id), ..ImageRecord::default() },
            references: options.reference.clone().map(|name| name.with_default_tag()).into_iter().collect(),
        };
        self.record(vec![candidate], arrivals)?;
        Ok(id)
    }

    // Packs what the container wrote in one thread, and takes it in as any other layer in this one.
    fn written(&self, container: ContainerId) -> Result<Received, ImageError> {
        let upper = self.inner.upper(container)?;
        let (writer, reader) = pipe();
        let packing = std::thread::Builder::new()
            .name("layer-pack".to_owned())
            .spawn(move || -> Result<(), PackError> {
                let writer = diff::pack(&upper, writer)?;
                writer.finish().map_err(|source| PackError::Write { source })
            })
            .map_err(ImageError::io("cannot start a thread"))?;
        let label = format!("the changes of container {}", container.short());
        let received = receive(&self.inner.layers, &self.inner.content, &label, reader, &mut |_| {});
        let packed = packing.join().unwrap_or_else(|_| Err(PackError::Walk(io::Error::other("a thread panicked"))));
        // If the packing failed, that is why the layer seemed to end too early; if the receiver did, the packer only noticed.
        match (packed, received) {
            (Err(PackError::Write { .. }) | Ok(()), received) => received,
            (Err(error), _) => {
                Err(ImageError::Io { what: format!("cannot read {label}"), source: io::Error::other(error) })
            }
        }
    }
}

fn describe(
    base: Option<&Image>,
    config: &hako_model::ImageConfig,
    options: &CommitOptions,
    diff_ids: Vec<Digest>,
) -> Document {
    let platform = base.map_or_else(Platform::host, |image| image.platform.clone());
    let mut document = Document::new(&platform, config, clock::now());
    document.author.clone_from(&options.author);
    document.comment.clone_from(&options.comment);
    if let Some(base) = base {
        document.os_version.clone_from(&base.os_version);
        document.history = Document::parse(&base.raw_config).map(|document| document.history).unwrap_or_default();
    }
    document.rootfs = RootFs { diff_ids, ..RootFs::default() };
    document
}

fn line(options: &CommitOptions, empty_layer: bool) -> Line {
    Line {
        created: Some(clock::rfc3339_nano(clock::now())),
        created_by: options.created_by.clone(),
        author: options.author.clone(),
        comment: options.comment.clone(),
        empty_layer,
    }
}
