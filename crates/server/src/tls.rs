//! TLS as the daemon speaks it: which certificate it shows, and which clients it lets in.
//!
//! The cryptography is ring's, behind [`Tls::new`] alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

/// The files that TLS is set up from (PEM).
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The daemon's certificate, with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Clients must show a certificate of these authorities; `None`: anybody may connect.
    pub client_authority: Option<PathBuf>,
}

/// A file that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    #[error("{}: expected {what} in PEM form", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("the certificate {} and the key {} cannot be used together", certificate.display(), key.display())]
    KeyPair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{}: no authority in it can be used", path.display())]
    Authority { path: PathBuf },
    #[error("cannot set up TLS")]
    Setup { source: rustls::Error },
}

/// How the daemon speaks TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is missing or holds something else, or a key that is not the certificate's.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { source })?;
        let builder = match &files.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(certificates(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|_| TlsError::Authority { path: path.clone() })?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|_| TlsError::NotPem { path: files.key.clone(), what: "a private key" })?;
        let config = builder.with_single_cert(certificates(&files.certificate)?, key).map_err(|source| {
            TlsError::KeyPair { certificate: files.certificate.clone(), key: files.key.clone(), source }
        })?;
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(TlsError::NotPem { path: path.to_owned(), what: "certificates" }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read {
        path: path.to_owned(),
        why: error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text),
    })
}
