//! One stage: what it stands on, and what each instruction makes of it.
//!
//! Instructions that only change the configuration do so in memory. Those that make files are looked up in the cache
//! by what they stand on and what they read, and else done (`run.rs`, `copy.rs`).

use std::{collections::BTreeMap, os::fd::AsFd, sync::Arc};

use hako_image::{BuiltImage, BuiltLine, Image};
use hako_model::{Digest, ImageConfig, Platform, PortKey};
use jiff::Timestamp;

use super::{Solving, blocking, copy::Root, history, is_given, now, scan};
use crate::{
    cache::{Key, Record, digest},
    error::BuildError,
    event::{Completed, Event},
    language::{self, Command, Instruction, Kind},
    plan::{Base, PREDEFINED, from_of, sources},
};

/// The search path of an image that says none.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const COMMENT: &str = "buildkit.dockerfile.v0";

/// What a stage is so far.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) config: ImageConfig,
    pub(crate) stack: Option<Digest>,
    pub(crate) platform: Platform,
    author: String,
    lines: Vec<BuiltLine>,
    /// When the last file was made.
    created: Timestamp,
    base: Option<Arc<Image>>,
    /// `ARG`s in scope, with their values.
    pub(crate) arguments: BTreeMap<String, String>,
    /// The names of all `ARG`s, in their order.
    declared: Vec<String>,
    /// Predefined arguments (proxies) that no `ARG` names: processes get them, and nothing depends on them.
    pub(crate) predefined: BTreeMap<String, String>,
    cmd_is_own: bool,
    /// The image so far (classic builds).
    image_id: Option<Digest>,
    pub(crate) escape: char,
    /// Which stage it is of.
    pub(crate) stage: usize,
    /// Nothing is done that was not done before.
    pub(crate) is_recalled: bool,
}

/// What a step came to.
pub(crate) struct Done {
    pub(crate) record: Record,
    pub(crate) cached: bool,
    pub(crate) why: Option<String>,
}

impl State {
    fn scratch(platform: Platform, escape: char) -> Self {
        Self {
            config: ImageConfig { env: vec![PATH.to_owned()], working_dir: "/".to_owned(), ..ImageConfig::default() },
            stack: None,
            platform,
            author: String::new(),
            lines: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
            base: None,
            arguments: BTreeMap::new(),
            declared: Vec::new(),
            predefined: BTreeMap::new(),
            cmd_is_own: false,
            image_id: None,
            escape,
            stage: 0,
            is_recalled: false,
        }
    }

    /// The image that this state is.
    pub(crate) fn image(&self, config: ImageConfig) -> BuiltImage {
        BuiltImage {
            base: self.base.clone(),
            platform: self.platform.clone(),
            config,
            author: self.author.clone(),
            created: self.created,
            lines: self.lines.clone(),
            stack: self.stack,
            references: Vec::new(),
            is_changed: false,
            parent: self.image_id,
            inline_cache: None,
        }
    }

