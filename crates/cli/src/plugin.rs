//! Plugins of docker's command line: programs named `docker-NAME` that add a command `NAME`.
//!
//! They are given the whole line and find the daemon by themselves, from the same flags, variables and contexts. A
//! command of our own is never replaced by one.

use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{
    config::{self, Config},
    error::CommandError,
};

/// Where distributions and Docker's own packages put them.
const DIRECTORIES: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The word that asks a plugin what it is.
pub(crate) const METADATA: &str = "docker-cli-plugin-metadata";
/// Docker's command line tells its plugins by this variable how it was called itself.
pub(crate) const HOST: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// What `hako` says of itself where docker's command line finds it as its plugin `compose`.
pub(crate) fn own_metadata() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{}\n",
        serde_json::json!({
            "SchemaVersion": "0.1.0",
            "Vendor": "hako",
            "Version": version,
            "ShortDescription": "Run applications that Compose files describe",
        })
    )
}

/// What a plugin says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Metadata {
    pub schema_version: String,
    pub vendor: String,
    pub version: String,
    pub short_description: String,
}

/// An installed plugin.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub name: String,
    pub path: PathBuf,
}

fn directories(settings: &Path, config: &Config) -> Vec<PathBuf> {
    let extra = config.plugin_directories.iter().map(PathBuf::from);
    extra.chain([settings.join("cli-plugins")]).chain(DIRECTORIES.map(PathBuf::from)).collect()
}

/// The plugin of this name.
pub(crate) fn find(settings: &Path, config: &Config, name: &str) -> Option<Plugin> {
    // Docker's rule for names; it also keeps a word with a slash from being a path.
    if !is_name(name) {
        return None;
    }
    let candidates =
        directories(settings, config).into_iter().map(|directory| directory.join(format!("docker-{name}")));
    let path = candidates.into_iter().find(|path| is_program(path))?;
    Some(Plugin { name: name.to_owned(), path })
}

/// All plugins, by name; of two with one name the one that [`find`] finds.
pub(crate) fn all(settings: &Path, config: &Config) -> Vec<Plugin> {
    let entries = directories(settings, config)
        .into_iter()
        .flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten());
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("docker-").map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.iter().filter_map(|name| find(settings, config, name)).collect()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl Plugin {
    #[expect(clippy::disallowed_methods, reason = "a plugin is a program that the person has put there")]
    fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// What it says of itself; `None` if it is no plugin after all.
    pub(crate) fn metadata(&self) -> Option<Metadata> {
        let output = self.command().arg(METADATA).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let metadata: Metadata = serde_json::from_slice(&output.stdout).ok()?;
        (metadata.schema_version == "0.1.0" && !metadata.vendor.is_empty()).then_some(metadata)
    }

    /// Becomes the plugin, which is given every word of the line. Comes back only if that fails.
    pub(crate) fn run(&self, program: &str, words: &[String], default_host: &str) -> CommandError {
        let mut command = self.command();
        command.args(words).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", program);
        // Without any word about a daemon it would look for Docker's, and hako's is elsewhere.
        if program != "docker" && config::says_nothing_of_a_daemon() {
            command.env("DOCKER_HOST", default_host);
        }
        CommandError::local(format!("run the plugin {}", self.path.display()))(command.exec())
    }
}
