//! `COPY` and `ADD`: which files are meant, their digest, and the copying itself.
//!
//! Sources are chosen in a root that is somebody else's (a context, another stage, an image), by descriptor. What was
//! chosen is hashed first: names, modes, owners, bytes. With the same digest on the same layers nothing is copied.

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use bollard_buildkit_proto::pb::FileActionCopy;
use hako_archive::{Copier, CopyOptions, FilesBelow, Keep, ModeWish, TreeDigest, UnpackOptions, unpack, walk};
use hako_image::{Hold, StackView, Store};
use hako_model::Digest;
use rustix::fs::{FileType, OFlags};

use super::{
    Solving, blocking, now,
    stage::{Done, State},
};
use crate::{
    attest::Material,
    cache::{Hasher, Key},
    context::Context,
    error::BuildError,
    language::{self, Copy, Ignore},
    remote::{FetchedFile, Remote},
};

/// Where files come from.
#[derive(Clone)]
pub(super) enum Root {
    Context(Arc<Context>),
    Stack(Arc<StackView>),
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Context(context) => context.as_fd(),
            Self::Stack(view) => view.as_fd(),
        }
    }
}

impl Root {
    fn keep(&self, path: &[u8], is_directory: bool) -> Keep {
        match self {
            Self::Context(context) => context.keep(path, is_directory),
            Self::Stack(_) => Keep::Yes,
        }
    }

    fn digest(&self, path: &[u8]) -> Option<[u8; 32]> {
        match self {
            Self::Context(context) => context.digest(path),
            Self::Stack(_) => None,
        }
    }

    /// The pattern of `.dockerignore` that hides a path.
    fn hidden_by(&self, path: &str) -> Option<&str> {
        match self {
            Self::Context(context) => context.ignore().excluded_by(path.trim_start_matches('/')),
            Self::Stack(_) => None,
        }
    }
}

/// Some of the sources, all of one root.
pub(super) struct Part {
    root: Root,
    sources: Vec<String>,
    /// Archives are unpacked.
    unpacks: bool,
}

/// A copy with every variable replaced.
pub(super) struct Job {
    parts: Vec<Part>,
    /// Absolute; with a slash at its end if it is said to be a directory.
    target: String,
    documents: Vec<(String, Vec<u8>)>,
    owner: Option<(u32, u32)>,
    /// Whom the files of archives belong to.
    chowned: Option<(u32, u32)>,
    mode: Option<ModeWish>,
    exclude: Ignore,
    parents: bool,
    link: bool,
    is_add: bool,
    /// A source that is a link means what it leads to.
    follows: bool,
}

/// One thing that is copied.
pub(super) struct Chosen {
    /// Its directory, and its name there.
    pub(super) parent: OwnedFd,
    pub(super) leaf: Vec<u8>,
    /// Its path in the source's root.
    pub(super) path: String,
    pub(super) is_directory: bool,
    /// Below the target with `--parents`.
    below: String,
    pub(super) unpacks: bool,
}

impl Solving {
    pub(super) async fn copy(&self, index: usize, state: &State, copy: &Copy, line: usize) -> Result<Done, BuildError> {
        let job = self.job(index, state, copy, line).await?;
        let job = Arc::new(job);
        let hashed = self.files_of(&job).await?;
        let word = if copy.is_add { "ADD" } else { "COPY" };
        let description = format!("{word} {} {}", copy.sources.join(" "), copy.target);
        let mut key = Key::new("copy", &if job.link { crate::cache::digest(b"link") } else { state.below() });
        if job.link {
            key.input("layers", &state.below().to_string());
        }
        key.input("files", &hashed.to_string());
        key.input("target", &job.target);
        let unpacks: Vec<bool> = job.parts.iter().map(|part| part.unpacks).collect();
        key.input("flags", &format!("{:?} {:?} {} {unpacks:?}", job.owner, job.mode, job.parents));
        let (store, stack, limit) = (self.store().clone(), state.stack, self.times_limit());
        self.cached(key, state, &description, self.is_fresh(index), move |hold| {
            blocking(move || carry(&store, stack, &job, &hold, limit))
        })
        .await
    }

