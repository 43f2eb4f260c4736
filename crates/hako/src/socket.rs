//! What the daemon listens on: unix sockets, TCP, sockets that the service manager hands over, Docker's own.
//!
//! The keeper holds a copy of every socket that is made here. While no daemon runs, because one was killed or is being
//! replaced, clients connect and wait instead of being refused; the next daemon accepts from the same socket. A daemon
//! that ends in order takes its sockets away, and the files of unix sockets with them.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_engine::Engine;
use hako_server::{Listener, Tls};
use hako_tls::{Pair, ServerFiles};

use crate::flags::DaemonFlags;

/// Where Docker's clients look first.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// The group that dockerd gives its sockets, where there is one.
const DEFAULT_GROUP: &str = "docker";

/// How the names begin under which the keeper holds sockets of the API.
const KEPT: &str = "api ";

/// The listening sockets, and what is to be taken away at the end.
#[derive(Default)]
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) made: Vec<Made>,
    /// What an earlier daemon has left, by address.
    left: BTreeMap<String, Left>,
}

/// A socket of ours that the keeper has too.
pub(crate) struct Made {
    /// `unix:///run/hako.sock`
    pub(crate) address: String,
    kept_as: String,
    file: Option<SocketFile>,
}

/// A socket of a daemon that is dead.
struct Left {
    kept_as: String,
    file: Option<SocketFile>,
    socket: OwnedFd,
}

/// The file of a unix socket, known again by its number: the same path may be somebody else's by now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Opens everything that the flags name. Blocks.
///
/// # Errors
/// An address that is none, one that another program has, or TCP without saying that it is open to all.
pub(crate) fn open(flags: &DaemonFlags, engine: &Engine) -> Result<Sockets, String> {
    let left = engine.kept(KEPT).into_iter().filter_map(|(name, sockets)| read_left(name, &sockets));
    let mut sockets = Sockets { left: left.collect(), ..Sockets::default() };
    let default = vec!["unix:///run/hako.sock".to_owned()];
    let hosts = if flags.hosts.is_empty() { &default } else { &flags.hosts };
    for host in hosts {
        match host.split_once("://") {
            Some(("unix", path)) => unix(&mut sockets, engine, Path::new(path), &flags.group, true)?,
            Some(("tcp", address)) => tcp(&mut sockets, engine, address, flags)?,
            Some(("fd", _)) => activated(&mut sockets)?,
            None if host.starts_with('/') => unix(&mut sockets, engine, Path::new(host), &flags.group, true)?,
            _ => return Err(format!("-H {host}: expected unix://PATH, tcp://ADDRESS:PORT or fd://")),
        }
    }
    match flags.docker_socket.as_str() {
        "off" | "" => {}
        "auto" if flags.data_root != Path::new("/var/lib/hako") => {}
        // Somebody else's socket, or no right to make one: Docker stays Docker.
        "auto" => drop(unix(&mut sockets, engine, Path::new(DOCKER_SOCKET), &flags.group, false)),
        path => unix(&mut sockets, engine, Path::new(path), &flags.group, true)?,
    }
    // The last daemon listened where this one does not.
    for left in std::mem::take(&mut sockets.left).into_values() {
        take_away(engine, left.file.as_ref(), &left.kept_as);
    }
    Ok(sockets)
}

/// Takes the sockets away at an orderly end: whoever connects now is refused, and does not wait for a next daemon.
pub(crate) fn close(engine: &Engine, made: &[Made]) {
    for made in made {
        take_away(engine, made.file.as_ref(), &made.kept_as);
    }
}

fn take_away(engine: &Engine, file: Option<&SocketFile>, kept_as: &str) {
    if let Some(file) = file.filter(|file| SocketFile::at(&file.path).as_ref() == Some(file)) {
        let _ = fs::remove_file(&file.path);
    }
    engine.discard(kept_as);
}

/// `api unix 64768:1234 /run/hako.sock`, `api tcp 127.0.0.1:2375`
fn read_left(name: String, sockets: &[Arc<OwnedFd>]) -> Option<(String, Left)> {
    let socket = sockets.first()?.try_clone().ok()?;
    let (kind, rest) = name.strip_prefix(KEPT)?.split_once(' ')?;
    let (file, place) = match kind {
        "unix" => {
            let (number, path) = rest.split_once(' ')?;
            let (device, inode) = number.split_once(':')?;
            let file = SocketFile { path: path.into(), device: device.parse().ok()?, inode: inode.parse().ok()? };
            (Some(file), path)
        }
        _ => (None, rest),
    };
    let address = format!("{kind}://{place}");
    Some((address, Left { kept_as: name, file, socket }))
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(path).ok().filter(|meta| meta.file_type().is_socket())?;
        Some(Self { path: path.to_owned(), device: meta.dev(), inode: meta.ino() })
    }
}

