//! Owners in an archive and on a file system whose ids are shifted (a container in a user namespace).
//!
//! Archives have the ids that the container sees; the files' own are those outside. Without ranges both are the same.

// From an id inside, from one outside, how many.
type Range = (u32, u32, u32);

/// How ids are shifted: by ranges of an id inside, one outside, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
}

impl Ids {
    /// Who an owner in an archive is on the file system.
    pub fn outside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let find = |ranges: &[Range], id: u32| {
            let range = ranges.iter().find(|(inside, _, count)| id >= *inside && id - inside < *count);
            range.map_or(id, |(inside, outside, _)| outside + (id - inside))
        };
        (find(&self.uids, uid), find(&self.gids, gid))
    }

    /// The other way. Somebody of the host, who has no id inside, stays who they are.
    pub fn inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let find = |ranges: &[Range], id: u32| {
            let range = ranges.iter().find(|(_, outside, count)| id >= *outside && id - outside < *count);
            range.map_or(id, |(inside, outside, _)| inside + (id - outside))
        };
        (find(&self.uids, uid), find(&self.gids, gid))
    }

    /// Whether nothing is shifted.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let ids = Ids { uids: vec![(0, 100_000, 10), (10, 500_000, 10)], gids: vec![(0, 200_000, 10)] };
        assert_eq!(ids.outside((12, 3)), (500_002, 200_003));
        assert_eq!(ids.inside((500_002, 200_003)), (12, 3));
        assert_eq!(ids.inside((0, 0)), (0, 0));
        assert_eq!(ids.outside((99, 99)), (99, 99));
        assert_eq!(Ids::default().outside((7, 8)), (7, 8));
    }
}