    /// The value of a variable: the image's environment before arguments.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let of_env = self.config.env.iter().rev().find_map(|entry| match entry.split_once('=') {
            Some((key, value)) if key == name => Some(value.to_owned()),
            _ => None,
        });
        of_env.or_else(|| self.arguments.get(name).cloned())
    }

    pub(crate) fn expand(&self, text: &str) -> Result<String, BuildError> {
        let replaced = language::expand(text, self.escape, &|name| self.value(name));
        replaced.map_err(|error| BuildError::invalid(format!("failed to process {text:?}: {error}")))
    }

    fn expand_words(&self, text: &str) -> Result<Vec<String>, BuildError> {
        let replaced = language::expand_words(text, self.escape, &|name| self.value(name));
        replaced.map_err(|error| BuildError::invalid(format!("failed to process {text:?}: {error}")))
    }

    pub(crate) fn shell(&self) -> Vec<String> {
        self.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    /// The words of a command, a shell before those that want one.
    pub(crate) fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    pub(crate) fn below(&self) -> Digest {
        self.stack.unwrap_or_else(|| digest(b""))
    }

    /// An absolute path: relative ones begin at the working directory.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.config.working_dir) };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                other => parts.push(other),
            }
        }
        format!("/{}", parts.join("/"))
    }

    fn line(&mut self, created_by: String, has_layer: bool, created: Timestamp) {
        if has_layer {
            self.created = created;
        }
        let comment = COMMENT.to_owned();
        self.lines.push(BuiltLine { created, created_by, comment, empty_layer: !has_layer });
    }

    fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.config.env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
            Some(known) => *known = entry,
            None => self.config.env.push(entry),
        }
    }

    fn expose(&mut self, word: &str) -> Result<(), BuildError> {
        let invalid = || BuildError::invalid(format!("invalid containerPort: {word}"));
        let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
        if first > last {
            return Err(BuildError::invalid(format!("invalid range specified for port: {word}")));
        }
        for port in first..=last {
            let key: PortKey = format!("{port}/{}", protocol.to_lowercase())
                .parse()
                .map_err(|_| BuildError::invalid(format!("invalid proto: {protocol}")))?;
            if !self.config.exposed_ports.contains(&key) {
                self.config.exposed_ports.push(key);
            }
        }
        Ok(())
    }

    /// An instruction that only changes the configuration; answers its line of history.
    pub(super) fn configure(&mut self, instruction: &Instruction) -> Result<Option<String>, BuildError> {
        let line = match &instruction.kind {
            Kind::Env(pairs) => format!("ENV {}", self.set_all(pairs, Self::set_env)?),
            Kind::Label(pairs) => format!("LABEL {}", self.set_all(pairs, Self::set_label)?),
            Kind::Cmd(command) => self.cmd(command),
            Kind::Entrypoint(command) => self.entrypoint(command),
            Kind::Shell(words) => {
                self.config.shell = Some(words.clone());
                format!("SHELL [{}]", words.join(" "))
            }
            Kind::User(user) => {
                self.config.user = self.expand(user)?;
                format!("USER {}", self.config.user)
            }
            Kind::Volume(paths) => self.volumes(paths)?,
            Kind::Expose(words) => self.expose_all(words)?,
            Kind::StopSignal(signal) => self.stop_signal(signal)?,
            Kind::HealthCheck(health) => {
                self.config.health = Some(health.clone());
                history::health(health)
            }
            Kind::OnBuild(trigger) => {
                self.config.on_build.push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Kind::Maintainer(name) => {
                self.author = self.expand(name)?;
                format!("MAINTAINER {}", self.author)
            }
            _ => return Ok(None),
        };
        Ok(Some(line))
    }

    fn set_label(&mut self, name: &str, value: &str) {
        self.config.labels.insert(name.to_owned(), value.to_owned());
    }

    // All of one instruction see the values from before it.
    fn set_all(
        &mut self,
        pairs: &[(String, String)],
        set: impl Fn(&mut Self, &str, &str),
    ) -> Result<String, BuildError> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?)))
            .collect::<Result<_, BuildError>>()?;
        pairs.iter().for_each(|(name, value)| set(self, name, value));
        Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    fn cmd(&mut self, command: &Command) -> String {
        let words = self.argv(command);
        let line = format!("CMD {}", history::quoted(&words));
        self.config.cmd = Some(words);
        self.cmd_is_own = true;
        line
    }

    fn entrypoint(&mut self, command: &Command) -> String {
        let words = self.argv(command);
        let line = format!("ENTRYPOINT {}", history::quoted(&words));
        self.config.entrypoint = Some(words);
        // Another program does not want the arguments of the base's.
        if !self.cmd_is_own {
            self.config.cmd = None;
        }
        line
    }

    fn volumes(&mut self, paths: &[String]) -> Result<String, BuildError> {
        let paths = paths.iter().map(|path| self.expand(path)).collect::<Result<Vec<_>, _>>()?;
        for path in &paths {
            if !self.config.volumes.contains(path) {
                self.config.volumes.push(path.clone());
            }
        }
        Ok(format!("VOLUME [{}]", paths.join(" ")))
    }

    fn expose_all(&mut self, words: &[String]) -> Result<String, BuildError> {
        let mut ports = Vec::new();
        for word in words {
            ports.extend(self.expand_words(word)?);
        }
        for port in &ports {
            self.expose(port)?;
        }
        Ok(format!("EXPOSE {}", ports.join(" ")))
    }

    fn stop_signal(&mut self, signal: &str) -> Result<String, BuildError> {
        let signal = self.expand(signal)?;
        if signal.parse::<hako_model::Signal>().is_err() {
            return Err(BuildError::invalid(format!("Invalid signal: {signal}")));
        }
        let line = format!("STOPSIGNAL {signal}");
        self.config.stop_signal = Some(signal);
        Ok(line)
    }
}

