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

use hako_server::Listener;

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

/// Whether the group that may use the sockets exists. Docker's own name may be missing: then only root has access.
///
/// # Errors
/// A group that somebody named and that is not there.
pub(crate) fn check(flags: &DaemonFlags) -> Result<(), String> {
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
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("-H tcp://{address}: expected an address and a port, such as 127.0.0.1:2375"))?;
    if flags.tls != Some(false) {
        return Err(format!(
            "-H tcp://{address}: TLS is not built yet, and without it whoever reaches the port is root here. Say --tls=false to listen on a loopback address all the same"
        ));
    }
    if !address.ip().is_loopback() {
        return Err(format!("-H tcp://{address}: without TLS only a loopback address is listened on"));
    }
    let failed = |error: io::Error| format!("cannot listen on tcp://{address}: {error}");
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    sockets.listeners.push(Listener::Tcp(tokio::net::TcpListener::from_std(listener).map_err(failed)?));
    Ok(())
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
