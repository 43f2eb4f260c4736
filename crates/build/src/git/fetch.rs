//! The conversation with a repository's server, and what comes of it: files of one commit.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    pin::Pin,
};

use hako_archive::walk;
use hako_base::error::chain;
use hako_engine::{
    Engine,
    view::{WebAnswer, WebBody, WebRequest, WebSent},
};
use hyper::Method;
use rustix::fs::OFlags;

use super::{
    address::GitAddress,
    directory,
    pack::{ObjectId, Pack},
    tree::{self, Commit, Made},
    wire::{self, Advertised, Packet, Packets},
};
use crate::{error::BuildError, limits, solve::blocking};

/// Who we are at the repository's server: the value of `Authorization`. Other servers never see it.
#[derive(Clone, Default)]
pub(crate) struct GitAuth(pub(crate) Option<String>);

/// A repository that was asked what it has.
pub(crate) struct Repository {
    engine: Engine,
    address: GitAddress,
    auth: GitAuth,
    advertised: Advertised,
    /// What is wanted, and the name by which it was found.
    tip: ObjectId,
}

/// What was checked out.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    pub(crate) commit: String,
    /// When it was committed.
    pub(crate) time: i64,
}

fn failed(address: &GitAddress, why: impl std::fmt::Display) -> BuildError {
    BuildError::invalid(format!("failed to fetch the git repository {}: {why}", without_user(&address.url)))
}

/// An address without who we are there: it may be shown and kept.
pub(super) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

