//! The members of an image archive, while and after they stream by.
//!
//! Which member is what is only known when the manifest has come, which in what Docker writes is last. So
//! members are judged by their first bytes: what looks like a layer is unpacked as it comes, small rest is
//! kept as a document. An entry's path is only a name to look up here, never a path on this host.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, Read},
};

use hako_model::Digest;

use super::{Inner, lease::Lease};
use crate::{
    ImageError, Progress,
    archive::walk,
    codec::{Codec, Peeked},
    content::digest_of,
    layer::{Received, receive},
    limits,
    tar::{Entry, Kind, Reader},
};

/// One member.
#[derive(Debug, Clone)]
pub(super) enum Member {
    Document(Vec<u8>),
    /// A layer with this diff id: it came, or was here.
    Layer(Digest),
    /// The same as another name.
    Link(String),
    /// What it was makes no sense, and why; an error only if something needs it.
    Unusable(String),
}

/// All members by name.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_name: HashMap<String, Member>,
    pub(super) received: HashMap<Digest, Received>,
    document_bytes: u64,
}

/// What reading members needs.
pub(super) struct Reading<'a> {
    pub(super) inner: &'a Inner,
    pub(super) lease: &'a Lease,
    pub(super) progress: &'a mut dyn FnMut(Progress),
}

impl Members {
    /// Reads a whole archive.
    pub(super) fn read(input: impl BufRead, reading: &mut Reading<'_>) -> Result<Self, ImageError> {
        let mut members = Self::default();
        let mut reader = Reader::new(input);
        let broken = |source| ImageError::ArchiveTar { source };
        while let Some(entry) = reader.next_entry().map_err(broken)? {
            if members.by_name.len() >= limits::ARCHIVE_MEMBERS_MAX {
                return Err(ImageError::archive(format!("it has more than {} members", limits::ARCHIVE_MEMBERS_MAX)));
            }
            let Some(name) = normal(&entry.path) else {
                return Err(ImageError::archive(format!("member {:?} lies outside of it", entry.shown())));
            };
            let member = match entry.kind {
                Kind::Directory => continue,
                Kind::File => members.file(&name, &entry, &mut reader, reading)?,
                Kind::Symlink | Kind::HardLink => link(&name, &entry),
                _ => Member::Unusable("it is a device".to_owned()),
            };
            members.by_name.insert(name, member);
        }
        Ok(members)
    }

    fn file<R: BufRead>(
        &mut self,
        name: &str,
        entry: &Entry,
        reader: &mut Reader<R>,
        reading: &mut Reading<'_>,
    ) -> Result<Member, ImageError> {
        let named = blob_name(name);
        if let Some(diff_id) = named.and_then(|digest| known_layer(reading.inner, digest)) {
            // It is here: the lease first, then another look, so that no removal comes between.
            reading.lease.hold(diff_id);
            if named.and_then(|digest| known_layer(reading.inner, digest)) == Some(diff_id) {
                (reading.progress)(Progress::Exists { layer: diff_id.short() });
                return Ok(Member::Layer(diff_id));
            }
        }
        let start = Peeked::new(&mut *reader, 512).map_err(|source| ImageError::Stream { what: "read", source })?;
        if looks_like_layer(start.start()) {
            return self.layer(name, entry.size, start, reading);
        }
        self.document(name, entry.size, start)
    }

    fn document(&mut self, name: &str, size: u64, mut input: impl Read) -> Result<Member, ImageError> {
        if size > limits::DOCUMENT_BYTES_MAX {
            return Ok(Member::Unusable(format!(
                "it is neither a layer nor a document of at most {} bytes",
                limits::DOCUMENT_BYTES_MAX
            )));
        }
        self.document_bytes += size;
        if self.document_bytes > limits::ARCHIVE_DOCUMENT_BYTES_MAX {
            return Err(ImageError::archive("its documents are too large"));
        }
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map_err(|source| ImageError::Stream { what: "read", source })?;
        if bytes.len() as u64 != size {
            return Err(ImageError::archive(format!("it ends in the middle of {name}")));
        }
        if let Some(expected) = blob_name(name) {
            let found = digest_of(&bytes);
            if found != expected {
                return Err(ImageError::DigestMismatch { what: name.to_owned(), expected, found });
            }
        }
        Ok(Member::Document(bytes))
    }

