//! Addresses as sources of files: what `ADD` names, and contexts that are elsewhere.

use std::{collections::HashMap, fs::File, io::Write, os::fd::AsFd, path::Path};

use hako_archive::is_tar;
use hako_base::error::chain;
use hako_engine::view::WebRequest;
use hako_model::Digest;
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};

use crate::{
    cache::Hasher,
    context::Context,
    error::BuildError,
    git::{Checkout, GitAddress, GitAuth, Repository},
    limits,
    request::{RemoteSource, Secrets},
    solve::{Builder, blocking},
};

/// What is somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    Git(GitAddress),
    Http(String),
}

impl Remote {
    /// Reads an address; `None`: it is none.
    ///
    /// # Errors
    /// A repository that cannot be asked.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, BuildError> {
        if let Some(address) = GitAddress::parse(text)? {
            return Ok(Some(Self::Git(address)));
        }
        let is_http = text.starts_with("http://") || text.starts_with("https://");
        Ok(is_http.then(|| Self::Http(text.to_owned())))
    }
}

/// A context that was elsewhere.
pub struct RemoteContext {
    pub context: Context,
    /// The Dockerfile, if the address was that of one.
    pub dockerfile: Option<String>,
    /// What was there: the address as it was given.
    pub source: Option<RemoteSource>,
}

/// One file that was fetched: alone in a directory, under the name that the server gave it.
pub(crate) struct FetchedFile {
    pub(crate) context: Context,
    pub(crate) name: String,
    pub(crate) digest: Digest,
}

impl Builder {
    /// Brings a context from its address: a repository, a tar, or a Dockerfile alone.
    ///
    /// # Errors
    /// An address that is none, and whatever its server answers.
    pub async fn remote_context(
        &self,
        address: &str,
        keep_git: bool,
        secrets: &dyn Secrets,
    ) -> Result<RemoteContext, BuildError> {
        match Remote::parse(address)? {
            Some(Remote::Git(mut git)) => {
                git.keep_git |= keep_git;
                let (context, checkout) = self.git(git, secrets).await?;
                let (digest, time) = (checkout.commit, Some(checkout.time));
                let source = RemoteSource { address: address.to_owned(), algorithm: "sha1", digest, time };
                Ok(RemoteContext { context, dockerfile: None, source: Some(source) })
            }
            Some(Remote::Http(url)) => self.unpacked(&url).await,
            None => Err(BuildError::invalid(format!("{address:?} is no address of a build context"))),
        }
    }

    async fn unpacked(&self, url: &str) -> Result<RemoteContext, BuildError> {
        let fetched = self.http(url, None).await?;
        let (root, address) = (self.root().to_owned(), url.to_owned());
        blocking(move || {
            let FetchedFile { context, name, digest } = fetched;
            let source = Some(RemoteSource { address, algorithm: "sha256", digest: digest.hex(), time: None });
            let open = || {
                let opened = hako_archive::walk::open_leaf(context.as_fd(), name.as_bytes(), OFlags::RDONLY);
                opened.map(File::from).map_err(BuildError::io(format!("cannot open {name}")))
            };
            if is_tar(open()?) {
                let unpacked = Context::unpack(&root, open()?)?;
                return Ok(RemoteContext { context: unpacked, dockerfile: None, source });
            }
            let dockerfile = context.text(&name)?;
            Ok(RemoteContext { context: Context::empty(&root)?, dockerfile, source })
        })
        .await
    }

    /// The files of a repository's commit, and which that is.
    pub(crate) async fn git(
        &self,
        address: GitAddress,
        secrets: &dyn Secrets,
    ) -> Result<(Context, Checkout), BuildError> {
        let auth = git_auth(&address.url, secrets).await?;
        let context = Context::empty(self.root())?;
        let into = context.as_fd().try_clone_to_owned().map_err(BuildError::io("cannot copy a descriptor"))?;
        let directory = address.directory.clone();
        let repository = Repository::ask(self.engine().clone(), address, auth).await?;
        let checkout = repository.check_out(self.root().to_owned(), into).await?;
        tracing::debug!(commit = checkout.commit, "a git repository was checked out");
        let context = if directory.is_empty() { context } else { context.below(&directory)? };
        Ok((context, checkout))
    }

    /// Fetches a file, which must have this digest.
    pub(crate) async fn http(&self, url: &str, checksum: Option<Digest>) -> Result<FetchedFile, BuildError> {
        let failed = |why: &dyn std::fmt::Display| failed(&shown(url), why);
        let request = WebRequest { address: url.to_owned(), ..WebRequest::default() };
        let mut answer = self.engine().web_fetch(request).await.map_err(|error| failed(&chain(&error)))?;
        if answer.status() != 200 {
            return Err(failed(&format!("invalid response status {}", answer.status())));
        }
        let disposition = answer.header("content-disposition").unwrap_or_default();
        let name = name_of(disposition, url);
        let modified = answer.header("last-modified").and_then(http_date);
        let mut incoming = Incoming::begin(self.root(), name, shown(url))?;
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&chain(&error)))? {
            incoming.take(&chunk)?;
        }
        incoming.finish(modified.unwrap_or(0), checksum)
    }
}

