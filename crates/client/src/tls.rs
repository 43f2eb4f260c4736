//! TLS to a daemon: whom to trust and what to show, from the files that docker's users have.
//!
//! The cryptography is ring's, behind [`Tls::new`] alone.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

/// Where distributions keep the certificates that everybody trusts, for contexts that name no authority.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

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

/// A file that TLS needs and that is not what it should be. The words are Docker's where it has some.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("open {}: {why}", path.display())]
    Open { path: PathBuf, why: String },
    #[error("{}: expected {what} in PEM form", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("{}: no authority in it can be used", path.display())]
    NoAuthority { path: PathBuf },
    #[error("no file of trusted authorities found on this system, name one with --tlscacert")]
    NoSystemAuthorities,
    #[error("could not load X509 key pair (certificate {}, key {})", certificate.display(), key.display())]
    KeyPair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("a certificate and its key belong together: name both or none")]
    Half,
    #[error("cannot set up TLS")]
    Setup { source: rustls::Error },
}

/// How to speak TLS with one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is missing or holds something else, or a key that is not the certificate's.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { source })?;
        let builder = if files.verify {
            builder.with_root_certificates(authorities(files.authority.as_deref())?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified { provider }))
        };
        let config = match (&files.certificate, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                builder.with_client_auth_cert(chain, private_key(key)?).map_err(|source| TlsError::KeyPair {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    source,
                })?
            }
            _ => return Err(TlsError::Half),
        };
        Ok(Self { config: Arc::new(config) })
    }
}

fn authorities(path: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let path = match path {
        Some(path) => path,
        None => {
            let found = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
            found.ok_or(TlsError::NoSystemAuthorities)?
        }
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(TlsError::NoAuthority { path: path.to_owned() });
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(TlsError::NotPem { path: path.to_owned(), what: "certificates" }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NotPem { path: path.to_owned(), what: "a private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Open { path: path.to_owned(), why: reason(&error) })
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text)
}

/// Takes any certificate, as `--tls` without `--tlsverify` means it: encrypted, to whoever answers.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
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
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