    pub(super) async fn job(&self, index: usize, state: &State, copy: &Copy, line: usize) -> Result<Job, BuildError> {
        let sources = copy.sources.iter().map(|source| state.expand(source)).collect::<Result<Vec<_>, _>>()?;
        let target = state.expand(&copy.target)?;
        let is_directory = target.ends_with('/') || target == "." || target.ends_with("/.");
        let mut whole = state.absolute(&target);
        if is_directory && whole != "/" {
            whole.push('/');
        }
        let parts = self.parts(index, state, copy, sources, line).await?;
        let mut documents = Vec::new();
        for document in &copy.documents {
            let content = if document.expand {
                let replaced = language::expand_text(&document.content, state.escape, &|name| state.value(name));
                replaced.map_err(|error| BuildError::invalid(error.to_string()))?
            } else {
                document.content.clone()
            };
            documents.push((document.name.clone(), content.into_bytes()));
        }
        let exclude = copy.flags.exclude.iter().map(|pattern| state.expand(pattern)).collect::<Result<Vec<_>, _>>()?;
        let exclude = Ignore::of(exclude.iter().map(String::as_str))
            .map_err(|error| BuildError::invalid(format!("--exclude: {error}")))?;
        let chowned = match &copy.flags.chown {
            Some(owner) => Some(self.owner(state, &state.expand(owner)?, copy.flags.link)?),
            None => None,
        };
        // What is sent belongs to root, whoever owns it on the client's machine; what is in an image is somebody's.
        let is_sent = parts.iter().all(|part| matches!(part.root, Root::Context(_)));
        let owner = chowned.or(is_sent.then_some((0, 0)));
        let mode = match &copy.flags.chmod {
            Some(mode) => {
                let wish = ModeWish::parse(&state.expand(mode)?);
                Some(wish.map_err(|error| BuildError::invalid(format!("--chmod: {error}")))?)
            }
            None => None,
        };
        Ok(Job {
            parts,
            target: whole,
            documents,
            owner,
            chowned,
            mode,
            exclude,
            parents: copy.flags.parents,
            link: copy.flags.link,
            is_add: copy.is_add,
            follows: true,
        })
    }

    /// The digest of everything that is copied. Files of the context are read once, though two ask: who copies them, and
    /// who wants to know what the stage is.
    pub(super) async fn files_of(&self, job: &Arc<Job>) -> Result<Digest, BuildError> {
        let hashing = job.clone();
        let hashed = async { blocking(move || hashing.digest()).await };
        match job.name(&self.request.context) {
            Some(name) => Ok(*self.foresight.files(name).get_or_try_init(|| hashed).await?),
            None => hashed.await,
        }
    }

    /// All files of a root below a path as a stack of their own; whether it was there already.
    pub(super) async fn context_stack(
        &self,
        root: Root,
        path: &str,
        fresh: bool,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        // What is sent belongs to root, whoever owns it on the client's machine; what is in an image is somebody's.
        let owner = if matches!(root, Root::Context(_)) { Some((0, 0)) } else { None };
        let part = Part { root, sources: vec![path.to_owned()], unpacks: false };
        let job = Arc::new(Job { owner, ..Job::of_part(part, "/") });
        let hashing = job.clone();
        let files = blocking(move || hashing.digest()).await?;
        let mut key = Key::new("context", &crate::cache::digest(b""));
        key.input("files", &files.to_string());
        let (store, limit) = (self.store().clone(), self.times_limit());
        let made = |hold: Arc<Hold>| blocking(move || carry(&store, None, &job, &hold, limit));
        let done = self.cached_on(key, None, "files of a context", fresh, made).await?;
        Ok((done.record.stack, done.cached))
    }

    /// One file of a context as a stack of its own, under this name in the root; whether it was there already.
    pub(super) async fn file_stack(
        &self,
        file: FetchedFile,
        name: &str,
        (owner, mode): ((u32, u32), Option<u32>),
        fresh: bool,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let part = Part { root: Root::Context(Arc::new(file.context)), sources: vec![file.name], unpacks: false };
        let mode_wish = mode.map(ModeWish::Exactly);
        let job = Arc::new(Job { owner: Some(owner), mode: mode_wish, ..Job::of_part(part, &format!("/{name}")) });
        let mut key = Key::new("file", &file.digest);
        for (what, value) in [("name", name.to_owned()), ("owner", format!("{owner:?}")), ("mode", format!("{mode:?}"))]
        {
            key.input(what, &value);
        }
        let (store, limit) = (self.store().clone(), self.times_limit());
        let made = |hold: Arc<Hold>| blocking(move || carry(&store, None, &job, &hold, limit));
        let done = self.cached_on(key, None, "a file from elsewhere", fresh, made).await?;
        Ok((done.record.stack, done.cached))
    }

