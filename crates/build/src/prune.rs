//! Which entries of the cache a prune takes away: one decision for every protocol, made on a list.

use std::collections::HashSet;

use hako_model::Filters;
use jiff::Timestamp;

use crate::{cache::CacheEntry, error::BuildError};

const KNOWN: &[&str] =
    &["description", "id", "immutable", "inuse", "label", "label!", "mutable", "private", "shared", "type"];

/// What is to go.
#[derive(Debug, Clone, Default)]
pub struct PruneWish {
    /// Also what images have too, which frees nothing.
    pub all: bool,
    /// Only what was used last before this.
    pub before: Option<Timestamp>,
    /// Keys without a value mean that the word is true of the entry.
    pub filters: Filters,
    pub space: Space,
}

/// How much of what was used last stays, in bytes; with 0 in all of them, nothing has to (BuildKit's `gcpolicy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// So much stays in any case.
    pub reserved: u64,
    /// No more than this stays.
    pub used_max: u64,
    /// No more goes than until so much of the disk is free.
    pub free_min: u64,
}

impl Space {
    /// As clients say it: what is not said is 0, and so is less.
    pub fn of(reserved: i64, used_max: i64, free_min: i64) -> Self {
        let bytes = |said: i64| u64::try_from(said).unwrap_or_default();
        Self { reserved: bytes(reserved), used_max: bytes(used_max), free_min: bytes(free_min) }
    }

    // How much stays of `used` bytes, on a disk with so many free.
    fn keeps(self, used: u64, free: u64) -> u64 {
        let by_use = Some(self.used_max).filter(|most| *most > 0);
        let by_disk = Some(self.free_min).filter(|least| *least > 0).map(|least| match least.checked_sub(free) {
            None | Some(0) => u64::MAX,
            Some(missing) => used.saturating_sub(missing),
        });
        by_use.into_iter().chain(by_disk).min().unwrap_or_default().max(self.reserved)
    }
}