impl Solving {
    /// Does a whole stage.
    pub(super) async fn stage(self: Arc<Self>, index: usize) -> Result<State, BuildError> {
        let stage = &self.plan.stages[index];
        let from = stage.from.clone();
        self.begin_base(index).await;
        let based = self.base(index).await;
        let mut state = match based {
            Ok(state) => state,
            Err(error) => return Err(self.failed(&from, error).await),
        };
        if let (Base::Image(name), None) = (&stage.base, self.platform_of(index)) {
            self.compare_platforms(name, &state.platform).await;
        }
        let image = if self.request.classic {
            state.image_id.or_else(|| state.base.as_ref().map(|base| base.id))
        } else {
            None
        };
        let cached = !matches!(stage.base, Base::Scratch);
        self.end(&from, cached && !self.request.classic, None, image).await;
        self.note_stack(&from, state.stack);
        let triggers = triggers(&mut state, &from)?;
        for instruction in triggers.iter().chain(&stage.instructions) {
            if self.progress.is_closed() {
                return Err(BuildError::Cancelled);
            }
            self.step(index, &mut state, instruction).await?;
        }
        Ok(state)
    }

    fn platform_of(&self, index: usize) -> Option<Platform> {
        self.plan.stages[index].platform.clone().or_else(|| self.request.platform.clone())
    }

    pub(super) async fn base(&self, index: usize) -> Result<State, BuildError> {
        let stage = &self.plan.stages[index];
        let wanted = self.platform_of(index);
        let state = match &stage.base {
            Base::Scratch => State::scratch(wanted.unwrap_or_else(Platform::host), self.plan.escape),
            Base::Stage(below) => (*self.result_of(*below).await?).clone(),
            Base::Image(name) => self.image(name, wanted, stage.from.lines.0).await?,
            Base::Context(name) => {
                let context = self.request.contexts.get(name).cloned();
                let context = context.ok_or_else(|| BuildError::invalid(format!("there is no context {name}")))?;
                let stack = self.context_stack(Root::Context(context), ".", self.is_fresh(index)).await?.0;
                State { stack, ..State::scratch(wanted.unwrap_or_else(Platform::host), self.plan.escape) }
            }
        };
        Ok(self.begun(index, state))
    }

    /// A stage that begins with what another state has.
    pub(super) fn begun(&self, index: usize, below: State) -> State {
        let (arguments, declared, is_recalled) = (BTreeMap::new(), Vec::new(), false);
        let mut state = State { stage: index, arguments, declared, cmd_is_own: false, is_recalled, ..below };
        for name in PREDEFINED {
            if let Some(Some(value)) = self.request.arguments.get(name) {
                state.predefined.insert(name.to_owned(), value.clone());
            }
        }
        state
    }

