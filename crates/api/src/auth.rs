//! Credentials for a registry: a JSON object, in base64, in a header.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{text, wire::is_default};

/// The header of pull, push and the rest.
pub const HEADER: &str = "X-Registry-Auth";

/// The header of builds: credentials for all registries, by their addresses.
pub const CONFIG_HEADER: &str = "X-Registry-Config";

/// Reads [`CONFIG_HEADER`]; what cannot be read is taken for no credentials.
pub fn decode_all(value: &str) -> BTreeMap<String, AuthConfig> {
    text::base64_url_decode(value).and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// Credentials for one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "is_default")]
    pub username: String,
    #[serde(skip_serializing_if = "is_default")]
    pub password: String,
    #[serde(skip_serializing_if = "is_default")]
    pub auth: String,
    #[serde(skip_serializing_if = "is_default")]
    pub email: String,
    #[serde(skip_serializing_if = "is_default")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "is_default")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "is_default")]
    pub registrytoken: String,
}

/// The answer to `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// Docker's sentence for success.
    pub status: String,
    /// A token that stands for the password from now on.
    pub identity_token: String,
}

impl AuthConfig {
    /// The header's value.
    pub fn encode(&self) -> String {
        text::base64_url(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// From the header's value; Docker takes what it cannot read for no credentials.
    pub fn decode(value: &str) -> Self {
        text::base64_url_decode(value).and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }
}
