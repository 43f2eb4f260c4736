//! An image as a tar in OCI's layout (image-layout.md): blobs by digest, and an index that names it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use hako_archive::tar::{Entry, Kind, Writer};
use hako_image::Store;
use hako_model::{Digest, Reference};
use serde_json::{Value, json};

use super::index::{Assembly, Document, Piece};
use crate::BuildError;

/// Writes an assembly, under these names. The same documents give the same bytes.
pub(super) fn write(
    store: &Store,
    assembly: &Assembly,
    names: &[Reference],
    output: impl Write,
) -> Result<(), BuildError> {
    let written = |source| BuildError::Io { what: "cannot write the archive".to_owned(), source };
    let mut writer = Writer::new(output);
    for directory in ["blobs/", "blobs/sha256/"] {
        let entry = Entry { mode: 0o755, ..Entry::new(directory, Kind::Directory) };
        writer.entry(&entry).map_err(written)?;
    }
    let file = |name: &str| Entry { mode: 0o644, ..Entry::new(name, Kind::File) };
    for (digest, piece) in pieces(assembly) {
        let entry = file(&format!("blobs/sha256/{}", digest.hex()));
        match piece {
            Piece::Bytes(bytes) => writer.whole(&entry, &bytes).map_err(written)?,
            Piece::Layer(layer) => {
                let mut blob = store.blob_open(&layer)?;
                writer.entry(&Entry { size: layer.size, ..entry }).map_err(written)?;
                copy(&mut blob, &mut writer).map_err(written)?;
            }
        }
    }
    writer.whole(&file("index.json"), &index(assembly, names)).map_err(written)?;
    writer.whole(&file("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(written)?;
    writer.finish().and_then(|mut output| output.flush()).map_err(written)
}

// Every blob once, in the order of digests.
fn pieces(assembly: &Assembly) -> BTreeMap<Digest, Piece> {
    let documents: Vec<&Document> = assembly.manifests.iter().chain([&assembly.top]).collect();
    let mut pieces = BTreeMap::new();
    for document in documents {
        pieces.insert(document.digest, Piece::Bytes(document.bytes.clone()));
        pieces.extend(document.blobs.iter().map(|piece| (piece.digest(), piece.clone())));
    }
    pieces
}

fn index(assembly: &Assembly, names: &[Reference]) -> Vec<u8> {
    let named = |name: Option<&Reference>| {
        let mut descriptor = assembly.top.descriptor();
        let mut annotations = assembly.annotations.clone();
        if let Some(name) = name {
            annotations.insert("io.containerd.image.name".to_owned(), Value::String(name.to_string()));
            let tag = name.tag().unwrap_or_default().to_owned();
            annotations.insert("org.opencontainers.image.ref.name".to_owned(), Value::String(tag));
        }
        if !annotations.is_empty() {
            descriptor["annotations"] = json!(annotations);
        }
        descriptor
    };
    let manifests: Vec<Value> =
        if names.is_empty() { vec![named(None)] } else { names.iter().map(|name| named(Some(name))).collect() };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    serde_json::to_vec(&index).unwrap_or_default()
}

fn copy(input: &mut impl Read, writer: &mut Writer<impl Write>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    while writer.missing() > 0 {
        let most = usize::try_from(writer.missing()).unwrap_or(usize::MAX).min(buffer.len());
        match input.read(&mut buffer[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => writer.payload(&buffer[..count])?,
        }
    }
    Ok(())
}
