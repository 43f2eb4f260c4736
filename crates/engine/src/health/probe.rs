//! A check over the container's network: a connection, and perhaps an HTTP request, by the daemon itself.
//!
//! The socket is made in the container's network namespace (`hako_network::Visitor`) and used from here: a socket
//! stays where it was made. What answers is the container's: it is read up to a limit, and nothing in it is believed
//! but three digits.

use std::{
    io::{self, Read},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hako_network::Begun;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Engine, table::Container, timer};

/// A status line is shorter; what is longer is none.
const HEAD_BYTES_MAX: usize = 1024;
/// When answers are looked for first. Most are there by then, and those of a whole round are read in one go; who waits
/// for each is woken for each, which costs more than the rest of the check.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// Asks, and answers 0 or 1 with a reason; −1 when it took too long.
pub(super) async fn ask(
    engine: &Engine,
    container: &Arc<Container>,
    target: &SocketAddr,
    request: Option<(&str, &str)>,
    timeout: Duration,
) -> (i32, String) {
    let asked = async {
        let request: Arc<[u8]> = request.map_or_else(|| Arc::from([]), |(host, path)| http_request(host, path).into());
        let begun = begin(engine, container, *target, request.clone()).await?;
        if request.is_empty() {
            if !begun.connected {
                connected(begun.stream).await?;
            }
            return Ok(format!("connected to {target}"));
        }
        http(begun, &request).await
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(text)) => (0, text),
        Ok(Err(error)) => (1, format!("{target}: {}", reason(&error))),
        Err(_) => (-1, format!("Health check exceeded timeout ({timeout:?}): {target} did not answer")),
    }
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text)
}

async fn begin(engine: &Engine, container: &Container, target: SocketAddr, first: Arc<[u8]>) -> io::Result<Begun> {
    let gone = || io::Error::other("the container has ended");
    let pidfd = container.live.lock().as_ref().map(|live| live.pidfd.clone()).ok_or_else(gone)?;
    engine.visitor.tcp_begin(pidfd, target, first).await
}

/// Waits until somebody has answered.
async fn connected(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    let stream = TcpStream::from_std(stream)?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn http_request(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hako\r\nConnection: close\r\n\r\n").into_bytes()
}

async fn http(mut begun: Begun, request: &[u8]) -> io::Result<String> {
    let mut head = Vec::new();
    if begun.sent == request.len() {
        timer::after(FIRST_LOOK).await;
        let mut bytes = [0_u8; 256];
        match begun.stream.read(&mut bytes) {
            Ok(count) => take(&mut head, &bytes[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let line = match first_line(&head) {
        Some(line) => line,
        None => http_rest(begun, request, head).await?,
    };
    match status(&line) {
        Some(200..=399) => Ok(line),
        Some(_) => Err(io::Error::other(format!("it answered {line:?}"))),
        None => Err(io::Error::other("its answer is not HTTP")),
    }
}

/// Asks as far as that has not been done, and waits for the first line of the answer.
async fn http_rest(begun: Begun, request: &[u8], mut head: Vec<u8>) -> io::Result<String> {
    let mut stream = if begun.connected { TcpStream::from_std(begun.stream)? } else { connected(begun.stream).await? };
    stream.write_all(&request[begun.sent..]).await?;
    loop {
        let mut bytes = [0_u8; 256];
        let count = stream.read(&mut bytes).await?;
        take(&mut head, &bytes[..count])?;
        if let Some(line) = first_line(&head) {
            return Ok(line);
        }
    }
}

fn take(head: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    match bytes.len() {
        0 => Err(io::Error::other("it closed the connection without an answer")),
        _ if head.len() >= HEAD_BYTES_MAX => Err(io::Error::other("its answer is not HTTP")),
        _ => {
            head.extend_from_slice(bytes);
            Ok(())
        }
    }
}

fn first_line(head: &[u8]) -> Option<String> {
    let end = head.iter().position(|byte| *byte == b'\n')?;
    Some(String::from_utf8_lossy(&head[..end]).trim_end().to_owned())
}

/// `HTTP/1.1 204 No Content`
fn status(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok().filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_come_in_pieces_and_has_an_end() {
        let mut head = Vec::new();
        take(&mut head, b"HTTP/1.1 2").unwrap();
        assert_eq!(first_line(&head), None);
        take(&mut head, b"04 No Content\r\nDate: now").unwrap();
        assert_eq!(first_line(&head).unwrap(), "HTTP/1.1 204 No Content");
        assert!(take(&mut head, b"").is_err());
        take(&mut head, &[b'x'; HEAD_BYTES_MAX]).unwrap();
        assert!(take(&mut head, b"y").is_err());
    }

    #[test]
    fn a_status_line_is_read_and_nothing_else_is() {
        for (line, expected) in [
            ("HTTP/1.1 204 No Content", Some(204)),
            ("HTTP/1.0 500", Some(500)),
            ("HTTP/2 200", None),
            ("SSH-2.0-OpenSSH", None),
            ("HTTP/1.1 99999", None),
        ] {
            assert_eq!(status(line), expected, "{line}");
        }
    }
}
