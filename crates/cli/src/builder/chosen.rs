//! From the name of a builder to its nodes: the one place that knows which builder is meant and how each of its nodes is
//! reached.
//!
//! A name is that of a stored builder, or of a context, whose daemon builds itself. Without one, `buildx …` and Compose
//! take the builder that is in use with the daemon; `build` takes the daemon, as docker's own `build` does.

use std::{collections::BTreeSet, path::PathBuf, sync::LazyLock};

use hako_client::{
    Host, Tls, TlsFiles,
    build::{Builder, BuilderInfo},
};
use hako_model::Platform;

use super::{
    driver,
    store::{NodeRecord, Store},
};
use crate::{
    context::Context,
    contexts::store::{self as contexts, DEFAULT},
    error::CommandError,
};

/// How the nodes of a builder are made and reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Driver {
    /// The daemon of a context.
    Docker,
    /// BuildKit in a container that we make.
    Container,
    /// BuildKit that somebody else runs.
    Remote,
    /// A word that another tool wrote.
    Other(String),
}

impl Driver {
    pub(crate) fn read(word: &str) -> Self {
        match word {
            "docker" => Self::Docker,
            "docker-container" => Self::Container,
            "remote" => Self::Remote,
            other => Self::Other(other.to_owned()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Docker => "docker",
            Self::Container => "docker-container",
            Self::Remote => "remote",
            Self::Other(word) => word,
        }
    }
}

/// A builder.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub name: String,
    pub driver: Driver,
    pub nodes: Vec<Node>,
    pub last_activity: Option<String>,
}

/// One of its nodes.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub record: NodeRecord,
    /// How it is reached, or why it cannot be.
    pub builder: Result<Builder, String>,
}

impl Node {
    pub(crate) fn builder(&self) -> Result<&Builder, CommandError> {
        self.builder.as_ref().map_err(|why| CommandError::Said(format!("ERROR: node {}: {why}", self.record.name)))
    }
}

/// Which daemon a choice of builder belongs to: the context, or an address where that is what was given.
pub(crate) fn key(cx: &Context) -> Result<String, CommandError> {
    if cx.context_name == DEFAULT { Ok(cx.host()?.to_owned()) } else { Ok(cx.context_name.clone()) }
}

/// The builder that is meant: by `--builder`, by `BUILDX_BUILDER`, or by what is in use.
///
/// # Errors
/// When there is none of that name.
pub(crate) fn chosen(cx: &Context, asked: Option<&str>) -> Result<Chosen, CommandError> {
    let asked = asked.map(str::to_owned).or_else(|| std::env::var("BUILDX_BUILDER").ok());
    match asked.filter(|name| !name.is_empty()) {
        Some(name) => named(cx, &name),
        None if uses_current(cx) => current(cx),
        None => Ok(of_context(cx, &cx.context_name)),
    }
}

/// The builder that is in use with the daemon.
pub(crate) fn current(cx: &Context) -> Result<Chosen, CommandError> {
    let store = Store::new(&cx.directory);
    // Without an address there is no choice that belongs to it; what is wrong with it is told by what needs it.
    match key(cx).ok().and_then(|key| store.current(&key)) {
        Some(name) => named(cx, &name),
        None => Ok(of_context(cx, &cx.context_name)),
    }
}

// `docker buildx install` makes `build` an alias of `buildx build`.
fn uses_current(cx: &Context) -> bool {
    let is_alias = cx.config.aliases.get("builder").is_some_and(|name| name == "buildx");
    is_alias || cx.path.starts_with("buildx ") || cx.path.starts_with("compose ")
}

/// The builder of that name.
///
/// # Errors
/// When there is none.
pub(crate) fn named(cx: &Context, name: &str) -> Result<Chosen, CommandError> {
    let store = Store::new(&cx.directory);
    if let Some(record) = store.get(name)? {
        return Ok(stored(cx, &store, record));
    }
    if name == cx.context_name || name == DEFAULT || contexts::Store::new(&cx.directory).exists(name) {
        return Ok(of_context(cx, name));
    }
    Err(CommandError::Said(format!("ERROR: no builder {name:?} found")))
}

