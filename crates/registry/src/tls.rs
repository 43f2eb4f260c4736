//! Certificates and keys in PEM files, and the rustls configurations that are made of them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {why}")]
    Read { path: PathBuf, why: String },
    #[error("{path} has no certificate")]
    Empty { path: PathBuf },
    #[error("cannot use certificate {path}: {why}")]
    Unusable { path: PathBuf, why: String },
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// All certificates of a file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::Read { path: path.to_owned(), why };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::Read { path: path.to_owned(), why: error.to_string() })
}

/// A server's side; with `client_roots`, clients must show a certificate of one of them.
pub(crate) fn server(certificate: &Path, key_file: &Path, client_roots: &[PathBuf]) -> Result<ServerConfig, TlsError> {
    let unusable = |why: String| TlsError::Unusable { path: certificate.to_owned(), why };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let builder = if client_roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for path in client_roots {
            for root in certificates(path)? {
                roots.add(root).map_err(|error| TlsError::Unusable { path: path.clone(), why: error.to_string() })?;
            }
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        builder.with_client_cert_verifier(verifier.map_err(|error| unusable(error.to_string()))?)
    };
    let mut config = builder
        .with_single_cert(certificates(certificate)?, key(key_file)?)
        .map_err(|error| unusable(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// For errors of the handshake, which come as input/output errors.
pub(crate) fn handshake_text(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Where systems keep the authorities that they trust, all in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// A client's side: the system's authorities and those in `roots`; with a certificate of our own if there is one.
pub(crate) fn client(
    roots: &[PathBuf],
    pair: Option<(PathBuf, PathBuf)>,
    is_verified: bool,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable { path: PathBuf::new(), why: error.to_string() })?;
    let builder = if is_verified {
        let mut store = system_roots();
        for path in roots {
            for root in certificates(path)? {
                store.add(root).map_err(|error| TlsError::Unusable { path: path.clone(), why: error.to_string() })?;
            }
        }
        builder.with_root_certificates(store)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider())))
    };
    let mut config = match pair {
        Some((certificate, key_file)) => builder
            .with_client_auth_cert(certificates(&certificate)?, key(&key_file)?)
            .map_err(|error| TlsError::Unusable { path: certificate, why: error.to_string() })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let mut paths = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from)).filter(|path| path.is_file());
    if let Some(found) = paths.next()
        && let Ok(all) = certificates(&found)
    {
        // One that rustls cannot read is no reason to trust none.
        store.add_parsable_certificates(all);
    }
    store
}

/// Takes every certificate: what "insecure registry" means. Signatures are verified all the same.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
