//! Why a registry did not give or take what it was asked for, in the words that Docker's users know.

use std::time::Duration;

use hako_base::ErrorKind;
use hako_image::ImageError;
use hako_model::Digest;

/// Why a request to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer at all.
    #[error("{method} \"{address}\": {why}")]
    Transport { method: String, address: String, why: String },
    /// An answer that says no.
    #[error("{}", said(.code, .message, *.status, .address))]
    Said { address: String, status: u16, code: String, message: String },
    /// A login or a search that was refused; Docker names the address.
    #[error("Get \"{address}\": {why}")]
    Refused { address: String, status: u16, why: String },
    #[error("pull access denied for {repository}, repository does not exist or may require 'docker login': {why}")]
    PullDenied { repository: String, why: String },
    #[error("manifest for {reference} not found: manifest unknown: {why}")]
    NoManifest { reference: String, why: String },
    #[error("repository {repository} not found: name unknown: {why}")]
    NoRepository { repository: String, why: String },
    #[error(
        "image with reference {reference} was found but does not match the specified platform: wanted {wanted}, actual: {found}"
    )]
    WrongPlatform { reference: String, wanted: String, found: String },
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform { platform: String },
    #[error("{what} from {address} is malformed: {why}")]
    Malformed { what: &'static str, address: String, why: String },
    #[error("{what} from {address} is larger than {most} bytes")]
    TooLarge { what: String, address: String, most: u64 },
    #[error("{what} has digest {found}, not {expected}: the registry gave other bytes than were asked for")]
    Digest { what: String, expected: Digest, found: Digest },
    #[error("{method} \"{address}\": nothing came for {} seconds", .waited.as_secs_f32())]
    Stalled { method: String, address: String, waited: Duration },
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Image(#[from] ImageError),
}

// "denied: requested access to the resource is denied", as Docker prints a registry's own error.
fn said(code: &str, message: &str, status: u16, address: &str) -> String {
    if code.is_empty() {
        return format!(
            "received unexpected HTTP status {status} from {address}{}",
            match message {
                "" => String::new(),
                message => format!(": {message}"),
            }
        );
    }
    let words = match code {
        "UNAUTHORIZED" => "unauthorized".to_owned(),
        "DENIED" => "denied".to_owned(),
        "TOOMANYREQUESTS" => "toomanyrequests".to_owned(),
        other => other.to_ascii_lowercase().replace('_', " "),
    };
    format!("{words}: {message}")
}

impl RegistryError {
    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PullDenied { .. }
            | Self::NoManifest { .. }
            | Self::NoRepository { .. }
            | Self::WrongPlatform { .. }
            | Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::Said { status: 401, .. } | Self::Refused { status: 401 | 403, .. } => ErrorKind::Unauthorized,
            Self::Said { status: 403, .. } => ErrorKind::Forbidden,
            Self::Said { status: 404, .. } => ErrorKind::NotFound,
            Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::Image(error) => error.kind(),
            _ => ErrorKind::Internal,
        }
    }

    /// Whether trying again may help: the connection broke, the server is overloaded.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Stalled { .. } => true,
            Self::Said { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the registry does not know us, or does not let us.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Said { status: 401 | 403, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_told_as_docker_tells_it() {
        let error = |code: &str, message: &str| {
            RegistryError::Said { address: "http://x/".into(), status: 403, code: code.into(), message: message.into() }
                .to_string()
        };
        assert_eq!(
            error("DENIED", "requested access to the resource is denied"),
            "denied: requested access to the resource is denied"
        );
        assert_eq!(error("NAME_UNKNOWN", "no such thing"), "name unknown: no such thing");
        assert_eq!(error("", ""), "received unexpected HTTP status 403 from http://x/");
    }
}
