//! What was built before: results by the digest of everything that went into them.
//!
//! A key is made of what a step stands on, its words after replacement, and the bytes of the files it reads; times are
//! never part of it. A record that speaks of layers which are gone counts as none.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use hako_base::{clock, database::Database};
use hako_image::Store;
use hako_model::Digest;
use jiff::Timestamp;
use parking_lot::Mutex;
use redb::{ReadableTable, TableDefinition};
use ring::digest::{Context as Sha, SHA256};
use serde::{Deserialize, Serialize};

use crate::{
    context::{Context, lasting},
    error::BuildError,
    prune::PruneWish,
};

/// How the descriptions of what is no record begin.
const CACHE_MOUNT: &str = "cache mount ";
const LOCAL_SOURCE: &str = "local source for the context ";

/// The input of records that were found before what they are made of was there, see `solve/foresight.rs`.
pub(crate) const FORESEEN: &str = "foreseen";

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The layers after it.
    pub(crate) stack: Option<Digest>,
    /// Whether it made a layer of its own.
    pub(crate) has_layer: bool,
    pub(crate) created: Timestamp,
    pub(crate) used: Timestamp,
    pub(crate) uses: u64,
    pub(crate) description: String,
    /// What it was made of, by name, to say later which input changed.
    #[serde(default)]
    pub(crate) inputs: BTreeMap<String, String>,
}

impl Record {
    /// Whether its key is of definitions: a second way to a result.
    pub(crate) fn is_foreseen(&self) -> bool {
        self.inputs.contains_key(FORESEEN)
    }

    /// Whether it is the result of a step that says this of itself.
    pub(crate) fn has_input(&self, name: &str, value: &str) -> bool {
        self.inputs.get(name).is_some_and(|known| *known == shortened(value))
    }
}

// Values may be secret or long: what is remembered of them only tells whether they are the same.
fn shortened(value: &str) -> String {
    digest(value.as_bytes()).short()
}

/// One record, for `builder du`.
#[derive(Debug, Clone)]
pub struct CacheEntry {
    pub id: String,
    pub kind: &'static str,
    pub description: String,
    pub size: u64,
    pub created: Timestamp,
    pub last_used: Timestamp,
    pub uses: u64,
    pub shared: bool,
    pub in_use: bool,
}

/// What an image's time was taken from.
pub(crate) struct Stamp {
    /// It was made before.
    pub(crate) is_known: bool,
    pub(crate) key: Digest,
    pub(crate) record: Record,
}

/// The records, in memory and on disk.
pub(crate) struct Cache {
    database: Database,
    state: Mutex<State>,
    root: PathBuf,
    pub(crate) mounts: PathBuf,
    /// Files of clients' directories, which stay from build to build.
    contexts: PathBuf,
}

#[derive(Default)]
struct State {
    records: HashMap<String, Record>,
    changed: Vec<String>,
    gone: Vec<String>,
}

/// A key in the making: every word with its length, so that no two lists of words are the same bytes.
pub(crate) struct Key {
    context: Sha,
    inputs: BTreeMap<String, String>,
}

impl Key {
    pub(crate) fn new(kind: &str, below: &Digest) -> Self {
        let mut key = Self { context: Sha::new(&SHA256), inputs: BTreeMap::new() };
        key.raw(kind.as_bytes());
        key.input("what is below", &below.to_string());
        key
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.context.update(&(bytes.len() as u64).to_le_bytes());
        self.context.update(bytes);
    }

    /// Something that the result depends on, with a name for people.
    pub(crate) fn input(&mut self, name: &str, value: &str) {
        self.raw(name.as_bytes());
        self.raw(value.as_bytes());
        self.inputs.insert(name.to_owned(), shortened(value));
    }

    pub(crate) fn finish(self) -> (Digest, BTreeMap<String, String>) {
        (self.digest(), self.inputs)
    }

    /// The key as far as it is made.
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.clone().finish().as_ref());
        Digest::from_sha256(bytes)
    }
}