    // Sources by where they are. What is elsewhere is brought first.
    async fn parts(
        &self,
        index: usize,
        state: &State,
        copy: &Copy,
        sources: Vec<String>,
        line: usize,
    ) -> Result<Vec<Part>, BuildError> {
        let root = match &copy.flags.from {
            Some(from) => {
                let from = state.expand(from)?;
                match self.request.contexts.get(&from.to_lowercase()) {
                    Some(context) => Root::Context(context.clone()),
                    None => Root::Stack(Arc::new(self.store().stack_view(self.stack_of(index, &from, line).await?)?)),
                }
            }
            None => Root::Context(self.request.context.clone()),
        };
        let checksum = copy.flags.checksum.as_ref().map(|text| state.expand(text)).transpose()?;
        if checksum.is_some() && sources.len() > 1 {
            return Err(BuildError::invalid("checksum can't be specified for multiple sources"));
        }
        let (mut parts, mut has_remote) = (Vec::<Part>::new(), false);
        for source in sources {
            let remote = if copy.flags.from.is_some() { None } else { Remote::parse(&source)? };
            match (remote, parts.last_mut()) {
                (Some(_), _) if !copy.is_add => {
                    return Err(BuildError::invalid(format!(
                        "source can't be a URL for COPY: {source} (ADD fetches it)"
                    )));
                }
                (Some(remote), _) => {
                    has_remote = true;
                    parts.push(self.fetched(remote, copy, checksum.as_deref()).await?);
                }
                (None, Some(Part { root: Root::Context(last), sources, .. }))
                    if Arc::ptr_eq(last, &self.request.context) =>
                {
                    sources.push(source);
                }
                (None, Some(Part { root: Root::Stack(_), sources, .. })) => sources.push(source),
                (None, _) => {
                    let unpacks = copy.is_add && copy.flags.unpack != Some(false);
                    parts.push(Part { root: root.clone(), sources: vec![source], unpacks });
                }
            }
        }
        if !has_remote && (checksum.is_some() || copy.flags.keep_git_dir) {
            let flag = if checksum.is_some() { "checksum" } else { "keep-git-dir" };
            return Err(BuildError::invalid(format!("--{flag} is for sources that are URLs or git repositories")));
        }
        Ok(parts)
    }

    async fn fetched(&self, remote: Remote, copy: &Copy, checksum: Option<&str>) -> Result<Part, BuildError> {
        match remote {
            Remote::Git(mut address) => {
                if let Some(commit) = checksum {
                    address = address.with_checksum(commit)?;
                }
                address.keep_git |= copy.flags.keep_git_dir;
                let uri = crate::remote::shown(&address.url);
                let (context, checkout) = self.builder.git(address, &*self.request.secrets).await?;
                self.note_material(Material { uri, algorithm: "sha1", digest: checkout.commit });
                Ok(Part { root: Root::Context(Arc::new(context)), sources: vec![".".to_owned()], unpacks: false })
            }
            Remote::Http(url) => {
                let checksum = checksum.map(str::parse::<Digest>).transpose();
                let checksum = checksum.map_err(|error| BuildError::invalid(format!("invalid checksum: {error}")))?;
                let fetched = self.builder.http(&url, checksum).await?;
                let (uri, digest) = (crate::remote::shown(&url), fetched.digest.hex());
                self.note_material(Material { uri, algorithm: "sha256", digest });
                let unpacks = copy.flags.unpack == Some(true);
                Ok(Part { root: Root::Context(Arc::new(fetched.context)), sources: vec![fetched.name], unpacks })
            }
        }
    }

    fn owner(&self, state: &State, owner: &str, link: bool) -> Result<(u32, u32), BuildError> {
        let view = self.store().stack_view(if link { None } else { state.stack })?;
        Ok(self.builder.engine().step_owner(view.as_fd(), owner)?)
    }
}

impl Job {
    fn of_part(part: Part, target: &str) -> Self {
        Self {
            parts: vec![part],
            target: target.to_owned(),
            documents: Vec::new(),
            owner: None,
            chowned: None,
            mode: None,
            exclude: Ignore::default(),
            parents: false,
            link: false,
            is_add: false,
            follows: true,
        }
    }

