//! A log that is followed through the death of its daemon.
//!
//! Lines are asked for with their times. When the connection breaks off, the next one asks for everything since the time
//! of the last line, and drops as many lines of that very time as have been printed: none is lost, none comes twice. A
//! terminal's output has no frames to tell lines by; it is followed as far as its first daemon lives.

use std::{
    io::{self, Write},
    time::Duration,
};

use hako_api::query::ContainerLogsQuery;
use hako_base::backoff::Doubling;
use hako_client::{Client, ClientError, LogReader};
use jiff::Timestamp;

use crate::error::CommandError;

/// How long a daemon may be away, counted from the last try that had an answer.
const PAUSES: usize = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const HEADER_BYTES: usize = 8;
const STDERR: u8 = 2;
const SYSTEM: u8 = 3;

/// Prints a log until the container ends; `log` was asked for by `query`, with times.
///
/// # Errors
/// When no daemon comes back, or the output cannot be written.
pub(crate) async fn follow(
    client: &Client,
    name: &str,
    mut query: ContainerLogsQuery,
    mut log: LogReader,
    show_times: bool,
) -> Result<(), CommandError> {
    let mut place = Place::default();
    loop {
        let broken = match copy(&mut log, &mut place, show_times).await? {
            None => return Ok(()),
            Some(error) => error,
        };
        if let Some(since) = place.since() {
            query.since = since;
            "all".clone_into(&mut query.tail);
        }
        place.begin_again();
        log = again(client, name, &query, broken).await?;
    }
}

/// Asks until a daemon answers.
async fn again(
    client: &Client,
    name: &str,
    query: &ContainerLogsQuery,
    mut broken: ClientError,
) -> Result<LogReader, CommandError> {
    for pause in Doubling::new(FIRST_PAUSE, LONGEST_PAUSE).take(PAUSES) {
        match client.container_logs(name, query).await {
            Ok(log) => return Ok(log),
            // A daemon is there and says no: the container went with the old one.
            Err(error) if error.is_from_daemon() => return Err(error.into()),
            Err(error) => broken = error,
        }
        // A timer of the reactor, by an interval whose first tick is one period away.
        tokio::time::interval_at(tokio::time::Instant::now() + pause, pause).tick().await;
    }
    Err(broken.into())
}

/// Copies frames; answers with how the connection broke off, if it did not end.
async fn copy(log: &mut LogReader, place: &mut Place, show_times: bool) -> Result<Option<ClientError>, CommandError> {
    let mut frames = Frames::default();
    loop {
        match log.body.chunk().await {
            Ok(Some(bytes)) => frames.bytes.extend_from_slice(&bytes),
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
        while let Some((stream, payload)) = frames.next() {
            let text = String::from_utf8_lossy(&payload);
            if stream == SYSTEM {
                return Err(CommandError::Said(format!("error from daemon in stream: {text}")));
            }
            let time = payload.iter().position(|byte| *byte == b' ').unwrap_or(0);
            if !place.is_new(text.get(..time).unwrap_or_default()) {
                continue;
            }
            print(stream, if show_times { &payload } else { payload.get(time + 1..).unwrap_or_default() })?;
        }
    }
}

fn print(stream: u8, bytes: &[u8]) -> Result<(), CommandError> {
    fn through(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        to.write_all(bytes)?;
        to.flush()
    }
    let written = match stream {
        STDERR => through(&mut io::stderr().lock(), bytes),
        _ => through(&mut io::stdout().lock(), bytes),
    };
    written.map_err(CommandError::Output)
}

/// Whole frames out of a stream of bytes: each is one line, or a piece of a very long one.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = self.bytes.get(..HEADER_BYTES)?;
        let length = usize::try_from(u32::from_be_bytes([header[4], header[5], header[6], header[7]])).ok()?;
        let (stream, end) = (header[0], HEADER_BYTES + length);
        let payload = self.bytes.get(HEADER_BYTES..end)?.to_vec();
        self.bytes.drain(..end);
        Some((stream, payload))
    }
}

/// Up to where a log has been printed.
#[derive(Debug, Default)]
struct Place {
    /// The time of the last line, and how many lines of that time there were.
    last: String,
    printed: usize,
    /// Lines of that time that come again.
    again: usize,
}

impl Place {
    /// Whether a line of this time is yet to be printed.
    fn is_new(&mut self, time: &str) -> bool {
        if time == self.last {
            if self.again > 0 {
                self.again -= 1;
                return false;
            }
            self.printed += 1;
        } else {
            time.clone_into(&mut self.last);
            (self.printed, self.again) = (1, 0);
        }
        true
    }

    fn begin_again(&mut self) {
        self.again = self.printed;
    }

    /// The time of the last line, as requests have it.
    fn since(&self) -> Option<String> {
        let at: Timestamp = self.last.parse().ok()?;
        Some(format!("{}.{:09}", at.as_second(), at.subsec_nanosecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_last_time_are_not_printed_twice() {
        let mut place = Place::default();
        let new =
            |place: &mut Place, times: &[&str]| -> Vec<bool> { times.iter().map(|time| place.is_new(time)).collect() };
        assert_eq!(new(&mut place, &["a", "b", "b"]), [true, true, true]);
        place.begin_again();
        assert_eq!(new(&mut place, &["b", "b", "b", "c"]), [false, false, true, true]);
        place.begin_again();
        place.begin_again();
        assert_eq!(new(&mut place, &["c", "c"]), [false, true]);
    }

    #[test]
    fn frames_arrive_in_pieces() {
        let mut frames = Frames::default();
        frames.bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 2, b'h']);
        assert!(frames.next().is_none());
        frames.bytes.extend_from_slice(&[b'i', 2, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(frames.next(), Some((1, b"hi".to_vec())));
        assert_eq!(frames.next(), Some((2, Vec::new())));
        assert!(frames.next().is_none());
    }

    #[test]
    fn a_time_becomes_a_request() {
        let place = Place { last: "2023-11-14T22:13:20.000000012Z".to_owned(), ..Place::default() };
        assert_eq!(place.since().unwrap(), "1700000000.000000012");
    }
}