/// A digest as it goes.
pub(crate) struct Hasher(Sha);

impl Default for Hasher {
    fn default() -> Self {
        Self(Sha::new(&SHA256))
    }
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Digest::from_sha256(bytes)
    }
}

/// The digest of bytes at hand.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&SHA256, bytes).as_ref());
    Digest::from_sha256(hash)
}

impl Cache {
    /// Opens the cache below `root`; records without their layers, and layers without a record, go.
    pub(crate) fn open(root: &Path, store: &Store) -> Result<Self, BuildError> {
        let failed = |error: redb::Error| BuildError::invalid(format!("cannot open the build cache: {error}"));
        std::fs::create_dir_all(root).map_err(BuildError::io(format!("cannot make {}", root.display())))?;
        let database = Database::create(root.join("cache.redb")).map_err(|error| failed(error.into()))?;
        let mut state = State::default();
        let write = database.begin_write().map_err(failed)?;
        {
            let table = write.open_table(RECORDS).map_err(|error| failed(error.into()))?;
            for row in table.iter().map_err(|error| failed(error.into()))? {
                let (key, value) = row.map_err(|error| failed(error.into()))?;
                match serde_json::from_slice::<Record>(value.value()) {
                    Ok(record) if store.has_stack(record.stack) => {
                        state.records.insert(key.value().to_owned(), record);
                    }
                    _ => state.gone.push(key.value().to_owned()),
                }
            }
        }
        write.commit().map_err(|error| failed(error.into()))?;
        let (mounts, contexts) = (root.join("mounts"), lasting(root));
        let cache = Self { database, state: Mutex::new(state), root: root.to_owned(), mounts, contexts };
        let wanted: Vec<Digest> = cache.state.lock().records.values().filter_map(|record| record.stack).collect();
        let strays: Vec<Digest> = store.kept_stacks().into_iter().filter(|kept| !wanted.contains(kept)).collect();
        if !strays.is_empty() {
            store.keep_stacks(&[], &strays)?;
        }
        Ok(cache)
    }

    /// What was made of this key before, if its layers are still here.
    pub(crate) fn find(&self, key: &Digest, store: &Store) -> Option<Record> {
        let key = key.to_string();
        let mut state = self.state.lock();
        let record = state.records.get_mut(&key)?;
        if !store.has_stack(record.stack) {
            state.records.remove(&key);
            state.gone.push(key);
            return None;
        }
        record.used = clock::now();
        record.uses += 1;
        Some(record.clone())
    }

    /// Whether a step with this input was done.
    pub(crate) fn has_input(&self, name: &str, value: &str) -> bool {
        self.state.lock().records.values().any(|record| record.has_input(name, value))
    }

