//! What a build is asked for.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use hako_engine::view::Credentials;
use hako_model::{HostSpec, Platform, Reference};
use jiff::Timestamp;

use crate::{
    context::Context,
    depot::{Depot, Source},
    plan::platform_text,
    solve::Built,
};

/// One build.
#[derive(Clone)]
pub struct BuildRequest {
    /// The Dockerfile's text and the name that messages give it.
    pub dockerfile: String,
    pub dockerfile_name: String,
    pub context: Arc<Context>,
    /// Contexts by name (`--build-context`): they stand before stages and images of that name.
    pub contexts: BTreeMap<String, Arc<Context>>,
    /// Images by name (`--build-context NAME=docker-image://…`): the same. One that begins with `oci-layout://` is in a
    /// layout of the client's, one that begins with `hako-input://` is one of `inputs`.
    pub images: BTreeMap<String, String>,
    /// What other builds of the client's came to, by the name that it has for them.
    pub inputs: BTreeMap<String, Arc<Built>>,
    /// `--build-arg`; `None`: named without a value.
    pub arguments: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub target: Option<String>,
    pub names: Vec<Reference>,
    /// Nothing is taken from the cache; or nothing in these stages.
    pub no_cache: bool,
    pub no_cache_stages: Vec<String>,
    pub platform: Option<Platform>,
    /// Of a build for several platforms: which of them this is, from 0.
    pub place: Option<u64>,
    /// Registries are asked for base images even if they are here.
    pub pull: bool,
    /// Network, further names, shared memory, limits: what RUN steps get.
    pub host: HostSpec,
    pub secrets: Arc<dyn Secrets>,
    /// Whether RUN steps may ask for what reaches the host (`--allow`).
    pub allow_host_network: bool,
    pub allow_insecure: bool,
    pub devices: DeviceGrants,
    /// The classic builder's ways: one step after the other, an image for each.
    pub classic: bool,
    /// All times that an image speaks of (`SOURCE_DATE_EPOCH`), and whether files are no younger.
    pub epoch: Option<Timestamp>,
    pub rewrite_times: bool,
    /// The result has one layer.
    pub flatten: bool,
    /// Where results are looked for that are not here (`--cache-from`).
    pub depots: Vec<Arc<Depot>>,
    /// All known results of needed stages are of interest, also those that nobody has to read: they are to be left
    /// somewhere (`--cache-to mode=max`).
    pub complete: bool,
    /// What the context is, if it came from an address.
    pub source: Option<RemoteSource>,
    /// What the result's packages are is to be told.
    pub sbom: Option<crate::sbom::Wish>,
}

impl BuildRequest {
    /// The same for one platform: contexts for it alone (`NAME::PLATFORM`) stand before those for all.
    pub(crate) fn for_platform(self, platform: Platform) -> Self {
        let contexts = for_platform(&self.contexts, &platform);
        let images = for_platform(&self.images, &platform);
        Self { contexts, images, platform: Some(platform), ..self }
    }
}

/// What concerns a platform, of things by `NAME` or `NAME::PLATFORM`.
pub(crate) fn for_platform<T: Clone>(all: &BTreeMap<String, T>, platform: &Platform) -> BTreeMap<String, T> {
    let wanted = platform_text(platform);
    let split = |name: &str| name.split_once("::").map(|(name, platform)| (name.to_owned(), platform.to_owned()));
    let general = all.iter().filter(|(name, _)| !name.contains("::")).map(|(name, one)| (name.clone(), one.clone()));
    let own = all.iter().filter_map(|(name, one)| {
        let (name, _) = split(name).filter(|(_, platform)| *platform == wanted)?;
        Some((name, one.clone()))
    });
    general.chain(own).collect()
}

/// Which devices steps may have that no description gives to everybody (`--allow device`, `--allow device=NAME`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceGrants {
    all: bool,
    names: Vec<String>,
}

impl DeviceGrants {
    /// Reads what a client allows, among other entitlements.
    pub fn of(entitlements: &[String]) -> Self {
        let names = entitlements.iter().filter_map(|text| text.strip_prefix("device="));
        Self { all: entitlements.iter().any(|text| text == "device"), names: names.map(str::to_owned).collect() }
    }

    pub(crate) fn allows(&self, device: &str) -> bool {
        self.all || self.names.iter().any(|name| name == device)
    }
}

/// An address, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSource {
    pub address: String,
    /// `sha1` of a commit or `sha256` of a file, in hexadecimal.
    pub algorithm: &'static str,
    pub digest: String,
    /// When the commit was made, in seconds since 1970.
    pub time: Option<i64>,
}

/// What the client of a build has: secrets, agents, credentials, directories, images in OCI layouts.
pub trait Secrets: Send + Sync {
    /// The secret with this id; `None` when there is none.
    fn secret(&self, id: &str) -> SecretFuture;

    /// Makes the socket at `path` lead to the client's SSH agent with this id, for as long as the answer lives; `None`
    /// when there is none.
    fn agent(&self, id: &str, path: PathBuf) -> AgentFuture;

    /// Who we are at a registry; empty when nobody said.
    fn credentials(&self, registry: &str) -> CredentialsFuture;

    /// Fills `context` with the directory that has this name, as far as it is wanted; why not, in words.
    fn directory(&self, name: &str, _wanted: Wanted, _context: Context) -> DirectoryFuture {
        let text = format!("the client offers no directory {name}");
        Box::pin(async move { Err(text) })
    }

    /// The OCI layout that has this name; `None` when the client offers none.
    fn layout(&self, _store: &str) -> Option<Layout> {
        None
    }
}

/// What is wanted of a client's directory.
#[derive(Debug, Default)]
pub struct Wanted {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

/// The answer to come.
pub(crate) type DirectoryFuture = std::pin::Pin<Box<dyn Future<Output = Result<Context, String>> + Send>>;

/// An OCI layout of the client's.
pub struct Layout(pub(crate) Box<dyn Source>);

/// The answer to come.
pub type SecretFuture = std::pin::Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, String>> + Send>>;

/// A socket that leads to an agent; dropping it ends that.
pub struct AgentSocket(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer to come.
pub type AgentFuture = std::pin::Pin<Box<dyn Future<Output = Result<Option<AgentSocket>, String>> + Send>>;

/// The answer to come.
pub type CredentialsFuture = std::pin::Pin<Box<dyn Future<Output = Credentials> + Send>>;

/// Secrets and credentials that are at hand.
#[derive(Default)]
pub struct GivenSecrets {
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// By the registry's name.
    pub credentials: BTreeMap<String, Credentials>,
}

impl Secrets for GivenSecrets {
    fn secret(&self, id: &str) -> SecretFuture {
        let found = self.secrets.get(id).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn agent(&self, _id: &str, _path: PathBuf) -> AgentFuture {
        Box::pin(async { Ok(None) })
    }

    fn credentials(&self, registry: &str) -> CredentialsFuture {
        let found = self.credentials.get(registry).cloned().unwrap_or_default();
        Box::pin(async move { found })
    }
}
