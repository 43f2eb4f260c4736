//! Whether a registry takes our word: what `login` asks.

use hyper::{Method, StatusCode};

use super::{Client, Credentials, HUB, HUB_INDEX, HUB_REGISTRY, RegistryError, auth::Challenge, exchange::Ask, parsed};

/// A login that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// A refresh token, if the registry prefers one to the password.
    pub identity_token: String,
}

impl Client {
    /// Shows credentials to a registry (`HOST[:PORT]`, or Docker Hub's address, or nothing for Docker Hub).
    ///
    /// # Errors
    /// When it does not take them, or does not answer.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<LoggedIn, RegistryError> {
        let host = registry_of(server);
        let origin = self.origin(&host).await?;
        let address = origin.at("/v2/");
        let answer = self.send(&Ask::new(Method::GET, address.clone())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return if answer.status.is_success() {
                Ok(LoggedIn { identity_token: String::new() })
            } else {
                Err(named(&address.to_string(), answer.refusal().await))
            };
        }
        let challenge = answer.header("www-authenticate").map(Challenge::parse).unwrap_or_default().into_iter().next();
        if let Some(Challenge::Bearer { realm, service, .. }) = &challenge {
            let realm = parsed(realm, &address)?;
            let token = self.token_fetch(&realm, service, &[], credentials).await;
            let token = token.map_err(|error| named(&address.to_string(), error))?;
            return Ok(LoggedIn { identity_token: token.refresh_token });
        }
        let ask = Ask::new(Method::GET, address.clone());
        let answer = self.ask(&ask.identity(credentials, &[])).await?;
        if answer.status.is_success() {
            return Ok(LoggedIn { identity_token: String::new() });
        }
        Err(named(&address.to_string(), answer.refusal().await))
    }
}

// Docker tells which address refused a login.
fn named(address: &str, error: RegistryError) -> RegistryError {
    match error {
        RegistryError::Said { address: _, status, code, message } => RegistryError::Refused {
            address: address.to_owned(),
            status,
            why: RegistryError::Said { address: address.to_owned(), status, code, message }.to_string(),
        },
        other => other,
    }
}

/// The registry's host in what people and clients call a server.
pub(crate) fn registry_of(server: &str) -> String {
    let bare = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    match host {
        "" | HUB | HUB_INDEX | HUB_REGISTRY => HUB_REGISTRY.to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_many_spellings() {
        for (server, expected) in [
            ("", HUB_REGISTRY),
            ("https://index.docker.io/v1/", HUB_REGISTRY),
            ("docker.io", HUB_REGISTRY),
            ("localhost:5000", "localhost:5000"),
            ("https://ghcr.io/v2/", "ghcr.io"),
        ] {
            assert_eq!(registry_of(server), expected, "{server}");
        }
    }
}
