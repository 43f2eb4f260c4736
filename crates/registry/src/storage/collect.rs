//! Garbage collection while pushes go on: removes the blobs that no manifest needs.
//!
//! ```text
//!   mark: every manifest of every repository ──► candidates: blobs not marked, and old
//!   sweep, with writers kept out: marks of manifests that came meanwhile ──► links ──► bytes
//! ```
//! A client pushes blobs first and the manifest last, so a young blob is nobody's garbage. Whoever is told that a blob
//! is here makes its link young again ([`Storage::blob_freshen`]). Writers hold the guard's lock together, a sweep
//! holds it alone, also when it runs in another process than the server.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Storage, folder, names_in, parent, removed};
use crate::{digest::ContentDigest, name::Repository, wire::Document};

/// What is collected.
#[derive(Debug, Clone, Copy)]
pub struct CollectOptions {
    /// What is younger stays.
    pub grace: Duration,
    /// Whether manifests without a tag go, too, unless an index has them or they refer to one that stays.
    pub untagged: bool,
    /// Only count.
    pub dry_run: bool,
}

/// What a collection took, or would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    pub manifests: usize,
    pub blobs: usize,
    pub bytes: u64,
}

/// Keeps a sweep out while a writer holds it. The lock ends with the descriptor.
pub(super) struct Guard(#[expect(dead_code, reason = "held for its lock")] File);

impl Storage {
    /// For those who write links.
    pub(super) fn write_guard(&self) -> io::Result<Guard> {
        let file = self.guard_file()?;
        file.lock_shared()?;
        Ok(Guard(file))
    }

    fn guard_file(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.blobs.join(".collecting"))
    }

    /// Says that somebody was told that this blob is here: it stays for as long as a new one.
    pub(crate) fn blob_freshen(&self, name: &Repository, digest: ContentDigest) -> io::Result<()> {
        let _guard = self.write_guard()?;
        touch(&self.layer_link(name, digest))
    }

    /// Removes what nobody needs.
    pub(crate) fn collect(&self, options: CollectOptions) -> io::Result<Collected> {
        let mut collected = Collected::default();
        if options.untagged {
            for name in self.repositories()? {
                collected.manifests += self.collect_untagged(&name, options)?;
            }
        }
        let begun = SystemTime::now();
        let mut marked = HashSet::new();
        for name in self.repositories()? {
            self.mark(&name, &mut marked, None)?;
        }
        let candidates: Vec<ContentDigest> = self
            .blobs_present()?
            .into_iter()
            .filter(|digest| !marked.contains(digest) && is_old(&self.blob(*digest), options.grace))
            .collect();
        if options.dry_run {
            for digest in candidates {
                collected.blobs += 1;
                collected.bytes += fs::metadata(self.blob(digest)).map_or(0, |data| data.len());
            }
            return Ok(collected);
        }
        self.sweep(&candidates, begun, options.grace, &mut collected)?;
        Ok(collected)
    }

    // A few at a time, so that no writer waits for long.
    fn sweep(
        &self,
        candidates: &[ContentDigest],
        begun: SystemTime,
        grace: Duration,
        collected: &mut Collected,
    ) -> io::Result<()> {
        const AT_ONCE: usize = 64;
        for some in candidates.chunks(AT_ONCE) {
            let alone = self.guard_file()?;
            alone.lock()?;
            let names = self.repositories()?;
            let mut marked = HashSet::new();
            for name in &names {
                // Clocks of file systems are coarse.
                self.mark(name, &mut marked, begun.checked_sub(Duration::from_secs(2)))?;
            }
            for digest in some.iter().filter(|digest| !marked.contains(digest)) {
                let links: Vec<PathBuf> = names.iter().map(|name| self.layer_link(name, *digest)).collect();
                if !links.iter().all(|link| is_old(link, grace)) {
                    continue;
                }
                let data = self.blob(*digest);
                let size = fs::metadata(&data).map_or(0, |data| data.len());
                for link in &links {
                    removed(fs::remove_dir_all(parent(link)))?;
                }
                if removed(fs::remove_dir_all(parent(&data)))? {
                    collected.blobs += 1;
                    collected.bytes += size;
                }
            }
        }
        Ok(())
    }

    // What the manifests of a repository need, themselves included; of those only that are younger than `since`.
    fn mark(
        &self,
        name: &Repository,
        marked: &mut HashSet<ContentDigest>,
        since: Option<SystemTime>,
    ) -> io::Result<()> {
        for digest in self.revisions(name)? {
            let changed = fs::metadata(self.revision_link(name, digest)).and_then(|link| link.modified());
            if since.is_some_and(|since| changed.as_ref().is_ok_and(|changed| *changed < since)) {
                continue;
            }
            marked.insert(digest);
            let Some(bytes) = self.manifest_read(name, digest)? else { continue };
            let Ok(document) = Document::parse(&bytes, "") else { continue };
            marked.extend(document.blobs().map(|blob| blob.digest));
            // What an index names may be a blob.
            marked.extend(document.manifests.iter().flatten().map(|inner| inner.digest));
        }
        Ok(())
    }

    fn collect_untagged(&self, name: &Repository, options: CollectOptions) -> io::Result<usize> {
        let mut open: Vec<ContentDigest> = Vec::new();
        for tag in self.tags(name)? {
            open.extend(self.tag_read(name, &tag)?);
        }
        let mut kept = HashSet::new();
        while let Some(digest) = open.pop() {
            if !kept.insert(digest) {
                continue;
            }
            open.extend(self.referrers(name, digest)?);
            let document = self.manifest_read(name, digest)?.and_then(|bytes| Document::parse(&bytes, "").ok());
            let inner = document.and_then(|document| document.manifests).unwrap_or_default();
            open.extend(inner.iter().map(|inner| inner.digest));
        }
        let mut count = 0;
        for digest in self.revisions(name)? {
            if kept.contains(&digest) || !is_old(&self.revision_link(name, digest), options.grace) {
                continue;
            }
            count += 1;
            if !options.dry_run {
                self.manifest_remove(name, digest)?;
            }
        }
        Ok(count)
    }

    /// A repository forgets what has not been asked for as long as this (a cache).
    pub(crate) fn expire(&self, age: Duration) -> io::Result<usize> {
        let mut count = 0;
        for name in self.repositories()? {
            for digest in self.revisions(&name)? {
                if is_old(&self.revision_link(&name, digest), age) {
                    self.manifest_remove(&name, digest)?;
                    count += 1;
                }
            }
            for digest in self.digests_in(&self.repository(&name).join("_layers"))? {
                if is_old(&self.layer_link(&name, digest), age) {
                    self.blob_unlink(&name, digest)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Says that a manifest was asked for.
    pub(crate) fn manifest_freshen(&self, name: &Repository, digest: ContentDigest) -> io::Result<()> {
        touch(&self.revision_link(name, digest))
    }

    fn revisions(&self, name: &Repository) -> io::Result<Vec<ContentDigest>> {
        self.digests_in(&self.repository(name).join("_manifests/revisions"))
    }

    // The digests whose folders are below this one.
    fn digests_in(&self, above: &Path) -> io::Result<Vec<ContentDigest>> {
        let mut digests = Vec::new();
        for algorithm in names_in(above)? {
            let found = names_in(&above.join(&algorithm))?;
            digests.extend(found.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<ContentDigest>().ok()));
        }
        digests.retain(|digest| folder(above.to_owned(), *digest).is_dir());
        Ok(digests)
    }

    fn blobs_present(&self) -> io::Result<Vec<ContentDigest>> {
        let mut digests = Vec::new();
        for algorithm in names_in(&self.blobs)? {
            for two in names_in(&self.blobs.join(&algorithm))? {
                let found = names_in(&self.blobs.join(&algorithm).join(two))?;
                digests
                    .extend(found.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<ContentDigest>().ok()));
            }
        }
        Ok(digests)
    }
}

// What is not there is old enough.
fn is_old(path: &Path, age: Duration) -> bool {
    let changed = fs::metadata(path).and_then(|data| data.modified());
    changed.map_or(true, |changed| changed.elapsed().is_ok_and(|elapsed| elapsed >= age))
}

fn touch(path: &Path) -> io::Result<()> {
    match File::options().write(true).open(path) {
        Ok(file) => file.set_modified(SystemTime::now()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
