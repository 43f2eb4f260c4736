//! Opens what a plan needs: the root, binds with their attributes, namespaces of others.
//!
//! All paths here are the host's, named by who wrote the configuration; from here on there are only descriptors.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use hako_sys::mount::{self, Spread};
use rustix::fs::{Mode, OFlags};

use super::{
    error::OciError,
    translate::{Bind, Ids, Need},
};
use crate::{idmap, plan::TravelKind};

/// In the order of the list.
pub(super) fn open_all(needs: &[Need]) -> Result<Vec<OwnedFd>, OciError> {
    let mut opened = Vec::with_capacity(needs.len());
    for need in needs {
        opened.push(open(need, &opened)?);
    }
    Ok(opened)
}

fn open(need: &Need, opened: &[OwnedFd]) -> Result<OwnedFd, OciError> {
    let failed =
        |what: &'static str, path: &Path, source| OciError::Open { what, subject: path.display().to_string(), source };
    match need {
        Need::Root { path, receives } => root(path, *receives).map_err(|error| failed("open the root", path, error)),
        Need::Bind(one) => bind(one, opened).map_err(|error| failed("bind", &one.source, error)),
        Need::Users { uids, gids } => {
            idmap::user_namespace(uids, gids).map_err(|error| failed("map ids of", Path::new("a mount"), error))
        }
        Need::Namespace { kind, path } => rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| OciError::Open {
                what: "open the namespace",
                subject: format!("{kind} at {}", path.display()),
                source: errno.into(),
            }),
    }
}

fn root(path: &Path, receives: bool) -> io::Result<OwnedFd> {
    let directory = mount::open_directory(path)?;
    match receives {
        true => mount::clone_tree_with(directory.as_fd(), true, Spread::Slave),
        false => mount::clone_tree_of(directory.as_fd(), true),
    }
}

fn bind(asked: &Bind, opened: &[OwnedFd]) -> io::Result<OwnedFd> {
    let source = rustix::fs::open(&asked.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let options = &asked.options;
    let recursive = options.bind == Some(true);
    let tree = match options.travel {
        Some(travel) if matches!(travel.how, TravelKind::Slave | TravelKind::Shared) => {
            let spread = if travel.how == TravelKind::Slave { Spread::Slave } else { Spread::Shared };
            mount::clone_tree_with(source.as_fd(), recursive, spread)?
        }
        _ => mount::clone_tree_of(source.as_fd(), recursive)?,
    };
    if let Some(travel) = options.travel.filter(|travel| travel.how == TravelKind::Unbindable) {
        mount::set_propagation(tree.as_fd(), Spread::Unbindable, travel.recursive)?;
    }
    let made;
    let namespace = match &asked.ids {
        Ids::Host => None,
        Ids::Of(index) => Some(opened.get(*index).ok_or(io::ErrorKind::InvalidInput)?),
        Ids::Ranges { uids, gids } => {
            made = idmap::user_namespace(uids, gids)?;
            Some(&made)
        }
    };
    if let Some(namespace) = namespace {
        mount::map_ids(tree.as_fd(), namespace.as_fd(), options.mapped == Some(true))?;
    }
    for (set, clear, below) in [(options.below_set, options.below_clear, true), (options.set, options.clear, false)] {
        if set | clear != 0 {
            mount::change_attributes(tree.as_fd(), set, clear, below)?;
        }
    }
    Ok(tree)
}
