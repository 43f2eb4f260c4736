//! The options of one mount of a bundle: words become bits to set and to clear, the rest is the file system's own.
//!
//! Pure. The words are those of the specification's table, which are mount(8)'s; a later word wins over an earlier one.

use crate::plan::{Travel, TravelKind};

/// Bits of `mount_setattr(2)`.
pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;
pub(super) const NOATIME: u64 = 0x10;
pub(super) const STRICTATIME: u64 = 0x20;
pub(super) const NODIRATIME: u64 = 0x80;
pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;
const ATIME: u64 = 0x70;

/// A bit and whether the word sets or clears it.
const ATTRIBUTES: [(&str, u64, bool); 20] = [
    ("ro", RDONLY, true),
    ("rw", RDONLY, false),
    ("nosuid", NOSUID, true),
    ("suid", NOSUID, false),
    ("nodev", NODEV, true),
    ("dev", NODEV, false),
    ("noexec", NOEXEC, true),
    ("exec", NOEXEC, false),
    ("nodiratime", NODIRATIME, true),
    ("diratime", NODIRATIME, false),
    ("nosymfollow", NOSYMFOLLOW, true),
    ("symfollow", NOSYMFOLLOW, false),
    // The three modes of access times exclude each other; zero of all is `relatime`.
    ("noatime", NOATIME, true),
    ("atime", NOATIME, false),
    ("strictatime", STRICTATIME, true),
    ("nostrictatime", STRICTATIME, false),
    ("relatime", NOATIME | STRICTATIME, false),
    // Not `strictatime`: what the kernel does without either is `relatime` (mount(2)).
    ("norelatime", 0, true),
    ("defaults", 0, true),
    ("silent", 0, true),
];

/// Words that concern the file system itself, not the mount, and are known to the kernel by themselves.
const FILESYSTEM: [&str; 6] = ["sync", "dirsync", "lazytime", "mand", "nolazytime", "async"];
/// Words without an effect in kernels of today.
const NOTHING: [&str; 7] = ["loud", "nomand", "iversion", "noiversion", "acl", "noacl", "newinstance"];

const TRAVELS: [(&str, TravelKind, bool); 8] = [
    ("private", TravelKind::Private, false),
    ("rprivate", TravelKind::Private, true),
    ("slave", TravelKind::Slave, false),
    ("rslave", TravelKind::Slave, true),
    ("shared", TravelKind::Shared, false),
    ("rshared", TravelKind::Shared, true),
    ("unbindable", TravelKind::Unbindable, false),
    ("runbindable", TravelKind::Unbindable, true),
];

/// What the options of a mount say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Options {
    pub(super) set: u64,
    pub(super) clear: u64,
    /// The same for all that is mounted below.
    pub(super) below_set: u64,
    pub(super) below_clear: u64,
    /// A bind, and whether it brings along what is mounted below.
    pub(super) bind: Option<bool>,
    pub(super) remount: bool,
    pub(super) travel: Option<Travel>,
    /// Ids are mapped; whether also below.
    pub(super) mapped: Option<bool>,
    pub(super) copy_up: bool,
    /// The file system's own.
    pub(super) data: Vec<(String, Option<String>)>,
}

impl Options {
    pub(super) fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words.iter().flat_map(|words| words.split(',')).filter(|word| !word.is_empty()) {
            options.take(word);
        }
        options
    }

    fn take(&mut self, word: &str) {
        if let Some((_, bits, sets)) = ATTRIBUTES.iter().find(|(known, ..)| *known == word) {
            return change(&mut self.set, &mut self.clear, *bits, *sets);
        }
        let below = word.strip_prefix('r').and_then(|rest| ATTRIBUTES.iter().find(|(known, ..)| *known == rest));
        if let Some((_, bits, sets)) = below.filter(|(name, ..)| reaches_below(name)) {
            return change(&mut self.below_set, &mut self.below_clear, *bits, *sets);
        }
        if let Some((_, how, recursive)) = TRAVELS.iter().find(|(known, ..)| *known == word) {
            self.travel = Some(Travel { how: *how, recursive: *recursive });
            return;
        }
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "idmap" => self.mapped = Some(false),
            "ridmap" => self.mapped = Some(true),
            "tmpcopyup" => self.copy_up = true,
            _ if NOTHING.contains(&word) => {}
            _ if FILESYSTEM.contains(&word) => self.data.push((word.to_owned(), None)),
            _ => self.data.push(match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
    }
}

fn reaches_below(name: &str) -> bool {
    !["defaults", "silent"].contains(&name)
}

fn change(set: &mut u64, clear: &mut u64, bits: u64, sets: bool) {
    if bits & ATIME != 0 {
        *set &= !ATIME;
    }
    if sets {
        *set |= bits;
        *clear &= !bits;
    } else {
        *set &= !bits;
        *clear |= bits;
    }
}

/// The names that the features list shows.
pub(super) fn names() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| (*name).to_owned());
    let below = ATTRIBUTES.iter().filter(|(name, ..)| reaches_below(name)).map(|(name, ..)| format!("r{name}"));
    let travels = TRAVELS.iter().map(|(name, ..)| (*name).to_owned());
    let words = ["bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup"].into_iter().map(str::to_owned);
    let rest = FILESYSTEM.iter().chain(&NOTHING).filter(|name| **name != "newinstance").map(|name| (*name).to_owned());
    let mut names: Vec<String> = attributes.chain(below).chain(travels).chain(words).chain(rest).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        Options::parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_later_word_wins() {
        assert_eq!((parse("ro nosuid").set, parse("ro nosuid").clear), (RDONLY | NOSUID, 0));
        assert_eq!((parse("ro rw").set, parse("ro rw").clear), (0, RDONLY));
        assert_eq!(parse("noatime strictatime").set, STRICTATIME);
        assert_eq!(parse("strictatime relatime").set, 0);
        assert_eq!((parse("norelatime").set, parse("norelatime strictatime").set), (0, STRICTATIME));
        assert_eq!(parse("rnorelatime"), Options::default());
    }

    #[test]
    fn words_for_all_below_are_kept_apart() {
        let options = parse("rbind rro rslave");
        assert_eq!((options.set, options.below_set, options.bind), (0, RDONLY, Some(true)));
        assert_eq!(options.travel, Some(Travel { how: TravelKind::Slave, recursive: true }));
        assert_eq!(parse("rrw").below_clear, RDONLY);
        assert_eq!(parse("rrelatime").below_clear, NOATIME | STRICTATIME);
    }

    #[test]
    fn what_is_unknown_is_the_file_systems() {
        let data = parse("nosuid mode=755 size=65536k sync noswap loud").data;
        let text: Vec<String> = data.iter().map(|(name, value)| format!("{name}:{value:?}")).collect();
        assert_eq!(text, ["mode:Some(\"755\")", "size:Some(\"65536k\")", "sync:None", "noswap:None"]);
    }

    #[test]
    fn every_must_of_the_specification_is_known() {
        let must = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime \
                    noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro \
                    rprivate rshared rslave runbindable rw shared silent slave strictatime suid sync unbindable";
        let names = names();
        for word in must.split_ascii_whitespace() {
            assert!(names.iter().any(|name| name == word), "{word}");
        }
    }
}
