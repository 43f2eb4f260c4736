//! Makes one route of the API fail, from outside: a socket between the command lines and the daemon.
//!
//! `HAKO_TEST_FAIL="POST /containers/{name}/stop"` answers such requests with 500 and passes all others on. A test that
//! still passes then does not judge that route; `cargo x test coverage` looks for those.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

const HEAD_BYTES_MAX: usize = 64 << 10;
const ANSWER: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\
    Connection: close\r\n\r\n{\"message\":\"sabotage\"}";

/// A method and a path with at most one `{parameter}`.
#[derive(Debug, Clone)]
struct Victim {
    method: String,
    path: String,
}

/// Where the environment asks for it, listens at `socket` for the daemon behind `upstream`; says whether it does.
pub(crate) fn stand_between(socket: &Path, upstream: &Path) -> bool {
    let Ok(victim) = std::env::var("HAKO_TEST_FAIL") else { return false };
    let (method, path) = victim.split_once(' ').expect("HAKO_TEST_FAIL is a method and a path");
    let victim = Victim { method: method.to_owned(), path: path.to_owned() };
    listen(socket, upstream, Arc::new(move |method, path| victim.is(method, path)));
    true
}

/// Listens at `socket` and passes on only what cannot change anything.
pub(crate) fn read_only(socket: &Path, upstream: &Path) {
    listen(socket, upstream, Arc::new(|method, _| !matches!(method, "GET" | "HEAD")));
}

/// Whether a request with this method and target is answered with an error.
type Refuses = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

fn listen(socket: &Path, upstream: &Path, refuses: Refuses) {
    let _ = std::fs::remove_file(socket);
    let listener =
        UnixListener::bind(socket).unwrap_or_else(|error| panic!("cannot listen at {}: {error}", socket.display()));
    let upstream = upstream.to_path_buf();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (refuses, upstream) = (refuses.clone(), upstream.clone());
            // A client that goes away in the middle is its own affair.
            thread::spawn(move || drop(serve(client, &refuses, &upstream)));
        }
    });
}

fn serve(mut client: UnixStream, refuses: &Refuses, upstream: &PathBuf) -> io::Result<()> {
    let (head, rest) = read_head(&mut client)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if refuses(method, target) {
        return client.write_all(ANSWER.as_bytes());
    }
    let mut daemon = UnixStream::connect(upstream)?;
    daemon.write_all(single_request(&head).as_bytes())?;
    daemon.write_all(&rest)?;
    let (mut from_client, mut to_daemon) = (client.try_clone()?, daemon.try_clone()?);
    let upward = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_daemon);
        let _ = to_daemon.shutdown(std::net::Shutdown::Write);
    });
    let _ = io::copy(&mut daemon, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    let _ = upward.join();
    Ok(())
}

/// The request's head with its final blank line, and what came after it.
fn read_head(client: &mut UnixStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let count = client.read(&mut chunk)?;
        if count == 0 || bytes.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// Asks for one answer only, so that the next request comes over a connection of its own and is seen.
fn single_request(head: &str) -> String {
    let lower = head.to_ascii_lowercase();
    if lower.contains("\r\nupgrade:") {
        return head.to_owned();
    }
    let kept: Vec<&str> =
        head.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect();
    format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"))
}

impl Victim {
    fn is(&self, method: &str, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or_default();
        let path = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
            Some((version, _)) if version.starts_with("1.") => &path[version.len() + 2..],
            _ => path,
        };
        method == self.method && fits(&self.path, path)
    }
}

/// Whether a path is one of a pattern such as `/volumes/{volume}/snapshots/{snapshot}`.
fn fits(pattern: &str, path: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return path == pattern };
    let Some((parameter, after)) = rest.split_once('}') else { return false };
    let Some(path) = path.strip_prefix(before) else { return false };
    // Names of images have slashes, ids do not.
    let whole = matches!(parameter, "name" | "any");
    let end = if whole { path.strip_suffix(after).map(str::len) } else { Some(path.find('/').unwrap_or(path.len())) };
    end.is_some_and(|end| end > 0 && (whole || fits(after, &path[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_recognised_with_and_without_version() {
        let stop = Victim { method: "POST".to_owned(), path: "/containers/{name}/stop".to_owned() };
        assert!(stop.is("POST", "/v1.44/containers/web/stop?t=0"));
        assert!(stop.is("POST", "/containers/web/stop"));
        assert!(!stop.is("POST", "/v1.44/containers/web/start"));
        assert!(!stop.is("GET", "/containers/web/stop"));
        let inspect = Victim { method: "GET".to_owned(), path: "/images/{name}/json".to_owned() };
        assert!(inspect.is("GET", "/images/me/made:1/json"));
        assert!(!inspect.is("GET", "/images/json"));
        let two = Victim { method: "GET".to_owned(), path: "/volumes/{volume}/snapshots/{snapshot}".to_owned() };
        assert!(two.is("GET", "/v1.44/volumes/data/snapshots/first"));
        assert!(!two.is("GET", "/volumes/data/snapshots") && !two.is("GET", "/volumes/data/snapshots/a/b"));
    }

    #[test]
    fn one_answer_is_asked_for() {
        assert_eq!(
            single_request("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
    }
}