impl Repository {
    /// Asks what a repository has, and finds what is wanted of it.
    pub(crate) async fn ask(engine: Engine, address: GitAddress, auth: GitAuth) -> Result<Self, BuildError> {
        let request = WebRequest {
            address: format!("{}/info/refs?service=git-upload-pack", address.url),
            authorization: auth.0.clone(),
            ..WebRequest::default()
        };
        let mut answer = engine.web_fetch(request).await.map_err(|error| failed(&address, chain(&error)))?;
        match answer.status() {
            200 => {}
            401 | 403 => {
                return Err(failed(&address, "authentication required (secrets GIT_AUTH_TOKEN, GIT_AUTH_HEADER)"));
            }
            404 => return Err(failed(&address, "repository not found")),
            other => return Err(failed(&address, format!("the server answers {other}"))),
        }
        if answer.header("content-type") != Some("application/x-git-upload-pack-advertisement") {
            return Err(failed(&address, "the server does not speak git's smart protocol"));
        }
        let mut advertised = Advertised::default();
        let mut packets = Packets::default();
        let mut size = 0;
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&address, chain(&error)))? {
            size += chunk.len();
            if size > limits::GIT_REFERENCES_BYTES_MAX {
                return Err(failed(&address, "it has too many references"));
            }
            packets.feed(&chunk);
            while let Some(packet) = packets.next().map_err(|why| failed(&address, why))? {
                if let Packet::Data(data) = packet {
                    advertised.line(&data).map_err(|why| failed(&address, why))?;
                }
            }
        }
        let name = &address.reference;
        let tip = advertised.find(name).ok_or_else(|| {
            let what =
                if name.is_empty() { "it is empty".to_owned() } else { format!("no branch, tag or commit {name:?}") };
            failed(&address, what)
        })?;
        // A redirect may lead to another server, and then what follows goes there, without who we are here.
        let mut address = address;
        let mut auth = auth;
        if let Some(moved) = answer.address().split("/info/refs").next().filter(|moved| !moved.is_empty()) {
            if host_of(moved) == host_of(&address.url) {
                // The user in the address is no part of the answer's.
                if !address.url.contains('@') {
                    moved.clone_into(&mut address.url);
                }
            } else {
                moved.clone_into(&mut address.url);
                auth = GitAuth::default();
            }
        }
        Ok(Self { engine, address, auth, advertised, tip })
    }

    /// Brings the commit and makes its files in an empty directory; `scratch` is for what lasts no longer than that.
    pub(crate) async fn check_out(self, scratch: PathBuf, into: OwnedFd) -> Result<Checkout, BuildError> {
        self.check_out_below(scratch, into, 0).await
    }

    // Boxed, since submodules have submodules.
    fn check_out_below(
        self,
        scratch: PathBuf,
        into: OwnedFd,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Checkout, BuildError>> + Send>> {
        Box::pin(self.check_out_now(scratch, into, depth))
    }

    async fn check_out_now(self, scratch: PathBuf, into: OwnedFd, depth: usize) -> Result<Checkout, BuildError> {
        let pack = self.fetch(&scratch).await?;
        let (commit, made, into) = {
            let (tip, address) = (self.tip, self.address.clone());
            let name = self.advertised.references.iter().find(|(name, id)| *id == tip && name.starts_with("refs/"));
            let name = name.map(|(name, _)| name.clone());
            blocking(move || -> Result<_, BuildError> {
                let pack =
                    Pack::open(pack).map_err(|why| failed(&address, format!("the pack that came is broken: {why}")))?;
                let commit = tree::commit(&pack, tip).map_err(|why| failed(&address, why))?;
                let id = commit.id.to_string();
                if !id.starts_with(&address.checksum.to_lowercase()) {
                    let expected = &address.checksum;
                    return Err(failed(&address, format!("expected checksum to match {expected}, got {id}")));
                }
                let made = tree::check_out(&pack, commit, into.as_fd()).map_err(|why| failed(&address, why))?;
                if address.keep_git {
                    let url = without_user(&address.url);
                    let kept = directory::keep(into.as_fd(), &url, name.as_deref(), tip, commit, &pack, &made);
                    kept.map_err(|error| failed(&address, format!("cannot write .git: {error}")))?;
                }
                Ok((commit, made, into))
            })
            .await?
        };
        if self.address.submodules {
            self.submodules(&scratch, &into, &made, depth).await?;
        }
        let Commit { id, time, .. } = commit;
        Ok(Checkout { commit: id.to_string(), time })
    }

    async fn submodules(&self, scratch: &Path, into: &OwnedFd, made: &[Made], depth: usize) -> Result<(), BuildError> {
        let wanted: Vec<&Made> = made.iter().filter(|file| file.mode == tree::SUBMODULE).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if depth >= limits::GIT_SUBMODULE_DEPTH_MAX {
            return Err(failed(&self.address, "its submodules have submodules without end"));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = walk::open_leaf(into.as_fd(), b".gitmodules", flags);
        let mut text = String::new();
        if let Ok(file) = opened {
            let mut file = std::io::Read::take(File::from(file), limits::DOCKERFILE_BYTES_MAX as u64);
            std::io::Read::read_to_string(&mut file, &mut text)
                .map_err(|error| failed(&self.address, format!("cannot read .gitmodules: {error}")))?;
        }
        let places = tree::submodules(&text);
        for module in wanted {
            let path = String::from_utf8_lossy(&module.path).into_owned();
            let Some((_, url)) = places.iter().find(|(place, _)| *place == path) else {
                return Err(failed(&self.address, format!("no url found for submodule path {path:?} in .gitmodules")));
            };
            let url = resolve(&self.address.url, url).ok_or_else(|| {
                failed(&self.address, format!("the submodule {path} is at {url}: only http and https are spoken"))
            })?;
            let auth = if host_of(&url) == host_of(&self.address.url) { self.auth.clone() } else { GitAuth::default() };
            let address = GitAddress {
                url,
                reference: module.id.to_string(),
                submodules: true,
                keep_git: false,
                ..GitAddress::default()
            };
            let below = walk::open_leaf(into.as_fd(), &module.path, OFlags::RDONLY | OFlags::DIRECTORY);
            let below = below.map_err(|error| failed(&self.address, format!("cannot open {path}: {error}")))?;
            let repository = Self::ask(self.engine.clone(), address, auth).await?;
            repository.check_out_below(scratch.to_owned(), below, depth + 1).await?;
        }
        Ok(())
    }

    // The pack with what is wanted: one commit, or all that there is where the server gives no single commits.
    async fn fetch(&self, scratch: &Path) -> Result<File, BuildError> {
        let is_told = self.advertised.references.iter().any(|(_, id)| *id == self.tip);
        let one_deep = self.advertised.can("shallow");
        match self.upload_pack(scratch, &[self.tip], one_deep).await {
            Err(_) if !is_told => self.upload_pack(scratch, &self.advertised.tips(), false).await,
            other => other,
        }
    }

    async fn upload_pack(&self, scratch: &Path, wanted: &[ObjectId], one_deep: bool) -> Result<File, BuildError> {
        let request = WebRequest {
            address: format!("{}/git-upload-pack", self.address.url),
            headers: vec![("accept", "application/x-git-upload-pack-result".to_owned())],
            authorization: self.auth.0.clone(),
            sent: Some(WebSent {
                method: Method::POST,
                kind: "application/x-git-upload-pack-request",
                body: WebBody::Bytes(wire::request(wanted, &self.advertised, one_deep).into()),
            }),
            ..WebRequest::default()
        };
        let failed = |why: &dyn std::fmt::Display| failed(&self.address, why);
        let mut answer = self.engine.web_fetch(request).await.map_err(|error| failed(&chain(&error)))?;
        if answer.status() != 200 {
            return Err(failed(&format!("the server answers {}", answer.status())));
        }
        let path = scratch.join(format!("{}.pack", hako_base::random::hex(8)));
        let open = || File::options().read(true).write(true).create_new(true).open(&path);
        let io = |error: std::io::Error| failed(&format!("cannot store the pack: {error}"));
        let mut file = open().map_err(io)?;
        // It has no name any more, and is gone with the last that has it open.
        std::fs::remove_file(&path).map_err(io)?;
        let taken = take(&mut answer, &mut file, self.advertised.can("side-band-64k")).await;
        taken.map_err(|why| failed(&why))?;
        std::io::Seek::rewind(&mut file).map_err(io)?;
        Ok(file)
    }
}

// What comes before the pack, and the pack.
async fn take(answer: &mut WebAnswer, file: &mut File, has_bands: bool) -> Result<(), String> {
    let mut packets = Packets::default();
    let (mut in_pack, mut size) = (false, 0_u64);
    let mut store = |bytes: &[u8]| -> Result<(), String> {
        size += bytes.len() as u64;
        if size > limits::GIT_PACK_BYTES_MAX {
            return Err(format!("it is larger than {} bytes", limits::GIT_PACK_BYTES_MAX));
        }
        file.write_all(bytes).map_err(|error| format!("cannot store the pack: {error}"))
    };
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
        if in_pack && !has_bands {
            store(&chunk)?;
            continue;
        }
        packets.feed(&chunk);
        while let Some(packet) = packets.next()? {
            let Packet::Data(data) = packet else { continue };
            match (in_pack, data.split_first()) {
                (true, Some((1, bytes))) => store(bytes)?,
                (true, Some((3, bytes))) => return Err(String::from_utf8_lossy(bytes).trim().to_owned()),
                (true, _) => {}
                (false, _) if data.starts_with(b"NAK") || data.starts_with(b"ACK") => {
                    in_pack = true;
                    if !has_bands {
                        break;
                    }
                }
                (false, _) if data.starts_with(b"ERR ") => {
                    return Err(String::from_utf8_lossy(&data[4..]).trim().to_owned());
                }
                (false, _) => {}
            }
        }
        if in_pack && !has_bands {
            store(&packets.rest())?;
        }
    }
    if in_pack && size > 0 { Ok(()) } else { Err("the server sent no pack".to_owned()) }
}

// Where a submodule is: an address of its own, or one beside its repository.
fn resolve(base: &str, url: &str) -> Option<String> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Some(url.to_owned());
    }
    if !url.starts_with("./") && !url.starts_with("../") {
        return None;
    }
    let (scheme, rest) = base.split_once("://")?;
    let mut parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    for part in url.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.len() > 1 => drop(parts.pop()),
            ".." => return None,
            other => parts.push(other),
        }
    }
    Some(format!("{scheme}://{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_are_beside_their_repository() {
        let base = "https://host/me/it.git";
        assert_eq!(resolve(base, "../lib.git").as_deref(), Some("https://host/me/lib.git"));
        assert_eq!(resolve(base, "../../../lib.git"), None);
        assert_eq!(resolve(base, "/etc"), None);
        assert_eq!(resolve(base, "ext::sh -c touch"), None);
        assert_eq!(resolve(base, "file:///etc"), None);
        assert_eq!(
            (host_of("https://me:x@host:1/a"), without_user("https://me:x@host/a").as_str()),
            ("host:1", "https://host/a")
        );
    }
}
