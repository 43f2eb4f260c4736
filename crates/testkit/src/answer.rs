//! Requests and answers of HTTP/1.1 for services that tests play: as far as clients of services that keep blobs need them.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// The largest body: a piece of what is saved.
const BODY_BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without its query.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Only the head goes.
    is_bare: bool,
    /// How much of the body goes before the connection ends.
    cut: Option<usize>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), is_bare: false, cut: None }
    }

    pub(crate) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status).header("Content-Type", "application/json").body(value.to_string().into_bytes())
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// Without the body, as `HEAD` wants it.
    pub(crate) fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// The connection ends in the middle of it.
    pub(crate) fn cut(mut self) -> Self {
        self.cut = Some(self.body.len() / 2);
        self
    }
}

pub(crate) struct Connection<'c> {
    reader: BufReader<TcpStream>,
    writer: &'c TcpStream,
}

impl<'c> Connection<'c> {
    pub(crate) fn new(client: &'c TcpStream) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(client.try_clone()?), writer: client })
    }

    /// The next request, or what is to be said instead; nothing at the end.
    pub(crate) fn read(&mut self) -> io::Result<Option<Result<Request, Reply>>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else { return Ok(Some(Err(Reply::new(400)))) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), unescaped(path), pairs(query));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut request = Request { method, path, query, headers, body: Vec::new() };
        let length = request.header("content-length").map(str::parse::<usize>);
        match length {
            None if matches!(request.method.as_str(), "GET" | "HEAD" | "DELETE") => {}
            Some(Ok(length)) if length <= BODY_BYTES_MAX => {
                request.body = vec![0; length];
                self.reader.read_exact(&mut request.body)?;
            }
            Some(Ok(_)) => return Ok(Some(Err(Reply::new(413)))),
            // Neither service takes what does not say how long it is.
            _ => return Ok(Some(Err(Reply::new(411)))),
        }
        Ok(Some(Ok(request)))
    }

    /// Answers; one that is cut ends the connection.
    pub(crate) fn write(&mut self, reply: Reply) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} x\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if reply.status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
        }
        head.push_str("\r\n");
        let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
        self.writer.write_all(head.as_bytes())?;
        self.writer.write_all(if reply.is_bare { &[] } else { body })?;
        if reply.cut.is_some() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (unescaped(name), unescaped(value))
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (other, _) => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
