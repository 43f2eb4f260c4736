//! `FileOp`: files made, copied and removed, without a process. Actions that follow on each other make one layer.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use bollard_buildkit_proto::pb::{
    self, ChownOpt, FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink, FileOp,
    file_action::Action, user_opt::User,
};
use hako_archive::{Copier, CopyOptions, Keep, ModeWish, walk};
use hako_image::Hold;
use hako_model::Digest;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::{
    Solving, blocking,
    copy::{self, Chosen, Root},
    graph::{below, input},
};
use crate::{
    cache::Key,
    error::BuildError,
    language::{self, Ignore},
    llb::Node,
};

/// One action with everything that it takes, in the order in which they are done.
struct Step {
    action: Action,
    /// Where the files of a copy are from.
    from: Option<Digest>,
    owner: Option<(u32, u32)>,
}

impl Solving {
    pub(super) async fn graph_files(
        &self,
        node: &Node,
        file: &FileOp,
        inputs: &[Option<Digest>],
    ) -> Result<(Vec<Option<Digest>>, bool), BuildError> {
        let count = file.actions.iter().filter_map(|action| usize::try_from(action.output).ok()).max();
        let count = count.map_or(0, |last| last + 1);
        if count > file.actions.len() {
            return Err(BuildError::invalid("an operation on files has more outputs than actions"));
        }
        let mut outputs = vec![None; count];
        let mut all_cached = true;
        for (at, action) in file.actions.iter().enumerate() {
            let Ok(output) = usize::try_from(action.output) else { continue };
            let (stack, cached) = self.graph_chain(node, file, inputs, at).await?;
            outputs[output] = stack;
            all_cached &= cached;
        }
        Ok((outputs, all_cached))
    }

    // The file system after an action: those before it that it follows on are done in the same layer.
    async fn graph_chain(
        &self,
        node: &Node,
        file: &FileOp,
        inputs: &[Option<Digest>],
        last: usize,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let mut chain = vec![last];
        let base = loop {
            let first = chain[chain.len() - 1];
            match place(file.actions[first].input, inputs.len(), first)? {
                Taken::Nothing => break None,
                Taken::Input(at) => break inputs[at],
                Taken::Action(at) => chain.push(at),
            }
        };
        let mut key = Key::new("graph files", &below(base));
        let mut steps = Vec::new();
        for at in chain.into_iter().rev() {
            let action = &file.actions[at];
            let kind = action.action.clone().ok_or_else(|| BuildError::invalid("an action on files does nothing"))?;
            let from = match (&kind, place(action.secondary_input, inputs.len(), at)?) {
                (Action::Copy(_), Taken::Input(at)) => inputs[at],
                (Action::Copy(_), Taken::Action(at)) => Box::pin(self.graph_chain(node, file, inputs, at)).await?.0,
                _ => None,
            };
            let owner = self.graph_owner(owner_of(&kind), inputs)?;
            key.input("action", &format!("{kind:?} {owner:?} {}", below(from)));
            steps.push(Step { action: kind, from, owner });
        }
        let store = self.store().clone();
        let limit = self.times_limit();
        let made = |hold: Arc<Hold>| {
            blocking(move || {
                let draft = store.draft(base, false)?;
                for step in &steps {
                    let view = step.from.map(|stack| store.stack_view(Some(stack))).transpose()?;
                    let from = match view {
                        Some(view) => Root::Stack(Arc::new(view)),
                        None => Root::Stack(Arc::new(store.stack_view(None)?)),
                    };
                    step.carry_out(draft.as_fd(), from)?;
                }
                Ok(store.draft_finish(draft, base, &hold, limit)?.or(base))
            })
        };
        let done = self.cached_on(key, base, &node.name, node.is_fresh, made).await?;
        Ok((done.record.stack, done.cached))
    }

    fn graph_owner(
        &self,
        owner: Option<&ChownOpt>,
        inputs: &[Option<Digest>],
    ) -> Result<Option<(u32, u32)>, BuildError> {
        let Some(owner) = owner else { return Ok(None) };
        let word = |user: Option<&pb::UserOpt>| match user.and_then(|user| user.user.clone()) {
            None => (None, None),
            Some(User::ById(id)) => (Some(id.to_string()), None),
            Some(User::ByName(named)) => (Some(named.name), Some(named.input)),
        };
        let ((user, in_user), (group, in_group)) = (word(owner.user.as_ref()), word(owner.group.as_ref()));
        let text = match (user, group) {
            (None, None) => return Ok(None),
            (user, None) => user.unwrap_or_default(),
            (user, Some(group)) => format!("{}:{group}", user.unwrap_or_else(|| "0".to_owned())),
        };
        let stack = input(inputs, in_user.or(in_group).unwrap_or(-1))?;
        let view = self.store().stack_view(stack)?;
        Ok(Some(self.builder.engine().step_owner(view.as_fd(), &text)?))
    }
}

