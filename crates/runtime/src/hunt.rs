//! Everything here that reads foreign bytes, against a corpus and mutations of it: nothing panics, and what is accepted
//! holds together.
//!
//! `corpus/` has one folder for each target. `cargo test` replays it with a few mutations of each file, always the same
//! ones; `cargo x hunt SECONDS` goes on with others for as long, other ones each time (`HAKO_HUNT_SEED` repeats them). What
//! a hunt finds is written down and becomes a file there.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{capability::CapSet, cgroup, external, oci, plan::LaunchPlan, seccomp, user};

/// What an ordinary run begins with.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Mutations of each file in an ordinary run.
const USUAL: u64 = 150;
/// Bytes that parsers care about, to be put anywhere.
const TOKENS: [&[u8]; 14] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b" - ",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"\\u0000",
    b"/../",
];

/// Text in, judged; a panic is a find.
type Target = (&'static str, fn(&str));

const TARGETS: [Target; 5] = [
    ("config", config),
    ("profile", profile),
    ("passwd", passwd),
    ("mountinfo", |text| drop(cgroup::parse_layout(text))),
    ("cgroup", cgroup::parse_counters),
];

fn config(text: &str) {
    let Ok(plan) = oci::plan_of(text, Path::new("/b")) else { return };
    let json = serde_json::to_string(&plan).expect("a plan is plain data");
    let again: LaunchPlan = serde_json::from_str(&json).expect("what we write we read");
    assert_eq!(plan, again);
    let limits = hako_model::Limits::default();
    let beside = external::config::Beside {
        bundle: Path::new("/b"),
        cgroup: "/c".to_owned(),
        limits: &limits,
        devices: &cgroup::DeviceRules::default(),
        seccomp: None,
        terminal: false,
    };
    let told = external::config::of_plan(&plan, &beside).to_string();
    assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok());
}

fn profile(text: &str) {
    for capabilities in [CapSet::NONE, CapSet::DEFAULT, CapSet::all()] {
        seccomp::answers_every_call(text, capabilities);
    }
}

fn passwd(text: &str) {
    let (passwd, group) = text.split_once("\n--\n").unwrap_or((text, text));
    for who in ["", "0", "ann", "ann:staff", "1000:50", "4294967295", "-1", ":"] {
        if let Ok(user) = user::resolve_in(passwd, group, who, &["staff".to_owned(), "7".to_owned()]) {
            // CVE-2024-40635: nobody wraps round to root.
            assert!(user.uid <= i32::MAX as u32 && user.gid <= i32::MAX as u32, "{user:?}");
        }
    }
}

/// xorshift: the same finds for the same seed, on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

fn mutated(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.next(6) {
        let at = dice.next(bytes.len() + 1);
        match dice.next(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.next(8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => {
                let token = TOKENS[dice.next(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            3 if at < bytes.len() => {
                let past = (at + 1 + dice.next(40)).min(bytes.len());
                bytes.drain(at..past);
            }
            4 if at < bytes.len() => {
                let past = (at + 1 + dice.next(40)).min(bytes.len());
                let copy = bytes[at..past].to_vec();
                let to = dice.next(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ if at < bytes.len() => bytes[at] = b"0123456789:-/\"\n "[dice.next(16)],
            _ => bytes.push(dice.next(256) as u8),
        }
    }
    bytes
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn judge(name: &str, target: fn(&str), bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if catch_unwind(AssertUnwindSafe(|| target(&text))).is_err() {
        let path = std::env::temp_dir().join(format!("hako-find-{name}-{}", hako_base::random::hex(4)));
        fs::write(&path, text.as_bytes()).unwrap();
        panic!("{name} panics: the input is in {} and belongs into corpus/{name}", path.display());
    }
}

fn hunt(seconds: Option<u64>, seed: u64) {
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    // Zero stays zero.
    let mut dice = Dice(seed.max(1));
    let corpora: Vec<_> = TARGETS.iter().map(|(name, target)| (*name, *target, corpus(name))).collect();
    for round in 0.. {
        let over = end.map_or(round >= USUAL, |end| Instant::now() >= end);
        if over {
            return;
        }
        for (name, target, files) in &corpora {
            for (_, bytes) in files {
                let input = if round == 0 { bytes.clone() } else { mutated(bytes, &mut dice) };
                judge(name, *target, &input);
            }
        }
    }
}

#[test]
fn the_corpus_and_its_neighbours_panic_nowhere() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("HAKO_HUNT_SECONDS");
    let chosen = || seconds.and_then(|_| u64::from_str_radix(&hako_base::random::hex(8), 16).ok());
    let seed = number("HAKO_HUNT_SEED").or_else(chosen).unwrap_or(SEED);
    println!("seed {seed}");
    hunt(seconds, seed);
}
