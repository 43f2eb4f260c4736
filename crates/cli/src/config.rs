//! The person's own settings: `config.json` and the contexts beside it, as docker's CLI keeps them.
//!
//! Only read here. Unknown keys are left alone, since they belong to docker or its plugins.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// The directory that holds `config.json`: `--config`, `DOCKER_CONFIG`, else `~/.docker`.
pub(crate) fn directory(flag: Option<&str>) -> PathBuf {
    let from_environment = || std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.map(PathBuf::from).or_else(from_environment).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        home.join(".docker")
    })
}

/// What hako uses of `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    #[serde(rename = "detachKeys")]
    pub detach_keys: String,
    #[serde(rename = "psFormat")]
    pub ps_format: String,
    #[serde(rename = "imagesFormat")]
    pub images_format: String,
    #[serde(rename = "networksFormat")]
    pub networks_format: String,
    #[serde(rename = "volumesFormat")]
    pub volumes_format: String,
    #[serde(rename = "currentContext")]
    pub current_context: String,
    pub proxies: BTreeMap<String, Proxy>,
}

/// Proxy settings that are given to new containers as variables.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Proxy {
    #[serde(rename = "httpProxy")]
    pub http: String,
    #[serde(rename = "httpsProxy")]
    pub https: String,
    #[serde(rename = "noProxy")]
    pub none: String,
    #[serde(rename = "ftpProxy")]
    pub ftp: String,
    #[serde(rename = "allProxy")]
    pub all: String,
}

impl Config {
    /// Reads `config.json`; a missing one is an empty one.
    ///
    /// # Errors
    /// The sentence to warn with, when the file is not what it should be.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join("config.json");
        let Ok(text) = fs::read(&path) else { return Ok(Self::default()) };
        serde_json::from_slice(&text).map_err(|error| format!("cannot read {}: {error}", path.display()))
    }

    /// The variables for a new container, both spellings of each, for this daemon's host.
    pub(crate) fn proxy_variables(&self, host: &str) -> Vec<String> {
        let Some(proxy) = self.proxies.get(host).or_else(|| self.proxies.get("default")) else { return Vec::new() };
        [
            ("HTTP_PROXY", &proxy.http),
            ("HTTPS_PROXY", &proxy.https),
            ("NO_PROXY", &proxy.none),
            ("FTP_PROXY", &proxy.ftp),
            ("ALL_PROXY", &proxy.all),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(name, value)| [format!("{name}={value}"), format!("{}={value}", name.to_ascii_lowercase())])
        .collect()
    }
}

#[derive(Deserialize)]
struct ContextFile {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

/// The daemon's address in the context `name`.
///
/// # Errors
/// When there is no such context, or it has no address for a daemon.
pub(crate) fn context_host(directory: &Path, name: &str) -> Result<String, String> {
    // Files are named by a hash of the context's name; the name itself is inside.
    let entries = fs::read_dir(directory.join("contexts/meta")).into_iter().flatten().flatten();
    let found = entries
        .filter_map(|entry| serde_json::from_slice::<ContextFile>(&fs::read(entry.path().join("meta.json")).ok()?).ok())
        .find(|context| context.name == name);
    let Some(context) = found else {
        return Err(format!("context \"{name}\": context not found: no such context in {}", directory.display()));
    };
    match context.endpoints.get("docker") {
        Some(endpoint) if !endpoint.host.is_empty() => Ok(endpoint.host.clone()),
        _ => Err(format!("context \"{name}\" has no address of a daemon")),
    }
}
