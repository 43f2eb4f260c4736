//! Connections to registries: name, proxy, TCP, TLS, HTTP/1.1; kept open for the next request.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hako_tls::{Pair, TlsError, Trust};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    lookup::look_up,
    origin::{Address, Origin, Scheme},
    settings::Settings,
};
use crate::{body::Body, limits};

/// A connection, ready for a request; and whether the request line must hold the whole address (a proxy).
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Body>,
    pub(crate) through_proxy: bool,
}

/// Connections that wait for another request.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<Origin, Vec<(Connection, Instant)>>>);

impl Pool {
    pub(crate) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.0.lock();
        let waiting = idle.get_mut(origin)?;
        while let Some((connection, since)) = waiting.pop() {
            if connection.sender.is_ready() && since.elapsed() < limits::IDLE_DEADLINE {
                return Some(connection);
            }
        }
        None
    }

    pub(crate) fn give(&self, origin: &Origin, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.0.lock();
        idle.retain(|_, waiting| {
            waiting.retain(|(one, since)| !one.sender.is_closed() && since.elapsed() < limits::IDLE_DEADLINE);
            !waiting.is_empty()
        });
        let waiting = idle.entry(origin.clone()).or_default();
        if waiting.len() < limits::IDLE_CONNECTIONS_MAX {
            waiting.push((connection, Instant::now()));
        }
    }
}

/// Opens a connection. What fails is told in the words of Docker, whose users search for them.
pub(crate) async fn open(settings: &Settings, origin: &Origin) -> Result<Connection, String> {
    let Some(proxy) = settings.proxies.of(origin) else {
        let limit = origin.trust.as_ref().and_then(|trust| trust.dial).unwrap_or(limits::CONNECT_DEADLINE);
        let socket = dial(&origin.host, origin.port, limit).await?;
        return secure(settings, origin, socket, false).await;
    };
    let address = Address::parse(proxy).or_else(|| Address::parse(&format!("http://{proxy}")));
    let address = address.ok_or_else(|| format!("proxy {proxy:?} is not an address"))?;
    let failed = |why: String| format!("proxyconnect tcp: {why}");
    let mut socket = dial(&address.origin.host, address.origin.port, limits::CONNECT_DEADLINE).await.map_err(failed)?;
    if origin.scheme == Scheme::Http {
        return secure(settings, origin, socket, true).await;
    }
    let tunnel = tunnel(&mut socket, origin, user_info(proxy));
    within(limits::CONNECT_DEADLINE, tunnel).await.map_err(|error| failed(error.to_string()))?;
    secure(settings, origin, socket, false).await
}

async fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let found = look_up(host).await?.into_iter().map(|address| SocketAddr::from((address, port)));
    let mut why = format!("dial tcp: lookup {host}: no such host");
    for address in found {
        match within(limit, TcpStream::connect(address)).await {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(|error| format!("dial tcp {target}: {error}"))?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => why = format!("dial tcp {address}: i/o timeout"),
            Err(error) => {
                let text = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
                why = format!("dial tcp {address}: connect: {text}");
            }
        }
    }
    Err(why)
}

async fn within<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

// Asks an HTTP proxy for a tunnel (RFC 9110, 9.3.6).
async fn tunnel(socket: &mut TcpStream, origin: &Origin, user: Option<String>) -> io::Result<()> {
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let target = format!("{host}:{}", origin.port);
    let login = user.map(|user| format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(user)));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login.unwrap_or_default());
    socket.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= limits::PROXY_HEAD_BYTES_MAX {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        answer.push(socket.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(status.split_once(' ').map_or("", |(_, rest)| rest).to_owned())),
    }
}

fn user_info(proxy: &str) -> Option<String> {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once('@').map(|(user, _)| user.to_owned())
}

async fn secure(
    settings: &Settings,
    origin: &Origin,
    socket: TcpStream,
    through_proxy: bool,
) -> Result<Connection, String> {
    if origin.scheme == Scheme::Http {
        return speak(socket, through_proxy).await;
    }
    let config = tls_config(settings, origin).await?;
    let name = ServerName::try_from(origin.host.clone()).map_err(|_| format!("{} is not a name", origin.host))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, socket);
    match within(limits::CONNECT_DEADLINE, connecting).await {
        Ok(socket) => speak(socket, through_proxy).await,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err("net/http: TLS handshake timeout".to_owned()),
        Err(error) => Err(handshake_text(&error, &origin.host)),
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: S,
    through_proxy: bool,
) -> Result<Connection, String> {
    let (sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = hako_base::error::chain(&error), "a connection to a registry ended early");
        }
    });
    Ok(Connection { sender, through_proxy })
}

// A registry's own authorities and our certificates for it, from `certs.d/HOST[:PORT]`.
async fn tls_config(settings: &Settings, origin: &Origin) -> Result<ClientConfig, String> {
    let names = [origin.authority(), format!("{}:{}", origin.host, origin.port)];
    let folders: Vec<PathBuf> =
        settings.certificates.iter().flat_map(|above| names.iter().map(|name| above.join(name))).collect();
    let own = origin.trust.clone().unwrap_or_default();
    let is_verified = origin.scheme != Scheme::Unverified;
    let read = move || {
        let (mut roots, mut pair) = (own.roots.clone(), own.own.clone());
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            let (found, own) = certificates_of(folder)?;
            roots.extend(found);
            pair = pair.or(own);
        }
        let trust = if is_verified { Trust::System(roots) } else { Trust::Anyone };
        hako_tls::client(&trust, pair.as_ref())
    };
    let made = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
    made.map_err(|error| hako_base::error::chain(&error))
}

fn certificates_of(folder: &Path) -> Result<(Vec<PathBuf>, Option<Pair>), TlsError> {
    let failed = |why: io::Error| TlsError::Open { path: folder.to_owned(), why: why.to_string() };
    let (mut roots, mut pair) = (Vec::new(), None);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => roots.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(TlsError::Half { path });
                }
                pair = Some(Pair { certificate: path, key });
            }
            _ => {}
        }
    }
    Ok((roots, pair))
}

/// What the other side had against us, if that is what an error is about. With TLS 1.3 it says so only after the handshake.
pub(super) fn objection(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use rustls::{AlertDescription as Alert, Error};
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An input/output error keeps what it is made of from its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<Error>()).or_else(|| error.downcast_ref());
        if let Some(Error::AlertReceived(alert)) = inner {
            let said = match alert {
                Alert::CertificateRequired => "certificate required",
                Alert::BadCertificate => "bad certificate",
                Alert::UnknownCA => "unknown certificate authority",
                Alert::CertificateExpired => "expired certificate",
                Alert::CertificateRevoked => "revoked certificate",
                Alert::CertificateUnknown => "unknown certificate",
                Alert::UnsupportedCertificate => "unsupported certificate",
                Alert::AccessDenied => "access denied",
                Alert::HandshakeFailure => "handshake failure",
                Alert::ProtocolVersion => "protocol version not supported",
                Alert::UnrecognisedName => "unrecognized name",
                other => return Some(format!("remote error: tls: alert({other:?})")),
            };
            return Some(format!("remote error: tls: {said}"));
        }
        cause = error.source();
    }
    None
}

fn handshake_text(error: &io::Error, host: &str) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    if let Some(said) = objection(error) {
        return said;
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let failed = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
    match inner {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            failed("certificate signed by unknown authority")
        }
        Some(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::NotValidYet
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYetContext { .. },
        )) => failed("certificate has expired or is not yet valid"),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => failed(&format!("certificate is not valid for {host}")),
        _ => format!("tls: {}", hako_tls::handshake_text(error)),
    }
}
