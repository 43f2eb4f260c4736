//! Attached connections over a socketpair: half-close, detach keys, frames, early ends.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::net::UnixStream;

use super::*;

/// Remembers what was written; `closed` once the end was said.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<(Vec<u8>, bool)>>);

impl Recorder {
    fn seen(&self) -> (String, bool) {
        let seen = self.0.lock().unwrap();
        (String::from_utf8_lossy(&seen.0).into_owned(), seen.1)
    }
}

impl Input for Recorder {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().0.extend_from_slice(bytes);
        Ok(())
    }

    async fn close(&mut self) {
        self.0.lock().unwrap().1 = true;
    }
}

struct Attached {
    client: UnixStream,
    output: Option<mpsc::Sender<OutputChunk>>,
    stdin: Recorder,
    relay: tokio::task::JoinHandle<io::Result<()>>,
    told: Arc<AtomicBool>,
}

fn attach(tty: bool, has_output: bool) -> Attached {
    let (client, server) = UnixStream::pair().unwrap();
    let (send, output) = mpsc::channel(4);
    let (stdin, told) = (Recorder::default(), Arc::new(AtomicBool::new(false)));
    let tell = {
        let told = told.clone();
        Box::new(move || told.store(true, Ordering::SeqCst))
    };
    let session = Session {
        format: Format::new(tty),
        input: Some(stdin.clone()),
        output,
        has_output,
        detach: tty.then(|| Detach { keys: DetachKeys::parse(None).unwrap(), tell }),
    };
    let relay = tokio::spawn(relay(server, Bytes::from_static(b"first "), session));
    Attached { client, output: Some(send), stdin, relay, told }
}

impl Attached {
    async fn print(&self, stream: OutputStream, text: &'static str) {
        let chunk = OutputChunk { stream, bytes: Bytes::from_static(text.as_bytes()) };
        self.output.as_ref().unwrap().send(chunk).await.unwrap();
    }

    async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.client.read_to_end(&mut bytes).await.unwrap();
        bytes
    }
}

#[tokio::test]
async fn after_a_half_close_output_still_arrives() {
    let mut attached = attach(false, true);
    attached.client.write_all(b"last").await.unwrap();
    attached.client.shutdown().await.unwrap();
    // The process answers only once its input has ended, as `cat | sort` does.
    while !attached.stdin.seen().1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(attached.stdin.seen().0, "first last");
    attached.print(OutputStream::Stdout, "sorted").await;
    attached.print(OutputStream::Stderr, "oops").await;
    attached.output = None;
    assert_eq!(attached.read_to_end().await, b"\x01\0\0\0\0\0\0\x06sorted\x02\0\0\0\0\0\0\x04oops");
    attached.relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_terminal_is_raw_and_can_be_left_by_keys() {
    let mut attached = attach(true, true);
    attached.print(OutputStream::Stdout, "$ ").await;
    attached.client.write_all(b"ls\r\x10\x11exit\r").await.unwrap();
    assert_eq!(attached.read_to_end().await, b"$ ");
    // Leaving is not the end of the input, and somebody is told of it.
    assert_eq!(attached.stdin.seen(), ("first ls\r".to_owned(), false));
    assert!(attached.told.load(Ordering::SeqCst));
    attached.relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_the_output_is_an_end_of_file_even_when_input_is_left() {
    let mut attached = attach(false, true);
    attached.client.write_all(&[b'x'; 100_000]).await.unwrap();
    attached.output = None;
    assert_eq!(attached.read_to_end().await, b"");
    drop(attached.client);
    attached.relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn input_alone_ends_with_the_client() {
    let mut attached = attach(false, false);
    attached.output = None;
    attached.client.write_all(b"more").await.unwrap();
    attached.client.shutdown().await.unwrap();
    assert_eq!(attached.read_to_end().await, b"");
    assert_eq!(attached.stdin.seen(), ("first more".to_owned(), true));
    attached.relay.await.unwrap().unwrap();
}

#[test]
fn content_types_depend_on_terminal_and_version() {
    for (tty, minor, expected) in
        [(false, 42, MULTIPLEXED_STREAM), (true, 42, RAW_STREAM), (false, 41, RAW_STREAM), (true, 41, RAW_STREAM)]
    {
        assert_eq!(Format::new(tty).content_type(ApiVersion::new(1, minor)), expected);
    }
}