    async fn image(&self, name: &str, wanted: Option<Platform>, line: usize) -> Result<State, BuildError> {
        let image = self.find_image(name, wanted.clone(), line).await?;
        if let Some(wanted) = wanted
            && wanted.architecture != image.platform.architecture
        {
            return Err(BuildError::invalid(format!(
                "{name} is here for {}/{}, not for {}/{}",
                image.platform.os, image.platform.architecture, wanted.os, wanted.architecture
            )));
        }
        if !self.hold.stack(image.chain_id) {
            return Err(BuildError::invalid(format!("the layers of {name} are gone")));
        }
        let mut config = image.config.clone();
        if !config.env.iter().any(|entry| entry.starts_with("PATH=")) {
            config.env.push(PATH.to_owned());
        }
        Ok(State {
            config,
            stack: image.chain_id,
            platform: image.platform.clone(),
            author: image.author.clone(),
            lines: Vec::new(),
            created: image.created.unwrap_or(Timestamp::UNIX_EPOCH),
            base: Some(image.clone()),
            arguments: BTreeMap::new(),
            declared: Vec::new(),
            predefined: BTreeMap::new(),
            cmd_is_own: false,
            image_id: Some(image.id).filter(|_| !is_given(name)),
            escape: self.plan.escape,
            stage: 0,
            is_recalled: false,
        })
    }

    // Nobody said which platform is wanted, so the image that is here is taken; that is rarely what is meant.
    async fn compare_platforms(&self, name: &str, found: &Platform) {
        let expected = Platform::host();
        if (&found.os, &found.architecture) == (&expected.os, &expected.architecture) || self.request.classic {
            return;
        }
        let shown = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
        let text = format!(
            "InvalidBaseImagePlatform: Base image {name} was pulled with platform {:?}, expected {:?} for current build",
            shown(found),
            shown(&expected)
        );
        self.progress.tell(Event::Warning { line: 0, text }).await;
    }

    async fn step(&self, index: usize, state: &mut State, instruction: &Instruction) -> Result<(), BuildError> {
        let is_shown = self.request.classic || history::makes_files(&instruction.kind);
        let wish = if self.request.classic { None } else { self.foreseen_key(index, state, instruction).await };
        let foreseen = self.look_ahead(wish.as_ref()).await;
        if foreseen.is_none() {
            self.sources_done(index, instruction).await?;
        }
        if is_shown {
            self.begin(instruction).await;
        }
        let is_known = foreseen.is_some();
        let done = self.carry_out(index, state, instruction, foreseen).await;
        if let (Ok(Some(done)), Some(wish), false) = (&done, wish, is_known) {
            self.remember_ahead(wish, &done.record);
        }
        match done {
            Ok(done) => {
                self.note_stack(instruction, state.stack);
                if is_shown {
                    let image = self.note_image(state).await;
                    let cached = done.as_ref().is_some_and(|done| done.cached) || (done.is_none() && image.1);
                    self.end(instruction, cached, done.and_then(|done| done.why), image.0).await;
                }
                Ok(())
            }
            Err(error) => Err(self.failed(instruction, error).await),
        }
    }

    // A step begins when the stages that it reads are there: what it waits for is not its own time.
    async fn sources_done(&self, index: usize, instruction: &Instruction) -> Result<(), BuildError> {
        for source in sources(instruction) {
            if let Base::Stage(other) = from_of(&self.plan.stages, index, &source)
                && !self.request.classic
            {
                self.result_of(other).await?;
            }
        }
        Ok(())
    }

    /// The image after this step, for the classic builder: its id, and whether it was there before.
    async fn note_image(&self, state: &mut State) -> (Option<Digest>, bool) {
        if !self.request.classic {
            return (None, false);
        }
        let mut image = state.image(state.config.clone());
        let known = self.stamp(&mut image);
        let id = self.store().built_id(&image);
        state.image_id = Some(id);
        self.images.lock().await.push(image);
        (Some(id), known)
    }

