//! Images: what is asked of the image store, and what containers have to say about it.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
};

use bytes::Bytes;
use hako_image::{Image, ImageError, Removed, Use};
use hako_model::{
    ContainerState, Digest, EventKind, Filters, ImageConfig, ImageHistory, Platform, PlatformError, Reference,
};
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    container::filesystem::stream,
    prune::Chosen,
    view::{CommitOptions, ImageRemoved, ImageView, ImportOptions, Progress},
};

const KNOWN_FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

/// The store's error as the engine's; a missing image keeps its own variant.
pub(crate) fn error(error: ImageError) -> EngineError {
    match error {
        ImageError::NoSuchImage { reference } => EngineError::NoImage { name: reference },
        other => EngineError::mechanism(other.kind(), &other),
    }
}

impl Engine {
    /// The images that `filters` chooses, newest first; with `all` also the parents that only other images need.
    ///
    /// # Errors
    /// A filter that there is none of, or whose value makes no sense.
    pub fn image_list(&self, all: bool, filters: &Filters) -> Result<Vec<ImageView>, EngineError> {
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let dangling = filters.boolean("dangling").map_err(EngineError::invalid)?;
        let created = |key: &str| -> Result<Option<jiff::Timestamp>, EngineError> {
            let image = filters.values(key).next().map(|name| self.images.resolve(name)).transpose();
            Ok(image.map_err(error)?.and_then(|image| image.created))
        };
        let (before, since) = (created("before")?, created("since")?);
        let images = self.images.list();
        let parents: Vec<Digest> = images.iter().filter_map(|image| image.parent).collect();
        let mut age = Filters::default();
        filters.values("until").for_each(|value| age.add("until", value));
        let chosen = Chosen::of_list(&age)?;
        let mut views: Vec<ImageView> = images
            .iter()
            .filter(|image| all || !image.is_dangling() || !parents.contains(&image.id))
            .filter(|image| dangling.is_none_or(|wanted| image.is_dangling() == wanted))
            // What others were made from is not in anybody's way.
            .filter(|image| dangling != Some(true) || !parents.contains(&image.id))
            .filter(|image| before.is_none_or(|at| image.created.is_some_and(|created| created < at)))
            .filter(|image| since.is_none_or(|at| image.created.is_some_and(|created| created > at)))
            .filter(|image| filters.labels("label", &image.config.labels))
            .filter(|image| !(filters.has("label!") && filters.labels("label!", &image.config.labels)))
            .filter(|image| chosen.contains(image.created.unwrap_or_default(), &image.config.labels))
            .filter(|image| filters.any("reference", |pattern| named(image, pattern)))
            .map(|image| {
                let mut view = self.image_view(image);
                // Who asks by name is shown the names that were asked for.
                view.tags.retain(|tag| filters.any("reference", |pattern| name_matches(pattern, tag)));
                view
            })
            .collect();
        views.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(views)
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// No such image.
    pub fn image_inspect(&self, name: &str) -> Result<ImageView, EngineError> {
        let image = self.images.resolve(name).map_err(error)?;
        Ok(self.image_view(&image))
    }

    /// Whether an image is for one of these platforms (`os/arch[/variant]`, or JSON as API clients send it); any is
    /// one of none.
    ///
    /// # Errors
    /// No such image, or one for another platform, in Docker's words.
    pub fn image_check_platform(&self, name: &str, wanted: &[String]) -> Result<(), EngineError> {
        let wanted: Vec<Platform> = wanted.iter().map(|text| platform(text)).collect::<Result<_, _>>()?;
        if wanted.is_empty() {
            return Ok(());
        }
        let image = self.images.resolve(name).map_err(error)?;
        let own = &image.platform;
        if wanted.iter().any(|wanted| wanted.takes(own)) {
            return Ok(());
        }
        let shown: Vec<String> = wanted.iter().map(Platform::to_string).collect();
        Err(EngineError::OtherPlatform { name: name.to_owned(), own: own.to_string(), wanted: shown.join(", ") })
    }

    fn image_view(&self, image: &Image) -> ImageView {
        let users = self.containers.all().iter().filter(|container| container.record().image == image.id).count();
        ImageView {
            id: image.id,
            tags: image.references.iter().map(Reference::familiar).collect(),
            digests: image.repo_digests.iter().map(Reference::familiar).collect(),
            parent: image.parent,
            comment: image.comment.clone(),
            author: image.author.clone(),
            created: image.created,
            docker_version: image.docker_version.clone(),
            config: image.config.clone(),
            architecture: image.platform.architecture.clone(),
            variant: image.platform.variant.clone().unwrap_or_default(),
            os: image.platform.os.clone(),
            size: image.size,
            layers: image.diff_ids.clone(),
            last_tagged: image.last_tagged,
            places: self.images.image_places(image.chain_id),
            shared: self.images.shared_size(image.id),
            containers: users,
        }
    }

    /// How an image came to be, newest line first.
    ///
    /// # Errors
    /// No such image.
    pub fn image_history(&self, name: &str) -> Result<Vec<ImageHistory>, EngineError> {
        self.images.history(name).map_err(error)
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// No such image, or a name that is none.
    pub async fn image_tag(&self, name: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let target = reference(repository, tag)?.ok_or_else(|| EngineError::invalid("invalid reference format"))?;
        let (engine, name) = (self.clone(), name.to_owned());
        let shown = target.familiar();
        if shown.split_once(':').is_some_and(|(repository, _)| repository == "sha256") {
            return Err(EngineError::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let tagged = crate::blocking(move || {
            engine.images.tag(&name, &target)?;
            engine.images.resolve(&name)
        });
        let id = tagged.await.map_err(error)?.id;
        self.publish_image("tag", &id.to_string(), &shown);
        Ok(())
    }

    /// Removes a name, or an image with its last name.
    ///
    /// # Errors
    /// No such image, or one that a container or another name needs.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        no_prune: bool,
    ) -> Result<Vec<ImageRemoved>, EngineError> {
        let (engine, name) = (self.clone(), name.to_owned());
        let options = hako_image::RemoveOptions { force, keep_parents: no_prune };
        let removed = crate::blocking(move || engine.images.remove(&name, options, &|id| engine.image_user(id)))
            .await
            .map_err(error)?;
        Ok(self.tell_removed(removed))
    }

    fn image_user(&self, id: &Digest) -> Option<Use> {
        let containers = self.containers.all();
        let text = id.to_string();
        let mounts = |record: &crate::record::Record| {
            record.mounts.iter().any(|mount| mount.kind == hako_model::MountKind::Image && mount.source == text)
        };
        let records = containers.iter().map(|container| container.record());
        let users = records.filter(|record| record.image == *id || mounts(record));
        // A running one decides: it cannot be forced.
        users
            .map(|record| Use {
                container: record.id,
                running: record.is_running() || record.state.status == ContainerState::Restarting,
            })
            .max_by_key(|user| user.running)
    }

    fn tell_removed(&self, removed: Vec<Removed>) -> Vec<ImageRemoved> {
        removed
            .into_iter()
            .map(|line| match line {
                Removed::Untagged { reference, image } => {
                    self.publish_image("untag", &image.to_string(), &reference.familiar());
                    ImageRemoved::Untagged(reference.familiar())
                }
                Removed::Image(id) => {
                    self.publish_image("delete", &id.to_string(), &id.to_string());
                    ImageRemoved::Deleted(id.to_string())
                }
                Removed::Layer(id) => ImageRemoved::Deleted(id.to_string()),
            })
            .collect()
    }

    /// Reads an archive of images; progress arrives at `progress`, errors at the end.
    ///
    /// # Errors
    /// An archive that is none, a layer that is not what its digest says, a full disk.
    pub async fn image_load(
        &self,
        input: Box<dyn Read + Send>,
        wanted: &[String],
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), EngineError> {
        let engine = self.clone();
        let wanted = wanted.iter().filter(|text| !text.is_empty()).map(|text| platform(text));
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        crate::blocking(move || {
            let loaded = engine
                .images
                .load(input, &wanted, &mut |step| drop(progress.blocking_send(load_progress(step))))
                .map_err(error)?;
            for image in loaded {
                let mut lines: Vec<String> =
                    image.references.iter().map(|name| format!("Loaded image: {}\n", name.familiar())).collect();
                if lines.is_empty() {
                    lines.push(format!("Loaded image ID: {}\n", image.id));
                }
                for stream in lines {
                    let _ = progress.blocking_send(Progress { stream, ..Progress::default() });
                }
                engine.publish_image("load", &image.id.to_string(), &image.id.to_string());
            }
            Ok(())
        })
        .await
    }

    /// An archive of the named images, as a stream.
    ///
    /// # Errors
    /// No such image. What fails later is the last item of the stream.
    pub async fn image_save(
        &self,
        names: Vec<String>,
        without: HashSet<Digest>,
    ) -> Result<mpsc::Receiver<io::Result<Bytes>>, EngineError> {
        let names: Vec<String> = names.iter().flat_map(|name| self.names_meant(name)).collect();
        for name in &names {
            let image = self.images.resolve(name).map_err(error)?;
            self.publish_image("save", &image.id.to_string(), name);
        }
        let engine = self.clone();
        Ok(stream(move |writer: &mut dyn Write| {
            engine
                .images
                .save_without(&names, &without, writer)
                .map_err(|error| io::Error::other(hako_base::error::chain(&error)))
        }))
    }

    /// All names of a repository, where its name is given without a tag, as Docker saves them; else the name itself.
    fn names_meant(&self, name: &str) -> Vec<String> {
        let plain = name.parse::<Reference>().ok().filter(|plain| plain.tag().is_none() && plain.digest().is_none());
        let images = self.images.list();
        let all = images.iter().flat_map(|image| &image.references);
        let mut names: Vec<String> = all
            .filter(|one| plain.as_ref().is_some_and(|plain| plain.familiar_name() == one.familiar_name()))
            .map(Reference::familiar)
            .collect();
        names.sort_unstable();
        if names.is_empty() { vec![name.to_owned()] } else { names }
    }

    /// Makes an image of a root file system's tar.
    ///
    /// # Errors
    /// A tar that is none, a name or a change that makes no sense.
    pub async fn image_import(
        &self,
        input: Box<dyn Read + Send>,
        options: ImportOptions,
    ) -> Result<Digest, EngineError> {
        let reference = reference(&options.repository, &options.tag)?;
        let shown = reference.as_ref().map(Reference::familiar);
        let platform = options.platform.as_deref().filter(|text| !text.is_empty()).map(platform).transpose()?;
        if platform.as_ref().is_some_and(|platform| platform.os != Platform::host().os) {
            return Err(EngineError::invalid("operating system is not supported"));
        }
        let wish = hako_image::ImportOptions {
            reference,
            changes: options.changes,
            message: (!options.message.is_empty()).then_some(options.message),
            platform,
        };
        let engine = self.clone();
        let id = crate::blocking(move || engine.images.import(input, &wish, &mut |_| {})).await.map_err(error)?;
        let id_text = id.to_string();
        self.publish_image("import", &id_text, shown.as_deref().unwrap_or(&id_text));
        Ok(id)
    }

    /// Makes an image of what a container has changed.
    ///
    /// # Errors
    /// No such container, a name or a change that makes no sense, a full disk.
    pub async fn image_commit(&self, container: &str, options: CommitOptions) -> Result<Digest, EngineError> {
        let container = self.containers.find(container)?;
        let reference = reference(&options.repository, &options.tag)?;
        let record = container.record();
        let mut paused = options.pause && record.state.status == ContainerState::Running;
        let shown = reference.as_ref().map(Reference::familiar);
        let comment = options.comment.clone();
        let wish = hako_image::CommitOptions {
            base: Some(record.image),
            config: commit_config(&record.config, options.config),
            changes: options.changes,
            author: options.author,
            comment: options.comment,
            reference,
            created_by: std::iter::once(&record.path).chain(&record.args).cloned().collect::<Vec<_>>().join(" "),
        };
        if paused {
            paused = unless_ended(self.container_pause(&record.id.to_string()).await)?;
        }
        let engine = self.clone();
        let id = container.id;
        let committed = crate::blocking(move || engine.images.commit(id, &wish)).await.map_err(error);
        // Killed meanwhile, it has nothing to go on with, and its files are no less whole.
        if paused
            && let Err(error) = self.container_unpause(&record.id.to_string()).await
            && container.record().state.status == ContainerState::Paused
        {
            return Err(error);
        }
        let image = committed?;
        let image_text = image.to_string();
        let name = shown.unwrap_or_default();
        if !name.is_empty() {
            self.publish_image("tag", &image_text, &name);
        }
        let told = [("comment", comment.as_str()), ("imageID", image_text.as_str()), ("imageRef", name.as_str())];
        self.publish_container("commit", &record, told);
        Ok(image)
    }

    /// Removes images that nothing needs: those without a name or, with `dangling=false`, all unused ones.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub async fn image_prune(&self, filters: &Filters) -> Result<(Vec<ImageRemoved>, u64), EngineError> {
        let dangling = filters.boolean("dangling").map_err(EngineError::invalid)?.unwrap_or(true);
        let filters = filters.clone();
        let engine = self.clone();
        let pruned = crate::blocking(move || {
            let chosen = Chosen::parse(&filters, &["dangling"])?;
            let keep = |image: &Image| !chosen.contains(image.created.unwrap_or_default(), &image.config.labels);
            engine.images.prune(!dangling, &keep, &|id| engine.image_user(id)).map_err(error)
        })
        .await?;
        let removed = self.tell_removed(pruned.removed);
        let reclaimed = pruned.reclaimed.to_string();
        self.events.publish(EventKind::Image, "prune", "", [("reclaimed", reclaimed.as_str())]);
        Ok((removed, pruned.reclaimed))
    }

    pub(crate) fn publish_image(&self, action: &str, id: &str, name: &str) {
        // With the image's labels, which is what people filter by; one that is gone has none to show.
        let labels = self.images.resolve(id).map(|image| image.config.labels.clone()).unwrap_or_default();
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.events.publish(EventKind::Image, action, id, labels.chain([("name", name)]));
    }
}

/// Whether it is frozen: a container may end by itself before; what it has changed is no less whole then.
fn unless_ended(frozen: Result<(), EngineError>) -> Result<bool, EngineError> {
    match frozen {
        Ok(()) => Ok(true),
        Err(EngineError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the caller of `commit` says replaces what the container has.
fn commit_config(own: &ImageConfig, wished: Option<ImageConfig>) -> ImageConfig {
    let mut config = own.clone();
    // The host name of a container is not the image's business, nor are ports it only published.
    let Some(wished) = wished else { return config };
    if !wished.user.is_empty() {
        config.user = wished.user;
    }
    if !wished.env.is_empty() {
        config.env = wished.env;
    }
    if wished.cmd.is_some() {
        config.cmd = wished.cmd;
    }
    if wished.entrypoint.is_some() {
        config.entrypoint = wished.entrypoint;
    }
    if !wished.working_dir.is_empty() {
        config.working_dir = wished.working_dir;
    }
    config.exposed_ports.extend(wished.exposed_ports);
    config.exposed_ports.sort();
    config.exposed_ports.dedup();
    config.volumes.extend(wished.volumes);
    config.labels.extend(wished.labels);
    config.stop_signal = wished.stop_signal.or(config.stop_signal);
    config.health = wished.health.or(config.health);
    config
}

fn load_progress(step: hako_image::Progress) -> Progress {
    match step {
        hako_image::Progress::Layer { layer, current, total } => {
            Progress { id: layer, status: "Loading layer".to_owned(), current, total, ..Progress::default() }
        }
        hako_image::Progress::Exists { layer } => {
            Progress { id: layer, status: "Layer already exists".to_owned(), ..Progress::default() }
        }
        hako_image::Progress::Renamed { reference, old } => Progress {
            stream: format!(
                "The image {} already exists, renaming the old one with ID {old} to empty string\n",
                reference.familiar()
            ),
            ..Progress::default()
        },
    }
}

/// A name from the two halves in which clients send it; `None` if there is none.
fn reference(repository: &str, tag: &str) -> Result<Option<Reference>, EngineError> {
    if repository.is_empty() {
        return Ok(None);
    }
    let bad = |error: hako_model::ReferenceError| EngineError::invalid(error.to_string());
    let name: Reference = repository.parse().map_err(bad)?;
    if name.digest().is_some() {
        return Err(EngineError::invalid("refusing to create a tag with a digest reference"));
    }
    let name = if tag.is_empty() { name.with_default_tag() } else { name.with_tag(tag).map_err(bad)? };
    Ok(Some(name))
}

/// `linux/amd64[/variant]`, or the JSON of one; in Docker's words where it is neither.
pub(crate) fn platform(text: &str) -> Result<Platform, EngineError> {
    if !text.starts_with('{') {
        return text.parse().map_err(|error: PlatformError| EngineError::invalid(error.to_string()));
    }
    let parsed: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| EngineError::invalid(format!("failed to parse platform: {error}")))?;
    let part = |key: &str| parsed[key].as_str().filter(|part| !part.is_empty()).map(str::to_owned);
    let (Some(os), Some(architecture)) = (part("os"), part("architecture")) else {
        return Err(EngineError::invalid("both OS and Architecture must be provided"));
    };
    Ok(Platform { os, architecture, variant: part("variant") })
}

/// Whether one of an image's names matches `repo`, `repo:tag` or a pattern with `*` and `?` in them.
fn named(image: &Image, pattern: &str) -> bool {
    image.references.iter().any(|name| name_matches(pattern, &name.familiar()))
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let repository =
        name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(repository, _)| repository);
    let last = repository.rsplit('/').next().unwrap_or_default();
    glob(pattern, name) || glob(pattern, repository) || (!pattern.contains('/') && glob(pattern, last))
}

/// A shell's `*` and `?`; as in Go's `path.Match`, neither matches a slash.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    loop {
        match (pattern.next(), text.clone().next()) {
            (None, end) => return end.is_none(),
            (Some('*'), _) => {
                let rest = pattern.as_str();
                let mut tail = text.as_str();
                loop {
                    if glob(rest, tail) {
                        return true;
                    }
                    let mut chars = tail.chars();
                    match chars.next() {
                        Some('/') | None => return false,
                        Some(_) => tail = chars.as_str(),
                    }
                }
            }
            (Some('?'), Some(found)) if found != '/' => drop(text.next()),
            (Some(wanted), Some(found)) if wanted == found => drop(text.next()),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_a_part_of_a_path() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("deb*", "debian:bookworm", true),
            ("deb*:b*", "debian:bookworm", true),
            ("*", "me/debian", false),
            ("*/debian", "me/debian", true),
            ("de?ian", "debian", true),
            ("x", "debian", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn names_come_in_two_halves() {
        assert_eq!(reference("", "").unwrap(), None);
        assert_eq!(reference("me/debian", "").unwrap().unwrap().familiar(), "me/debian:latest");
        assert_eq!(reference("me/debian", "1").unwrap().unwrap().familiar(), "me/debian:1");
        assert_eq!(
            reference("Me", "").unwrap_err().to_string(),
            "invalid reference format: repository name (library/Me) must be lowercase"
        );
    }
}