impl PruneWish {
    /// Reads BuildKit's filters: `KEY`, `KEY==VALUE`, `KEY~=VALUE`, with commas between several.
    pub fn filters(texts: &[String]) -> Filters {
        let mut filters = Filters::default();
        // Some clients send one that says nothing.
        for text in texts.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()) {
            let (key, value) = text.split_once("==").or_else(|| text.split_once("~=")).unwrap_or((text, "true"));
            filters.add(key, value);
        }
        filters
    }

    /// Whether every filter is one that can be obeyed.
    ///
    /// # Errors
    /// The first that is not known, or has no value that makes sense: more would go than was meant.
    pub fn check(&self) -> Result<(), BuildError> {
        if let Some(key) = self.filters.unknown_key(KNOWN) {
            return Err(BuildError::Invalid { text: format!("invalid filter '{key}'") });
        }
        for key in ["immutable", "inuse", "mutable", "private", "shared"] {
            if let Some(value) = self.filters.values(key).find(|value| truth(value).is_none()) {
                return Err(BuildError::Invalid {
                    text: format!("invalid filter '{key}={value}': expected a boolean"),
                });
            }
        }
        Ok(())
    }

    /// The ids of what goes, of entries in the order of their last use, latest first; `free`: bytes on the disk.
    pub(crate) fn chosen(&self, entries: &[CacheEntry], free: u64) -> HashSet<String> {
        let keeps = self.space.keeps(entries.iter().map(|entry| entry.size).sum(), free);
        let mut sum = 0_u64;
        let mut stays = |entry: &CacheEntry| {
            sum = sum.saturating_add(entry.size);
            keeps > 0 && sum <= keeps
        };
        let gone = entries.iter().filter(|entry| !stays(entry) && self.wants(entry));
        gone.map(|entry| entry.id.clone()).collect()
    }

    /// Whether a step goes that has written nothing: it frees nothing, and its base is an image's.
    pub(crate) fn wants_empty(&self, description: &str, used: Timestamp) -> bool {
        self.space == Space::default()
            && self.wants(&CacheEntry {
                id: String::new(),
                kind: "regular",
                description: description.to_owned(),
                size: 0,
                created: used,
                last_used: used,
                uses: 0,
                shared: true,
                in_use: false,
            })
    }

    fn wants(&self, entry: &CacheEntry) -> bool {
        let is = |key: &str, fact: bool| self.filters.any(key, |value| truth(value) == Some(fact));
        let mutable = entry.kind != "regular";
        // Entries have no labels: one that is asked for is on none of them (`system prune --filter label=x`).
        !self.filters.has("label")
            && (self.all || !entry.shared)
            && self.before.is_none_or(|before| entry.last_used < before)
            && self.filters.any("id", |id| entry.id.starts_with(id))
            && self.filters.any("type", |kind| entry.kind == kind)
            && self.filters.any("description", |text| entry.description.contains(text))
            && is("inuse", entry.in_use)
            && is("shared", entry.shared)
            && is("private", !entry.shared)
            && is("mutable", mutable)
            && is("immutable", !mutable)
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, second: i64, size: u64, shared: bool) -> CacheEntry {
        let at = Timestamp::from_second(second).unwrap();
        CacheEntry {
            id: id.to_owned(),
            kind: if id == "mount" { "exec.cachemount" } else { "regular" },
            description: format!("RUN {id}"),
            size,
            created: at,
            last_used: at,
            uses: 1,
            shared,
            in_use: false,
        }
    }

    fn check(wish: PruneWish, expected: &str) {
        let entries = [
            entry("new", 40, 10, false),
            entry("image", 30, 10, true),
            entry("mount", 20, 10, false),
            entry("old", 10, 10, false),
        ];
        let got = match wish.check() {
            Ok(()) => {
                let mut gone: Vec<String> = wish.chosen(&entries, 1000).into_iter().collect();
                gone.sort();
                gone.join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{wish:?}");
    }

    fn filtered(texts: &[&str], expected: &str) {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        check(PruneWish { all: true, filters: PruneWish::filters(&texts), ..PruneWish::default() }, expected);
    }

    #[test]
    fn no_more_goes_than_was_meant() {
        check(PruneWish::default(), "mount new old");
        check(PruneWish { all: true, ..PruneWish::default() }, "image mount new old");
        check(PruneWish { before: Timestamp::from_second(25).ok(), ..PruneWish::default() }, "mount old");
        // What an image has too counts, and what was used last stays.
        let space = |reserved, used_max, free_min| PruneWish {
            all: true,
            space: Space::of(reserved, used_max, free_min),
            ..PruneWish::default()
        };
        check(space(15, 0, 0), "image mount old");
        check(space(0, 25, 0), "mount old");
        check(space(25, 15, 0), "mount old");
        // Until the disk has so much: 1000 are free, and 40 are used.
        check(space(0, 0, 900), "");
        check(space(0, 0, 1020), "mount old");
        check(space(0, 15, 1020), "image mount old");
        check(space(0, 0, 5000), "image mount new old");
        check(space(25, 0, 5000), "mount old");
        check(PruneWish { space: Space::of(25, 0, 0), ..PruneWish::default() }, "mount old");
        filtered(&[""], "image mount new old");
        filtered(&["type==exec.cachemount"], "mount");
        filtered(&["id~=ol"], "old");
        filtered(&["description==RUN new"], "new");
        filtered(&["shared"], "image");
        filtered(&["private", "immutable"], "new old");
        filtered(&["private,immutable"], "new old");
        filtered(&[""], "image mount new old");
        filtered(&["mutable==true"], "mount");
        filtered(&["inuse"], "");
        filtered(&["parents~=x"], "invalid filter 'parents'");
        filtered(&["inuse==perhaps"], "invalid filter 'inuse=perhaps': expected a boolean");
    }
}