/// Every builder: those that are stored, then the daemon of each context.
pub(crate) fn all(cx: &Context) -> Vec<Chosen> {
    let store = Store::new(&cx.directory);
    let mut all: Vec<Chosen> = store.all().into_iter().map(|record| stored(cx, &store, record)).collect();
    let documents = contexts::Store::new(&cx.directory).all();
    let mut names: BTreeSet<String> = documents.into_iter().map(|document| document.name).collect();
    names.insert(DEFAULT.to_owned());
    all.extend(names.iter().map(|name| of_context(cx, name)));
    all
}

fn stored(cx: &Context, store: &Store, record: super::store::Record) -> Chosen {
    let driver = Driver::read(&record.driver);
    let node = |record: NodeRecord| Node { builder: reach(cx, &driver, &record), record };
    let nodes = record.nodes.into_iter().map(node).collect();
    Chosen { last_activity: store.last_activity(&record.name), name: record.name, driver, nodes }
}

fn of_context(cx: &Context, name: &str) -> Chosen {
    let record = NodeRecord { name: name.to_owned(), endpoint: name.to_owned(), ..NodeRecord::default() };
    let node = Node { builder: reach(cx, &Driver::Docker, &record), record };
    Chosen { name: name.to_owned(), driver: Driver::Docker, nodes: vec![node], last_activity: None }
}

/// How a node is reached. Nothing is connected.
pub(crate) fn reach(cx: &Context, driver: &Driver, record: &NodeRecord) -> Result<Builder, String> {
    let client = |endpoint: &str| cx.client_at(endpoint).map_err(|error| error.message().unwrap_or_default());
    match driver {
        Driver::Docker => Ok(Builder::Daemon(client(&record.endpoint)?)),
        Driver::Container => {
            let client = client(&record.endpoint)?;
            Ok(Builder::Container { client, container: driver::container_name(&record.name) })
        }
        Driver::Remote => match record.endpoint.strip_prefix("docker-container://") {
            Some(container) => {
                Ok(Builder::Container { client: client(&cx.context_name)?, container: container.into() })
            }
            None => remote(record),
        },
        Driver::Other(word) => Err(format!("the driver {word} is not built: docker-container and remote are")),
    }
}

fn remote(record: &NodeRecord) -> Result<Builder, String> {
    let option = |name: &str| record.driver_opts.get(name).filter(|value| !value.is_empty());
    let path = |name: &str| option(name).map(PathBuf::from);
    let files = TlsFiles { authority: path("cacert"), certificate: path("cert"), key: path("key"), verify: true };
    let is_secured = [&files.authority, &files.certificate, &files.key].iter().any(|file| file.is_some());
    let host = Host::parse(&record.endpoint, is_secured).map_err(|error| error.to_string())?;
    if matches!(host, Host::Ssh(_)) {
        return Err(format!("{}: ssh:// to BuildKit is not built: unix:// and tcp:// are", record.endpoint));
    }
    let tls = if is_secured { Some(Tls::new(&files).map_err(|error| hako_base::error::chain(&error))?) } else { None };
    Ok(Builder::Remote { host, tls: tls.map(|tls| tls.http2(option("servername").cloned())) })
}

static NOTHING: LazyLock<BuilderInfo> = LazyLock::new(BuilderInfo::default);

