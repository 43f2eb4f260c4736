//! `buildx imagetools create`: a name in a registry for what several others are, or for what one is elsewhere.

use std::fs;

use hako_model::{Digest, Platform, Reference};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    build::{Mode, Step, show},
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    registry::{Descriptor, Place, named},
};

use super::{
    annotation::Annotations,
    failed,
    index::{Fetched, Made, Wanted, combine},
    present,
    source::{Source, repository},
};

/// News that wait for a slow terminal.
const NEWS_QUEUED: usize = 64;

pub(crate) struct Create {
    annotations: Vec<String>,
    append: bool,
    builder: String,
    dry_run: bool,
    files: Vec<String>,
    metadata_file: String,
    platforms: Vec<String>,
    prefer_index: bool,
    progress: String,
    tags: Vec<String>,
}

impl Default for Create {
    fn default() -> Self {
        let (annotations, append, builder, dry_run, files) = Default::default();
        let (metadata_file, platforms, progress, tags) = Default::default();
        Self {
            annotations,
            append,
            builder,
            dry_run,
            files,
            metadata_file,
            platforms,
            prefer_index: true,
            progress,
            tags,
        }
    }
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx imagetools create"],
        usage: "[OPTIONS] [SOURCE...]",
        about: "Make one image of several in registries, or give one another name",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.annotations, "--annotation", "Say something of the image (index:KEY=VALUE)")
            .kind("stringArray");
        set.add(&mut self.append, "--append", "Add to what the name stands for");
        set.add(&mut self.builder, "--builder", "Accepted: registries are asked from here").hide();
        set.add(&mut self.dry_run, "--dry-run", "Show the result instead of pushing it");
        set.add(&mut self.files, "-f, --file", "Read a source from a file").kind("stringArray");
        set.add(&mut self.metadata_file, "--metadata-file", "Write what is known of the result to this file");
        set.add(&mut self.platforms, "-p, --platform", "Take these platforms alone").kind("stringArray");
        set.add(&mut self.prefer_index, "--prefer-index", "Make an index of a single image, too");
        set.add(&mut self.progress, "--progress", "auto, none, plain, rawjson or tty (default \"auto\")");
        set.add(&mut self.tags, "-t, --tag", "Name of the new image").kind("stringArray");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let mode = Mode::parse(&self.progress)?;
        let tags = self.tags.iter().map(|tag| named(tag)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        if tags.is_empty() && !self.dry_run {
            return Err(failed("can't push with no tags specified, please set --tag or --dry-run"));
        }
        let sources = self.sources(&words, &tags)?;
        let wanted = Wanted {
            annotations: Annotations::parse(&self.annotations).map_err(failed)?,
            platforms: platforms(&self.platforms)?,
            prefer_index: self.prefer_index,
        };
        let named = sources.iter().filter_map(|source| if let Source::Name(name) = source { Some(name) } else { None });
        let repository = repository(named.chain(&tags));
        let mut found = Vec::new();
        for source in &sources {
            found.push(fetch(cx, source, source.place(&repository).map_err(failed)?).await?);
        }
        let made = combine(&found, &wanted).map_err(failed)?;
        if self.dry_run {
            return cx.print_line(String::from_utf8_lossy(&made.bytes).trim_end());
        }
        let digest = push(cx, &made, &found, &tags, mode).await?;
        if self.metadata_file.is_empty() { Ok(()) } else { tell(&self.metadata_file, &made, digest, &tags) }
    }
}

impl Create {
    fn sources(&self, words: &[String], tags: &[Reference]) -> Result<Vec<Source>, CommandError> {
        let mut sources = Vec::new();
        if self.append {
            match tags {
                [tag] => sources.push(Source::Name(tag.clone())),
                _ => return Err(failed("--append adds to one image: it needs one --tag")),
            }
        }
        for path in &self.files {
            let text = fs::read_to_string(path).map_err(|error| failed(format!("cannot read {path}: {error}")))?;
            sources.push(Source::parse(&text).map_err(failed)?);
        }
        for word in words {
            sources.push(Source::parse(word).map_err(failed)?);
        }
        if sources.len() == usize::from(self.append) {
            return Err(failed("no sources specified"));
        }
        Ok(sources)
    }
}

