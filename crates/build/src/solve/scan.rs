//! SBOMs of a build that is over: its result, and stages and contexts whose `ARG`s ask for that, are looked at by us or by
//! an image that scans (BuildKit's `docs/attestations/sbom-protocol.md`).

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use hako_archive::walk;
use hako_engine::step::{StepMount, StepSource, StepSpec};
use hako_image::{BuiltImage, Image, StackView};
use hako_model::{HostSpec, Platform};
use rustix::fs::{FileType, Mode, OFlags};

use super::{Solving, blocking, now};
use crate::{
    context::Context,
    error::BuildError,
    event::{Completed, Event, Vertex},
    language::Kind,
    limits,
    sbom::{self, CORE, Sbom, Scan, Wish},
};

/// `ARG`s that say what else is looked at; no variable of anything.
pub(super) const STAGES: &str = "BUILDKIT_SBOM_SCAN_STAGE";
pub(super) const CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
/// Where a scanner finds the files, and where it writes.
const SOURCE: &str = "/run/src/core/sbom";
const EXTRAS: &str = "/run/src/extras";
const DESTINATION: &str = "/run/out";
const SUFFIX: &str = ".spdx.json";
/// Its place among the steps of a build: after all lines.
const ID: u64 = 0xffff_0000;

/// Files to look at, and what their document is called.
struct Aim {
    name: String,
    root: Root,
}

enum Root {
    Stack(StackView),
    Context(Arc<Context>),
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stack(view) => view.as_fd(),
            Self::Context(context) => context.as_fd(),
        }
    }
}

impl Solving {
    /// Stages that are looked at beside the result: they are solved whether or not somebody has to read them.
    pub(super) fn scanned_stages(&self) -> Vec<usize> {
        let needed = self.plan.needed.iter().copied().filter(|index| *index != self.plan.target);
        needed.filter(|index| self.request.sbom.is_some() && self.is_scanned(*index, STAGES)).collect()
    }

    // A stage's own word, or that of the whole file: true, false, or the names of stages.
    fn is_scanned(&self, index: usize, name: &str) -> bool {
        let stage = &self.plan.stages[index];
        let mut value = self.plan.globals.get(name).cloned();
        for instruction in &stage.instructions {
            let Kind::Arg(arguments) = &instruction.kind else { continue };
            for (_, default) in arguments.iter().filter(|(known, _)| known == name) {
                let given = self.request.arguments.get(name).cloned().flatten();
                value = given.or_else(|| default.clone()).or(value);
            }
        }
        let value = value.unwrap_or_default();
        match value.as_str() {
            "true" | "1" => true,
            "" | "false" | "0" => false,
            names => names.split(',').any(|known| Some(known.trim().to_lowercase()) == stage.name),
        }
    }

    /// The documents about what was built, if somebody wants them.
    pub(super) async fn sboms(&self, image: &BuiltImage) -> Result<Vec<Sbom>, BuildError> {
        let Some(wish) = &self.request.sbom else { return Ok(Vec::new()) };
        let generator = self.generator(wish).await?;
        let using = generator.as_ref().map_or("hako's own scanner", |(name, _)| name);
        let name = format!("[sbom] generating sbom using {using}");
        let id = (self.request.place.unwrap_or(0) << 32) + ID;
        let vertex = Vertex { id, original: name.clone(), name, step: 0, steps: 0, inputs: Vec::new(), lines: (0, 0) };
        self.progress.tell(Event::Vertex(vertex)).await;
        self.progress.started(id).await;
        let scanned = match &generator {
            None => self.scan(image).await,
            Some((name, image_of)) => self.scan_by(id, name, image_of, image).await,
        };
        let error = scanned.as_ref().err().map(BuildError::modern);
        let completed = Completed { id, at: now(), cached: false, error, why: None, image: None };
        self.progress.tell(Event::Completed(completed)).await;
        scanned
    }

