//! What a build is asked for, as its client has it: attributes, directories, secrets, and where results go.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
};

use hako_api::auth::AuthConfig;

use crate::Client;

/// One build.
#[derive(Clone)]
pub struct ImageBuild {
    /// Attributes of the Dockerfile front end: `filename`, `target`, `build-arg:NAME`, `label:NAME`, ….
    pub attributes: BTreeMap<String, String>,
    /// Files by the names that attributes give them; `context` and `dockerfile` are those of every build.
    pub sources: BTreeMap<String, BuildSource>,
    /// A tar that the daemon takes for its context, and the address that attributes give it.
    pub upload: Option<BuildUpload>,
    /// OCI layouts that are contexts, by the names of stores that attributes give them.
    pub layouts: BTreeMap<String, PathBuf>,
    pub secrets: BTreeMap<String, BuildSecret>,
    /// Sockets of SSH agents.
    pub agents: BTreeMap<String, PathBuf>,
    /// Who we are at a registry.
    pub credentials: Arc<dyn Fn(&str) -> AuthConfig + Send + Sync>,
    /// Who gets tokens from registries, so that the builder needs no password.
    pub tokens: Option<Arc<dyn Tokens>>,
    pub outputs: Vec<BuildOutput>,
    /// The daemon that takes what is to be loaded.
    pub daemon: Option<Client>,
    /// What the build may do beyond a sandbox: `network.host`, `security.insecure`.
    pub entitlements: Vec<String>,
    pub cache_from: Vec<BuildOption>,
    pub cache_to: Vec<BuildOption>,
    /// The same for builds of the same directory: then only what changed is sent.
    pub shared_key: String,
}

impl Default for ImageBuild {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            sources: BTreeMap::new(),
            upload: None,
            layouts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            credentials: Arc::new(|_| AuthConfig::default()),
            tokens: None,
            outputs: Vec::new(),
            daemon: None,
            entitlements: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            shared_key: String::new(),
        }
    }
}

impl ImageBuild {
    /// Directories that caches are left in, each with the tag that its manifest gets.
    pub(super) fn cache_directories(&self) -> Vec<(PathBuf, String)> {
        let local = self.cache_to.iter().filter(|option| option.kind == "local");
        let found = local.filter_map(|option| {
            let tag = option.attributes.get("tag").map_or("latest", String::as_str);
            Some((PathBuf::from(option.attributes.get("dest")?), tag.to_owned()))
        });
        found.collect()
    }

    /// Directories of caches, those that are read and those that are written.
    pub(super) fn stores(&self) -> Vec<PathBuf> {
        let read = self.cache_from.iter().filter(|option| option.kind == "local");
        let read = read.filter_map(|option| option.attributes.get("src").map(PathBuf::from));
        read.chain(self.cache_directories().into_iter().map(|(directory, _)| directory)).collect()
    }
}

/// What a builder wants a token for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWish {
    /// The registry's host.
    pub host: String,
    /// Where its tokens are to be had.
    pub realm: String,
    pub service: String,
    pub scopes: Vec<String>,
}

/// A token, and for how many seconds it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGiven {
    pub text: String,
    pub lifetime_s: u64,
}

/// An answer that takes its time.
pub type TokenAnswer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gets tokens with credentials that it keeps.
pub trait Tokens: Send + Sync {
    /// What proves that credentials for this registry are the same as before; nothing: the builder is to ask for the
    /// password.
    fn seed<'a>(&'a self, host: &'a str) -> TokenAnswer<'a, Option<Vec<u8>>>;

    /// A token, or why there is none.
    fn token(&self, wish: TokenWish) -> TokenAnswer<'_, Result<TokenGiven, String>>;
}

/// Files that the daemon may ask for.
#[derive(Debug, Clone)]
pub enum BuildSource {
    Directory(PathBuf),
    /// Files that are nowhere on a disk: a Dockerfile from standard input.
    Files(BTreeMap<String, Vec<u8>>),
}

/// A secret.
#[derive(Debug, Clone)]
pub enum BuildSecret {
    File(PathBuf),
    Value(Vec<u8>),
}

/// A tar from somebody's standard input.
#[derive(Debug, Clone)]
pub struct BuildUpload {
    /// The last part of its address.
    pub id: String,
    /// What was read already, to see what it is.
    pub begin: Vec<u8>,
}

/// A kind with attributes, as flags write it: `type=registry,ref=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildOption {
    pub kind: String,
    pub attributes: HashMap<String, String>,
}

/// Where the result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOutput {
    pub option: BuildOption,
    pub target: OutputTarget,
}

/// Which end of the connection keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputTarget {
    Builder,
    /// The daemon of the build: a tar that comes here goes on to it.
    Load,
    /// A directory here.
    Directory(PathBuf),
    /// A file here, which is there as a whole or not at all.
    File(PathBuf),
    Stdout,
}
