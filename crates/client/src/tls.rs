//! TLS to a daemon: whom to trust and what to show, from the files that docker's users have.

use std::{path::PathBuf, sync::Arc};

use hako_tls::{Pair, Trust};
use rustls::ClientConfig;

pub use hako_tls::TlsError;

/// What a person says about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust (PEM); `None` with `verify`: the system's.
    pub authority: Option<PathBuf>,
    /// The certificate to show, with its chain (PEM).
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// Whether the daemon's certificate is looked at at all; `--tls` without `--tlsverify` does not.
    pub verify: bool,
}

/// How to speak TLS with one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// Whose certificate is expected, where that is not the name in the address.
    pub(crate) server_name: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is missing or holds something else, or a key that is not the certificate's.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let trust = match &files.authority {
            _ if !files.verify => Trust::Anyone,
            Some(path) => Trust::Only(vec![path.clone()]),
            None => Trust::System(Vec::new()),
        };
        let own = match (&files.certificate, &files.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Pair { certificate: certificate.clone(), key: key.clone() }),
            (Some(path), None) | (None, Some(path)) => return Err(TlsError::Half { path: path.clone() }),
        };
        Ok(Self { config: Arc::new(hako_tls::client(&trust, own.as_ref())?), server_name: None })
    }

    /// For BuildKit, which speaks HTTP/2 alone; its certificate may be for another name than that in its address.
    #[must_use]
    pub fn http2(self, server_name: Option<String>) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config), server_name }
    }
}