    /// Why there is no record of this key: which input is another than when the step was done last.
    pub(crate) fn why(&self, description: &str, inputs: &BTreeMap<String, String>) -> String {
        let state = self.state.lock();
        let is_same = |record: &&Record| record.description == description && !record.is_foreseen();
        let same = state.records.values().filter(is_same);
        let Some(last) = same.max_by_key(|record| record.created) else {
            return "this step was never done here".to_owned();
        };
        let changed: Vec<&str> = inputs
            .iter()
            .filter(|(name, value)| last.inputs.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .chain(last.inputs.keys().filter(|name| !inputs.contains_key(*name)).map(String::as_str))
            .collect();
        if changed.is_empty() { "its result is gone".to_owned() } else { format!("changed: {}", changed.join(", ")) }
    }

    /// Gives an image and those of its lines that made no layer a time: that of the first time it was made, so that
    /// the same build makes the same image. `elsewhere` is asked for what was made on other machines.
    pub(crate) fn stamp(
        &self,
        image: &mut hako_image::BuiltImage,
        fresh: bool,
        elsewhere: impl FnOnce(&Digest) -> Option<Record>,
    ) -> Stamp {
        let mut key = Key::new("image", &image.stack.unwrap_or_else(|| digest(b"")));
        key.input("configuration", &serde_json::to_string(&image.config).unwrap_or_default());
        key.input("base", &format!("{:?} {:?}", image.base.as_ref().map(|base| base.id), image.platform));
        for line in &image.lines {
            key.input("line", &line.created_by);
        }
        let (key, inputs) = key.finish();
        let here = self.state.lock().records.get(&key.to_string()).cloned();
        let known = if fresh { None } else { here.clone().or_else(|| elsewhere(&key)) };
        let at = known.as_ref().map_or_else(clock::now, |record| record.created);
        image.created = at;
        image.lines.iter_mut().filter(|line| line.empty_layer).for_each(|line| line.created = at);
        let is_known = known.is_some();
        let description = image.lines.last().map(|line| line.created_by.clone()).unwrap_or_default();
        let record =
            Record { stack: image.stack, has_layer: false, created: at, used: at, uses: 0, description, inputs };
        if fresh || here.is_none() {
            self.put(&key, record.clone());
        }
        Stamp { is_known, key, record }
    }

    pub(crate) fn put(&self, key: &Digest, record: Record) {
        let key = key.to_string();
        let mut state = self.state.lock();
        state.records.insert(key.clone(), record);
        state.changed.push(key);
    }

    /// Writes down what is new; the layers it speaks of are kept from now on.
    pub(crate) fn settle(&self, store: &Store) -> Result<(), BuildError> {
        let (changed, gone) = {
            let mut state = self.state.lock();
            let changed = std::mem::take(&mut state.changed);
            let changed: Vec<(String, Record)> =
                changed.into_iter().filter_map(|key| Some((key.clone(), state.records.get(&key)?.clone()))).collect();
            (changed, std::mem::take(&mut state.gone))
        };
        if changed.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let stacks: Vec<Digest> = changed.iter().filter_map(|(_, record)| record.stack).collect();
        store.keep_stacks(&stacks, &[])?;
        self.write(&changed, &gone)
    }

    fn write(&self, changed: &[(String, Record)], gone: &[String]) -> Result<(), BuildError> {
        let failed = |error: redb::Error| BuildError::invalid(format!("cannot write the build cache: {error}"));
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(RECORDS).map_err(|error| failed(error.into()))?;
            for (key, record) in changed {
                let bytes = serde_json::to_vec(record).unwrap_or_default();
                table.insert(key.as_str(), &bytes[..]).map_err(|error| failed(error.into()))?;
            }
            for key in gone {
                table.remove(key.as_str()).map_err(|error| failed(error.into()))?;
            }
        }
        write.commit().map_err(|error| failed(error.into()))
    }