    pub(super) async fn carry_out(
        &self,
        index: usize,
        state: &mut State,
        instruction: &Instruction,
        foreseen: Option<Done>,
    ) -> Result<Option<Done>, BuildError> {
        let done = match &instruction.kind {
            Kind::Arg(arguments) => {
                let line = self.declare(state, arguments)?;
                let created = state.created;
                state.line(line, false, created);
                return Ok(None);
            }
            Kind::Run { flags, command, heredocs } => {
                let done = match foreseen {
                    Some(done) => done,
                    None => self.run(index, state, instruction, flags, command, heredocs).await?,
                };
                let arguments =
                    state.declared.iter().map(|name| format!(" {name}={}", state.value(name).unwrap_or_default()));
                let arguments: Vec<String> = arguments.collect();
                let given = match arguments.len() {
                    0 => String::new(),
                    count => format!("|{count}{} ", arguments.concat()),
                };
                let line = format!("RUN {given}{} # buildkit", super::run::told(state, command, heredocs));
                (done, line)
            }
            Kind::Copy(copy) => {
                let done = match foreseen {
                    Some(done) => done,
                    None => self.copy(index, state, copy, instruction.lines.0).await?,
                };
                (done, format!("{} # buildkit", history::copy(copy, &|text| state.expand(text))?))
            }
            Kind::Workdir(path) => {
                let path = state.expand(path)?;
                state.config.working_dir = state.absolute(&path);
                let done = self.workdir(state).await?;
                (done, format!("WORKDIR {}", state.config.working_dir))
            }
            _ => {
                if let Some(line) = state.configure(instruction)? {
                    let created = state.created;
                    state.line(line, false, created);
                }
                return Ok(None);
            }
        };
        let (done, line) = done;
        self.hold.stack(done.record.stack);
        state.stack = done.record.stack;
        state.line(line, done.record.has_layer, done.record.created);
        Ok(Some(done))
    }

    /// Answers the line of history: defaults are told, what was given is not.
    pub(super) fn declare(
        &self,
        state: &mut State,
        arguments: &[(String, Option<String>)],
    ) -> Result<String, BuildError> {
        let mut line = "ARG".to_owned();
        for (name, default) in
            arguments.iter().filter(|(name, _)| ![scan::STAGES, scan::CONTEXT].contains(&name.as_str()))
        {
            let given = self.request.arguments.get(name).cloned().flatten();
            let default = default.as_ref().map(|default| state.expand(default)).transpose()?;
            line.push_str(&match &default {
                Some(default) => format!(" {name}={default}"),
                None => format!(" {name}"),
            });
            state.declared.push(name.clone());
            let value = given.or(default).or_else(|| self.plan.globals.get(name).cloned());
            if let Some(value) = value {
                state.arguments.insert(name.clone(), value);
            }
        }
        Ok(line)
    }

    // The directory is there already, or it is made in a layer of its own, for the user of the steps that follow.
    async fn workdir(&self, state: &State) -> Result<Done, BuildError> {
        let mut key = Key::new("workdir", &state.below());
        key.input("path", &state.config.working_dir);
        let view = self.store().stack_view(state.stack)?;
        // A user that nobody knows is told where a step is run.
        let owner = self.builder.engine().step_owner(view.as_fd(), &state.config.user).unwrap_or((0, 0));
        key.input("user", &format!("{owner:?}"));
        let path = state.config.working_dir.clone();
        let stack = state.stack;
        let limit = self.times_limit();
        let store = self.store().clone();
        self.cached(key, state, &format!("WORKDIR {path}"), self.is_fresh(state.stage), move |hold| {
            blocking(move || {
                let draft = store.draft(stack, false)?;
                let made = hako_archive::make_directory(&draft, path.as_bytes(), owner);
                made.map_err(BuildError::io(format!("cannot make the working directory {path}")))?;
                Ok(store.draft_finish(draft, stack, &hold, limit)?.or(stack))
            })
        })
        .await
    }

    /// Takes a result from the cache, or makes it and remembers it.
    pub(super) async fn cached<M>(
        &self,
        key: Key,
        state: &State,
        description: &str,
        fresh: bool,
        make: impl FnOnce(Arc<hako_image::Hold>) -> M,
    ) -> Result<Done, BuildError>
    where
        M: Future<Output = Result<Option<Digest>, BuildError>> + Send,
    {
        if !state.is_recalled {
            return self.cached_on(key, state.stack, description, fresh, make).await;
        }
        let key = self.whole(key).finish().0;
        let here = self.builder.0.cache.find(&key, self.store());
        let known = match here {
            Some(record) => Some(record),
            None => self.depots_give(&key).await,
        };
        known.map(|record| self.known(key, record)).ok_or(BuildError::Cancelled)
    }