impl Sockets {
    /// The socket of an earlier daemon at this address, if it can still be reached there.
    fn inherited(&mut self, engine: &Engine, address: &str) -> Option<Left> {
        let left = self.left.remove(address)?;
        match &left.file {
            Some(file) if SocketFile::at(&file.path).as_ref() != Some(file) => {
                // Its file is gone or somebody else's: nobody can connect to it any more.
                engine.discard(&left.kept_as);
                None
            }
            _ => Some(left),
        }
    }

    /// Notes a socket, which the keeper is given too. Without that only the wait for a next daemon is lost.
    fn add(&mut self, engine: &Engine, address: String, kept_as: String, file: Option<SocketFile>, socket: &impl AsFd) {
        let kept = socket.as_fd().try_clone_to_owned().map_err(|error| error.to_string());
        let kept = kept.and_then(|copy| engine.keep(&kept_as, vec![Arc::new(copy)]).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(address, error, "clients are refused there while no daemon runs");
        }
        self.made.push(Made { address, kept_as, file });
    }
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

fn unix(sockets: &mut Sockets, engine: &Engine, path: &Path, group: &str, required: bool) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("-H unix://{}: expected an absolute path", path.display()));
    }
    let address = format!("unix://{}", path.display());
    if sockets.made.iter().any(|made| made.address == address) {
        return Ok(());
    }
    let inherited = sockets.inherited(engine, &address).map(|left| UnixListener::from(left.socket));
    let is_inherited = inherited.is_some();
    let listener = inherited.map_or_else(|| bind_unix(path), Ok).map_err(|error| match error.kind() {
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
    let file = SocketFile::at(path).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let kept_as = format!("{KEPT}unix {}:{} {}", file.device, file.inode, path.display());
    tracing::debug!(address, is_inherited, "listens");
    sockets.add(engine, address, kept_as, Some(file), &listener);
    sockets.listeners.push(Listener::Unix(listener));
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

fn tcp(sockets: &mut Sockets, engine: &Engine, address: &str, flags: &DaemonFlags) -> Result<(), String> {
    let (address, tls) = tcp_plan(address, flags)?;
    let name = format!("tcp://{address}");
    let failed = |error: io::Error| format!("cannot listen on {name}: {error}");
    let tls = tls.map(|files| Tls::new(&files)).transpose().map_err(|error| hako_base::error::chain(&error))?;
    let inherited = sockets.inherited(engine, &name).map(|left| std::net::TcpListener::from(left.socket));
    let listener = inherited.map_or_else(|| std::net::TcpListener::bind(address), Ok).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    sockets.add(engine, name, format!("{KEPT}tcp {address}"), None, &listener);
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
fn tcp_plan(text: &str, flags: &DaemonFlags) -> Result<(SocketAddr, Option<ServerFiles>), String> {
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
        Some(ServerFiles {
            own: Pair { certificate: file(&flags.tlscert, "cert.pem"), key: file(&flags.tlskey, "key.pem") },
            clients: flags.tlsverify.then(|| file(&flags.tlscacert, "ca.pem")).into_iter().collect(),
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
                    let verify = files.map(|files| !files.clients.is_empty());
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

    #[test]
    fn a_socket_that_was_left_is_known_by_its_name() {
        let read = |name: &str| {
            let null = fs::File::open("/dev/null").unwrap();
            read_left(name.to_owned(), &[Arc::new(null.into())]).map(|(address, left)| (address, left.file))
        };
        let file = SocketFile { path: "/run/with space.sock".into(), device: 7, inode: 42 };
        assert_eq!(
            read("api unix 7:42 /run/with space.sock"),
            Some(("unix:///run/with space.sock".into(), Some(file)))
        );
        assert_eq!(read("api tcp 127.0.0.1:2375"), Some(("tcp://127.0.0.1:2375".into(), None)));
        for other in ["api", "api unix /run/x", "api unix x:y /run/x", "ports 4711"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