    // The image that scans. That of Docker's tools, if it cannot be had, is replaced by what is built in.
    async fn generator(&self, wish: &Wish) -> Result<Option<(String, Arc<Image>)>, BuildError> {
        let Some(name) = &wish.generator else { return Ok(None) };
        match self.find_image(name, Some(Platform::host()), 0).await {
            Ok(image) => Ok(Some((name.clone(), image))),
            Err(error) if Wish::is_default(name) => {
                let text = format!(
                    "SBOM: hako's own scanner stands in for {name}, which is not to be had: {}",
                    error.modern()
                );
                self.progress.tell(Event::Warning { line: 0, text }).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    // What is looked at: the result first.
    fn aims(&self, image: &BuiltImage) -> Result<Vec<Aim>, BuildError> {
        let view = |stack| Ok::<_, BuildError>(Root::Stack(self.store().stack_view(stack)?));
        let mut aims = vec![Aim { name: CORE.to_owned(), root: view(image.stack)? }];
        for index in self.scanned_stages() {
            let state = self.results[index].borrow().clone();
            let Some(state) = state else { continue };
            let name = self.plan.stages[index].name.clone().unwrap_or_else(|| index.to_string());
            aims.push(Aim { name: format!("{CORE}-{name}"), root: view(state.stack)? });
        }
        if self.plan.needed.iter().any(|index| self.is_scanned(*index, CONTEXT)) {
            aims.push(Aim { name: format!("{CORE}-context"), root: Root::Context(self.request.context.clone()) });
        }
        Ok(aims)
    }

    async fn scan(&self, image: &BuiltImage) -> Result<Vec<Sbom>, BuildError> {
        let (aims, created) = (self.aims(image)?, image.created);
        blocking(move || {
            let one = |aim: &Aim| {
                let scan =
                    Scan::of(aim.root.as_fd()).map_err(BuildError::io("cannot look at the result for its SBOM"))?;
                Ok(Sbom { name: aim.name.clone(), document: sbom::document(&aim.name, &scan, created) })
            };
            aims.iter().map(one).collect()
        })
        .await
    }

    async fn scan_by(&self, id: u64, name: &str, scanner: &Image, image: &BuiltImage) -> Result<Vec<Sbom>, BuildError> {
        let failed = || BuildError::io("cannot make the directory for a scanner's documents");
        let out = Context::empty(self.builder.root())?;
        // Whoever the scanner runs as writes there.
        rustix::fs::fchmod(&out, Mode::from_raw_mode(0o777)).map_err(|error| failed()(error.into()))?;
        let aims = self.aims(image)?;
        let mount = |target: &str, from: BorrowedFd<'_>, read_only: bool| {
            let source = StepSource::Descriptor(from.try_clone_to_owned().map_err(failed())?);
            Ok::<_, BuildError>(StepMount { target: target.to_owned(), source, read_only })
        };
        let mut mounts = vec![mount(DESTINATION, out.as_fd(), false)?];
        for (number, aim) in aims.iter().enumerate() {
            let target = if number == 0 { SOURCE.to_owned() } else { format!("{EXTRAS}/{}", aim.name) };
            mounts.push(mount(&target, aim.root.as_fd(), true)?);
        }
        let (store, stack) = (self.store().clone(), scanner.chain_id);
        if !self.hold.stack(stack) {
            return Err(BuildError::invalid(format!("the layers of {name} are gone")));
        }
        let draft = blocking(move || store.draft(stack, true)).await?;
        let config = &scanner.config;
        let argv: Vec<String> = config.entrypoint.iter().chain(&config.cmd).flatten().cloned().collect();
        if argv.is_empty() {
            return Err(BuildError::invalid(format!("the image {name} has no command: it is no scanner")));
        }
        let variables = [("DESTINATION", DESTINATION), ("SOURCE", SOURCE), ("SOURCE_EXTRAS", EXTRAS)];
        let variables = variables.map(|(name, value)| format!("BUILDKIT_SCAN_{name}={value}"));
        let spec = StepSpec {
            root: draft.as_fd().try_clone_to_owned().map_err(failed())?,
            env: config.env.iter().cloned().chain(variables).collect(),
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            hostname: self.hostname(),
            host: HostSpec { network_mode: self.request.host.network_mode.clone(), ..HostSpec::default() },
            mounts,
            argv,
        };
        self.run_as(id, spec, name, &[]).await?;
        documents(name, out).await
    }
}

// What a scanner has written.
async fn documents(name: &str, out: Context) -> Result<Vec<Sbom>, BuildError> {
    let found = blocking(move || read(out.as_fd())).await;
    let found = found.map_err(|why| BuildError::invalid(format!("what the scanner {name} has written: {why}")))?;
    match found.iter().any(|one| one.name == CORE) {
        true => Ok(found),
        false => Err(BuildError::invalid(format!("the scanner {name} has not written {DESTINATION}/{CORE}{SUFFIX}"))),
    }
}

fn read(out: BorrowedFd<'_>) -> Result<Vec<Sbom>, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut found = Vec::new();
    for file in walk::names(out).map_err(said)? {
        let file = file.to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(SUFFIX).filter(|name| !name.is_empty()) else { continue };
        if found.len() >= limits::SBOM_DOCUMENTS_MAX {
            return Err(format!("there are more than {} documents", limits::SBOM_DOCUMENTS_MAX));
        }
        let opened = walk::open_leaf(out, file.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK).map_err(said)?;
        let document = document(opened).map_err(|why| format!("{file}: {why}"))?;
        found.push(Sbom { name: name.to_owned(), document });
    }
    Ok(found)
}

fn document(file: OwnedFd) -> Result<serde_json::Value, String> {
    let stat = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let most = limits::SBOM_FILE_BYTES_MAX;
    File::from(file).take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err("it is too large".to_owned());
    }
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    match value["spdxVersion"].is_string() {
        true => Ok(value),
        false => Err("it is no document of SPDX".to_owned()),
    }
}
