//! Certificates and keys in PEM files, and the file of authorities that the system trusts.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::TlsError;

/// Where systems keep the authorities that they trust, all in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// All certificates of a file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(TlsError::NotPem { path: path.to_owned(), what: "certificates" }),
    }
}

/// The first key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| TlsError::NotPem { path: path.to_owned(), what: "a private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Open {
        path: path.to_owned(),
        why: error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text),
    })
}

/// What was read the last time: from where, as of when, how long it was.
static KNOWN: Mutex<Option<(PathBuf, SystemTime, u64, RootCertStore)>> = Mutex::new(None);

/// What the system trusts; `SSL_CERT_FILE` names another file. Nothing where there is none. A file is read once, and
/// again when it changes: parsing 140 authorities for every connection would cost more than the connection.
pub(crate) fn system_authorities() -> RootCertStore {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let mut paths = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let found = paths.find_map(|path| {
        let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        Some((path, metadata.modified().ok()?, metadata.len()))
    });
    let Some((path, changed, length)) = found else { return RootCertStore::empty() };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((from, at, size, store)) = &*known
        && (from, *at, *size) == (&path, changed, length)
    {
        return store.clone();
    }
    let mut store = RootCertStore::empty();
    if let Ok(all) = certificates(&path) {
        // One that rustls cannot read is no reason to trust none.
        store.add_parsable_certificates(all);
    }
    *known = Some((path, changed, length, store.clone()));
    store
}
