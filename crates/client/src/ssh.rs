//! A daemon on another machine, by way of the person's own `ssh`.
//!
//! Docker's arrangement: `ssh HOST docker system dial-stdio` joins its standard streams to the daemon's socket over
//! there. ssh itself is run, so that its configuration, agents, keys and jump hosts are those that the person has.

use std::{
    fmt, io,
    pin::Pin,
    process::Stdio,
    str::FromStr,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::oneshot,
};

use crate::{HostError, limits};

/// The machine of an `ssh://` address: `ssh://[USER@]HOST[:PORT][/SOCKET]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The daemon's socket over there, if not the usual one.
    socket: Option<String>,
}

impl FromStr for SshHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = |why: &'static str| HostError::Ssh { text: text.to_owned(), why };
        let rest = text.strip_prefix("ssh://").ok_or_else(|| wrong("expected ssh://[USER@]HOST[:PORT]"))?;
        let (place, path) = rest.split_once('/').map_or((rest, ""), |(place, path)| (place, path));
        let (user, address) = match place.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, place),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(wrong("plain-text password is not supported"));
        }
        let (host, port) = match address.rsplit_once(':') {
            // What is left of an IPv6 address has a colon in it, or a bracket at its end.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong("the port is not a number"))?))
            }
            _ => (address, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("no host specified"));
        }
        // ssh would take it for a flag (CVE-2017-1000117 and its kin).
        let is_flag = |word: &str| word.starts_with('-');
        let odd =
            |word: &str| word.chars().any(|c| c.is_whitespace() || c.is_control() || "'\"\\`$;|&<>?#".contains(c));
        if is_flag(host) || user.is_some_and(is_flag) || odd(rest) {
            return Err(wrong("there are characters in it that no address has"));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            socket: (!path.is_empty()).then(|| format!("/{path}")),
        })
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

impl SshHost {
    /// The words after `ssh`.
    fn arguments(&self) -> Vec<String> {
        let mut words = vec!["-o".to_owned(), format!("ConnectTimeout={}", limits::SSH_CONNECT_S), "-T".to_owned()];
        if let Some(user) = &self.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        let daemon = self.socket.as_ref().map(|path| format!("--host unix://{path} ")).unwrap_or_default();
        // One word for the login shell over there, whichever that is. A machine with hako need not have it as `docker`.
        let dial = format!("{daemon}system dial-stdio");
        let remote =
            format!("sh -c 'if command -v hako >/dev/null; then exec hako {dial}; else exec docker {dial}; fi'");
        words.extend(["--".to_owned(), self.host.clone(), remote]);
        words
    }

    /// Starts ssh. That it cannot reach the daemon shows at the first read.
    pub(crate) fn connect(&self) -> io::Result<SshStream> {
        let mut child = Command::new("ssh")
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::other("ssh is not installed on this machine"),
                _ => error,
            })?;
        let missing = || io::Error::other("ssh has no standard streams");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (alive, dropped) = oneshot::channel();
        let (tell, end) = oneshot::channel();
        tokio::spawn(watch(child, stderr, dropped, tell));
        Ok(SshStream { stdin: Some(stdin), stdout, end: Some(end), _alive: alive })
    }
}

/// Waits for ssh's end, or ends it when nobody wants its stream any more; tells how it ended.
async fn watch(
    mut child: Child,
    mut stderr: ChildStderr,
    dropped: oneshot::Receiver<()>,
    tell: oneshot::Sender<String>,
) {
    let mut said = Vec::new();
    let ending = async {
        let _ = (&mut stderr).take(limits::SSH_STDERR_BYTES_MAX).read_to_end(&mut said).await;
        // More than that is not worth keeping, but ssh must not wait for a reader.
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        child.wait().await
    };
    let status = tokio::select! {
        status = ending => status,
        _ = dropped => return,
    };
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let _ = tell.send(format!(
        "ssh has ended ({status}); make sure the URL is valid, and hako or docker is installed on the remote host: {}",
        String::from_utf8_lossy(&said).trim_end()
    ));
}

/// A connection through ssh.
#[derive(Debug)]
pub(crate) struct SshStream {
    /// `None` after a shutdown: ssh then sees the end of its input.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// Until something has been read: an end before that is a failure to connect.
    end: Option<oneshot::Receiver<String>>,
    _alive: oneshot::Sender<()>,
}

impl SshStream {
    /// Waits for ssh's end and tells it as an error.
    fn poll_end<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let how = match &mut self.end {
            Some(end) => std::task::ready!(Pin::new(end).poll(cx)).ok(),
            None => None,
        };
        self.end = None;
        Poll::Ready(Err(io::Error::other(how.unwrap_or_else(|| "ssh has ended".to_owned()))))
    }
}

impl AsyncRead for SshStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.stdout).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            this.end = None;
            return Poll::Ready(Ok(()));
        }
        if this.end.is_none() { Poll::Ready(Ok(())) } else { this.poll_end(cx) }
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stdin) = &mut this.stdin else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match std::task::ready!(Pin::new(stdin).poll_write(cx, bytes)) {
            // What ssh said before it ended is a better answer than that it ended.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && this.end.is_some() => this.poll_end(cx),
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_arguments_or_are_refused() {
        let show = |text: &str| match text.parse::<SshHost>() {
            Ok(host) => {
                let words = host.arguments();
                format!("{host} {}", words[3..words.len() - 1].join(" "))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(show("ssh://h"), "ssh://h -- h");
        assert_eq!(show("ssh://me@h:2222"), "ssh://me@h:2222 -l me -p 2222 -- h");
        assert_eq!(
            show("ssh://me@[fe80::1]:2222/run/x.sock"),
            "ssh://me@[fe80::1]:2222/run/x.sock -l me -p 2222 -- fe80::1"
        );
        assert_eq!(show("ssh://h:x"), "invalid ssh URL ssh://h:x: the port is not a number");
        assert_eq!(
            show("ssh://me:secret@h"),
            "invalid ssh URL ssh://me:secret@h: plain-text password is not supported"
        );
        assert_eq!(show("ssh://"), "invalid ssh URL ssh://: no host specified");
        for text in ["ssh://-oProxyCommand=x", "ssh://-oProxyCommand=x@h", "ssh://h/a'b", "ssh://h/$(x)", "ssh://h?x=1"]
        {
            assert!(show(text).ends_with("there are characters in it that no address has"), "{text}");
        }
        let remote = "ssh://h/run/x.sock".parse::<SshHost>().unwrap().arguments().pop().unwrap();
        assert_eq!(
            remote,
            "sh -c 'if command -v hako >/dev/null; then exec hako --host unix:///run/x.sock system dial-stdio; \
             else exec docker --host unix:///run/x.sock system dial-stdio; fi'"
        );
    }
}