fn platforms(texts: &[String]) -> Result<Vec<Platform>, CommandError> {
    texts.iter().flat_map(|text| text.split(',')).map(|text| text.trim().parse().map_err(failed)).collect()
}

pub(super) async fn fetch(cx: &Context, source: &Source, name: Reference) -> Result<Fetched, CommandError> {
    let place = Place::of(cx, &name, false)?;
    let manifest = present(&place, &name).await?;
    let given = if let Source::Descriptor(_, given) = source { Some((**given).clone()) } else { None };
    // Whoever says all of it knows better than the configuration, and what is no image has none.
    let is_said = given.as_ref().is_some_and(|given| given.platform.as_ref().is_some_and(|own| !own.os.is_empty()));
    let platform = match manifest.is_index || is_said {
        true => None,
        false => Some(place.platform(&name, &manifest).await.map_err(failed)?),
    };
    Ok(Fetched { name, manifest, given, platform })
}

// To each name, after what it needs there; answers its digest, which is the same everywhere.
async fn push(
    cx: &Context,
    made: &Made,
    found: &[Fetched],
    tags: &[Reference],
    mode: Mode,
) -> Result<Option<Digest>, CommandError> {
    let (send, news) = mpsc::channel(NEWS_QUEUED);
    let pushing = async move {
        let mut digest = None;
        for tag in tags {
            let step = Step::begin(send.clone(), format!("[internal] pushing {tag}")).await;
            let pushed = to(cx, made, found, tag, &step).await;
            step.end(pushed.as_ref().err().and_then(CommandError::message)).await;
            digest = Some(pushed?);
        }
        Ok(digest)
    };
    let (pushed, _) = tokio::join!(pushing, show(news, mode));
    pushed.map_err(|error: CommandError| failed(error.message().unwrap_or_default()))
}

pub(super) async fn to(
    cx: &Context,
    made: &Made,
    found: &[Fetched],
    tag: &Reference,
    step: &Step,
) -> Result<Digest, CommandError> {
    let place = Place::of(cx, tag, false)?;
    let is_here = |name: &Reference| (name.domain(), name.path()) == (tag.domain(), tag.path());
    // A single image that stays one has no parts: what it needs is its own.
    let whole = found.iter().filter(|_| made.parts.is_empty()).map(|one| (&one.name, &one.manifest));
    for (from, manifest) in whole.filter(|(from, _)| !is_here(from)) {
        step.log(&format!("copying {} from {from} to {tag}", manifest.digest)).await;
        place.copy(manifest, (from, &Place::of(cx, from, false)?), tag).await?;
    }
    for (from, part) in made.parts.iter().filter(|(from, _)| !is_here(from)) {
        let digest = digest_of(part)?;
        let (from, there) = (from.with_digest(digest), Place::of(cx, from, false)?);
        step.log(&format!("copying {digest} from {from} to {tag}")).await;
        let manifest = present(&there, &from).await?;
        place.copy(&manifest, (&from, &there), tag).await?;
        place.put(&tag.with_digest(digest), &manifest.media_type, &manifest.bytes).await?;
    }
    step.log(&format!("pushing {tag}")).await;
    place.put(tag, &made.media_type, &made.bytes).await
}

fn digest_of(part: &Descriptor) -> Result<Digest, CommandError> {
    part.digest.parse().map_err(|error| CommandError::Said(format!("{error}")))
}

fn tell(path: &str, made: &Made, digest: Option<Digest>, tags: &[Reference]) -> Result<(), CommandError> {
    let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let known = json!({
        "containerimage.descriptor": {
            "mediaType": made.media_type,
            "digest": digest.map(|digest| digest.to_string()),
            "size": made.bytes.len(),
        },
        "image.name": names.join(","),
    });
    let text = serde_json::to_string_pretty(&known).unwrap_or_default();
    fs::write(path, text).map_err(CommandError::local(format!("write {path}")))
}