/// What an action stands on.
enum Taken {
    Nothing,
    Input(usize),
    Action(usize),
}

// Numbers beyond the inputs are actions, which must have been done before.
fn place(index: i64, inputs: usize, of: usize) -> Result<Taken, BuildError> {
    let Ok(at) = usize::try_from(index) else { return Ok(Taken::Nothing) };
    match at.checked_sub(inputs) {
        None => Ok(Taken::Input(at)),
        Some(action) if action < of => Ok(Taken::Action(action)),
        Some(_) => {
            Err(BuildError::invalid(format!("an action on files stands on number {index}, which is none before it")))
        }
    }
}

fn owner_of(action: &Action) -> Option<&ChownOpt> {
    match action {
        Action::Copy(copy) => copy.owner.as_ref(),
        Action::Mkfile(file) => file.owner.as_ref(),
        Action::Mkdir(directory) => directory.owner.as_ref(),
        Action::Symlink(link) => link.owner.as_ref(),
        Action::Rm(_) => None,
    }
}

fn seconds(timestamp: i64) -> i64 {
    timestamp.max(0).div_euclid(1_000_000_000)
}

impl Step {
    fn carry_out(&self, to: BorrowedFd<'_>, from: Root) -> Result<(), BuildError> {
        match &self.action {
            Action::Mkfile(file) => self.make_file(to, file),
            Action::Mkdir(directory) => self.make_directory(to, directory),
            Action::Rm(gone) => remove(to, gone),
            Action::Symlink(link) => self.make_link(to, link),
            Action::Copy(wanted) => self.copy(to, from, wanted),
        }
    }

    fn make_file(&self, to: BorrowedFd<'_>, file: &FileActionMkFile) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { what: format!("mkfile {}", file.path), source };
        let (above, _) = split(&file.path);
        is_there(to, above).map_err(failed)?;
        let options = CopyOptions { owner: self.owner, mode: None, keep: &|_, _| Keep::Yes };
        let mode = u32::try_from(file.mode).unwrap_or(0o644) & 0o7777;
        let mut copier = Copier::new(to, &options);
        copier.bytes(&file.data, mode, seconds(file.timestamp), file.path.as_bytes()).map_err(failed)?;
        copier.finish().map_err(failed)
    }

