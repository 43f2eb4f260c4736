//! Lines that go elsewhere: to the journal or a syslog server, by their socket protocols.
//!
//! A thread per running container takes lines from a bounded queue and writes them to a blocking socket: a server that
//! is slow makes the container wait, as with Docker (or loses lines, with `mode=non-blocking`), never the daemon. A
//! connection that breaks is made anew once for a line; if that fails the line is lost and the daemon's log says so.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{EngineError, limits, record::Record, view::OutputStream};

const JOURNAL: &str = "/run/systemd/journal/socket";
const LOCAL_SYSLOG: &str = "/dev/log";
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// `RFC 3164` allows 1024 bytes, real servers 8 KiB and more; a datagram has less than 64 KiB.
const DATAGRAM_BYTES_MAX: usize = 60_000;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Forward {
    Journald,
    Syslog { target: Target, facility: Facility, format: Format },
}

/// A syslog server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Local,
    Unix(PathBuf),
    UnixDatagram(PathBuf),
    Udp(String),
    Tcp(String),
}

impl Target {
    /// `unix://PATH`, `unixgram://PATH`, `udp://HOST[:514]`, `tcp://HOST[:514]`; nothing is the host's own.
    pub(crate) fn parse(text: &str) -> Result<Self, EngineError> {
        if text.is_empty() {
            return Ok(Self::Local);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let with_port = |rest: &str| {
            let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
            if has_port { rest.to_owned() } else { format!("{rest}:514") }
        };
        match scheme {
            "unix" => Ok(Self::Unix(rest.into())),
            "unixgram" => Ok(Self::UnixDatagram(rest.into())),
            "udp" => Ok(Self::Udp(with_port(rest))),
            "tcp" => Ok(Self::Tcp(with_port(rest))),
            "tcp+tls" => Err(EngineError::NotBuilt { text: "syslog over TLS is not built".to_owned() }),
            other => Err(EngineError::invalid(format!("unsupported scheme: '{other}'"))),
        }
    }
}

/// A syslog facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facility(u8);

impl Facility {
    /// By name or number; nothing is `daemon`.
    pub(crate) fn parse(text: &str) -> Result<Self, EngineError> {
        const NAMES: [&str; 24] = [
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
            "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ];
        if text.is_empty() {
            return Ok(Self(3));
        }
        let by_name = NAMES.iter().position(|name| *name == text);
        let number = by_name.or_else(|| text.parse().ok().filter(|number| *number < NAMES.len()));
        number.map(|number| Self(number as u8)).ok_or_else(|| EngineError::invalid("invalid syslog facility"))
    }
}

/// How a syslog line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the C library writes to the host's own.
    Unix,
    Rfc3164,
    Rfc5424 {
        micros: bool,
    },
}

impl Format {
    /// By its name in `syslog-format`.
    pub(crate) fn parse(text: &str) -> Result<Self, EngineError> {
        match text {
            "" => Ok(Self::Unix),
            "rfc3164" => Ok(Self::Rfc3164),
            "rfc5424" => Ok(Self::Rfc5424 { micros: false }),
            "rfc5424micro" => Ok(Self::Rfc5424 { micros: true }),
            _ => Err(EngineError::invalid("Invalid syslog format")),
        }
    }
}

/// One line on its way.
pub(crate) struct Line {
    pub(crate) stream: OutputStream,
    pub(crate) at_ns: u64,
    pub(crate) text: Vec<u8>,
}

/// The container, as the receiver is told about it.
struct Sender {
    forward: Forward,
    tag: String,
    hostname: String,
    /// Fields that are the same for every line of the journal.
    fields: Vec<u8>,
    socket: Option<Socket>,
}

enum Socket {
    Datagram(UnixDatagram),
    Udp(UdpSocket),
    Stream(UnixStream),
    Tcp(TcpStream),
}

impl Forward {
    /// Connects and starts the thread; lines are then put into the queue.
    ///
    /// # Errors
    /// Nobody listens there, in Docker's words.
    pub(crate) fn start(&self, record: &Record, tag: String, extra: &BTreeMap<String, String>) -> io::Result<Queue> {
        let mut sender = Sender {
            forward: self.clone(),
            fields: journal_fields(record, &tag, extra),
            tag,
            hostname: hako_runtime::observe::hostname(),
            socket: None,
        };
        sender.connect()?;
        let (send, mut receive) = mpsc::channel::<Line>(limits::LOG_FORWARD_LINES);
        let short = record.id.short();
        std::thread::Builder::new().name(format!("log-{short}")).spawn(move || {
            let mut lost = 0_u64;
            while let Some(line) = receive.blocking_recv() {
                match sender.send(&line) {
                    Ok(()) if lost > 0 => {
                        tracing::warn!(container = short, lost, "its log is forwarded again; some lines were lost");
                        lost = 0;
                    }
                    Ok(()) => {}
                    Err(error) => {
                        if lost == 0 {
                            tracing::warn!(container = short, %error, "its log cannot be forwarded");
                        }
                        lost += 1;
                    }
                }
            }
        })?;
        let lossy = record.spec.host.log_options.get("mode").is_some_and(|mode| mode == "non-blocking");
        Ok(Queue { send, lossy })
    }
}

/// Where lines wait to be sent.
pub(crate) struct Queue {
    send: mpsc::Sender<Line>,
    lossy: bool,
}

impl Queue {
    /// Puts a line in, waiting for room unless lines may be lost.
    pub(crate) async fn put(&self, line: Line) {
        if self.lossy {
            let _ = self.send.try_send(line);
        } else {
            let _ = self.send.send(line).await;
        }
    }
}

impl Sender {
    fn connect(&mut self) -> io::Result<()> {
        let datagram = |path: &str| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok::<_, io::Error>(Socket::Datagram(socket))
        };
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        self.socket = Some(match &self.forward {
            Forward::Journald => datagram(JOURNAL)
                .map_err(|error| io::Error::new(error.kind(), "journald is not enabled on this host"))?,
            Forward::Syslog { target, .. } => match target {
                Target::Local => datagram(LOCAL_SYSLOG).map_err(|error| dial("unixgram", LOCAL_SYSLOG, &error))?,
                Target::UnixDatagram(path) => {
                    datagram(&text(path)).map_err(|error| dial("unixgram", &text(path), &error))?
                }
                Target::Unix(path) => match UnixStream::connect(path) {
                    Ok(stream) => Socket::Stream(stream),
                    // Docker's `unix` means either kind: the host's own is a socket of datagrams.
                    Err(error) => datagram(&text(path)).map_err(|_| dial("unix", &text(path), &error))?,
                },
                Target::Udp(address) => {
                    let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
                    socket.connect(resolve(address)?)?;
                    Socket::Udp(socket)
                }
                Target::Tcp(address) => Socket::Tcp(
                    TcpStream::connect_timeout(&resolve(address)?, CONNECT_TIME)
                        .map_err(|error| dial("tcp", address, &error))?,
                ),
            },
        });
        Ok(())
    }

