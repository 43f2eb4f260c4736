//! The JSON of an image's configuration, as Docker and OCI write it, and the engine's words for it.
//!
//! What came from elsewhere is kept byte for byte, for its digest is the image's id; only what is made here is
//! written here: fields in Docker's order, so that the same inputs give the same id.

use std::collections::BTreeMap;

use hako_base::clock;
use hako_model::{Digest, HealthSpec, ImageConfig, Platform};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// A configuration file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    #[serde(deserialize_with = "nullable")]
    pub(crate) architecture: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) author: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) comment: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) config: Settings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) docker_version: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) history: Vec<Line>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) os_version: String,
    pub(crate) rootfs: RootFs,
    /// What BuildKit's clients read as a cache (`--cache-to type=inline`).
    #[serde(rename = "moby.buildkit.cache.v0", skip_serializing_if = "Option::is_none")]
    pub(crate) inline_cache: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

/// Which layers an image consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// A line of the history.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) created_by: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) author: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub(crate) comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) empty_layer: bool,
}

/// What the image says about its process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Settings {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Health>,
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    args_escaped: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    working_dir: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    on_build: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<Vec<String>>,
}

/// `{}`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Health {
    #[serde(deserialize_with = "nullable")]
    test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references to such a function")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

// Go writes `null` for what is empty.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl Document {
    /// Reads a configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// A configuration made here, now.
    pub(crate) fn new(platform: &Platform, config: &ImageConfig, created: Timestamp) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: Settings::from_model(config),
            created: Some(clock::rfc3339_nano(created)),
            ..Self::default()
        }
    }

    /// The bytes whose digest is the image's id.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// When it was made; `None` when it does not say or says the year one.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.created.as_deref().and_then(instant)
    }

    /// For which machine it is.
    pub(crate) fn platform(&self) -> Platform {
        let os = if self.os.is_empty() { "linux" } else { &self.os };
        let variant = self.variant.clone().filter(|variant| !variant.is_empty());
        Platform { os: os.to_owned(), architecture: self.architecture.clone(), variant }
    }
}

/// A time of a configuration or history line.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|at: &Timestamp| text != clock::ZERO && at.as_second() > -62_135_596_800)
}

impl Settings {
    pub(crate) fn model(&self) -> ImageConfig {
        ImageConfig {
            user: self.user.clone(),
            env: self.env.clone(),
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
            working_dir: self.working_dir.clone(),
            // Ports that are none were never usable; Docker shows them and ignores them otherwise.
            exposed_ports: self.exposed_ports.keys().filter_map(|port| port.parse().ok()).collect(),
            volumes: self.volumes.keys().cloned().collect(),
            labels: self.labels.clone(),
            stop_signal: self.stop_signal.clone().filter(|signal| !signal.is_empty()),
            health: self.healthcheck.as_ref().map(|health| HealthSpec {
                test: health.test.clone(),
                interval_ns: health.interval,
                timeout_ns: health.timeout,
                start_period_ns: health.start_period,
                start_interval_ns: health.start_interval,
                retries: health.retries,
            }),
            on_build: self.on_build.clone(),
            shell: self.shell.clone(),
            args_escaped: self.args_escaped,
        }
    }

    fn from_model(config: &ImageConfig) -> Self {
        Self {
            user: config.user.clone(),
            exposed_ports: config.exposed_ports.iter().map(|port| (port.to_string(), Empty {})).collect(),
            env: config.env.clone(),
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            healthcheck: config.health.as_ref().map(|health| Health {
                test: health.test.clone(),
                interval: health.interval_ns,
                timeout: health.timeout_ns,
                start_period: health.start_period_ns,
                start_interval: health.start_interval_ns,
                retries: health.retries,
            }),
            args_escaped: config.args_escaped,
            volumes: config.volumes.iter().map(|path| (path.clone(), Empty {})).collect(),
            working_dir: config.working_dir.clone(),
            on_build: config.on_build.clone(),
            labels: config.labels.clone(),
            stop_signal: config.stop_signal.clone(),
            shell: config.shell.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_of_go_are_read_as_nothing() {
        let text = br#"{"architecture":"amd64","author":null,"config":{"Env":null,"Cmd":["sh"],"Entrypoint":null,"Volumes":null,"ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":null},"created":"0001-01-01T00:00:00Z","history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#;
        let document = Document::parse(text).unwrap();
        let config = document.config.model();
        assert_eq!((config.cmd, config.entrypoint), (Some(vec!["sh".to_owned()]), None));
        assert_eq!(config.exposed_ports.len(), 1);
        assert_eq!(document.created(), None);
        let document = Document::parse(br#"{"os":"linux","architecture":"arm","config":null}"#).unwrap();
        assert_eq!(document.config.model(), ImageConfig::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = ImageConfig {
            user: "me".into(),
            cmd: Some(vec![]),
            volumes: vec!["/v".into()],
            labels: [("a".to_owned(), "b".to_owned())].into(),
            health: Some(HealthSpec { test: vec!["NONE".into()], ..HealthSpec::default() }),
            ..ImageConfig::default()
        };
        let document = Document::new(&Platform::host(), &config, Timestamp::UNIX_EPOCH);
        let again = Document::parse(&document.bytes()).unwrap();
        assert_eq!(again.config.model(), config);
        assert_eq!(again.bytes(), document.bytes());
    }
}
