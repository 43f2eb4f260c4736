//! Requests as bytes over a unix socket, for answers that a client library would hide: status lines, header names,
//! chunking, upgrades, bodies that make no sense. One connection, one request after another.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Such as 404.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Decoded, if it was chunked.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where there is none.
    ///
    /// # Panics
    /// Where it is something else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        if self.body.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Docker's error shape: the sentence in `{"message": …}`.
    #[track_caller]
    pub fn message(&self) -> String {
        self.json()["message"].as_str().map(str::to_owned).unwrap_or_else(|| panic!("no message in {}", self.text()))
    }

    /// `404 application/json {"message":"page not found"}`: what a test compares.
    pub fn line(&self) -> String {
        let kind = self.header("content-type").unwrap_or("-");
        crate::normalised(format!("{} {kind} {}", self.status, self.text()).trim_end())
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
    _in_use: Option<Arc<()>>,
}

impl Connection {
    /// Connects; answers that take longer than a minute are errors.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream: BufReader::new(stream), _in_use: None })
    }

    /// The daemon is not killed as long as this is there.
    pub(crate) fn in_use(mut self, mark: Arc<()>) -> Self {
        self._in_use = Some(mark);
        self
    }

    /// Sends a request with a JSON body (or none, if it is empty) and reads the answer.
    ///
    /// # Errors
    /// Where the connection ends or what comes is not HTTP.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        self.send_bytes(method, path, kind, body.as_bytes())
    }

    /// Sends a request with header lines of one's own, each ended by CRLF.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_bytes(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: hako\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        self.read_answer(method)
    }

    /// Sends these bytes and nothing else.
    ///
    /// # Errors
    /// Where the connection is closed.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads an answer's head: the status and the headers.
    ///
    /// # Errors
    /// Where the connection ends or what comes is not HTTP.
    pub fn read_head(&mut self) -> io::Result<Answer> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// What comes after an upgrade, or a body that is read as it comes.
    pub fn stream(&mut self) -> &mut BufReader<UnixStream> {
        &mut self.stream
    }

    fn read_answer(&mut self, method: &str) -> io::Result<Answer> {
        let mut answer = self.read_head()?;
        let bodiless = method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
        if bodiless {
            return Ok(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks()?;
        } else if let Some(length) = answer.header("content-length").and_then(|length| length.parse().ok()) {
            answer.body = vec![0; length];
            self.stream.read_exact(&mut answer.body)?;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let start = body.len();
            body.resize(start + length, 0);
            self.stream.read_exact(&mut body[start..])?;
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    /// One line without its CRLF.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
