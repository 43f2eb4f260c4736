//! Foresight: what a stage is by its instructions, bases and the context alone, before it is solved.
//!
//! A step that reads another stage is looked up by that stage's definition before the stage itself is wanted: a cache
//! that has only the layers of the image (`--cache-to mode=min`) knows its result and none of the other stage's. A stage
//! that only such steps read begins when one of them turns out to be unknown. What cannot be foreseen (addresses, named
//! contexts) is solved as without it.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::Arc,
};

use hako_model::Digest;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, mpsc};

use super::{
    Solving, history, now,
    run::Place,
    stage::{Done, State, triggers},
};
use crate::{
    cache::{FORESEEN, Key, Record, digest},
    error::BuildError,
    language::{Copy, CopyFlags, Instruction, Kind, MountKind},
    plan::{Base, from_of, platform_text, sources},
    remote::Remote,
};

/// The input that is the instruction's text.
const STEP: &str = "instruction";

/// A stage that was not solved.
pub(super) struct Foreseen {
    /// Its configuration is that of the result; its files are those of the base.
    state: State,
    definition: Digest,
    /// Something in it is to be done anew.
    is_fresh: bool,
}

/// What is known beforehand, and which stages have begun.
pub(super) struct Foresight {
    stages: Vec<OnceCell<Option<Arc<Foreseen>>>>,
    /// Digests of files of the context, by what was asked for.
    files: Mutex<HashMap<Digest, Arc<OnceCell<Digest>>>>,
    begun: Mutex<BTreeSet<usize>>,
    bases_begun: Mutex<BTreeSet<usize>>,
    wanted: mpsc::UnboundedSender<usize>,
}

/// Where the result of a step is looked up before what it reads is there.
pub(super) struct Wish {
    key: Key,
    is_fresh: bool,
}

/// What a step is by definition.
struct Definition {
    key: Key,
    is_fresh: bool,
}

type Found<'s, T> = Pin<Box<dyn Future<Output = Result<Option<T>, BuildError>> + Send + 's>>;

impl Foresight {
    /// For so many stages; with it, which of them are to begin.
    pub(super) fn of(stages: usize) -> (Self, mpsc::UnboundedReceiver<usize>) {
        let (wanted, receive) = mpsc::unbounded_channel();
        let stages = (0..stages).map(|_| OnceCell::new()).collect();
        let own =
            Self { stages, files: Mutex::default(), begun: Mutex::default(), bases_begun: Mutex::default(), wanted };
        (own, receive)
    }

    /// A stage's result is wanted: it begins if it has not.
    pub(super) fn want(&self, index: usize) {
        if self.begun.lock().insert(index) {
            // Nobody listens when stages are solved one by one.
            let _ = self.wanted.send(index);
        }
    }

    /// Where the digest of these files is, or will be.
    pub(super) fn files(&self, name: String) -> Arc<OnceCell<Digest>> {
        self.files.lock().entry(digest(name.as_bytes())).or_default().clone()
    }
}

impl Solving {
    /// Begins what is needed in any case, then what foresight cannot do without.
    pub(super) async fn begin_stages(self: Arc<Self>) -> Result<(), BuildError> {
        let mut open = vec![self.plan.target];
        open.extend(self.scanned_stages());
        let mut seen = BTreeSet::new();
        while let Some(index) = open.pop() {
            if !seen.insert(index) {
                continue;
            }
            self.foresight.want(index);
            if let Base::Stage(below) = self.plan.stages[index].base {
                open.push(below);
            }
            for instruction in &self.plan.stages[index].instructions {
                let read = self.read_stages(index, instruction);
                if !read.is_empty() && !self.may_be_known(&read, instruction).await {
                    open.extend(read);
                }
            }
        }
        Ok(())
    }

    fn read_stages(&self, index: usize, instruction: &Instruction) -> Vec<usize> {
        let stage = |text: String| match from_of(&self.plan.stages, index, &text) {
            Base::Stage(other) => Some(other),
            _ => None,
        };
        sources(instruction).into_iter().filter_map(stage).collect()
    }

    // Whether some cache has a result of this step, on whatever layers.
    async fn may_be_known(&self, read: &[usize], instruction: &Instruction) -> bool {
        // What was never done begins at once, without a look at what it is.
        if !self.was_done(STEP, &instruction.original) {
            return false;
        }
        let Some((hint, false)) = self.hint(read, instruction).await else { return false };
        self.was_done(FORESEEN, &hint)
    }

    fn was_done(&self, name: &str, value: &str) -> bool {
        self.builder.0.cache.has_input(name, value)
            || self.request.depots.iter().any(|depot| depot.has_input(name, value))
    }

