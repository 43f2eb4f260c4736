//! What the daemon listens on: unix sockets, TCP, sockets that the service manager hands over, Docker's own.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use hako_server::{Listener, Tls, TlsFiles};

use crate::flags::DaemonFlags;

/// Where Docker's clients look first.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// The group that dockerd gives its sockets, where there is one.
const DEFAULT_GROUP: &str = "docker";

/// The listening sockets, and the files to remove at the end.
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) files: Vec<PathBuf>,
}

/// Opens everything that the flags name.
///
/// # Errors
/// An address that is none, one that another program has, or TCP without saying that it is open to all.
pub(crate) fn open(flags: &DaemonFlags) -> Result<Sockets, String> {
    let mut sockets = Sockets { listeners: Vec::new(), files: Vec::new() };
    let default = vec!["unix:///run/hako.sock".to_owned()];
    let hosts = if flags.hosts.is_empty() { &default } else { &flags.hosts };
    for host in hosts {
        match host.split_once("://") {
            Some(("unix", path)) => unix(&mut sockets, Path::new(path), &flags.group, true)?,
            Some(("tcp", address)) => tcp(&mut sockets, address, flags)?,
            Some(("fd", _)) => activated(&mut sockets)?,
            None if host.starts_with('/') => unix(&mut sockets, Path::new(host), &flags.group, true)?,
            _ => return Err(format!("-H {host}: expected unix://PATH, tcp://ADDRESS:PORT or fd://")),
        }
    }
    match flags.docker_socket.as_str() {
        "off" | "" => {}
        "auto" if flags.data_root != Path::new("/var/lib/hako") => {}
        // Somebody else's socket, or no right to make one: Docker stays Docker.
        "auto" => drop(unix(&mut sockets, Path::new(DOCKER_SOCKET), &flags.group, false)),
        path => unix(&mut sockets, Path::new(path), &flags.group, true)?,
    }
    Ok(sockets)
}

/// Whether what is said about sockets makes sense, before any is made. Docker's own group may be missing: then only
/// root has access.
///
/// # Errors
/// A group that somebody named and that is not there; a TCP address that would be open to all.
pub(crate) fn check(flags: &DaemonFlags) -> Result<(), String> {
    for address in flags.hosts.iter().filter_map(|host| host.strip_prefix("tcp://")) {
        tcp_plan(address, flags)?;
    }
    if flags.group == DEFAULT_GROUP || flags.group.is_empty() || group_id(&flags.group).is_some() {
        return Ok(());
    }
    Err(format!("--group {}: there is no such group in /etc/group", flags.group))
}

fn unix(sockets: &mut Sockets, path: &Path, group: &str, required: bool) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("-H unix://{}: expected an absolute path", path.display()));
    }
    if sockets.files.iter().any(|file| file == path) {
        return Ok(());
    }
    let listener = bind_unix(path).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{} is another daemon's: it answers there", path.display()),
        _ => format!("cannot listen on {}: {error}", path.display()),
    });
    let listener = match listener {
        Err(why) if !required => {
            tracing::info!("{why}; it is left alone");
            return Err(why);
        }
        other => other?,
    };
    let failed = |error: io::Error| format!("cannot prepare {}: {error}", path.display());
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    if let Some(gid) = group_id(group) {
        std::os::unix::fs::chown(path, Some(0), Some(gid)).map_err(failed)?;
    }
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
    sockets.listeners.push(Listener::Unix(listener));
    sockets.files.push(path.to_owned());
    Ok(())
}

/// A socket file that nobody answers at is a dead daemon's and is replaced; anything else is left alone.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if let Ok(meta) = fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    // Nobody but root until owner and mode are set.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

fn tcp(sockets: &mut Sockets, address: &str, flags: &DaemonFlags) -> Result<(), String> {
    let (address, tls) = tcp_plan(address, flags)?;
    let failed = |error: io::Error| format!("cannot listen on tcp://{address}: {error}");
    let tls = tls.map(|files| Tls::new(&files)).transpose().map_err(|error| hako_base::error::chain(&error))?;
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    sockets.listeners.push(match tls {
        Some(tls) => Listener::Tls(listener, tls),
        None => Listener::Tcp(listener),
    });
    Ok(())
}

