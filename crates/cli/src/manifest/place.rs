//! Registries as the `manifest` commands ask them: from here, with the person's own credentials.

use hako_api::auth::AuthConfig;
use hako_base::ErrorKind;
use hako_model::Reference;
use hako_registry::{
    Manifest,
    client::{Client, Credentials, Proxies, RegistryError, Settings},
};

use crate::{context::Context, credentials, error::CommandError};

use super::store::{Kept, ManifestPlatform};

/// The registry of one name.
pub(super) struct Place {
    client: Client,
    credentials: Credentials,
}

impl Place {
    /// `insecure`: it may be spoken to without TLS, or with any certificate. The loopback network always may, as the
    /// daemon does it.
    pub(super) fn of(cx: &Context, name: &Reference, insecure: bool) -> Result<Self, CommandError> {
        let own = credentials::Credentials::read(&cx.directory)?.of_image(name);
        let insecure = if insecure { vec![name.domain().to_owned()] } else { Vec::new() };
        let proxies = Proxies::from_environment(|variable| std::env::var(variable).ok());
        Ok(Self { client: Client::new(Settings { insecure, proxies, ..Settings::default() }), credentials: shown(own) })
    }

    pub(super) async fn manifest(&self, name: &Reference) -> Result<Manifest, CommandError> {
        self.client.manifest(name, &self.credentials).await.map_err(|error| told(&error, name))
    }

    /// A manifest as it is kept, with the platform that its image's configuration names.
    pub(super) async fn described(&self, name: &Reference, manifest: &Manifest) -> Result<Kept, CommandError> {
        let config = self.client.manifest_config(name, manifest, &self.credentials).await;
        let config = config.map_err(|error| told(&error, name))?;
        let platform: ManifestPlatform = serde_json::from_slice(&config)
            .map_err(|error| CommandError::Said(format!("the configuration of {name} is malformed: {error}")))?;
        Kept::new(name.to_string(), manifest, platform)
    }

    pub(super) async fn put(&self, name: &Reference, media_type: &str, bytes: &[u8]) -> Result<String, CommandError> {
        let put = self.client.manifest_put(name, media_type, bytes, &self.credentials).await;
        put.map(|digest| digest.to_string()).map_err(|error| told(&error, name))
    }

    pub(super) async fn mount(
        &self,
        name: &Reference,
        from: &Reference,
        manifest: &Manifest,
    ) -> Result<(), CommandError> {
        let mounted = self.client.manifest_mount(name, from, manifest, &self.credentials).await;
        mounted.map_err(|error| told(&error, name))
    }
}

fn shown(own: AuthConfig) -> Credentials {
    Credentials {
        username: own.username,
        password: own.password,
        identity_token: own.identitytoken,
        registry_token: own.registrytoken,
    }
}

fn told(error: &RegistryError, name: &Reference) -> CommandError {
    CommandError::Said(match error.kind() {
        ErrorKind::NotFound => format!("no such manifest: {name}"),
        _ => hako_base::error::chain(error),
    })
}

/// A name as people write it, with a tag.
pub(super) fn named(text: &str) -> Result<Reference, CommandError> {
    let name: Reference = text.parse().map_err(|error| CommandError::Said(format!("{error}")))?;
    Ok(name.with_default_tag())
}