    // Layers whose times were made even are others than those whose times were not.
    pub(super) fn whole(&self, mut key: Key) -> Key {
        if let Some(limit) = self.times_limit() {
            key.input("SOURCE_DATE_EPOCH", &limit.to_string());
        }
        key
    }

    /// The same on any stack.
    pub(super) async fn cached_on<M>(
        &self,
        key: Key,
        base: Option<Digest>,
        description: &str,
        fresh: bool,
        make: impl FnOnce(Arc<hako_image::Hold>) -> M,
    ) -> Result<Done, BuildError>
    where
        M: Future<Output = Result<Option<Digest>, BuildError>> + Send,
    {
        let cache = &self.builder.0.cache;
        let (key, inputs) = self.whole(key).finish();
        if let Some(record) = cache.find(&key, self.store()).filter(|_| !fresh) {
            return Ok(self.known(key, record));
        }
        let _alone = self.builder.alone(key).await;
        let why = if fresh {
            "--no-cache".to_owned()
        } else if let Some(record) = cache.find(&key, self.store()) {
            // Somebody else has done it meanwhile.
            return Ok(self.known(key, record));
        } else if let Some(record) = self.depots_give(&key).await {
            cache.put(&key, record.clone());
            return Ok(self.known(key, record));
        } else {
            cache.why(description, &inputs)
        };
        let stack = make(self.hold.clone()).await?;
        self.hold.stack(stack);
        let at = now();
        let record = Record {
            stack,
            has_layer: stack != base,
            created: self.request.epoch.unwrap_or(at),
            used: at,
            uses: 1,
            description: description.to_owned(),
            inputs,
        };
        cache.put(&key, record.clone());
        self.trail.lock().records.push((key, record.clone()));
        Ok(Done { record, cached: false, why: Some(why) })
    }

    /// The same for a step with several results, by their number; `made` begins when somebody waits for it.
    pub(super) async fn cached_outputs(
        &self,
        (key, inputs): (Digest, BTreeMap<String, String>),
        count: usize,
        description: &str,
        fresh: bool,
        made: impl Future<Output = Result<Vec<Option<Digest>>, BuildError>>,
    ) -> Result<(Vec<Option<Digest>>, bool), BuildError> {
        let cache = &self.builder.0.cache;
        let keys: Vec<Digest> = (0..count).map(|number| digest(format!("{key} {number}").as_bytes())).collect();
        let find = || keys.iter().map(|key| Some((*key, cache.find(key, self.store())?))).collect::<Option<Vec<_>>>();
        let taken = |found: Vec<(Digest, Record)>| {
            let stacks = found.into_iter().map(|(key, record)| self.known(key, record).record.stack);
            (stacks.collect(), true)
        };
        if let Some(found) = find().filter(|found| !fresh && !found.is_empty()) {
            return Ok(taken(found));
        }
        let _alone = self.builder.alone(key).await;
        if let Some(found) = find().filter(|found| !fresh && !found.is_empty()) {
            return Ok(taken(found));
        }
        let stacks = made.await?;
        let at = now();
        for (key, stack) in keys.into_iter().zip(&stacks) {
            self.hold.stack(*stack);
            let record = Record {
                stack: *stack,
                has_layer: true,
                created: self.request.epoch.unwrap_or(at),
                used: at,
                uses: 1,
                description: description.to_owned(),
                inputs: inputs.clone(),
            };
            cache.put(&key, record.clone());
            self.trail.lock().records.push((key, record));
        }
        Ok((stacks, false))
    }

    pub(super) fn known(&self, key: Digest, record: Record) -> Done {
        self.hold.stack(record.stack);
        self.trail.lock().records.push((key, record.clone()));
        Done { record, cached: true, why: None }
    }