    // What is copied of the build's own context, in words; `None` if it is from elsewhere too.
    fn name(&self, context: &Arc<Context>) -> Option<String> {
        let is_own = |part: &Part| matches!(&part.root, Root::Context(root) if Arc::ptr_eq(root, context));
        if !self.parts.iter().all(is_own) {
            return None;
        }
        let sources: Vec<_> = self.parts.iter().map(|part| &part.sources).collect();
        let Self { documents, owner, mode, exclude, parents, follows, .. } = self;
        Some(format!("{sources:?} {documents:?} {owner:?} {mode:?} {exclude:?} {parents} {follows}"))
    }

    /// The copy of a graph.
    pub(super) fn of_graph(
        from: Root,
        wanted: &FileActionCopy,
        (owner, mode): (Option<(u32, u32)>, Option<ModeWish>),
        exclude: Ignore,
    ) -> Self {
        let unpacks = wanted.attempt_unpack_docker_compatibility;
        let part = Part { root: from, sources: vec![wanted.src.clone()], unpacks };
        Self {
            owner,
            chowned: owner,
            mode,
            exclude,
            follows: wanted.follow_symlink,
            ..Self::of_part(part, &wanted.dest)
        }
    }

    pub(super) fn keep(&self, part: &Part, path: &[u8], is_directory: bool) -> Keep {
        let shown = String::from_utf8_lossy(path);
        if self.exclude.excluded_by(&shown).is_some() {
            return if is_directory && self.exclude.may_return_below(&shown) { Keep::OnlyBelow } else { Keep::No };
        }
        part.root.keep(path, is_directory)
    }

    /// What each part has of it. A pattern may match nothing, unless it is to be `strict`.
    pub(super) fn choose_all(&self, strict: bool) -> Result<Vec<(&Part, Vec<Chosen>)>, BuildError> {
        let mut all = Vec::new();
        for part in &self.parts {
            let mut of_part = Vec::new();
            for source in &part.sources {
                let chosen = self.choose(part, source)?;
                if chosen.is_empty() && (strict || !source.contains(['*', '?', '['])) {
                    return Err(missing(part, source));
                }
                of_part.extend(chosen);
            }
            all.push((part, of_part));
        }
        if all.is_empty() && self.documents.is_empty() {
            return Err(BuildError::invalid("no source files were specified"));
        }
        Ok(all)
    }

    // What a source names: one path, or all that match it.
    fn choose(&self, part: &Part, source: &str) -> Result<Vec<Chosen>, BuildError> {
        // With `--parents`, what stands before `./` is not repeated in the target.
        let (pivot, pattern) = match source.split_once("/./") {
            Some((above, below)) if self.parents => (above.trim_matches('/').to_owned(), below.to_owned()),
            _ => (String::new(), source.to_owned()),
        };
        let whole = clean(&format!("{pivot}/{pattern}"));
        let failed = |source| BuildError::Io { what: format!("cannot read {whole:?}"), source };
        let is_pattern = whole.contains(['*', '?', '[', '\\']);
        let paths = if is_pattern { self.matching(part, &whole).map_err(failed)? } else { vec![whole.clone()] };
        let mut chosen = Vec::new();
        for path in paths {
            match self.open(part, &path, &pivot).map_err(failed)? {
                Some(found) => chosen.push(found),
                // A link that leads to nothing.
                None if is_pattern => return Err(missing(part, &path)),
                None => {}
            }
        }
        Ok(chosen)
    }

    fn matching(&self, part: &Part, pattern: &str) -> std::io::Result<Vec<String>> {
        let depth = if pattern.contains("**") { usize::MAX } else { pattern.split('/').count() };
        let mut found = Vec::new();
        walk::tree(part.root.as_fd(), |visit| -> std::io::Result<bool> {
            let path = String::from_utf8_lossy(visit.path).into_owned();
            let keep = self.keep(part, visit.path, visit.directory.is_some());
            if keep == Keep::Yes && language::path_matches(pattern, &path) {
                found.push(path.clone());
            }
            Ok(keep != Keep::No && path.split('/').count() < depth)
        })?;
        Ok(found)
    }