    // How a step is found again, and whether something that it reads is to be done anew.
    async fn hint(&self, read: &[usize], instruction: &Instruction) -> Option<(String, bool)> {
        let (mut words, mut is_fresh) = (instruction.original.clone(), false);
        for other in read {
            let foreseen = self.foreseen(*other).await.ok().flatten()?;
            words.push_str(&format!("\n{}", foreseen.definition));
            is_fresh |= foreseen.is_fresh;
        }
        Some((words, is_fresh))
    }

    /// Where a step that reads other stages is looked up before they are there. What is wrong with them is told when they
    /// are solved.
    pub(super) async fn foreseen_key(&self, index: usize, state: &State, instruction: &Instruction) -> Option<Wish> {
        let read = self.read_stages(index, instruction);
        if read.is_empty() {
            return None;
        }
        let hint = self.hint(&read, instruction).await?.0;
        let definition = self.definition(index, state, instruction).await.ok().flatten()?;
        let mut key = Key::new("foreseen", &state.below());
        key.input("definition", &definition.key.finish().0.to_string());
        key.input(STEP, &instruction.original);
        key.input(FORESEEN, &hint);
        Some(Wish { key: self.whole(key), is_fresh: definition.is_fresh || self.is_fresh(index) })
    }

    /// The result of a step whose sources may not be there.
    pub(super) async fn look_ahead(&self, wish: Option<&Wish>) -> Option<Done> {
        let wish = wish.filter(|wish| !wish.is_fresh)?;
        let key = wish.key.digest();
        let cache = &self.builder.0.cache;
        let record = match cache.find(&key, self.store()) {
            Some(record) => record,
            None => {
                let record = self.depots_give(&key).await?;
                cache.put(&key, record.clone());
                record
            }
        };
        Some(self.known(key, record))
    }

    /// Leaves the result of a step where it is looked up the next time.
    pub(super) fn remember_ahead(&self, wish: Wish, record: &Record) {
        let (key, inputs) = wish.key.finish();
        let record = Record { inputs, used: now(), ..record.clone() };
        self.builder.0.cache.put(&key, record.clone());
        self.trail.lock().records.push((key, record));
    }

    /// The stages that nobody had to read, told as what they are.
    pub(super) async fn finish_unread(&self) {
        let begun = self.foresight.begun.lock().clone();
        let unread: Vec<usize> = self.plan.needed.difference(&begun).copied().collect();
        if self.request.complete {
            for index in &unread {
                // What is not known any more is nothing to hand on.
                if let Ok(Some(state)) = self.recall(*index).await {
                    self.results[*index].send_replace(Some(Arc::new(state)));
                }
            }
        }
        for index in &unread {
            let stage = &self.plan.stages[*index];
            self.begin_base(*index).await;
            self.end(&stage.from, true, None, None).await;
            for instruction in stage.instructions.iter().filter(|one| history::makes_files(&one.kind)) {
                self.begin(instruction).await;
                self.end(instruction, true, None, None).await;
            }
        }
    }

    // Goes through a stage as far as its results are known, so that they are among those of the build.
    async fn recall(&self, index: usize) -> Result<Option<State>, BuildError> {
        let stage = &self.plan.stages[index];
        let is_there = |other: usize| self.results[other].borrow().is_some();
        if let Base::Stage(below) = stage.base
            && !is_there(below)
        {
            return Ok(None);
        }
        let mut state = self.base(index).await?;
        state.is_recalled = true;
        let triggers = triggers(&mut state, &stage.from)?;
        for instruction in triggers.iter().chain(&stage.instructions) {
            if !self.read_stages(index, instruction).into_iter().all(is_there) {
                return Ok(None);
            }
            self.carry_out(index, &mut state, instruction, None).await?;
        }
        Ok(Some(state))
    }

    /// Tells that a stage's base is looked for, once.
    pub(super) async fn begin_base(&self, index: usize) {
        let is_first = self.foresight.bases_begun.lock().insert(index);
        if is_first {
            self.begin(&self.plan.stages[index].from).await;
        }
    }

