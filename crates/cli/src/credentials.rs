//! Credentials for registries, where docker's CLI keeps them: `config.json`, or a credential helper that it names.
//!
//! A helper is a program of the person's own choice, `docker-credential-NAME`, that is asked by its standard input.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use hako_api::{auth::AuthConfig, text};
use hako_base::file::{Durability, make_dir, write_atomic};
use hako_model::Reference;
use hako_sys::process::{Exit, Spawn, reap, spawn};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::CommandError;

/// The key under which Docker Hub's credentials are kept.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// A helper answers with this when it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// A helper's name for a secret that is a token.
const TOKEN_USER: &str = "<token>";
/// A helper says at most this much.
const HELPER_BYTES_MAX: u64 = 1 << 20;

/// The person's credentials.
pub(crate) struct Credentials {
    path: PathBuf,
    config: Map<String, Value>,
}

/// The key for the registry that an image's name, or a search, begins with.
pub(crate) fn key_of(domain: &str) -> String {
    match domain {
        "docker.io" | "index.docker.io" | "" => HUB.to_owned(),
        other => other.to_owned(),
    }
}

impl Credentials {
    /// Reads the file in this directory; a missing one is an empty one.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub(crate) fn read(directory: &Path) -> Result<Self, CommandError> {
        let path = directory.join("config.json");
        let config = match fs::read(&path) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Map::new(),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| CommandError::Said(format!("cannot read {}: {error}", path.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(CommandError::local(format!("read {}", path.display()))(error)),
        };
        Ok(Self { path, config })
    }

    /// The file they are kept in when there is no helper.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The helper for a registry: its own, or the one for all.
    pub(crate) fn helper(&self, key: &str) -> Option<&str> {
        let own = self.config.get("credHelpers").and_then(|helpers| helpers.get(key)).and_then(Value::as_str);
        let all = self.config.get("credsStore").and_then(Value::as_str);
        own.or(all).filter(|name| !name.is_empty())
    }

    /// What is known for a registry; nothing: empty ones.
    pub(crate) fn find(&self, key: &str) -> AuthConfig {
        match self.helper(key) {
            // A helper that fails is as if it had nothing, as in Docker: the registry will say what it wants.
            Some(helper) => ask(helper, key).unwrap_or_default(),
            None => self.find_in_file(key),
        }
    }

    /// The same for an image's registry.
    pub(crate) fn of_image(&self, reference: &Reference) -> AuthConfig {
        self.find(&key_of(reference.domain()))
    }

    fn find_in_file(&self, key: &str) -> AuthConfig {
        let Some(auths) = self.config.get("auths").and_then(Value::as_object) else { return AuthConfig::default() };
        // Older clients wrote whole addresses.
        let found =
            auths.get(key).or_else(|| auths.iter().find(|(known, _)| host_of(known) == host_of(key)).map(|(_, v)| v));
        let Some(entry) = found else { return AuthConfig::default() };
        let said = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let both = text::base64_url_decode(&said("auth")).and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) =
            both.as_deref().and_then(|both| both.split_once(':')).map_or_else(Default::default, |(user, password)| {
                (user.to_owned(), password.trim_end_matches('\0').to_owned())
            });
        AuthConfig {
            username,
            password,
            identitytoken: said("identitytoken"),
            registrytoken: said("registrytoken"),
            serveraddress: key.to_owned(),
            ..AuthConfig::default()
        }
    }

    /// Keeps credentials: in the helper, or in the file.
    ///
    /// # Errors
    /// When the helper or the disk fails.
    pub(crate) fn keep(&mut self, key: &str, auth: &AuthConfig) -> Result<(), CommandError> {
        if let Some(helper) = self.helper(key) {
            let is_token = !auth.identitytoken.is_empty();
            let (user, secret) =
                if is_token { (TOKEN_USER, &auth.identitytoken) } else { (auth.username.as_str(), &auth.password) };
            let said = json!({ "ServerURL": key, "Username": user, "Secret": secret }).to_string();
            run(helper, "store", &said)?;
            // Docker notes in the file that there is something to ask the helper for.
            self.entry(key, json!({}));
            return self.write();
        }
        let mut entry = Map::new();
        let both = match auth.identitytoken.as_str() {
            "" => format!("{}:{}", auth.username, auth.password),
            _ => format!("{}:", auth.username),
        };
        entry.insert("auth".to_owned(), text::base64_standard(both.as_bytes()).into());
        if !auth.identitytoken.is_empty() {
            entry.insert("identitytoken".to_owned(), auth.identitytoken.clone().into());
        }
        self.entry(key, entry.into());
        self.write()
    }

    /// Forgets credentials; answers whether there were any.
    ///
    /// # Errors
    /// When the helper or the disk fails.
    pub(crate) fn forget(&mut self, key: &str) -> Result<bool, CommandError> {
        let helped = match self.helper(key).map(str::to_owned) {
            Some(helper) => run(&helper, "erase", key).is_ok(),
            None => false,
        };
        let auths = self.config.get_mut("auths").and_then(Value::as_object_mut);
        let gone = auths.is_some_and(|auths| {
            let same: Vec<String> = auths.keys().filter(|known| host_of(known) == host_of(key)).cloned().collect();
            same.iter().for_each(|known| drop(auths.remove(known)));
            !same.is_empty()
        });
        if gone {
            self.write()?;
        }
        Ok(gone || helped)
    }

    fn entry(&mut self, key: &str, value: Value) {
        let auths = self.config.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), value);
        }
    }

    fn write(&self) -> Result<(), CommandError> {
        let mut bytes = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, tabs);
        let failed = || CommandError::local(format!("write {}", self.path.display()));
        self.config.serialize(&mut serializer).map_err(|error| failed()(error.into()))?;
        // A link to the file, as people who keep their settings elsewhere have it, stays one.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        make_dir(directory, 0o700)
            .and_then(|()| write_atomic(&target, &bytes, 0o600, Durability::Process))
            .map_err(failed())
    }
}