impl Chosen {
    /// The nodes that build for these platforms, each with its share; one alone if it builds for all. Those that a
    /// person has given a node come before those that it says it can, and what is no platform goes to the first.
    ///
    /// # Errors
    /// When there is no node.
    pub(crate) fn shares(
        &self,
        platforms: &[String],
        infos: &[Option<BuilderInfo>],
    ) -> Result<Vec<(&Node, Vec<String>)>, CommandError> {
        let first =
            self.nodes.first().ok_or_else(|| CommandError::Said(format!("ERROR: {} has no nodes", self.name)))?;
        let can = |index: usize| -> Vec<String> {
            let given = self.nodes[index].record.platforms.iter().map(ToString::to_string);
            let info = infos.get(index).and_then(Option::as_ref).unwrap_or(&NOTHING);
            given.chain(info.platforms.iter().cloned()).collect()
        };
        let normal = |word: &String| word.parse::<Platform>().map_or_else(|_| word.clone(), |it| it.to_string());
        let is_given =
            |node: &Node, platform: &String| node.record.platforms.iter().any(|it| it.to_string() == *platform);
        let holder = |word: &String| {
            let platform = normal(word);
            let given = (0..self.nodes.len()).find(|index| is_given(&self.nodes[*index], &platform));
            given.or_else(|| (0..self.nodes.len()).find(|index| can(*index).contains(&platform))).unwrap_or(0)
        };
        let holders: Vec<usize> = platforms.iter().map(holder).collect();
        let Some(chosen) = holders.first() else { return Ok(vec![(first, Vec::new())]) };
        let for_all = |index: &usize| platforms.iter().all(|word| can(*index).contains(&normal(word)));
        let one = if holders.iter().all(|index| index == chosen) { Some(*chosen) } else { None };
        if let Some(index) = one.or_else(|| (0..self.nodes.len()).find(for_all)) {
            return Ok(vec![(&self.nodes[index], platforms.to_vec())]);
        }
        let share = |index: usize| -> Vec<String> {
            let own = platforms.iter().zip(&holders).filter(|(_, holder)| **holder == index);
            own.map(|(word, _)| word.clone()).collect()
        };
        let shares = (0..self.nodes.len()).map(|index| (&self.nodes[index], share(index)));
        Ok(shares.filter(|(_, share)| !share.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, platforms: &[&str]) -> Node {
        let platforms = platforms.iter().map(|text| text.parse().unwrap()).collect();
        let record = NodeRecord { name: name.to_owned(), platforms, ..NodeRecord::default() };
        Node { record, builder: Err("a test".to_owned()) }
    }

    #[test]
    fn a_build_goes_to_the_nodes_that_have_its_platforms() {
        let nodes = vec![node("a", &[]), node("b", &["linux/arm64"]), node("c", &["linux/s390x", "linux/arm64"])];
        let chosen = Chosen { name: "x".into(), driver: Driver::Remote, nodes, last_activity: None };
        let info = |platforms: &[&str]| {
            let platforms = platforms.iter().map(|it| (*it).to_owned()).collect();
            Some(BuilderInfo { platforms, ..BuilderInfo::default() })
        };
        let infos = [info(&["linux/amd64", "linux/arm64"]), info(&["linux/amd64", "linux/riscv64"]), None];
        let check = |platforms: &[&str], expected: &str| {
            let platforms: Vec<String> = platforms.iter().map(|text| (*text).to_owned()).collect();
            let shares = chosen.shares(&platforms, &infos).unwrap();
            let got = shares.iter().map(|(node, share)| format!("{}: {}", node.record.name, share.join(" ")));
            assert_eq!(got.collect::<Vec<_>>().join(", "), expected);
        };
        check(&[], "a: ");
        check(&["linux/amd64"], "a: linux/amd64");
        check(&["linux/arm64"], "b: linux/arm64");
        check(&["linux/riscv64"], "b: linux/riscv64");
        check(&["linux/ppc64le"], "a: linux/ppc64le");
        check(&["linux/amd64", "linux/arm64"], "a: linux/amd64 linux/arm64");
        check(&["linux/s390x", "linux/arm64"], "c: linux/s390x linux/arm64");
        check(&["linux/amd64", "linux/s390x", "linux/386"], "a: linux/amd64 linux/386, c: linux/s390x");
        check(&["linux/s390x", "odd"], "a: odd, c: linux/s390x");
    }
}