    fn send(&mut self, line: &Line) -> io::Result<()> {
        let message = match &self.forward {
            Forward::Journald => self.journal_message(line),
            Forward::Syslog { facility, format, .. } => {
                syslog_message(*facility, *format, &self.tag, &self.hostname, line, std::process::id())
            }
        };
        if self.socket.is_some() && self.write(&message).is_ok() {
            return Ok(());
        }
        self.connect()?;
        self.write(&message)
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let short = &message[..message.len().min(DATAGRAM_BYTES_MAX)];
        match self.socket.as_mut() {
            Some(Socket::Datagram(socket)) => socket.send(short).map(drop),
            Some(Socket::Udp(socket)) => socket.send(short).map(drop),
            Some(Socket::Stream(stream)) => stream.write_all(message),
            Some(Socket::Tcp(stream)) => stream.write_all(message),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn journal_message(&self, line: &Line) -> Vec<u8> {
        let mut message = self.fields.clone();
        let (text, whole) = match line.text.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line.text.as_slice(), false),
        };
        journal_field(&mut message, "PRIORITY", if line.stream == OutputStream::Stderr { b"3" } else { b"6" });
        if !whole {
            journal_field(&mut message, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        journal_field(&mut message, "MESSAGE", text);
        message
    }
}

fn dial(kind: &str, address: &str, error: &io::Error) -> io::Error {
    let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
    io::Error::new(error.kind(), format!("dial {kind} {address}: connect: {why}"))
}

fn resolve(address: &str) -> io::Result<SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other(format!("{address} has no address")))
}

