//! TLS as the daemon speaks it: which certificate it shows, and which clients it lets in.

use std::sync::Arc;

use hako_tls::{ServerFiles, TlsError};
use tokio_rustls::TlsAcceptor;

/// How the daemon speaks TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is missing or holds something else, or a key that is not the certificate's.
    pub fn new(files: &ServerFiles) -> Result<Self, TlsError> {
        let mut config = hako_tls::server(files)?;
        // Clients of gRPC have nothing else; whoever has both is spoken to as ever.
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(Self(Arc::new(config).into()))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.clone()
    }
}