fn host_of(key: &str) -> &str {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    bare.split('/').next().unwrap_or_default()
}

fn ask(helper: &str, key: &str) -> Result<AuthConfig, CommandError> {
    let said = run(helper, "get", key)?;
    let found: Value = serde_json::from_str(&said)
        .map_err(|error| CommandError::Said(format!("docker-credential-{helper} said nonsense: {error}")))?;
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (username, secret) = (text("Username"), text("Secret"));
    let auth = AuthConfig { serveraddress: key.to_owned(), ..AuthConfig::default() };
    Ok(if username == TOKEN_USER {
        AuthConfig { identitytoken: secret, ..auth }
    } else {
        AuthConfig { username, password: secret, ..auth }
    })
}

fn run(helper: &str, action: &str, input: &str) -> Result<String, CommandError> {
    let program = OsString::from(format!("docker-credential-{helper}"));
    let failed = |source: io::Error| CommandError::Local { action: format!("run docker-credential-{helper}"), source };
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| failed(error.into()));
    let ((their_input, our_input), (our_output, their_output)) = (pipe()?, pipe()?);
    let stderr = io::stderr();
    let child = spawn(&Spawn {
        program: &program,
        arguments: vec![action.into()],
        stdin: Some(std::os::fd::AsFd::as_fd(&their_input)),
        stdout: Some(std::os::fd::AsFd::as_fd(&their_output)),
        stderr: Some(std::os::fd::AsFd::as_fd(&stderr)),
        ..Spawn::default()
    })
    .map_err(failed)?;
    drop((their_input, their_output));
    let mut to = fs::File::from(our_input);
    // A helper that does not read has its reasons, and says so by its status.
    let _ = to.write_all(input.as_bytes());
    drop(to);
    let mut said = String::new();
    fs::File::from(our_output).take(HELPER_BYTES_MAX).read_to_string(&mut said).map_err(failed)?;
    if reap(std::os::fd::AsFd::as_fd(&child.pidfd)).map_err(failed)? == Exit::Code(0) {
        return Ok(said);
    }
    match said.trim() {
        "" | NOT_FOUND => Err(CommandError::Said(NOT_FOUND.to_owned())),
        why => Err(CommandError::Said(format!("docker-credential-{helper}: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let path = std::env::temp_dir().join(format!("hako-credentials-{}", hako_base::random::hex(8)));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn the_file_is_dockers_and_what_else_is_in_it_stays() {
        let folder = folder();
        fs::write(folder.join("config.json"), "{\"psFormat\": \"x\", \"plugins\": {\"a\": {\"b\": \"c\"}}}").unwrap();
        let mut all = Credentials::read(&folder).unwrap();
        let me = AuthConfig { username: "me".into(), password: "secret:1".into(), ..AuthConfig::default() };
        all.keep("localhost:5000", &me).unwrap();
        let text = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(text.contains("\t\t\"localhost:5000\": {\n\t\t\t\"auth\": \"bWU6c2VjcmV0OjE=\"\n\t\t}"), "{text}");
        assert!(text.contains("\"b\": \"c\""), "{text}");
        let mut again = Credentials::read(&folder).unwrap();
        let found = again.find("localhost:5000");
        assert_eq!((found.username, found.password), ("me".to_owned(), "secret:1".to_owned()));
        assert_eq!(again.find("localhost:5001"), AuthConfig::default());
        assert!(again.forget("localhost:5000").unwrap());
        assert!(!again.forget("localhost:5000").unwrap());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn helpers_go_by_registry_and_then_by_default() {
        let folder = folder();
        let text = "{\"credsStore\": \"all\", \"credHelpers\": {\"one.test\": \"own\"}}";
        fs::write(folder.join("config.json"), text).unwrap();
        let all = Credentials::read(&folder).unwrap();
        assert_eq!((all.helper("one.test"), all.helper(HUB)), (Some("own"), Some("all")));
        // There is no such program, so there is nothing.
        assert_eq!(all.find(HUB), AuthConfig::default());
        fs::remove_dir_all(folder).unwrap();
    }
}
