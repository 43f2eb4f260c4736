//! Who may do what. The challenge tells clients how to prove who they are.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{
    StatusCode,
    header::{self, HeaderMap},
};

use super::{ServeError, error::ApiError, password::Passwords, settings::Authorization};

/// The guard at the door.
pub(crate) enum Access {
    Everybody,
    Htpasswd { realm: String, passwords: Arc<Passwords> },
}

impl Access {
    pub(crate) fn new(settings: &Authorization) -> Result<Self, ServeError> {
        match settings {
            Authorization::Everybody => Ok(Self::Everybody),
            Authorization::Htpasswd { realm, path } => {
                let passwords = Passwords::open(path)
                    .map_err(|source| ServeError::Access { path: path.display().to_string(), source })?;
                Ok(Self::Htpasswd { realm: realm.clone(), passwords: Arc::new(passwords) })
            }
        }
    }

    /// Lets a request in, or says how to ask.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Self::Htpasswd { realm, passwords } = self else { return Ok(()) };
        if let Some((user, password)) = basic(headers) {
            let passwords = passwords.clone();
            let verified = tokio::task::spawn_blocking(move || passwords.verify(&user, &password)).await;
            if verified.unwrap_or(false) {
                return Ok(());
            }
        }
        let challenge = format!("Basic realm=\"{}\"", realm.replace(['"', '\\'], ""));
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
            .header(header::WWW_AUTHENTICATE, &challenge))
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}
