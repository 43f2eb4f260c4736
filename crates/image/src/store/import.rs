//! `import`: the tar of a root filesystem becomes an image of one layer.

use std::io::Read;

use hako_base::clock;
use hako_model::{Digest, ImageConfig, Platform};

use super::{Arrivals, Candidate, Store};
use crate::{
    ImageError, ImportOptions,
    catalog::ImageRecord,
    change, codec,
    config::{Document, Line, RootFs},
    content::digest_of,
    layer::receive,
};

impl Store {
    /// Makes an image of a root filesystem's tar (plain or compressed). Answers its id.
    ///
    /// # Errors
    /// When a change is malformed, the tar is not one, or the disk fails; nothing is left then.
    pub fn import(
        &self,
        input: impl Read,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Digest, ImageError> {
        // What a person typed is judged before gigabytes are read.
        let mut config = ImageConfig::default();
        change::apply(&mut config, &options.changes)?;
        let label = "the root filesystem archive";
        let input = codec::without_foreign(input).map_err(|source| ImageError::Stream { what: "read", source })?;
        let received = receive(&self.inner.layers, &self.inner.content, label, input, progress)?;
        let said = options.message.clone().filter(|message| !message.is_empty());
        let comment = said.unwrap_or_else(|| "Imported from -".to_owned());
        let now = clock::now();
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let mut document = Document::new(&platform, &config, now);
        document.comment.clone_from(&comment);
        document.rootfs = RootFs { diff_ids: vec![received.diff_id], ..RootFs::default() };
        document.history = vec![Line { created: Some(clock::rfc3339_nano(now)), comment, ..Line::default() }];
        let raw = document.bytes();
        let id = digest_of(&raw);
        let candidate = Candidate {
            config: raw.into(),
            id,
            diff_ids: vec![received.diff_id],
            record: ImageRecord::default(),
            references: options.reference.clone().map(|name| name.with_default_tag()).into_iter().collect(),
        };
        let mut arrivals = Arrivals::default();
        arrivals.received.insert(received.diff_id, received);
        self.record(vec![candidate], arrivals)?;
        Ok(id)
    }
}
