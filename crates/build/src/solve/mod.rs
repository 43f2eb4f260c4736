//! The solver: stages side by side, each step looked up in the cache and else done.
//!
//! ```text
//!   Dockerfile ─► plan ─► one task for each needed stage ─► state of the target ─► image
//!                              │        ▲
//!                              └ waits ─┘ for the stages it stands on or copies from
//! ```
//! The first error ends every other task; a task that is dropped ends its process.

mod bases; // images that a Dockerfile names
mod copy; // COPY and ADD
mod facts; // what a build knows of itself
mod flatten; // all layers as one
mod foresight; // what stages are before they are solved
mod graph; // graphs of other front ends
mod graph_build; // graphs within them
mod graph_exec; // their processes
mod graph_file; // their files
mod graph_source; // where the files of graphs are from
mod history; // how instructions are spelled in histories
pub(crate) mod inputs; // what other builds came to
mod layout; // images in OCI layouts of the client's
mod run; // RUN
mod scan; // SBOMs
mod stage; // one stage: its state, instruction after instruction

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_base::clock;
use hako_engine::Engine;
use hako_image::{BuiltImage, Hold, StackView, Store};
use hako_model::{Digest, Platform, Reference};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, Semaphore, mpsc, watch},
    task::JoinSet,
};

pub use crate::cache::CacheEntry;
use crate::{
    attest::{Facts, Material},
    cache::{Cache, Record},
    context,
    error::BuildError,
    event::{Event, Progress, Vertex},
    language::{Around, CheckWish, Dockerfile, Finding, lint},
    plan::{self, Base, Plan, Wishes},
    prune::PruneWish,
    request::BuildRequest,
    sbom::Sbom,
};
use stage::State;

/// The builder; cheap to clone.
#[derive(Clone)]
pub struct Builder(Arc<Parts>);

struct Parts {
    engine: Engine,
    cache: Cache,
    root: PathBuf,
    /// RUN steps at once: one for each core, and no fewer than two.
    slots: Semaphore,
    /// Cache mounts that one step at a time may use.
    locks: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// Steps that are being done, by their key: whoever needs the same result waits for it.
    making: parking_lot::Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
}

/// What a build has made: an image that is yet to be recorded.
pub struct Built {
    pub image: BuiltImage,
    pub(crate) facts: Facts,
    /// What its packages are, if somebody wants to know.
    pub(crate) sboms: Vec<Sbom>,
    /// Images of every step (classic builds), oldest first.
    pub(crate) steps: Vec<BuiltImage>,
    hold: Hold,
    trail: Trail,
}

/// What a build has taken from the cache or put there.
#[derive(Default)]
struct Trail {
    records: Vec<(Digest, Record)>,
    /// Cache mounts that steps name, whether the steps were done or not.
    mounts: BTreeSet<String>,
    materials: BTreeSet<Material>,
    /// By the number of a step: the files that it came to.
    stacks: BTreeMap<u64, Digest>,
}

impl Trail {
    fn take_over(&mut self, other: Self) {
        self.records.extend(other.records);
        self.mounts.extend(other.mounts);
        self.materials.extend(other.materials);
        self.stacks.extend(other.stacks);
    }
}

impl Built {
    pub(crate) fn trail(&self) -> &[(Digest, Record)] {
        &self.trail.records
    }

    /// Whether another front end than ours has made it.
    pub(crate) fn is_graph(&self) -> bool {
        self.facts.dockerfile.is_empty()
    }

    pub(crate) fn mounts(&self) -> &BTreeSet<String> {
        &self.trail.mounts
    }
}

