//! One blob, from a registry to a channel: in order, whatever it takes.
//!
//! A connection that breaks is taken up where it broke. A large blob comes in parts over several connections at once,
//! if its server gives parts, since many give each connection only so much.

use std::{collections::VecDeque, io};

use bytes::Bytes;
use hako_base::backoff::Doubling;
use hyper::StatusCode;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    client::{RegistryError, Remote, pause},
    limits,
    progress::{Bar, Steps},
    pull::Blob,
};

/// Sends every byte of a blob on, in order; stops early when the receiver has failed.
pub(crate) async fn download(
    remote: &Remote,
    layer: Blob,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    steps: &Steps,
) -> Result<(), RegistryError> {
    let mut bar = steps.bar(&layer.digest.short(), "Downloading", layer.size);
    let mut done = 0;
    if layer.size >= limits::PARTS_LAYER_MIN {
        match in_parts(remote, layer, &mut done, sender, &mut bar).await {
            Ok(true) => return Ok(()),
            // From where the parts ended, over one connection.
            Ok(false) => {}
            Err(error) if error.is_passing() => {
                tracing::debug!(%error, layer = %layer.digest, done, "parts broke off; the rest comes in one");
            }
            Err(error) => return Err(error),
        }
    }
    let attempts = remote.client().settings().attempts.max(1);
    let mut left = attempts;
    let mut pauses = Doubling::new(limits::RETRY_PAUSE, limits::RETRY_PAUSE_MAX);
    loop {
        let before = done;
        match download_from(remote, layer, &mut done, sender, &mut bar).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                // What moves is not given up.
                left = if done > before { attempts } else { left - 1 };
                if left == 0 || !error.is_passing() {
                    return Err(error);
                }
                tracing::debug!(%error, layer = %layer.digest, done, "a download broke off and is resumed");
            }
        }
        pause(pauses.next().unwrap_or(limits::RETRY_PAUSE_MAX)).await;
    }
}

/// A part that is on its way; dropping it ends it.
struct Part(JoinHandle<Result<Option<Vec<u8>>, RegistryError>>);

impl Drop for Part {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// A few parts at once, sent on in order. `false`: the server gives no parts.
async fn in_parts(
    remote: &Remote,
    layer: Blob,
    done: &mut u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    bar: &mut Bar,
) -> Result<bool, RegistryError> {
    let mut coming: VecDeque<Part> = VecDeque::new();
    let mut next = 0;
    // The first alone: whether there are parts at all.
    let mut at_once = 1;
    while *done < layer.size {
        while coming.len() < at_once && next < layer.size {
            let (remote, start, end) = (remote.clone(), next, (next + limits::PART_BYTES).min(layer.size));
            coming.push_back(Part(tokio::spawn(async move { remote.blob_part(layer.digest, start, end).await })));
            next = end;
        }
        let Some(mut part) = coming.pop_front() else { return Ok(false) };
        let came = (&mut part.0).await.map_err(|_| RegistryError::Invalid("the pull was cut off".to_owned()))?;
        let Some(bytes) = came? else { return Ok(false) };
        at_once = limits::PARTS_AT_ONCE;
        *done += bytes.len() as u64;
        bar.set(*done);
        if sender.send(Ok(bytes.into())).await.is_err() {
            // The unpacking has failed, and says why.
            return Ok(true);
        }
    }
    Ok(true)
}

async fn download_from(
    remote: &Remote,
    layer: Blob,
    done: &mut u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    bar: &mut Bar,
) -> Result<(), RegistryError> {
    let mut answer = remote.blob(layer.digest, *done).await?;
    // A server without ranges begins anew: what is here already is passed over.
    let mut skip = if answer.status == StatusCode::PARTIAL_CONTENT { 0 } else { *done };
    if answer.status == StatusCode::PARTIAL_CONTENT {
        let start = answer.header("content-range").and_then(range_start);
        if start != Some(*done) {
            let why = "the registry sent another part of the blob than was asked for".to_owned();
            return Err(RegistryError::Malformed { what: "a blob", address: answer.address.to_string(), why });
        }
    }
    while let Some(mut chunk) = answer.chunk().await? {
        let passed = skip.min(chunk.len() as u64);
        skip -= passed;
        let _ = chunk.split_to(usize::try_from(passed).unwrap_or(chunk.len()));
        if chunk.is_empty() {
            continue;
        }
        *done += chunk.len() as u64;
        if *done > layer.size {
            let (what, address) = (format!("layer {}", layer.digest), answer.address.to_string());
            return Err(RegistryError::TooLarge { what, address, most: layer.size });
        }
        bar.set(*done);
        if sender.send(Ok(chunk)).await.is_err() {
            // The unpacking has failed, and says why.
            return Ok(());
        }
    }
    if *done < layer.size {
        let (method, address) = ("Get".to_owned(), answer.address.to_string());
        return Err(RegistryError::Transport { method, address, why: "unexpected EOF".to_owned() });
    }
    Ok(())
}

// `bytes START-END/SIZE`
fn range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