/// A file that is coming, alone in a directory.
pub(crate) struct Incoming {
    context: Context,
    name: String,
    /// What it is of, for errors.
    from: String,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Incoming {
    /// An empty file of this name, which is one without slashes.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn begin(root: &Path, name: String, from: String) -> Result<Self, BuildError> {
        let context = Context::empty(root)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(context.as_fd(), &*name, flags, Mode::from_raw_mode(0o600));
        let file = File::from(opened.map_err(|error| failed(&from, &format!("cannot store it: {error}")))?);
        Ok(Self { context, name, from, file, hasher: Hasher::default(), size: 0 })
    }

    /// # Errors
    /// When it becomes too large, or the disk is full.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> Result<(), BuildError> {
        self.size += chunk.len() as u64;
        if self.size > limits::FETCH_BYTES_MAX {
            return Err(failed(&self.from, &format!("it is larger than {} bytes", limits::FETCH_BYTES_MAX)));
        }
        self.hasher.update(chunk);
        self.file.write_all(chunk).map_err(|error| failed(&self.from, &format!("cannot store it: {error}")))
    }

    /// `modified`: seconds since 1970.
    ///
    /// # Errors
    /// When it is not what `checksum` says.
    pub(crate) fn finish(self, modified: i64, checksum: Option<Digest>) -> Result<FetchedFile, BuildError> {
        let Self { mut context, name, from, file, hasher, .. } = self;
        let found = hasher.finish();
        if let Some(expected) = checksum.filter(|expected| *expected != found) {
            return Err(failed(&from, &format!("digest mismatch {found}: {expected}")));
        }
        let at = Timespec { tv_sec: modified, tv_nsec: 0 };
        let times = Timestamps { last_access: at, last_modification: at };
        let set = rustix::fs::futimens(&file, &times);
        set.map_err(|error| failed(&from, &format!("cannot store it: {error}")))?;
        context.know(HashMap::from([(name.clone().into_bytes(), bytes_of(&found))]));
        Ok(FetchedFile { context, name, digest: found })
    }
}

fn failed(from: &str, why: &dyn std::fmt::Display) -> BuildError {
    BuildError::invalid(format!("failed to load {from}: {why}"))
}

fn bytes_of(digest: &Digest) -> [u8; 32] {
    let hex = digest.hex();
    let mut bytes = [0; 32];
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = hex.get(2 * number..2 * number + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).unwrap_or(0);
    }
    bytes
}

// Secrets of these names are who we are at a repository's server, one for its host before one for all.
async fn git_auth(url: &str, secrets: &dyn Secrets) -> Result<GitAuth, BuildError> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    for (name, prefix) in [("GIT_AUTH_HEADER", None), ("GIT_AUTH_TOKEN", Some("x-access-token:"))] {
        for id in [format!("{name}.{host}"), name.to_owned()] {
            let Some(bytes) = secrets.secret(&id).await.map_err(BuildError::invalid)? else { continue };
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            let value = match prefix {
                None => text,
                Some(prefix) => format!("Basic {}", base64(format!("{prefix}{text}").as_bytes())),
            };
            return Ok(GitAuth(Some(value)));
        }
    }
    Ok(GitAuth::default())
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(bytes)
}

// Without who we are there, and without a query, which may be a key.
pub(crate) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = bare.split_once("://") else { return bare.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    format!("{scheme}://{host}{}", &rest[end..])
}

// The server's name for the file, or the last part of its address; a name and nothing else.
fn name_of(disposition: &str, url: &str) -> String {
    let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..");
    let told = disposition.split(';').find_map(|part| part.trim().strip_prefix("filename="));
    let told = told.map(|name| name.trim_matches('"').to_owned()).filter(|name| is_name(name));
    let bare = url.split(['?', '#']).next().unwrap_or(url);
    let path = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    let last = path.split_once('/').map_or("", |(_, path)| path).rsplit('/').next().unwrap_or_default();
    let last = Some(last.to_owned()).filter(|name| is_name(name));
    told.or(last).unwrap_or_else(|| "download".to_owned())
}

// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<i64> {
    let time = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", text).ok()?;
    let at = time.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(at.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_file_has_a_name_and_no_path() {
        assert_eq!(name_of("", "https://host/a/b.tar.gz?x=/y"), "b.tar.gz");
        assert_eq!(name_of("attachment; filename=\"c.txt\"", "https://host/a"), "c.txt");
        assert_eq!(name_of("attachment; filename=\"../../etc/passwd\"", "https://host/a/"), "download");
        assert_eq!(name_of("", "https://host"), "download");
        assert_eq!(shown("https://me:word@host/a?token=x"), "https://host/a");
    }

    #[test]
    fn dates_of_servers() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }
}