    /// Everything that the cache keeps.
    pub(crate) fn entries(&self, store: &Store) -> Vec<CacheEntry> {
        let images: Vec<Option<Digest>> = store.list().iter().map(|image| image.chain_id).collect();
        let state = self.state.lock();
        let layers = |record: &Record| record.stack.filter(|_| record.has_layer);
        let plain = state.records.values().filter(|record| !record.is_foreseen());
        let plain: HashSet<Digest> = plain.filter_map(layers).collect();
        let mut entries: Vec<CacheEntry> = state
            .records
            .iter()
            .filter(|(_, record)| record.has_layer)
            // A second way to the same result is no second result.
            .filter(|(_, record)| !record.is_foreseen() || record.stack.is_none_or(|stack| !plain.contains(&stack)))
            .map(|(key, record)| CacheEntry {
                id: key.trim_start_matches("sha256:").chars().take(25).collect(),
                kind: "regular",
                description: record.description.clone(),
                size: record.stack.map_or(0, |stack| store.layer_size(stack)),
                created: record.created,
                last_used: record.used,
                uses: record.uses,
                shared: images.contains(&record.stack),
                in_use: false,
            })
            .collect();
        let mounts = directories(&self.mounts).into_iter().map(|found| ("exec.cachemount", CACHE_MOUNT, found));
        let contexts = directories(&self.contexts).into_iter().map(|found| ("source.local", LOCAL_SOURCE, found));
        entries.extend(mounts.chain(contexts).map(|(kind, what, (name, size, created))| CacheEntry {
            id: name.chars().take(25).collect(),
            kind,
            description: format!("{what}{name}"),
            size,
            created,
            last_used: created,
            uses: 0,
            shared: false,
            in_use: false,
        }));
        entries.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.id.cmp(&b.id)));
        entries
    }

    /// Forgets what is wished gone; answers what that was.
    pub(crate) fn prune(&self, store: &Store, wish: &PruneWish) -> Result<Vec<CacheEntry>, BuildError> {
        wish.check()?;
        let mut gone = self.entries(store);
        let failed = BuildError::io("cannot tell how much of the disk is free");
        let disk = rustix::fs::statvfs(&self.root).map_err(|error| failed(error.into()))?;
        let chosen = wish.chosen(&gone, disk.f_bavail.saturating_mul(disk.f_frsize));
        gone.retain(|entry| chosen.contains(&entry.id));
        let mut keys = Vec::new();
        let mut stacks = Vec::new();
        {
            let mut state = self.state.lock();
            for entry in gone.iter().filter(|entry| entry.kind == "regular") {
                let key = state.records.keys().find(|key| key.trim_start_matches("sha256:").starts_with(&entry.id));
                if let Some(key) = key.cloned() {
                    stacks.extend(state.records.remove(&key).and_then(|record| record.stack));
                    keys.push(key);
                }
            }
            // Records without a layer of their own go with the layers that they stand on, second ways with their result;
            // those that stand on a base, which is no result, go with what is as old as they.
            let results = state.records.values().filter(|record| record.has_layer).filter_map(|record| record.stack);
            let results: HashSet<Digest> = results.collect();
            let on_base = |record: &Record| record.stack.is_some_and(|stack| !results.contains(&stack));
            let empty: Vec<String> = state
                .records
                .iter()
                .filter(|(_, record)| !record.has_layer || record.is_foreseen())
                .filter(|(_, record)| {
                    record.stack.is_none_or(|stack| stacks.contains(&stack))
                        || (on_base(record) && wish.wants_empty(&record.description, record.used))
                })
                .map(|(key, _)| key.clone())
                .collect();
            for key in empty {
                state.records.remove(&key);
                keys.push(key);
            }
            let still: Vec<Digest> = state.records.values().filter_map(|record| record.stack).collect();
            stacks.retain(|stack| !still.contains(stack));
        }
        store.keep_stacks(&[], &stacks)?;
        self.write(&[], &keys)?;
        gone.retain(|entry| match entry.description.strip_prefix(LOCAL_SOURCE) {
            // One that a build uses stays.
            Some(name) if entry.kind == "source.local" => Context::forget(&self.root, name),
            _ => true,
        });
        for entry in gone.iter().filter(|entry| entry.kind == "exec.cachemount") {
            let name = entry.description.trim_start_matches(CACHE_MOUNT);
            let _ = std::fs::remove_dir_all(self.mounts.join(name));
        }
        Ok(gone)
    }
}

// Name, bytes and age of every directory.
fn directories(root: &Path) -> Vec<(String, u64, Timestamp)> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let described = entries.filter_map(Result::ok).filter_map(|entry| {
        let modified = entry.metadata().ok()?.modified().ok()?;
        let size = hako_archive::size_of(&entry.path()).unwrap_or(0);
        Some((entry.file_name().into_string().ok()?, size, Timestamp::try_from(modified).ok()?))
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_words_have_one_key() {
        let key = |words: &[(&str, &str)]| {
            let mut key = Key::new("run", &digest(b""));
            words.iter().for_each(|(name, value)| key.input(name, value));
            key.finish().0
        };
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "bcd")]));
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
    }
}