/// Where to listen, and with which certificates.
///
/// Whoever may use the API is root on this machine. So a client has to show a certificate, unless the address is a
/// loopback one and the person says so (`--tls=false`).
fn tcp_plan(text: &str, flags: &DaemonFlags) -> Result<(SocketAddr, Option<TlsFiles>), String> {
    let wants_tls = flags.tlsverify || flags.tls == Some(true);
    let with_port = if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        text.to_owned()
    } else {
        format!("{text}:{}", if wants_tls { 2376 } else { 2375 })
    };
    let address: SocketAddr = match with_port.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => with_port.parse(),
    }
    .map_err(|_| format!("-H tcp://{text}: expected an address and a port, such as 127.0.0.1:2375"))?;
    if !wants_tls {
        if flags.tls != Some(false) {
            return Err(format!(
                "-H tcp://{address}: whoever reaches the port would be root here. Use TLS (--tlsverify with --tlscacert, --tlscert and --tlskey), or say --tls=false to listen on a loopback address all the same"
            ));
        }
        if !address.ip().is_loopback() {
            return Err(format!("-H tcp://{address}: without TLS only a loopback address is listened on"));
        }
        return Ok((address, None));
    }
    if !flags.tlsverify && !address.ip().is_loopback() {
        return Err(format!(
            "-H tcp://{address}: with --tls alone clients are not verified, and whoever reaches the port would be root here. Use --tlsverify"
        ));
    }
    let directory = std::env::var_os("DOCKER_CERT_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| {
        std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".docker")
    });
    let file = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| directory.join(name));
    Ok((
        address,
        Some(TlsFiles {
            certificate: file(&flags.tlscert, "cert.pem"),
            key: file(&flags.tlskey, "key.pem"),
            client_authority: flags.tlsverify.then(|| file(&flags.tlscacert, "ca.pem")),
        }),
    ))
}

/// Sockets from the service manager (`sd_listen_fds(3)`): descriptors from 3 on, reached through `/proc/self/fd` so
/// that each becomes a descriptor of our own.
fn activated(sockets: &mut Sockets) -> Result<(), String> {
    let count: u32 = match (std::env::var("LISTEN_PID"), std::env::var("LISTEN_FDS")) {
        (Ok(pid), Ok(count)) if pid.parse() == Ok(std::process::id()) => count.parse().unwrap_or(0),
        _ => 0,
    };
    if count == 0 {
        return Err(
            "-H fd://: no sockets found via socket activation: make sure the service was started by systemd".to_owned()
        );
    }
    let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
        .map_err(|error| format!("-H fd://: {error}"))?;
    for number in 3..3 + count {
        let copy: OwnedFd = rustix::process::pidfd_getfd(
            &pidfd,
            number.try_into().map_err(|_| "-H fd://: too many sockets".to_owned())?,
            rustix::process::PidfdGetfdFlags::empty(),
        )
        .map_err(|error| format!("-H fd://: descriptor {number}: {error}"))?;
        let listener = UnixListener::from(copy);
        listener.set_nonblocking(true).map_err(|error| format!("-H fd://: {error}"))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(|error| format!("-H fd://: {error}"))?;
        sockets.listeners.push(Listener::Unix(listener));
    }
    Ok(())
}

/// A group's number, from `/etc/group` alone: the name service would load foreign libraries.
fn group_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn tcp_is_for_those_who_are_known_or_near() {
        let plan = |line: &str, address: &str| {
            let words = std::iter::once("hako").chain(line.split_whitespace());
            match tcp_plan(address, &DaemonFlags::try_parse_from(words).unwrap()) {
                Ok((address, files)) => {
                    let verify = files.map(|files| files.client_authority.is_some());
                    format!("{address} {verify:?}")
                }
                Err(why) => why.split(": ").nth(1).unwrap_or_default().split('.').next().unwrap_or_default().to_owned(),
            }
        };
        assert_eq!(plan("--tls=false", "127.0.0.1:1"), "127.0.0.1:1 None");
        assert_eq!(plan("--tls=false", ":1"), "127.0.0.1:1 None");
        assert_eq!(plan("--tls=false", "0.0.0.0:1"), "without TLS only a loopback address is listened on");
        assert_eq!(plan("", "127.0.0.1:1"), "whoever reaches the port would be root here");
        assert_eq!(plan("--tls", "127.0.0.1"), "127.0.0.1:2376 Some(false)");
        assert_eq!(
            plan("--tls", "0.0.0.0:1"),
            "with --tls alone clients are not verified, and whoever reaches the port would be root here"
        );
        assert_eq!(plan("--tlsverify", "0.0.0.0:1"), "0.0.0.0:1 Some(true)");
    }
}
