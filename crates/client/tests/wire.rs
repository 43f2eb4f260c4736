//! The client against a daemon that is a list of canned answers: negotiation, errors, streams,
//! hijacked connections, connections that the daemon closed.

use std::path::PathBuf;

use hako_api::{
    ApiVersion, Operation,
    container::ExecStartRequest,
    query::{ContainerListQuery, ContainerStopQuery, ContainerWaitQuery, ImageLoadQuery, Query, SystemEventsQuery},
};
use hako_base::ErrorKind;
use hako_client::{Client, RequestBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

const PONG: &str =
    "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nOstype: linux\r\nSwarm: inactive\r\nContent-Length: 0\r\n\r\n";

/// One connection's answers, in order; the connection closes after the last.
type Script = &'static [&'static str];

/// A socket that answers and tells what it was asked.
struct Daemon {
    socket: PathBuf,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Daemon {
    fn start(connections: &'static [Script]) -> Self {
        let socket = std::env::temp_dir().join(format!("hako-client-{}.sock", hako_base::random::hex(8)));
        let listener = UnixListener::bind(&socket).unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for script in connections {
                let (stream, _) = listener.accept().await.unwrap();
                play(stream, script, &tell).await;
            }
        });
        Self { socket, asked }
    }

    fn client(&self, version: Option<ApiVersion>) -> Client {
        Client::new(&format!("unix://{}", self.socket.display()), version).unwrap()
    }

    fn asked(&mut self) -> String {
        self.asked.try_recv().unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn play(mut stream: UnixStream, script: Script, tell: &mpsc::UnboundedSender<String>) {
    for answer in script {
        let Some(request) = read_request(&mut stream).await else { return };
        let _ = tell.send(request);
        stream.write_all(answer.as_bytes()).await.unwrap();
        // What follows a hijack is echoed until the client's half of the connection ends.
        if answer.starts_with("HTTP/1.1 101") {
            let mut input = Vec::new();
            stream.read_to_end(&mut input).await.unwrap();
            stream.write_all(&input).await.unwrap();
        }
    }
}

/// The request line and, for a body of known length, the body.
async fn read_request(stream: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
    Some(format!("{line} {}", String::from_utf8_lossy(&body)).trim_end().to_owned())
}

#[tokio::test]
async fn a_list_is_one_connection_and_two_requests() {
    let mut daemon = Daemon::start(&[&[PONG, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n[{\"Id\":\"a\"}]"]]);
    let client = daemon.client(None);
    let query = ContainerListQuery { all: true, ..Default::default() };
    assert_eq!(client.container_list(&query).await.unwrap()[0].id, "a");
    assert_eq!(daemon.asked(), "HEAD /_ping");
    assert_eq!(daemon.asked(), "GET /v1.44/containers/json?all=1");
    assert_eq!(client.version().await.unwrap(), ApiVersion::new(1, 44));
}

#[tokio::test]
async fn a_given_version_is_not_asked_for() {
    let mut daemon = Daemon::start(&[&["HTTP/1.1 204 No Content\r\n\r\n"]]);
    let client = daemon.client(Some(ApiVersion::new(1, 30)));
    let query = ContainerStopQuery { signal: None, timeout_s: Some(3) };
    client.container_stop("we b", &query).await.unwrap();
    assert_eq!(daemon.asked(), "POST /v1.30/containers/we%20b/stop?t=3");
}

#[tokio::test]
async fn errors_are_the_daemons_sentences() {
    let daemon = Daemon::start(&[
        &[
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 36\r\n\r\n{\"message\":\"No such container: web\"}",
        ],
        &["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nno luck\r\n"],
        &["HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"],
        &["HTTP/1.1 304 Not Modified\r\n\r\n"],
    ]);
    let client = daemon.client(Some(ApiVersion::MAX));
    let stop = async || client.container_stop("web", &ContainerStopQuery::default()).await;
    let error = stop().await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), ("No such container: web", ErrorKind::NotFound));
    assert_eq!(stop().await.unwrap_err().to_string(), "no luck");
    assert_eq!(
        stop().await.unwrap_err().to_string(),
        "request returned 500 for API route /containers/web/stop, check if the server supports the requested API version"
    );
    assert!(stop().await.is_ok(), "a container that is stopped already is no error");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let client = Client::new("unix:///nowhere/hako.sock", None).unwrap();
    let error = client.system_info().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("unix:///nowhere/hako.sock"), "{error}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
    let daemon = Daemon::start(&[&[EMPTY], &[EMPTY]]);
    let client = daemon.client(Some(ApiVersion::MAX));
    for _ in 0..2 {
        assert!(client.container_list(&ContainerListQuery::default()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_hijacked_connection_can_be_half_closed() {
    let mut daemon = Daemon::start(&[&[
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst ",
    ]]);
    let client = daemon.client(Some(ApiVersion::MAX));
    let hijacked = client.exec_start("abc", &ExecStartRequest::default()).await.unwrap();
    assert_eq!(hijacked.multiplexed, Some(true));
    let (mut output, mut input) = hijacked.split();
    input.write_all(b"then").await.unwrap();
    input.close().await.unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "first then");
    assert_eq!(daemon.asked(), "POST /v1.50/exec/abc/start {\"Detach\":false,\"Tty\":false}");
}

#[tokio::test]
async fn a_daemon_that_does_not_upgrade_is_refused() {
    let daemon = Daemon::start(&[&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]]);
    let error = daemon.client(Some(ApiVersion::MAX)).exec_start("a", &ExecStartRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "unable to upgrade to tcp, received 200");
}

#[tokio::test]
async fn objects_are_read_however_they_are_cut() {
    let daemon = Daemon::start(&[&[concat!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "9\r\n{\"Type\":\"\r\n",
        "19\r\ncontainer\"}\r\n{\"Type\":\"ima\r\n",
        "6\r\nge\"}\r\n\r\n",
        "0\r\n\r\n"
    )]]);
    let client = daemon.client(Some(ApiVersion::MAX));
    let mut events = client.system_events(&SystemEventsQuery::default()).await.unwrap();
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        kinds.push(event.kind);
    }
    assert_eq!(kinds, ["container", "image"]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error() {
    let daemon =
        Daemon::start(&[&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"status\"\r\n0\r\n\r\n"]]);
    let client = daemon.client(Some(ApiVersion::MAX));
    let mut lines = client.image_load(&ImageLoadQuery::default(), RequestBody::Empty).await.unwrap();
    assert_eq!(lines.next().await.unwrap_err().to_string(), "the stream of image_load broke off");
}

#[tokio::test]
async fn waiting_begins_before_the_answer() {
    let daemon = Daemon::start(&[&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]]);
    let client = daemon.client(Some(ApiVersion::MAX));
    let wait = client.container_wait("web", &ContainerWaitQuery::default()).await.unwrap();
    // The daemon dies without having said anything.
    assert!(wait.outcome().await.is_err());
}

#[tokio::test]
async fn raw_requests_pass_anything_through() {
    let mut daemon = Daemon::start(&[&["HTTP/1.1 418 Teapot\r\nX-Kind: pot\r\nContent-Length: 2\r\n\r\nhi"]]);
    let client = daemon.client(Some(ApiVersion::new(1, 40)));
    let body = RequestBody::Bytes("x".into());
    let answer = client.raw("PATCH", "/tea?cups=2", &[("X-Milk", "no")], body).await.unwrap();
    assert_eq!((answer.status, answer.headers["x-kind"].to_str().unwrap()), (418, "pot"));
    assert_eq!(answer.body.collect(10).await.unwrap(), "hi");
    assert_eq!(daemon.asked(), "PATCH /v1.40/tea?cups=2 x");
}

#[tokio::test]
async fn inspect_is_byte_for_byte() {
    let daemon = Daemon::start(&[&["HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"Z\":1, \"A\":2 }\n"]]);
    let client = daemon.client(Some(ApiVersion::MAX));
    let bytes = client.bytes(Operation::ContainerInspect, &["web"], &Query::default()).await.unwrap();
    assert_eq!(bytes, "{\"Z\":1, \"A\":2 }\n");
}