    fn layer(
        &mut self,
        name: &str,
        total: u64,
        input: impl Read,
        reading: &mut Reading<'_>,
    ) -> Result<Member, ImageError> {
        let shown = blob_name(name).map_or_else(|| name.chars().take(12).collect(), |digest| digest.short());
        let progress = &mut *reading.progress;
        let mut tell = |current| progress(Progress::Layer { layer: shown.clone(), current, total });
        let mut input = input;
        let label = format!("layer {name}");
        let received = receive(&reading.inner.layers, &reading.inner.content, &label, &mut input, &mut tell);
        let received = match received {
            Ok(received) => received,
            // Something that only looks like a layer is nobody's business until a manifest names it; if the stream
            // itself is whole, that is.
            Err(ImageError::Layer { source, .. })
                if source.kind() == hako_base::ErrorKind::InvalidInput
                    && std::io::copy(&mut input, &mut std::io::sink()).is_ok() =>
            {
                return Ok(Member::Unusable(hako_base::error::chain(&source)));
            }
            Err(error) => return Err(error),
        };
        if let Some(expected) = blob_name(name) {
            // Of what came plain the recipe is stored: then its tar is what came.
            let found = if received.compressed_here { received.diff_id } else { received.blob.digest };
            if found != expected {
                return Err(ImageError::DigestMismatch { what: name.to_owned(), expected, found });
            }
        }
        let diff_id = received.diff_id;
        reading.lease.hold(diff_id);
        self.received.entry(diff_id).or_insert(received);
        Ok(Member::Layer(diff_id))
    }

    /// The member of this name, links followed.
    pub(super) fn get(&self, name: &str) -> Result<&Member, ImageError> {
        let mut name = normal(name.as_bytes()).unwrap_or_default();
        // Docker up to 24 links a layer to another image's; a chain of links is not honest.
        for _ in 0..8 {
            match self.by_name.get(&name) {
                Some(Member::Link(target)) => name.clone_from(target),
                Some(Member::Unusable(why)) => return Err(ImageError::archive(format!("{name} is unusable: {why}"))),
                Some(member) => return Ok(member),
                None => return Err(ImageError::archive(format!("it has no {name}"))),
            }
        }
        Err(ImageError::archive(format!("{name} is a link without an end")))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// A document of this name.
    pub(super) fn document_of(&self, name: &str) -> Result<&[u8], ImageError> {
        match self.get(name)? {
            Member::Document(bytes) => Ok(bytes),
            _ => Err(ImageError::archive(format!("{name} is not a document"))),
        }
    }

    /// The diff id of a layer of this name; one that did not come may be here, if `known` knows it by its digest.
    pub(super) fn layer_of(&self, name: &str, known: &dyn Fn(Digest) -> Option<Digest>) -> Result<Digest, ImageError> {
        match self.get(name) {
            Ok(Member::Layer(diff_id)) => Ok(*diff_id),
            Ok(_) => Err(ImageError::archive(format!("{name} is not a layer"))),
            Err(missing) => {
                let digest = name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
                digest.and_then(known).ok_or(missing)
            }
        }
    }

    /// Layers that came but that none of these images has go.
    pub(super) fn keep_only(&mut self, wanted: &HashSet<Digest>) {
        self.received.retain(|diff_id, _| wanted.contains(diff_id));
    }
}

// A layer that is here, by the digest of its tar or of its blob.
pub(super) fn known_layer(inner: &Inner, digest: Digest) -> Option<Digest> {
    let catalog = inner.catalog.read();
    catalog
        .layers
        .values()
        .find(|layer| layer.diff_id == digest || (layer.blob == digest && !layer.is_recipe))
        .map(|layer| layer.diff_id)
}

/// A member's name without `.`, `..` and doubled slashes; `None` if it climbs out.
pub(super) fn normal(path: &[u8]) -> Option<String> {
    let parts = walk::components(path)?;
    Some(String::from_utf8_lossy(&parts.join(&b'/')).into_owned())
}

fn link(name: &str, entry: &Entry) -> Member {
    let above = name.rsplit_once('/').map_or("", |(above, _)| above);
    let target = match entry.kind {
        Kind::Symlink => [above.as_bytes(), b"/", &entry.link].concat(),
        _ => entry.link.clone(),
    };
    normal(&target).map_or_else(|| Member::Unusable("it is a link out of the archive".to_owned()), Member::Link)
}

// The digest that a name of an OCI layout promises.
fn blob_name(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/")?;
    format!("sha256:{hex}").parse().ok()
}

fn looks_like_layer(start: &[u8]) -> bool {
    if Codec::of(start) != Codec::Plain {
        return true;
    }
    let is_tar = start.len() == 512 && (&start[257..262] == b"ustar" || start.iter().all(|byte| *byte == 0));
    // A tar from before POSIX has no magic, but no document begins with a name and zeros.
    is_tar
        || (start.len() == 512
            && !matches!(start[0], b'{' | b'[')
            && start[99] == 0
            && start[156] <= b'7'
            && start[157..].contains(&0))
}