    fn open(&self, part: &Part, path: &str, pivot: &str) -> std::io::Result<Option<Chosen>> {
        let root = part.root.as_fd();
        // A link that is named itself is followed; the root of the source is the root for it.
        let resolved = if self.follows { walk::led(root, path.as_bytes())? } else { path.as_bytes().to_vec() };
        let end = resolved.iter().rposition(|byte| *byte == b'/');
        let (above, leaf) = end.map_or((&b""[..], &resolved[..]), |end| (&resolved[..end], &resolved[end + 1..]));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let parent = match walk::open_in_root(root, above, flags) {
            Ok(parent) => parent,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let leaf = if leaf.is_empty() { b".".to_vec() } else { leaf.to_vec() };
        let Some(stat) = walk::stat_leaf(parent.as_fd(), &leaf)? else { return Ok(None) };
        let is_directory = walk::file_type(&stat) == FileType::Directory;
        if !path.is_empty() && self.keep(part, path.as_bytes(), is_directory) == Keep::No {
            return Ok(None);
        }
        let below = path.strip_prefix(pivot).unwrap_or(path).trim_start_matches('/').to_owned();
        Ok(Some(Chosen { parent, leaf, path: path.to_owned(), is_directory, below, unpacks: part.unpacks }))
    }

    pub(super) fn options<'k>(&'k self, keep: &'k dyn Fn(&[u8], bool) -> Keep) -> CopyOptions<'k> {
        CopyOptions { owner: self.owner, mode: self.mode.as_ref(), keep }
    }

    fn digest(&self) -> Result<Digest, BuildError> {
        let mut hasher = Hasher::default();
        let mut feed = |bytes: &[u8]| hasher.update(bytes);
        for (part, chosen) in self.choose_all(false)? {
            let keep = |path: &[u8], is_directory: bool| self.keep(part, path, is_directory);
            let known = |path: &[u8]| part.root.digest(path);
            let options = self.options(&keep);
            let mut digest = TreeDigest::new(&options, &mut feed).knowing(&known);
            for one in chosen {
                let failed = BuildError::io(format!("cannot read {:?}", one.path));
                digest.word(if self.parents { one.below.as_bytes() } else { name_of(&one.path).as_bytes() });
                let done = if one.is_directory {
                    directory(&one).and_then(|below| digest.contents(below.as_fd(), one.path.as_bytes()))
                } else {
                    digest.leaf(one.parent.as_fd(), &one.leaf, one.path.as_bytes())
                };
                done.map_err(failed)?;
            }
        }
        let keep = |_: &[u8], _: bool| Keep::Yes;
        let options = self.options(&keep);
        let mut digest = TreeDigest::new(&options, &mut feed);
        for (name, content) in &self.documents {
            digest.word(name.as_bytes());
            digest.word(content);
        }
        Ok(hasher.finish())
    }
}

fn missing(part: &Part, source: &str) -> BuildError {
    let path = format!("/{}", source.trim_start_matches("./").trim_matches('/'));
    match part.root.hidden_by(&path) {
        Some(pattern) => BuildError::invalid(format!(
            "failed to calculate checksum of ref: {path:?}: not found: it is excluded by the pattern {pattern:?} of .dockerignore"
        )),
        None if source.contains(['*', '?', '[']) => {
            BuildError::invalid(format!("lstat {path}: no such file or directory: no file of the source matches"))
        }
        None => BuildError::invalid(format!("failed to calculate checksum of ref: {path:?}: not found")),
    }
}

pub(super) fn directory(chosen: &Chosen) -> std::io::Result<OwnedFd> {
    walk::open_leaf(chosen.parent.as_fd(), &chosen.leaf, OFlags::RDONLY | OFlags::DIRECTORY)
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

// `.` and `..` taken out; nothing is above the root.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

// Does the copying in a draft and makes it a layer.
fn carry(
    store: &Store,
    stack: Option<Digest>,
    job: &Job,
    hold: &Hold,
    limit: Option<i64>,
) -> Result<Option<Digest>, BuildError> {
    let base = if job.link { None } else { stack };
    let draft = store.draft(base, false)?;
    let failed = |source| BuildError::Io { what: format!("cannot copy to {}", job.target), source };
    let all = job.choose_all(false)?;
    let into_directory = job.target.ends_with('/') || is_directory_in(draft.as_fd(), &job.target);
    // Several files need a directory; one that is made for a directory's files will do.
    let several = all.iter().map(|(_, chosen)| chosen.len()).sum::<usize>() + job.documents.len() > 1;
    if several && !into_directory && all.iter().flat_map(|(_, chosen)| chosen).all(|one| !one.is_directory) {
        return Err(BuildError::invalid(format!(
            "When using {} with more than one source file, the destination must be a directory and end with a /",
            if job.is_add { "ADD" } else { "COPY" }
        )));
    }
    // A file that is named itself goes to where a link leads.
    let target = walk::led(draft.as_fd(), job.target.as_bytes()).map_err(failed)?;
    let layer = draft.layer()?;
    // Files of a context are written once. Times that are to be changed would change there too.
    let may_link = limit.is_none() && job.parts.iter().all(|part| matches!(part.root, Root::Context(_)));
    let below = || store.stack_files(base);
    let links: Option<FilesBelow<'_>> = may_link.then_some(&below);
    let current = Cell::new(None);
    let keep = |path: &[u8], is_directory: bool| {
        current.get().map_or(Keep::Yes, |part: &Part| job.keep(part, path, is_directory))
    };
    let options = job.options(&keep);
    let mut copier = Copier::new(draft.as_fd(), &options).straight_into(layer.as_fd(), base.is_none(), links);
    for (part, chosen) in &all {
        current.set(Some(*part));
        for one in chosen {
            let done = if one.unpacks && !one.is_directory && is_archive(one).map_err(failed)? {
                extract(one, &mut copier, job)?;
                Ok(())
            } else {
                place(one, &mut copier, job, &target, into_directory)
            };
            done.map_err(|error| placed(one, job, error))?;
        }
    }
    let modified = limit.unwrap_or_else(|| now().as_second());
    for (name, content) in &job.documents {
        let target = if into_directory { format!("{}/{name}", job.target).into_bytes() } else { target.clone() };
        copier.bytes(content, 0o644, modified, &target).map_err(failed)?;
    }
    copier.finish().map_err(failed)?;
    Ok(store.draft_finish(draft, stack, hold, limit)?.or(stack))
}

pub(super) fn is_directory_in(root: BorrowedFd<'_>, path: &str) -> bool {
    walk::open_in_root(root, path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY).is_ok()
}

fn place(one: &Chosen, copier: &mut Copier<'_>, job: &Job, target: &[u8], into_directory: bool) -> std::io::Result<()> {
    if one.is_directory {
        let below = directory(one)?;
        let target = if job.parents { format!("{}/{}", job.target, one.below) } else { job.target.clone() };
        return copier.contents(below.as_fd(), one.path.as_bytes(), target.as_bytes());
    }
    let named = match (job.parents, into_directory) {
        (true, _) => format!("{}/{}", job.target, one.below),
        (false, true) => format!("{}/{}", job.target, name_of(&one.path)),
        (false, false) => return copier.leaf(one.parent.as_fd(), &one.leaf, target),
    };
    copier.leaf(one.parent.as_fd(), &one.leaf, named.as_bytes())
}

// What stands in the way, in BuildKit's words.
fn placed(one: &Chosen, job: &Job, error: std::io::Error) -> BuildError {
    let (path, target) = (&one.path, &job.target);
    match error.kind() {
        std::io::ErrorKind::NotADirectory => {
            BuildError::invalid(format!("cannot copy to non-directory: {target} (or something below it, from {path})"))
        }
        std::io::ErrorKind::IsADirectory => {
            BuildError::invalid(format!("cannot replace to directory {target} (or one below it) with file {path}"))
        }
        _ => BuildError::Io { what: format!("cannot copy {path} to {target}"), source: error },
    }
}

// An archive by what it begins with, as far as we can read it.
pub(super) fn is_archive(one: &Chosen) -> std::io::Result<bool> {
    let file = walk::open_leaf(one.parent.as_fd(), &one.leaf, OFlags::RDONLY | OFlags::NONBLOCK)?;
    if walk::file_type(&rustix::fs::fstat(&file)?) != FileType::RegularFile {
        return Ok(false);
    }
    Ok(hako_archive::is_tar(std::fs::File::from(file)))
}

pub(super) fn extract(one: &Chosen, copier: &mut Copier<'_>, job: &Job) -> Result<(), BuildError> {
    let failed = |source| BuildError::Io { what: format!("cannot unpack {}", one.path), source };
    let file = walk::open_leaf(one.parent.as_fd(), &one.leaf, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?;
    let target = copier.directory(job.target.as_bytes(), None).map_err(failed)?;
    let input = hako_archive::plain(std::fs::File::from(file)).map_err(failed)?;
    let options = UnpackOptions { owner: job.chowned, ..UnpackOptions::default() };
    let unpacked = unpack(input, target.as_fd(), &options);
    unpacked.map(drop).map_err(|error| {
        BuildError::invalid(format!("cannot unpack {}: {}", one.path, hako_base::error::chain(&error)))
    })
}