    // What cannot be brought is made, and told.
    pub(super) async fn depots_give(&self, key: &Digest) -> Option<Record> {
        for depot in &self.request.depots {
            match depot.take(key, self.store(), &self.hold).await {
                Ok(Some(record)) => return Some(record),
                Ok(None) => {}
                Err(why) => {
                    let text = format!("a result in the cache of {} cannot be used: {why}", depot.name());
                    self.progress.tell(Event::Warning { line: 0, text }).await;
                }
            }
        }
        None
    }

    /// Whether nothing of this stage is to be taken from the cache.
    pub(super) fn is_fresh(&self, stage: usize) -> bool {
        let name = self.plan.stages[stage].name.as_deref();
        self.request.no_cache
            || name
                .is_some_and(|name| self.request.no_cache_stages.iter().any(|fresh| fresh.eq_ignore_ascii_case(name)))
    }

    /// No file of a layer is younger than this, if times are to be the same every time.
    pub(super) fn times_limit(&self) -> Option<i64> {
        self.request.epoch.filter(|_| self.request.rewrite_times).map(|epoch| epoch.as_second())
    }

    /// The files that `--from` or `from=` names: another stage's, an image's, a named context's.
    pub(super) async fn stack_of(&self, index: usize, from: &str, line: usize) -> Result<Option<Digest>, BuildError> {
        let (lower, own) = (from.to_lowercase(), self.plan.stages[index].name.as_deref());
        let base = match self.request.images.get(&lower) {
            Some(image) => Base::Image(image.clone()),
            None if own == Some(&lower) => {
                return Err(BuildError::invalid(format!("circular dependency detected on stage: {from}")));
            }
            None => from_of(&self.plan.stages, index, from),
        };
        let stack = match base {
            Base::Stage(other) => self.result_of(other).await?.stack,
            Base::Scratch => None,
            Base::Image(name) | Base::Context(name) => {
                self.find_image(&name, self.request.platform.clone(), line).await?.chain_id
            }
        };
        if !self.hold.stack(stack) {
            return Err(BuildError::invalid(format!("the layers of {from} are gone")));
        }
        Ok(stack)
    }

    pub(super) async fn begin(&self, instruction: &Instruction) {
        if let Some(vertex) = self.vertex(instruction.lines.0) {
            self.progress.started(vertex.id).await;
        }
    }

    pub(super) async fn end(
        &self,
        instruction: &Instruction,
        cached: bool,
        why: Option<String>,
        image: Option<Digest>,
    ) {
        if let Some(vertex) = self.vertex(instruction.lines.0) {
            let completed = Completed { id: vertex.id, at: now(), cached, error: None, why, image };
            self.progress.tell(Event::Completed(completed)).await;
        }
    }

    async fn failed(&self, instruction: &Instruction, error: BuildError) -> BuildError {
        if matches!(error, BuildError::Step { .. } | BuildError::Cancelled) {
            return error;
        }
        let vertex = self.vertex(instruction.lines.0);
        if let Some(vertex) = vertex {
            let text = if self.request.classic { hako_base::error::chain(&error) } else { error.modern() };
            let error_text = Some(text);
            let completed =
                Completed { id: vertex.id, at: now(), cached: false, error: error_text, why: None, image: None };
            self.progress.tell(Event::Completed(completed)).await;
        }
        let step = vertex.map_or_else(|| instruction.original.clone(), |vertex| vertex.name.clone());
        BuildError::Step { step, lines: instruction.lines, source: Box::new(error) }
    }
}

/// What the image below says is to be done first (`ONBUILD`).
pub(super) fn triggers(state: &mut State, from: &Instruction) -> Result<Vec<Instruction>, BuildError> {
    let texts = std::mem::take(&mut state.config.on_build);
    let read = texts.iter().map(|text| {
        let read = language::parse_one(text);
        let mut instruction = read.map_err(|error| BuildError::invalid(format!("ONBUILD {text}: {}", error.text)))?;
        instruction.lines = from.lines;
        Ok(instruction)
    });
    read.collect()
}
