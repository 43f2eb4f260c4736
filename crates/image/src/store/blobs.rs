//! The layers of a stack as blobs that go elsewhere, and layers that come from there: the cache of a build, whose
//! layers need no image.

use std::{fs::File, io::Read};

use hako_model::Digest;

use super::{Arrivals, Hold, Placed, ShippedLayer, Store, WantedLayer, shipment::shipped};
use crate::{
    ImageError,
    catalog::{Change, chain_id},
    layer::receive,
};

impl Store {
    /// The blobs of a stack's layers, base first; nothing of a stack that is not here.
    pub fn stack_blobs(&self, stack: Option<Digest>) -> Vec<ShippedLayer> {
        self.inner.catalog.read().stack(stack).into_iter().rev().map(shipped).collect()
    }

    /// A layer's blob, to be read; whoever needs it holds its stack.
    ///
    /// # Errors
    /// When it is gone, or there is but a recipe.
    pub fn blob_open(&self, layer: &ShippedLayer) -> Result<File, ImageError> {
        if layer.is_recipe {
            return Err(ImageError::Missing { what: format!("the blob of layer {}", layer.diff_id) });
        }
        self.inner.content.file(layer.blob)
    }

    /// The same layers for those who may be old clients: what was made here is gzip then. Blocks for the time it takes.
    ///
    /// # Errors
    /// When a layer is damaged or the disk fails; what was there stays then.
    pub fn stack_gzip(&self, layers: &[ShippedLayer]) -> Result<Vec<ShippedLayer>, ImageError> {
        let gzip = |layer: &ShippedLayer| {
            if layer.should_be_gzip() { self.recompression(layer.diff_id).make_gzip() } else { Ok(*layer) }
        };
        layers.iter().map(gzip).collect()
    }

    /// The stack with this layer on top of `parent`, if it is here; it stays then.
    pub fn stack_with(&self, parent: Option<Digest>, diff_id: Digest, hold: &Hold) -> Option<Digest> {
        // The lease first, so that no removal comes between.
        hold.lease.hold(diff_id);
        let chain = chain_id(parent, diff_id);
        self.inner.catalog.read().layers.contains_key(&chain).then_some(chain)
    }

    /// Puts a layer that comes from elsewhere on top of `parent`; answers the new stack. Like what a build makes, it is
    /// written down when somebody needs it for good.
    ///
    /// # Errors
    /// When it is not the layer that was promised, or the disk fails; nothing of it is left then.
    pub fn layer_take(
        &self,
        parent: Option<Digest>,
        wanted: WantedLayer,
        input: impl Read,
        hold: &Hold,
    ) -> Result<Digest, ImageError> {
        let inner = &*self.inner;
        hold.lease.hold(wanted.diff_id);
        let label = format!("layer {}", wanted.blob);
        let received = receive(&inner.layers, &inner.content, &label, input, &mut |_| {})?;
        // What came plain has the digest of its tar; of that, the recipe is stored.
        if received.blob.digest != wanted.blob && received.diff_id != wanted.blob {
            return Err(ImageError::DigestMismatch { what: label, expected: wanted.blob, found: received.blob.digest });
        }
        if received.diff_id != wanted.diff_id {
            let what = format!("the tar of {label}");
            return Err(ImageError::DigestMismatch { what, expected: wanted.diff_id, found: received.diff_id });
        }
        let mut arrived = Arrivals::default();
        arrived.received.insert(wanted.diff_id, received);
        self.place_pending(parent, wanted.diff_id, arrived)
    }

    /// Puts a layer in its place without a record: a build goes on.
    pub(super) fn place_pending(
        &self,
        parent: Option<Digest>,
        diff_id: Digest,
        mut arrived: Arrivals,
    ) -> Result<Digest, ImageError> {
        let inner = &*self.inner;
        let _writing = inner.writing.lock();
        let mut change = Change::default();
        let mut placed = Placed { inner, chains: Vec::new(), blobs: Vec::new(), done: false };
        let chain = placed.layer(parent, diff_id, &mut arrived, &mut change)?;
        let mut catalog = inner.catalog.write();
        for layer in change.layers {
            catalog.pending.insert(layer.chain_id);
            catalog.layers.insert(layer.chain_id, layer);
        }
        placed.done = true;
        Ok(chain)
    }
}
