//! The person's own settings: `config.json` and the contexts beside it, as docker's CLI keeps them.
//!
//! Unknown keys are left alone, since they belong to docker or its plugins.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use hako_base::file::{Durability, write_atomic};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{error::CommandError, format::json};

/// The directory that holds `config.json`: `--config`, `DOCKER_CONFIG`, else `~/.docker`.
pub(crate) fn directory(flag: Option<&str>) -> PathBuf {
    let from_environment = || std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    flag.map(PathBuf::from).or_else(from_environment).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        home.join(".docker")
    })
}

/// Whether no variable chooses a daemon.
pub(crate) fn says_nothing_of_a_daemon() -> bool {
    ["DOCKER_HOST", "DOCKER_CONTEXT"].iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()))
}

/// The platform that commands with `--platform` take where it is not given (`DOCKER_DEFAULT_PLATFORM`).
pub(crate) fn default_platform() -> Option<String> {
    std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|value| !value.is_empty())
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
    #[serde(rename = "statsFormat")]
    pub stats_format: String,
    /// What every request to the daemon carries, for proxies on the way.
    #[serde(rename = "HttpHeaders")]
    pub http_headers: BTreeMap<String, String>,
    #[serde(rename = "currentContext")]
    pub current_context: String,
    /// `builder` is `buildx` where `docker buildx install` has been.
    pub aliases: BTreeMap<String, String>,
    pub proxies: BTreeMap<String, Proxy>,
    #[serde(rename = "cliPluginsExtraDirs")]
    pub plugin_directories: Vec<String>,
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

/// Changes `config.json` and keeps every key of it that is not changed, in the form in which docker writes it.
///
/// # Errors
/// When the file is not what it should be, or cannot be written.
pub(crate) fn edit(directory: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), CommandError> {
    let path = directory.join("config.json");
    // People keep it in a folder of their own and link it here.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let mut keys: Map<String, Value> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| CommandError::Said(format!("cannot read {}: {error}", path.display())))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(CommandError::local(format!("read {}", path.display()))(error)),
    };
    change(&mut keys);
    let text = json::indent(&Value::Object(keys).to_string(), "\t");
    fs::create_dir_all(directory)
        .and_then(|()| write_atomic(&path, text.as_bytes(), 0o600, Durability::Process))
        .map_err(CommandError::local(format!("write {}", path.display())))
}
