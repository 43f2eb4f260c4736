//! Where the files of other front ends' graphs are from: images, layouts, directories of the client's, repositories,
//! addresses, and single blobs.

use std::{io::Read, sync::Arc};

use bollard_buildkit_proto::pb;
use hako_base::error::chain;
use hako_model::{Digest, Reference};

use super::{Solving, blocking, copy::Root, layout};
use crate::{
    attest::{Material, package},
    context::Context,
    depot::{Blob, BlobReader, RegistrySource, Source},
    error::BuildError,
    llb::Node,
    plan::platform_text,
    remote::{FetchedFile, Incoming, Remote},
    request::Wanted,
};

/// Bytes of a blob read at a time.
const PIECE_BYTES: usize = 128 << 10;

/// How one file is to be where it is put; what is not said stays as it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct FileWish {
    name: Option<String>,
    mode: Option<u32>,
    owner: (u32, u32),
}

impl FileWish {
    // BuildKit's `http.filename`, `http.perm` (octal), `http.uid` and `http.gid`, which blobs have as well.
    fn read(source: &pb::SourceOp) -> Result<Self, BuildError> {
        let attribute = |key: &str| source.attrs.get(key).filter(|value| !value.is_empty());
        let number = |key: &str, radix: u32| {
            let read = attribute(key).map(|text| u32::from_str_radix(text, radix)).transpose();
            read.map_err(|_| BuildError::invalid(format!("{key} is no number")))
        };
        let name = attribute("http.filename").cloned();
        if name.as_deref().is_some_and(|name| name.contains(['/', '\0']) || matches!(name, "." | "..")) {
            return Err(BuildError::invalid("http.filename is no name of a file"));
        }
        let owner = (number("http.uid", 10)?.unwrap_or(0), number("http.gid", 10)?.unwrap_or(0));
        Ok(Self { name, mode: number("http.perm", 8)?.map(|mode| mode & 0o7777), owner })
    }

    async fn put(
        self,
        solving: &Solving,
        file: FetchedFile,
        fresh: bool,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let name = self.name.unwrap_or_else(|| file.name.clone());
        solving.file_stack(file, &name, (self.owner, self.mode), fresh).await
    }
}

impl Wanted {
    // BuildKit's `local.includepattern`, `local.followpaths` and `local.excludepatterns`, each a list in JSON.
    fn read(source: &pb::SourceOp) -> Result<Self, BuildError> {
        let patterns = |key: &str| -> Result<Vec<String>, BuildError> {
            let text = source.attrs.get(key).map(String::as_str).filter(|text| !text.is_empty());
            let read = text.map(serde_json::from_str::<Vec<String>>).transpose();
            read.map(Option::unwrap_or_default).map_err(|error| BuildError::invalid(format!("{key}: {error}")))
        };
        let mut include = patterns("local.includepattern")?;
        include.extend(patterns("local.followpaths")?);
        Ok(Self { include, exclude: patterns("local.excludepatterns")? })
    }
}

impl Solving {
    pub(super) async fn source(
        &self,
        at: usize,
        node: &Node,
        source: &pb::SourceOp,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let (kind, rest) = source.identifier.split_once("://").unwrap_or((&source.identifier, ""));
        match kind {
            "docker-image" => self.graph_image(rest, node, at).await,
            "oci-layout" => {
                let digest = rest.rsplit_once('@').map_or(rest, |(_, digest)| digest);
                let store = source.attrs.get("oci.store").map_or("", String::as_str);
                self.graph_image(&format!("{}{store}@{digest}", layout::PREFIX), node, at).await
            }
            "local" => {
                let context = Context::empty(self.builder.root())?;
                let received = self.request.secrets.directory(rest, Wanted::read(source)?, context);
                let context = received.await.map_err(BuildError::invalid)?;
                self.context_stack(Root::Context(Arc::new(context)), ".", node.is_fresh).await
            }
            "hako-result" if rest == "scratch" => Ok((None, true)),
            "hako-result" => {
                let stack = rest.parse::<Digest>().map_err(|error| BuildError::invalid(format!("{error}")))?;
                if !self.hold.stack(Some(stack)) {
                    return Err(BuildError::invalid(format!("the result {stack} is gone")));
                }
                Ok((Some(stack), true))
            }
            "docker-image+blob" | "oci-layout+blob" => self.blob_source(node, source, (kind, rest)).await,
            "git" | "http" | "https" => self.remote_source(node, source, kind).await,
            _ => Err(BuildError::NotBuilt { text: format!("the source {} is not built yet", source.identifier) }),
        }
    }

    async fn graph_image(&self, name: &str, node: &Node, at: usize) -> Result<(Option<Digest>, bool), BuildError> {
        let image = self.find_image(name, node.platform.clone(), at).await?;
        if !self.hold.stack(image.chain_id) {
            return Err(BuildError::invalid(format!("the layers of {name} are gone")));
        }
        Ok((image.chain_id, true))
    }