    fn foreseen(&self, index: usize) -> Found<'_, Arc<Foreseen>> {
        Box::pin(async move {
            let found = self.foresight.stages[index].get_or_try_init(|| self.foresee(index)).await?;
            Ok(found.clone())
        })
    }

    // Goes through a stage without doing any of it.
    async fn foresee(&self, index: usize) -> Result<Option<Arc<Foreseen>>, BuildError> {
        let stage = &self.plan.stages[index];
        let mut is_fresh = self.is_fresh(index);
        let (mut state, mut definition) = match &stage.base {
            Base::Context(_) => return Ok(None),
            Base::Stage(below) => {
                let Some(below) = self.foreseen(*below).await? else { return Ok(None) };
                is_fresh |= below.is_fresh;
                (self.begun(index, below.state.clone()), below.definition)
            }
            Base::Scratch | Base::Image(_) => {
                self.begin_base(index).await;
                let state = self.base(index).await?;
                let words = format!("{} {}", state.below(), platform_text(&state.platform));
                (state, digest(words.as_bytes()))
            }
        };
        let triggers = triggers(&mut state, &stage.from)?;
        for instruction in triggers.iter().chain(&stage.instructions) {
            let mut key = Key::new("stage", &definition);
            match &instruction.kind {
                Kind::Arg(arguments) => {
                    self.declare(&mut state, arguments)?;
                    continue;
                }
                Kind::Workdir(path) => {
                    let path = state.expand(path)?;
                    state.config.working_dir = state.absolute(&path);
                    key.input("WORKDIR", &state.config.working_dir);
                    key.input("user", &state.config.user);
                }
                Kind::Run { .. } | Kind::Copy(_) => {
                    let Some(step) = self.definition(index, &state, instruction).await? else { return Ok(None) };
                    is_fresh |= step.is_fresh;
                    key.input("step", &step.key.finish().0.to_string());
                }
                _ => {
                    state.configure(instruction)?;
                    continue;
                }
            }
            definition = key.finish().0;
        }
        Ok(Some(Arc::new(Foreseen { state, definition, is_fresh })))
    }

    // What a step makes of whatever lies below it; `None` if that shows only when it is done.
    async fn definition(
        &self,
        index: usize,
        state: &State,
        instruction: &Instruction,
    ) -> Result<Option<Definition>, BuildError> {
        let line = instruction.lines.0;
        let mut defined = Definition { key: Key::new("step", &digest(b"")), is_fresh: false };
        let is_foreseen = match &instruction.kind {
            Kind::Copy(copy) => self.define_copy(index, state, copy, line, &mut defined).await?,
            Kind::Run { flags, command, heredocs } => {
                let job = self.job_of(state, flags, command, heredocs)?;
                job.words(state, flags, &mut defined.key);
                let mut all = true;
                for mount in job.mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
                    all &= match &mount.from {
                        Some(from) => self.define_source(index, from, line, &mut defined).await?,
                        None => {
                            let files = self.bind_digest(Place { stage: index, line }, mount).await?;
                            defined.key.input("files", &files.to_string());
                            true
                        }
                    };
                }
                all
            }
            _ => true,
        };
        Ok(is_foreseen.then_some(defined))
    }

    async fn define_copy(
        &self,
        index: usize,
        state: &State,
        copy: &Copy,
        line: usize,
        defined: &mut Definition,
    ) -> Result<bool, BuildError> {
        let flags = &copy.flags;
        let texts = [flags.from.as_ref(), flags.chown.as_ref(), flags.chmod.as_ref()];
        let texts = texts.map(|text| text.map(|text| state.expand(text)).transpose());
        for text in texts {
            defined.key.input("flag", &format!("{:?}", text?));
        }
        let sources = copy.sources.iter().map(|source| state.expand(source)).collect::<Result<Vec<_>, _>>()?;
        let exclude = flags.exclude.iter().map(|pattern| state.expand(pattern)).collect::<Result<Vec<_>, _>>()?;
        let target = state.expand(&copy.target)?;
        let working_dir = &state.config.working_dir;
        let words = (&sources, &exclude, &target, working_dir, flags.link, flags.parents, flags.unpack, copy.is_add);
        defined.key.input("words", &format!("{words:?}"));
        if let Some(from) = &flags.from {
            return self.define_source(index, &state.expand(from)?, line, defined).await;
        }
        for source in &sources {
            if Remote::parse(source)?.is_some() {
                return Ok(false);
            }
        }
        // Whose files they become is known by name only: names are of the layers below.
        let anybody = Copy { flags: CopyFlags { chown: None, ..flags.clone() }, ..copy.clone() };
        let job = Arc::new(self.job(index, state, &anybody, line).await?);
        defined.key.input("files", &self.files_of(&job).await?.to_string());
        Ok(true)
    }

    async fn define_source(
        &self,
        index: usize,
        from: &str,
        line: usize,
        defined: &mut Definition,
    ) -> Result<bool, BuildError> {
        if self.request.contexts.contains_key(&from.to_lowercase()) {
            return Ok(false);
        }
        let other = from_of(&self.plan.stages, index, from);
        let words = match (self.request.images.contains_key(&from.to_lowercase()), other) {
            (false, Base::Stage(other)) => {
                let Some(foreseen) = self.foreseen(other).await? else { return Ok(false) };
                defined.is_fresh |= foreseen.is_fresh;
                foreseen.definition.to_string()
            }
            _ => format!("{:?}", self.stack_of(index, from, line).await?),
        };
        defined.key.input("from", &words);
        Ok(true)
    }
}