fn journal_fields(record: &Record, tag: &str, extra: &BTreeMap<String, String>) -> Vec<u8> {
    let mut fields = Vec::new();
    let own = [
        ("CONTAINER_ID", record.id.short()),
        ("CONTAINER_ID_FULL", record.id.to_string()),
        ("CONTAINER_NAME", record.name.clone()),
        ("CONTAINER_TAG", tag.to_owned()),
        ("IMAGE_NAME", record.spec.image.clone()),
        ("SYSLOG_IDENTIFIER", tag.to_owned()),
    ];
    for (key, value) in own {
        journal_field(&mut fields, key, value.as_bytes());
    }
    for (key, value) in extra {
        // Names of fields are upper case, and those that begin with an underscore are the journal's own.
        let key: String =
            key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        let key = key.trim_start_matches(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        if !key.is_empty() {
            journal_field(&mut fields, key, value.as_bytes());
        }
    }
    fields
}

/// `systemd.io/JOURNAL_NATIVE_PROTOCOL`: `KEY=value` and a newline, or the length where the value has newlines.
fn journal_field(message: &mut Vec<u8>, key: &str, value: &[u8]) {
    message.extend_from_slice(key.as_bytes());
    if value.contains(&b'\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}

fn syslog_message(facility: Facility, format: Format, tag: &str, hostname: &str, line: &Line, pid: u32) -> Vec<u8> {
    let severity = if line.stream == OutputStream::Stderr { 3 } else { 6 };
    let priority = u16::from(facility.0) * 8 + severity;
    let at = Timestamp::from_nanosecond(i128::from(line.at_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    let zoned = at.to_zoned(jiff::tz::TimeZone::system());
    let head = match format {
        Format::Unix => format!("<{priority}>{} {tag}[{pid}]: ", zoned.strftime("%b %e %H:%M:%S")),
        Format::Rfc3164 => format!("<{priority}>{} {hostname} {tag}[{pid}]: ", zoned.strftime("%b %e %H:%M:%S")),
        Format::Rfc5424 { micros } => {
            let form = if micros { "%Y-%m-%dT%H:%M:%S.%6f%:z" } else { "%Y-%m-%dT%H:%M:%S%:z" };
            format!("<{priority}>1 {} {hostname} {tag} {pid} {tag} - ", zoned.strftime(form))
        }
    };
    let mut message = head.into_bytes();
    message.extend_from_slice(&line.text);
    if !message.ends_with(b"\n") {
        message.push(b'\n');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: OutputStream, text: &[u8]) -> Line {
        Line { stream, at_ns: 1_700_000_000_120_000_000, text: text.to_vec() }
    }

    #[test]
    fn syslog_lines_have_their_forms() {
        let text = |facility: &str, format: &str| {
            let (facility, format) = (Facility::parse(facility).unwrap(), Format::parse(format).unwrap());
            let line = line(OutputStream::Stderr, b"hello\n");
            let bytes = syslog_message(facility, format, "web", "box", &line, 7);
            // The zone is the machine's.
            String::from_utf8(bytes).unwrap().replace("+00:00", "Z")
        };
        assert!(text("", "").starts_with("<27>Nov 1"));
        assert!(text("", "").ends_with(" web[7]: hello\n"));
        assert!(text("local0", "rfc3164").starts_with("<131>Nov 1"));
        assert!(text("local0", "rfc3164").ends_with(" box web[7]: hello\n"));
        assert!(text("1", "rfc5424micro").starts_with("<11>1 2023-11-1"));
        assert!(text("1", "rfc5424micro").ends_with(" box web 7 web - hello\n"));
    }

    #[test]
    fn fields_of_the_journal_may_have_newlines() {
        let mut message = Vec::new();
        journal_field(&mut message, "A", b"b");
        journal_field(&mut message, "C", b"d\ne");
        assert_eq!(message, b"A=b\nC\n\x03\0\0\0\0\0\0\0d\ne\n");
    }

    #[test]
    fn targets_are_read_or_refused() {
        let parse = |text: &str| Target::parse(text).map_err(|error| error.to_string());
        assert_eq!(parse(""), Ok(Target::Local));
        assert_eq!(parse("udp://log.example"), Ok(Target::Udp("log.example:514".to_owned())));
        assert_eq!(parse("tcp://[::1]:601"), Ok(Target::Tcp("[::1]:601".to_owned())));
        assert_eq!(parse("ftp://x"), Err("unsupported scheme: 'ftp'".to_owned()));
    }
}
