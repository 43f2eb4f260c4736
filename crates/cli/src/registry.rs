//! Registries as `manifest` and `buildx imagetools` ask them: from here, with the person's own credentials.

use std::{collections::BTreeMap, fmt};

use hako_api::auth::AuthConfig;
use hako_base::ErrorKind;
use hako_model::{Digest, Reference};
use hako_registry::{
    Manifest,
    client::{Client, Credentials, Proxies, RegistryError, Settings},
};

use serde::{Deserialize, Serialize};

use crate::{context::Context, credentials, error::CommandError};

/// The registry of one name.
pub(crate) struct Place {
    client: Client,
    credentials: Credentials,
}

/// What a digest stands for, as manifests write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default)]
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) urls: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<DescriptorPlatform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
}

/// For which machine it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DescriptorPlatform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub(crate) os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub(crate) os_features: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

impl fmt::Display for DescriptorPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl Place {
    /// `insecure`: it may be spoken to without TLS, or with any certificate. The loopback network always may, as the
    /// daemon does it.
    ///
    /// # Errors
    /// When the person's credentials cannot be read.
    pub(crate) fn of(cx: &Context, name: &Reference, insecure: bool) -> Result<Self, CommandError> {
        let own = credentials::Credentials::read(&cx.directory)?.of_image(name);
        let insecure = if insecure { vec![name.domain().to_owned()] } else { Vec::new() };
        Ok(Self { client: client(insecure), credentials: shown(own) })
    }

    /// What the registry has under a name; `None`: nothing.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub(crate) async fn manifest(&self, name: &Reference) -> Result<Option<Manifest>, CommandError> {
        match self.client.manifest(name, &self.credentials).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }

    /// The configuration of the image that a manifest describes.
    ///
    /// # Errors
    /// When there is none, or the registry does not give it.
    pub(crate) async fn config(&self, name: &Reference, manifest: &Manifest) -> Result<Vec<u8>, CommandError> {
        self.client.manifest_config(name, manifest, &self.credentials).await.map_err(|error| told(&error))
    }

    /// The platform that the configuration of an image names.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(crate) async fn platform(
        &self,
        name: &Reference,
        manifest: &Manifest,
    ) -> Result<DescriptorPlatform, CommandError> {
        serde_json::from_slice(&self.config(name, manifest).await?)
            .map_err(|error| CommandError::Said(format!("the configuration of {name} is malformed: {error}")))
    }

    /// A small blob of the repository.
    ///
    /// # Errors
    /// When the registry does not have or give it.
    pub(crate) async fn document(
        &self,
        name: &Reference,
        (digest, size): (Digest, u64),
    ) -> Result<Vec<u8>, CommandError> {
        let found = self.client.artifact_document(name, (digest, size), &self.credentials).await;
        found.map_err(|error| told(&error))
    }

    /// Puts a manifest under a name; answers its digest.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub(crate) async fn put(&self, name: &Reference, media_type: &str, bytes: &[u8]) -> Result<Digest, CommandError> {
        let put = self.client.manifest_put(name, media_type, bytes, &self.credentials).await;
        put.map_err(|error| told(&error))
    }

    /// Makes all that a manifest of another place names known in the repository of `name`, which is at this one.
    ///
    /// # Errors
    /// When the one does not give it, or the other does not take it.
    pub(crate) async fn copy(
        &self,
        manifest: &Manifest,
        (from, there): (&Reference, &Self),
        name: &Reference,
    ) -> Result<(), CommandError> {
        let copied = self.client.manifest_copy(manifest, (from, &there.credentials), (name, &self.credentials)).await;
        copied.map_err(|error| told(&error))
    }
}

/// A client that asks from here; `insecure` are registries that need not prove who they are.
pub(crate) fn client(insecure: Vec<String>) -> Client {
    let proxies = Proxies::from_environment(|variable| std::env::var(variable).ok());
    // Registries tell in their logs what a person asked for and what a daemon did.
    let user_agent = concat!("hako-cli/", env!("CARGO_PKG_VERSION")).to_owned();
    Client::new(Settings { insecure, proxies, user_agent, ..Settings::default() })
}

/// The same credentials, as registries are shown them.
pub(crate) fn shown(own: AuthConfig) -> Credentials {
    Credentials {
        username: own.username,
        password: own.password,
        identity_token: own.identitytoken,
        registry_token: own.registrytoken,
        holder: None,
    }
}

fn told(error: &RegistryError) -> CommandError {
    CommandError::Said(hako_base::error::chain(error))
}

/// A name as people write it, with a tag.
///
/// # Errors
/// When it is no name.
pub(crate) fn named(text: &str) -> Result<Reference, CommandError> {
    let name: Reference = text.parse().map_err(|error| CommandError::Said(format!("{error}")))?;
    Ok(name.with_default_tag())
}
