//! Binds whose owner is the container's user (`bind-idmap`): the mount translates ids, the files keep them.
//!
//! The owner of the bind's source and the container's user change places; everybody else stays who they are, so that
//! nobody in the container owns more than before except where that was asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hako_model::IdMapping;
use hako_runtime::plan::IdRange;

use crate::{EngineError, IdMap, userns::outside};

/// Every id but the one that stands for none.
const ALL: u32 = u32::MAX;

/// Who somebody is, by name.
type Find<'a> = dyn Fn(&str) -> Result<(u32, u32), EngineError> + 'a;

/// Whose ids a mount gets.
pub(crate) struct Users<'a> {
    /// The container's own ids and a namespace with them.
    pub(crate) ids: Option<&'a IdMap>,
    pub(crate) namespace: Option<BorrowedFd<'a>>,
    /// Finds a user of the container; an empty name is the one that it runs as.
    pub(crate) find: &'a Find<'a>,
}

impl Users<'_> {
    /// Gives a bind the ids that were asked for. The inner error is the kernel's, which does this for some file systems.
    pub(crate) fn map(&self, bind: &OwnedFd, how: &IdMapping) -> Result<std::io::Result<()>, EngineError> {
        match how {
            IdMapping::Userns => match self.namespace {
                Some(namespace) => Ok(hako_volume::bind::map(bind.as_fd(), namespace)),
                None => Err(EngineError::invalid(
                    "bind-idmap=userns: the container has no user namespace of its own (--userns)",
                )),
            },
            IdMapping::MatchUser { user } => {
                let (uid, gid) = (self.find)(user)?;
                let (uid, gid) = match self.ids {
                    Some(ids) => (outside(&ids.uids, uid), outside(&ids.gids, gid)),
                    None => (uid, gid),
                };
                Ok(exchange(bind, (uid, gid)))
            }
        }
    }
}

fn exchange(bind: &OwnedFd, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(bind)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    let text = |ranges: &[IdRange]| hako_runtime::idmap::text(ranges);
    let made =
        hako_runtime::idmap::make(&text(&exchanged(stat.st_uid, uid)), &text(&exchanged(stat.st_gid, gid)), false)?;
    hako_volume::bind::map(bind.as_fd(), made.user.as_fd())
}

/// Two ids in each other's place, and all others in their own.
fn exchanged(one: u32, other: u32) -> Vec<IdRange> {
    let (low, high) = (one.min(other), one.max(other));
    let same = |first: u32, past: u32| IdRange { container: first, host: first, count: past - first };
    if low == high {
        return vec![same(0, ALL)];
    }
    let ranges = [
        same(0, low),
        IdRange { container: low, host: high, count: 1 },
        same(low + 1, high),
        IdRange { container: high, host: low, count: 1 },
        same(high + 1, ALL),
    ];
    ranges.into_iter().filter(|range| range.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_change_places_and_nobody_else() {
        let show = |one, other| hako_runtime::idmap::text(&exchanged(one, other)).trim().replace('\n', ", ");
        assert_eq!(show(1000, 0), "0 1000 1, 1 1 999, 1000 0 1, 1001 1001 4294966294");
        assert_eq!(show(5, 6), "0 0 5, 5 6 1, 6 5 1, 7 7 4294967288");
        assert_eq!(show(7, 7), "0 0 4294967295");
    }
}
