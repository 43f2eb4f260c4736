//! A way out for a machine without one: a proxy that listens there and asks from here, for archives of packages.
//!
//! What never changes in an archive (packages with their versions, indexes by their hash) is kept in a folder, so that
//! the next run does not fetch it again. Everything else is passed on as it comes.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use crate::namespace;

/// Where the proxy listens on the machine.
const PORT: u16 = 3128;

/// The head of a request; apt's are a few hundred bytes.
const HEAD_LINES_MAX: usize = 100;

/// An archive that does not answer within this time is not there.
const CONNECT: Duration = Duration::from_secs(10);

/// Whether a host of the real network answers.
///
/// # Errors
/// Where it does not, as a reason to skip.
pub fn reachable(host: &str) -> Result<(), String> {
    connect(host, 80).map(drop).map_err(|error| format!("needs {host}, which cannot be reached: {error}"))
}

/// Listens in the network namespace of a process; the address is the proxy's.
pub(crate) fn open(init: u32, address: &str, kept: &Path) -> io::Result<String> {
    fs::create_dir_all(kept)?;
    let listener = namespace::in_network_of(init, || TcpListener::bind(("0.0.0.0", PORT)))?;
    let kept: Arc<Path> = kept.into();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let kept = kept.clone();
            // A client that is not served sees its connection end.
            thread::spawn(move || drop(serve(client, &kept)));
        }
    });
    Ok(format!("http://{address}:{PORT}"))
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("it has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn serve(client: TcpStream, kept: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    while head.len() < HEAD_LINES_MAX {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let first = head.first().cloned().unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    match words[..] {
        ["CONNECT", place, _] => tunnel(client, reader, place),
        ["GET", url, _] => get(client, url, &head[1..], kept),
        _ => (&client).write_all(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn split(place: &str, port: u16) -> (&str, u16) {
    place.rsplit_once(':').map_or((place, port), |(host, given)| (host, given.parse().unwrap_or(port)))
}

fn tunnel(client: TcpStream, mut reader: BufReader<TcpStream>, place: &str) -> io::Result<()> {
    let (host, port) = split(place, 443);
    let server = connect(host, port)?;
    (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let mut upward = server.try_clone()?;
    let up = thread::spawn(move || {
        let _ = io::copy(&mut reader, &mut upward);
        let _ = upward.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut &server, &mut &client);
    let _ = client.shutdown(Shutdown::Write);
    let _ = up.join();
    Ok(())
}

/// One request, one answer, and the connection ends.
fn get(mut client: TcpStream, url: &str, headers: &[String], kept: &Path) -> io::Result<()> {
    let rest = url.strip_prefix("http://").ok_or_else(|| io::Error::other("not an http URL"))?;
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let file = keeping(kept, place, path);
    if let Some(file) = &file
        && let Ok(mut found) = File::open(file)
    {
        let length = found.metadata()?.len();
        write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        return io::copy(&mut found, &mut client).map(drop);
    }
    let (host, port) = split(place, 80);
    let mut server = connect(host, port)?;
    write!(server, "GET /{path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n")?;
    for line in headers {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let is_ours = matches!(name.as_str(), "host" | "connection" | "proxy-connection" | "keep-alive");
        // A part of a file could not be kept.
        let is_part = file.is_some() && matches!(name.as_str(), "range" | "if-range");
        if !is_ours && !is_part {
            write!(server, "{line}\r\n")?;
        }
    }
    write!(server, "\r\n")?;
    let mut whole = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = server.read(&mut piece)?;
        if count == 0 {
            break;
        }
        client.write_all(&piece[..count])?;
        if file.is_some() {
            whole.extend_from_slice(&piece[..count]);
        }
    }
    match (file, body(&whole)) {
        (Some(file), Some(body)) => keep(&file, body),
        _ => Ok(()),
    }
}

/// The file that keeps what a path means, where that never changes.
fn keeping(kept: &Path, place: &str, path: &str) -> Option<PathBuf> {
    let is_constant = path.ends_with(".deb") || path.contains("/by-hash/");
    let name: String = format!("{place}/{path}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
        .collect();
    is_constant.then(|| kept.join(name))
}

/// The body of a whole, good answer.
fn body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    let body = &answer[end + 4..];
    (head.lines().next()?.contains(" 200") && body.len() == length).then_some(body)
}

/// Whole or not at all: two tests may fetch the same.
fn keep(file: &Path, body: &[u8]) -> io::Result<()> {
    let unfinished = file.with_extension(format!("{:?}", thread::current().id()));
    fs::write(&unfinished, body)?;
    fs::rename(unfinished, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_changes_is_kept() {
        let file = |path| keeping(Path::new("/k"), "a.org", path);
        assert_eq!(file("pool/x_1_all.deb"), Some("/k/a.org_pool_x_1_all.deb".into()));
        assert!(file("dists/x/by-hash/SHA256/00").is_some());
        assert_eq!(file("dists/x/InRelease"), None);
    }

    #[test]
    fn only_whole_answers_are_kept() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), Some(b"ab".as_slice()));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), None);
        assert_eq!(body(b"HTTP/1.1 206 Partial\r\nContent-Length: 2\r\n\r\nab"), None);
    }
}
