//! TLS for every client and server of hako: PEM files in, rustls configurations out.
//!
//! The one place that chooses the cryptography (ring) and the versions. Who is to be trusted, and which files are
//! whose, is said by those who connect or listen.
#![forbid(unsafe_code)]

mod anyone; // a verifier that takes every certificate
mod pem; // certificates and keys in files

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::WebPkiClientVerifier,
};

/// A certificate, with its chain, and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a server needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    pub own: Pair,
    /// Clients must show a certificate of one of these authorities; none: anybody may connect.
    pub clients: Vec<PathBuf>,
}

/// Which servers a client believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system's authorities and of the ones in these files.
    System(Vec<PathBuf>),
    /// Those of the authorities in these files alone.
    Only(Vec<PathBuf>),
    /// Whoever answers: encrypted, and no more than that.
    Anyone,
}

/// Why TLS cannot be set up. The words are Docker's where it has some.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("open {}: {why}", path.display())]
    Open { path: PathBuf, why: String },
    #[error("{}: expected {what} in PEM form", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("{}: an authority in it cannot be used", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("no file of trusted authorities found on this system, name one")]
    NoAuthorities,
    #[error("could not load X509 key pair (certificate {}, key {})", pair.certificate.display(), pair.key.display())]
    Pair { pair: Pair, source: rustls::Error },
    #[error("a certificate and its key belong together: {}", path.display())]
    Half { path: PathBuf },
    #[error("cannot set up TLS: {why}")]
    Setup { why: String },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn setup(why: impl ToString) -> TlsError {
    TlsError::Setup { why: why.to_string() }
}

/// A client's side; with a certificate of its own to show if there is one. Blocks while it reads.
///
/// # Errors
/// A file that is missing or holds something else, or a key that is not the certificate's.
pub fn client(trust: &Trust, own: Option<&Pair>) -> Result<ClientConfig, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(setup)?;
    let builder = match trust {
        Trust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(anyone::Anyone::new(provider())))
        }
        Trust::Only(paths) => builder.with_root_certificates(authorities(RootCertStore::empty(), paths)?),
        Trust::System(paths) => {
            let store = authorities(pem::system_authorities(), paths)?;
            if store.is_empty() {
                return Err(TlsError::NoAuthorities);
            }
            builder.with_root_certificates(store)
        }
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(pem::certificates(&pair.certificate)?, pem::private_key(&pair.key)?)
            .map_err(|source| TlsError::Pair { pair: pair.clone(), source })?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A server's side. Blocks while it reads.
///
/// # Errors
/// As for [`client`].
pub fn server(files: &ServerFiles) -> Result<ServerConfig, TlsError> {
    let ServerFiles { own, clients } = files;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(setup)?;
    let builder = if clients.is_empty() {
        builder.with_no_client_auth()
    } else {
        let store = Arc::new(authorities(RootCertStore::empty(), clients)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(store, provider()).build();
        builder.with_client_cert_verifier(verifier.map_err(setup)?)
    };
    let mut config = builder
        .with_single_cert(pem::certificates(&own.certificate)?, pem::private_key(&own.key)?)
        .map_err(|source| TlsError::Pair { pair: own.clone(), source })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(mut store: RootCertStore, paths: &[PathBuf]) -> Result<RootCertStore, TlsError> {
    for path in paths {
        for authority in pem::certificates(path)? {
            store.add(authority).map_err(|source| TlsError::Authority { path: path.clone(), source })?;
        }
    }
    Ok(store)
}

/// What a handshake failed of, without the words of the input/output error around it.
pub fn handshake_text(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.to_string(), ToString::to_string)
}
