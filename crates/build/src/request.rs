//! What a build is asked for.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use hako_model::{HostSpec, Platform, Reference};
use jiff::Timestamp;

use crate::context::Context;

/// One build.
#[derive(Clone)]
pub struct BuildRequest {
    /// The Dockerfile's text and the name that messages give it.
    pub dockerfile: String,
    pub dockerfile_name: String,
    pub context: Arc<Context>,
    /// Contexts by name (`--build-context`): they stand before stages and images of that name.
    pub contexts: BTreeMap<String, Arc<Context>>,
    /// `--build-arg`; `None`: named without a value.
    pub arguments: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub target: Option<String>,
    pub names: Vec<Reference>,
    /// Nothing is taken from the cache; or nothing in these stages.
    pub no_cache: bool,
    pub no_cache_stages: Vec<String>,
    pub platform: Option<Platform>,
    /// Network, further names, shared memory, limits: what RUN steps get.
    pub host: HostSpec,
    pub secrets: Arc<dyn Secrets>,
    /// Whether RUN steps may ask for what reaches the host (`--allow`).
    pub allow_host_network: bool,
    pub allow_insecure: bool,
    /// The classic builder's ways: one step after the other, an image for each.
    pub classic: bool,
    /// All times that an image speaks of (`SOURCE_DATE_EPOCH`), and whether files are no younger.
    pub epoch: Option<Timestamp>,
    pub rewrite_times: bool,
}

/// Where secrets and agents of a build come from.
pub trait Secrets: Send + Sync {
    /// The secret with this id; `None` when there is none.
    fn secret(&self, id: &str) -> SecretFuture;

    /// A socket that leads to the client's SSH agent with this id; `None` when there is none.
    fn agent(&self, id: &str) -> Option<PathBuf>;
}

/// The answer to come.
pub type SecretFuture = std::pin::Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, String>> + Send>>;

/// Secrets that are at hand.
#[derive(Default)]
pub struct GivenSecrets(pub BTreeMap<String, Vec<u8>>);

impl Secrets for GivenSecrets {
    fn secret(&self, id: &str) -> SecretFuture {
        let found = self.0.get(id).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn agent(&self, _id: &str) -> Option<PathBuf> {
        None
    }
}