    async fn remote_source(
        &self,
        node: &Node,
        source: &pb::SourceOp,
        kind: &str,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let attribute = |key: &str| source.attrs.get(key).filter(|value| !value.is_empty());
        let address = match attribute("git.fullurl") {
            Some(url) => {
                let reference = source.identifier.split_once('#').map(|(_, reference)| format!("#{reference}"));
                format!("{url}{}", reference.unwrap_or_default())
            }
            None if kind == "git" => format!("https://{}", source.identifier.trim_start_matches("git://")),
            None => source.identifier.clone(),
        };
        let is_git = kind == "git";
        let remote = if is_git { Remote::parse(&address)? } else { Some(Remote::Http(address.clone())) };
        match remote {
            Some(Remote::Git(mut git)) => {
                git.keep_git |= attribute("git.keepgitdir").is_some();
                let uri = crate::remote::shown(&git.url);
                let (context, checkout) = self.builder.git(git, &*self.request.secrets).await?;
                self.note_material(Material { uri, algorithm: "sha1", digest: checkout.commit });
                self.context_stack(Root::Context(Arc::new(context)), ".", node.is_fresh).await
            }
            Some(Remote::Http(url)) => {
                let checksum = attribute("http.checksum").map(|text| text.parse::<Digest>()).transpose();
                let checksum = checksum.map_err(|error| BuildError::invalid(format!("invalid checksum: {error}")))?;
                let fetched = self.builder.http(&url, checksum).await?;
                let (uri, digest) = (crate::remote::shown(&url), fetched.digest.hex());
                self.note_material(Material { uri, algorithm: "sha256", digest });
                let wish = FileWish::read(source)?;
                wish.put(self, fetched, node.is_fresh).await
            }
            None => Err(BuildError::invalid(format!("{address:?} is no address"))),
        }
    }

    // One blob as a file. A digest names it: a tag could be anything, and a blob has none.
    async fn blob_source(
        &self,
        node: &Node,
        source: &pb::SourceOp,
        (kind, place): (&str, &str),
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let wrong = |why: &str| BuildError::invalid(format!("{kind}://{place}: {why}"));
        let name: Reference = place.parse().map_err(|error| wrong(&format!("{error}")))?;
        let digest = name.digest().ok_or_else(|| wrong("checksum required in blob reference"))?;
        if name.tag().is_some() {
            return Err(wrong("tagged image reference not allowed for blob reference"));
        }
        let wish = FileWish::read(source)?;
        let input = match kind {
            "oci-layout+blob" => {
                let store = source.attrs.get("oci.store").map_or("", String::as_str);
                let layout = self.request.secrets.layout(store).ok_or_else(|| wrong("the client offers none"))?;
                // The client's store knows how large it is.
                layout.0.blob(Blob { digest, size: 0 }).await.map_err(|why| wrong(&why))?
            }
            _ => self.registry_blob(&name, digest).await?,
        };
        let (root, from) = (self.builder.root().to_owned(), format!("{kind}://{place}"));
        let fetched = blocking(move || {
            let incoming = Incoming::begin(&root, digest.hex(), from.clone())?;
            filled(incoming, input).map_err(|error| match error {
                BuildError::Io { source, .. } => BuildError::invalid(format!("failed to load {from}: {source}")),
                other => other,
            })
        });
        let fetched = fetched.await?.finish(0, Some(digest))?;
        let uri = package(&name, &platform_text(&hako_model::Platform::host()));
        self.note_material(Material { uri, algorithm: "sha256", digest: digest.hex() });
        wish.put(self, fetched, node.is_fresh).await
    }

    async fn registry_blob(&self, name: &Reference, digest: Digest) -> Result<BlobReader, BuildError> {
        let failed = |why: &dyn std::fmt::Display| BuildError::invalid(format!("failed to load {name}: {why}"));
        let (engine, credentials) =
            (self.builder.engine().clone(), self.request.secrets.credentials(name.domain()).await);
        let size = engine.artifact_size(name, digest, &credentials).await.map_err(|error| failed(&chain(&error)))?;
        let size = size.ok_or_else(|| failed(&"not found"))?;
        let source = RegistrySource { engine, name: name.clone(), credentials };
        source.blob(Blob { digest, size }).await.map_err(|why| failed(&why))
    }
}

// What is read, to its end.
fn filled(mut incoming: Incoming, mut input: BlobReader) -> Result<Incoming, BuildError> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match input.read(&mut piece).map_err(BuildError::io("cannot read it"))? {
            0 => return Ok(incoming),
            count => incoming.take(&piece[..count])?,
        }
    }
}