impl Builder {
    /// Opens the builder on the engine's data root. It blocks.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(engine: Engine) -> Result<Self, BuildError> {
        let root = engine.build_root();
        context::sweep(&root);
        let _ = std::fs::remove_dir_all(engine.secrets_root());
        let cache = Cache::open(&root, engine.image_store())?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Ok(Self(Arc::new(Parts {
            engine,
            cache,
            root,
            slots: Semaphore::new(cores),
            locks: Mutex::default(),
            making: parking_lot::Mutex::default(),
        })))
    }

    /// Where contexts are kept.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Where the files of cache mounts are.
    pub(crate) fn mounts_root(&self) -> &Path {
        &self.0.cache.mounts
    }

    /// The engine that steps run in.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn store(&self) -> &Store {
        self.0.engine.image_store()
    }

    /// Held while the step with this key is done: two builds, or two platforms of one, do it once.
    async fn alone(&self, key: Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut making = self.0.making.lock();
            making.retain(|_, lock| Arc::strong_count(lock) > 1);
            making.entry(key).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Builds; what happens is told to `progress`. What was done stays in the cache, whatever comes after it.
    ///
    /// # Errors
    /// The first thing that failed.
    pub async fn build(&self, request: BuildRequest, progress: Progress) -> Result<Built, BuildError> {
        let (built, failed) = self.solve(Arc::new(request), &progress).await;
        let builder = self.clone();
        let settled = blocking(move || builder.0.cache.settle(builder.store())).await;
        match failed {
            Some(error) => Err(error),
            None => {
                settled?;
                built.ok_or(BuildError::Cancelled)
            }
        }
    }

    /// Whether a request makes sense, as far as its Dockerfile tells.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, request: &BuildRequest) -> Result<(), BuildError> {
        self.plan(request).map(drop)
    }

    async fn solve(&self, request: Arc<BuildRequest>, progress: &Progress) -> (Option<Built>, Option<BuildError>) {
        let started = now();
        let plan = match self.plan(&request) {
            Ok((plan, warnings)) => {
                // One Dockerfile for all platforms: what is wrong with it is told once.
                for (line, text) in warnings.into_iter().filter(|_| request.place.unwrap_or(0) == 0) {
                    progress.tell(Event::Warning { line, text }).await;
                }
                plan
            }
            Err(error) => return (None, Some(error)),
        };
        let results = plan.stages.iter().map(|_| watch::Sender::new(None)).collect();
        let (foresight, wanted) = foresight::Foresight::of(plan.stages.len());
        let solving = Arc::new(Solving {
            builder: self.clone(),
            hold: Arc::new(self.store().hold()),
            vertices: vertices(&plan, &request),
            request,
            plan,
            progress: progress.clone(),
            results,
            images: Mutex::default(),
            bases: bases::Bases::default(),
            trail: parking_lot::Mutex::default(),
            foresight,
        });
        for vertex in solving.vertices.values() {
            progress.tell(Event::Vertex(vertex.clone())).await;
        }
        let failed =
            if solving.request.classic { solving.one_by_one().await } else { solving.side_by_side(wanted).await };
        let target = solving.results[solving.plan.target].borrow().clone();
        let mut images = std::mem::take(&mut *solving.images.lock().await);
        if let Some(error) = failed {
            if solving.request.classic && !images.is_empty() {
                let store = self.store().clone();
                let kept = blocking(move || store.build_finish_all(&images)).await;
                if let Err(error) = kept {
                    tracing::warn!(%error, "the images of the steps before a failed one are not kept");
                }
            }
            return (None, Some(error));
        }
        let Some(state) = target else { return (None, Some(BuildError::Cancelled)) };
        // The image of the last step is the result, unless something is added to it.
        let last = if solving.request.labels.is_empty() { images.pop() } else { None };
        let mut image = last.unwrap_or_else(|| solving.finish(&state));
        if solving.request.flatten {
            image = match solving.flattened(image).await {
                Ok(image) => image,
                Err(error) => return (None, Some(error)),
            };
        }
        let hold = self.store().hold();
        hold.stack(image.stack);
        let trail = std::mem::take(&mut *solving.trail.lock());
        for (_, record) in &trail.records {
            hold.stack(record.stack);
        }
        let sboms = match Box::pin(solving.sboms(&image)).await {
            Ok(sboms) => sboms,
            Err(error) => return (None, Some(error)),
        };
        let facts = solving.facts(started, &trail);
        (Some(Built { image, facts, sboms, steps: images, hold, trail }), None)
    }

    fn plan(&self, request: &BuildRequest) -> Result<(Plan, Vec<(usize, String)>), BuildError> {
        let wrong = |error| BuildError::from((error, request.dockerfile_name.as_str(), request.dockerfile.as_str()));
        let mut file = Dockerfile::parse(&request.dockerfile).map_err(wrong)?;
        // The classic builder knows none of this.
        if !request.classic {
            file.directives.overridden(|name| request.arguments.get(name).cloned().flatten());
            file.directives.front_end().map_err(|text| BuildError::NotBuilt { text })?;
        }
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let wishes = Wishes {
            arguments: &request.arguments,
            target: request.target.as_deref(),
            platform: &platform,
            contexts: request.contexts.keys().cloned().collect(),
            images: &request.images,
        };
        let plan = plan::plan(&file, &wishes).map_err(wrong)?;
        let environment = |name: &str| self.environment(name);
        let around = Around {
            source: &request.dockerfile,
            ignore: Some(request.context.ignore()),
            environment: Some(&environment),
        };
        let findings = lint(&file, around);
        let wish = file.directives.check.as_deref().map(CheckWish::parse).unwrap_or_default();
        if wish.error && !findings.is_empty() {
            let shown: Vec<String> =
                findings.iter().map(|one| one.shown(&request.dockerfile_name, &request.dockerfile)).collect();
            return Err(BuildError::invalid(format!("lint violation found for rules:\n{}", shown.join("\n"))));
        }
        // The classic builder had no checks but this one.
        let mut warnings: Vec<(usize, String)> = if request.classic {
            file.warnings
        } else {
            let told = |one: &Finding| (one.line(&request.dockerfile), format!("{}: {}", one.rule, one.text));
            findings.iter().map(told).collect()
        };
        if !plan.unused.is_empty() {
            let text = format!("One or more build-args {:?} were not consumed", plan.unused);
            warnings.push((0, text));
        }
        Ok((plan, warnings))
    }

    /// The environment of an image that is here.
    pub(crate) fn environment(&self, name: &str) -> Option<Vec<String>> {
        let image = self.0.engine.image_for_build(name).ok()?;
        Some(image.config.env.clone())
    }

    /// Records what was built under its names; answers its id.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn record(&self, built: &Built, names: &[Reference]) -> Result<Digest, BuildError> {
        let store = self.store().clone();
        let mut images = built.steps.clone();
        images.push(BuiltImage { references: names.to_vec(), ..built.image.clone() });
        let ids = blocking(move || store.build_finish_all(&images)).await?;
        let id = ids.last().copied().ok_or(BuildError::Cancelled)?;
        let names: Vec<String> = names.iter().map(Reference::familiar).collect();
        self.0.engine.publish_built(id, &names);
        Ok(id)
    }

    /// The same result as an image with this configuration, which another front end has made.
    ///
    /// # Errors
    /// What is no configuration.
    pub(crate) fn configured(&self, built: &Built, raw: &[u8]) -> Result<Built, BuildError> {
        let mut image = built.image.clone();
        image.configure(raw)?;
        let hold = self.store().hold();
        hold.stack(image.stack);
        let trail = Trail {
            records: built.trail.records.clone(),
            mounts: built.trail.mounts.clone(),
            materials: built.trail.materials.clone(),
            stacks: built.trail.stacks.clone(),
        };
        let (facts, sboms) = (built.facts.clone(), built.sboms.clone());
        Ok(Built { image, facts, sboms, steps: Vec::new(), hold, trail })
    }

    /// The configuration of what was built, as an image has it.
    pub(crate) fn configuration(&self, built: &Built) -> Vec<u8> {
        self.store().built_config(&built.image)
    }

    /// The files of what was built.
    ///
    /// # Errors
    /// When they cannot be mounted.
    pub fn files(&self, built: &Built) -> Result<StackView, BuildError> {
        built.hold.stack(built.image.stack);
        Ok(self.store().stack_view(built.image.stack)?)
    }

    /// What the cache keeps.
    pub async fn cache_list(&self) -> Vec<CacheEntry> {
        let builder = self.clone();
        blocking(move || builder.0.cache.entries(builder.store())).await
    }

    /// Forgets what is wished gone; answers what that was.
    ///
    /// # Errors
    /// A filter that is not known, and those of the disk.
    pub async fn cache_prune(&self, wish: PruneWish) -> Result<Vec<CacheEntry>, BuildError> {
        let builder = self.clone();
        let gone = blocking(move || builder.0.cache.prune(builder.store(), &wish)).await?;
        self.0.engine.build_cache_pruned(gone.iter().filter(|entry| !entry.shared).map(|entry| entry.size).sum());
        Ok(gone)
    }
}