    fn make_directory(&self, to: BorrowedFd<'_>, wanted: &FileActionMkDir) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { what: format!("mkdir {}", wanted.path), source };
        let (above, leaf) = split(&wanted.path);
        let found = walk::open_in_root(to, wanted.path.as_bytes(), OFlags::PATH);
        match (found.is_ok(), wanted.make_parents) {
            (true, true) => return Ok(()),
            (true, false) => return Err(failed(std::io::ErrorKind::AlreadyExists.into())),
            (false, false) => is_there(to, above).map_err(failed)?,
            (false, true) => {}
        }
        let options = CopyOptions { owner: self.owner, mode: None, keep: &|_, _| Keep::Yes };
        let mut copier = Copier::new(to, &options);
        let parent = copier.directory(above.as_bytes(), None).map_err(failed)?;
        let make = || -> std::io::Result<()> {
            let mode = Mode::from_raw_mode(u32::try_from(wanted.mode).unwrap_or(0o755) & 0o7777);
            rustix::fs::mkdirat(&parent, leaf, mode)?;
            let made = walk::open_leaf(parent.as_fd(), leaf.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            let (uid, gid) = self.owner.unwrap_or((0, 0));
            rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok(rustix::fs::fchmod(&made, mode)?)
        };
        make().map_err(failed)
    }

    fn make_link(&self, to: BorrowedFd<'_>, link: &FileActionSymlink) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { what: format!("symlink {}", link.newpath), source };
        let (above, leaf) = split(&link.newpath);
        let make = || -> std::io::Result<()> {
            let parent = walk::open_in_root(to, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::symlinkat(&link.oldpath, &parent, leaf)?;
            let (uid, gid) = self.owner.unwrap_or((0, 0));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            Ok(rustix::fs::chownat(&parent, leaf, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?)
        };
        make().map_err(failed)
    }

    fn copy(&self, to: BorrowedFd<'_>, from: Root, wanted: &FileActionCopy) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { what: format!("copy {} to {}", wanted.src, wanted.dest), source };
        let patterns = |what: &str, all: &[String]| {
            let read = Ignore::of(all.iter().map(String::as_str));
            read.map_err(|error| BuildError::invalid(format!("a copy's {what} patterns: {error}")))
        };
        let exclude = patterns("exclude", &wanted.exclude_patterns)?;
        let include = patterns("include", &wanted.include_patterns)?;
        let number = u32::try_from(wanted.mode).ok().map(|mode| mode & 0o7777).filter(|_| wanted.mode > 0);
        let mode = match wanted.mode_str.as_str() {
            "" => number.map(ModeWish::Exactly),
            text => Some(ModeWish::parse(text).map_err(|error| BuildError::invalid(format!("a copy's {error}")))?),
        };
        let job = copy::Job::of_graph(from, wanted, (self.owner, mode), exclude);
        let all = job.choose_all(!wanted.allow_empty_wildcard)?;
        let (above, _) = split(wanted.dest.trim_end_matches('/'));
        if !wanted.create_dest_path {
            is_there(to, above).map_err(failed)?;
        }
        let is_directory = wanted.dest.ends_with('/') || copy::is_directory_in(to, &wanted.dest);
        for (part, one) in all.iter().flat_map(|(part, chosen)| chosen.iter().map(move |one| (part, one))) {
            let all_of_it = wanted.include_patterns.is_empty() || !one.is_directory;
            let included = (!all_of_it).then(|| included(one, &include)).transpose().map_err(failed)?;
            let keep = |path: &[u8], is_directory: bool| match &included {
                Some(included) if !included.contains(path) => Keep::No,
                _ => job.keep(part, path, is_directory),
            };
            let options = job.options(&keep);
            let mut copier = Copier::new(to, &options);
            self.place(one, &mut copier, &job, wanted, is_directory)?;
            copier.finish().map_err(failed)?;
        }
        Ok(())
    }

    fn place(
        &self,
        one: &Chosen,
        copier: &mut Copier<'_>,
        job: &copy::Job,
        wanted: &FileActionCopy,
        into: bool,
    ) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { what: format!("copy {} to {}", one.path, wanted.dest), source };
        if one.unpacks && !one.is_directory && copy::is_archive(one).map_err(failed)? {
            return copy::extract(one, copier, job);
        }
        let named = format!("{}/{}", wanted.dest.trim_end_matches('/'), copy::name_of(&one.path));
        let target = match (one.is_directory, wanted.dir_copy_contents, into) {
            (true, true, _) | (_, _, false) => wanted.dest.clone(),
            _ => named,
        };
        let done = if one.is_directory {
            let below = copy::directory(one).map_err(failed)?;
            copier.contents(below.as_fd(), one.path.as_bytes(), target.as_bytes())
        } else {
            copier.leaf(one.parent.as_fd(), &one.leaf, target.as_bytes())
        };
        done.map_err(failed)
    }
}

// What of a directory fits the patterns, with the directories that lead there; as paths of the source.
fn included(one: &Chosen, patterns: &Ignore) -> std::io::Result<BTreeSet<Vec<u8>>> {
    let below = copy::directory(one)?;
    let mut included = BTreeSet::new();
    let whole = |path: &[u8]| match one.path.as_bytes() {
        b"" => path.to_vec(),
        above => [above, b"/", path].concat(),
    };
    walk::tree(below.as_fd(), |visit| -> std::io::Result<bool> {
        if patterns.excluded_by(&String::from_utf8_lossy(visit.path)).is_some() {
            included.insert(whole(visit.path));
            let ends = visit.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            included.extend(ends.map(|(end, _)| whole(&visit.path[..end])));
        }
        Ok(true)
    })?;
    Ok(included)
}

fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path))
}

fn is_there(root: BorrowedFd<'_>, path: &str) -> std::io::Result<()> {
    let path = if path.is_empty() { "." } else { path };
    walk::open_in_root(root, path.as_bytes(), OFlags::PATH | OFlags::DIRECTORY).map(drop)
}

fn remove(root: BorrowedFd<'_>, gone: &FileActionRm) -> Result<(), BuildError> {
    let failed = |source| BuildError::Io { what: format!("rm {}", gone.path), source };
    let clean = gone.path.trim_matches('/').to_owned();
    let mut paths = vec![clean.clone()];
    if gone.allow_wildcard && clean.contains(['*', '?', '[']) {
        paths.clear();
        walk::tree(root, |visit| -> std::io::Result<bool> {
            let path = String::from_utf8_lossy(visit.path).into_owned();
            let is_it = language::path_matches(&clean, &path);
            if is_it {
                paths.push(path);
            }
            Ok(!is_it)
        })
        .map_err(failed)?;
    }
    for path in paths {
        let (above, leaf) = split(&path);
        let parent = walk::open_in_root(root, above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        let removed = parent.and_then(|parent| match walk::stat_leaf(parent.as_fd(), leaf.as_bytes())? {
            None => Err(std::io::ErrorKind::NotFound.into()),
            Some(_) => walk::remove_tree(parent.as_fd(), leaf.as_bytes()),
        });
        match removed {
            Err(error) if gone.allow_not_found && error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(failed)?,
        }
    }
    Ok(())
}
