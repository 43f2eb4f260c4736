//! A layer that is damaged here, brought once more from where its image came from.

use hako_base::chunks::ChunkReader;
use hako_image::{LayerCheck, Store};
use tokio::sync::mpsc;

use crate::{
    client::{Client, Credentials, RegistryError, Remote},
    download::download,
    limits,
    progress::Steps,
    pull::{Blob, blocking},
};

impl Client {
    /// Makes a layer what it was: from its blob, if that is good, else from the registries that its images are known at.
    ///
    /// # Errors
    /// When none of them has it, or it cannot be replaced now.
    pub async fn repair(
        &self,
        store: &Store,
        check: &LayerCheck,
        credentials: &Credentials,
    ) -> Result<(), RegistryError> {
        if check.blob_damage.is_none() {
            let (store, check) = (store.clone(), check.clone());
            return Ok(blocking(move || store.layer_repair(&check, None::<std::io::Empty>)).await??);
        }
        let mut failure = None;
        for name in if check.is_made_here { Vec::new() } else { store.layer_sources(check) } {
            for remote in self.remotes(&name, credentials, false)? {
                match fetch(&remote, store, check).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failure = Some(error),
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            let layer = check.diff_id;
            RegistryError::Invalid(format!("layer {layer} is known at no registry: load or build the image again"))
        }))
    }
}

async fn fetch(remote: &Remote, store: &Store, check: &LayerCheck) -> Result<(), RegistryError> {
    let (sender, mut chunks) = mpsc::channel(limits::LAYER_CHUNKS_QUEUED_MAX);
    let reader = ChunkReader::new(move || chunks.blocking_recv());
    let (held, known) = (store.clone(), check.clone());
    let replacing = tokio::task::spawn_blocking(move || held.layer_repair(&known, Some(reader)));
    // Nobody listens to how far it is.
    let steps = Steps::new(mpsc::channel(1).0);
    let came = download(remote, Blob { digest: check.blob, size: check.blob_size }, &sender, &steps).await;
    if let Err(error) = &came {
        let _ = sender.send(Err(std::io::Error::other(error.to_string()))).await;
    }
    drop(sender);
    let replaced = replacing.await.map_err(|_| RegistryError::Invalid("the daemon is stopping".to_owned()))?;
    came?;
    Ok(replaced?)
}