/// One build that goes on.
struct Solving {
    builder: Builder,
    request: Arc<BuildRequest>,
    plan: Plan,
    progress: Progress,
    hold: Arc<Hold>,
    results: Vec<watch::Sender<Option<Arc<State>>>>,
    /// By the first line of the instruction.
    vertices: BTreeMap<usize, Vertex>,
    /// Classic builds: the image after every step.
    images: Mutex<Vec<BuiltImage>>,
    /// Images that the Dockerfile names.
    bases: bases::Bases,
    trail: parking_lot::Mutex<Trail>,
    foresight: foresight::Foresight,
}

impl Solving {
    async fn one_by_one(self: &Arc<Self>) -> Option<BuildError> {
        for index in self.plan.needed.iter().copied() {
            match Box::pin(self.clone().stage(index)).await {
                Ok(state) => drop(self.results[index].send_replace(Some(Arc::new(state)))),
                Err(error) => return Some(error),
            }
        }
        None
    }

    // Stages that nobody may have to read begin when somebody does.
    async fn side_by_side(self: &Arc<Self>, mut wanted: mpsc::UnboundedReceiver<usize>) -> Option<BuildError> {
        let mut tasks = JoinSet::new();
        let begin = |index: usize, tasks: &mut JoinSet<Result<(), BuildError>>| {
            let solving = self.clone();
            tasks.spawn(async move {
                let state = solving.clone().stage(index).await?;
                solving.results[index].send_replace(Some(Arc::new(state)));
                Ok(())
            });
        };
        let deciding = self.clone();
        tasks.spawn(async move { deciding.begin_stages().await });
        while !tasks.is_empty() {
            let done = tokio::select! {
                Some(index) = wanted.recv() => {
                    begin(index, &mut tasks);
                    continue;
                }
                done = tasks.join_next() => done,
            };
            match done {
                Some(Ok(Ok(()))) | None => {}
                // Dropping the set drops the other tasks, and with them their processes.
                Some(Ok(Err(error))) => {
                    tasks.shutdown().await;
                    return Some(error);
                }
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return Some(BuildError::Cancelled),
                },
            }
            // What the last task has asked for is not lost with it.
            while let Ok(index) = wanted.try_recv() {
                begin(index, &mut tasks);
            }
        }
        self.finish_unread().await;
        None
    }

    /// Another stage's result, as soon as it is there.
    async fn result_of(&self, index: usize) -> Result<Arc<State>, BuildError> {
        self.foresight.want(index);
        let mut watch = self.results[index].subscribe();
        let state = watch.wait_for(Option::is_some).await.map_err(|_| BuildError::Cancelled)?;
        state.clone().ok_or(BuildError::Cancelled)
    }

    fn store(&self) -> &Store {
        self.builder.store()
    }

    fn finish(&self, state: &State) -> BuiltImage {
        let mut config = state.config.clone();
        config.labels.extend(self.request.labels.clone());
        let mut image = state.image(config);
        image.is_changed = !self.request.labels.is_empty();
        if !self.request.classic {
            image.parent = None;
        }
        if let Some(epoch) = self.request.epoch {
            image.created = epoch;
            image.lines.iter_mut().for_each(|line| line.created = epoch);
            return image;
        }
        self.stamp(&mut image);
        image
    }

    /// Gives an image its time; answers whether it was made before.
    fn stamp(&self, image: &mut BuiltImage) -> bool {
        let elsewhere = |key: &Digest| self.request.depots.iter().find_map(|depot| depot.peek(key).cloned());
        let stamp = self.builder.0.cache.stamp(image, self.request.no_cache, elsewhere);
        self.trail.lock().records.push((stamp.key, stamp.record));
        stamp.is_known
    }

    fn vertex(&self, line: usize) -> Option<&Vertex> {
        self.vertices.get(&line)
    }
}

/// Names and numbers of all steps of the needed stages.
fn vertices(plan: &Plan, request: &BuildRequest) -> BTreeMap<usize, Vertex> {
    let mut vertices: BTreeMap<usize, Vertex> = BTreeMap::new();
    let before: usize = plan.stages.first().map_or(0, |first| {
        // Instructions above the first FROM are counted by the classic builder too.
        request.dockerfile.lines().take(first.from.lines.0.saturating_sub(1)).filter(|line| is_arg(line)).count()
    });
    let total: usize =
        before + plan.stages[..=plan.target].iter().map(|stage| stage.instructions.len() + 1).sum::<usize>();
    let mut number = before;
    let several = plan.needed.len() > 1;
    // The same lines for each of several platforms: their steps have ids and names of their own.
    let ids_from = request.place.unwrap_or(0) << 32;
    let for_platform = match (&request.platform, request.place) {
        (Some(platform), Some(_)) => format!("{} ", plan::platform_text(platform)),
        _ => String::new(),
    };
    for (index, stage) in plan.stages.iter().enumerate() {
        let mut own = BTreeSet::new();
        // A stage that stands on another begins where that ends: there is nothing to be fetched.
        let has_base = request.classic || matches!(stage.base, Base::Image(_) | Base::Context(_));
        let shown: Vec<_> = std::iter::once(&stage.from)
            .filter(|_| has_base)
            .chain(&stage.instructions)
            .filter(|instruction| request.classic || history::makes_files(&instruction.kind))
            .collect();
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{index}"));
        for (place, instruction) in std::iter::once(&stage.from).chain(&stage.instructions).enumerate() {
            let step = number + place + 1;
            let Some(shown_at) = shown.iter().position(|shown| shown.lines == instruction.lines) else { continue };
            if !plan.needed.contains(&index) {
                continue;
            }
            let prefix = if several { format!("{for_platform}{name} ") } else { for_platform.clone() };
            let words = match (&stage.base, place) {
                (Base::Image(name), 0) if !request.classic && !is_given(name) => {
                    format!("FROM {}", whole_name(name))
                }
                _ => history::title(instruction),
            };
            let title = format!("[{prefix}{}/{}] {words}", shown_at + 1, shown.len());
            let vertex = Vertex {
                id: ids_from + instruction.lines.0 as u64,
                name: title,
                original: instruction.original.clone(),
                step,
                steps: total,
                inputs: own.last().copied().into_iter().collect(),
                lines: instruction.lines,
            };
            own.insert(vertex.id);
            vertices.insert(instruction.lines.0, vertex);
        }
        number += stage.instructions.len() + 1;
    }
    vertices
}

/// Whether an image is one that the client gives, and no registry's.
fn is_given(name: &str) -> bool {
    name.starts_with(layout::PREFIX) || name.starts_with(inputs::PREFIX)
}

// With its registry and tag, as BuildKit's users know it.
fn whole_name(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |name| name.with_default_tag().to_string())
}

fn is_arg(line: &str) -> bool {
    line.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("arg "))
}

/// Does disk work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down; nobody is left to see the value.
            Err(_) => std::future::pending().await,
        },
    }
}

pub(crate) fn now() -> jiff::Timestamp {
    clock::now()
}
