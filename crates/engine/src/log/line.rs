//! Bytes become lines: split at newlines, and at 16 KiB where a line has no end.
//!
//! An unfinished line waits here, and while one waits nothing is committed to the ring: its beginning
//! is then still there when the daemon dies before its end has come.

use crate::{limits, view::OutputStream};

/// The unfinished lines of one process.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    stdout: Partial,
    stderr: Partial,
}

#[derive(Debug, Default)]
struct Partial {
    text: Vec<u8>,
    at_ns: u64,
}

impl Lines {
    /// Takes a chunk and hands every line that it completes to `emit`, with the time of the line's beginning.
    pub(crate) fn push(
        &mut self,
        stream: OutputStream,
        at_ns: u64,
        mut bytes: &[u8],
        mut emit: impl FnMut(OutputStream, u64, &[u8]),
    ) {
        let partial = self.partial(stream);
        while !bytes.is_empty() {
            if partial.text.is_empty() {
                partial.at_ns = at_ns;
            }
            let room = limits::LOG_LINE_BYTES_MAX - partial.text.len();
            let window = &bytes[..bytes.len().min(room)];
            let (taken, complete) = match window.iter().position(|byte| *byte == b'\n') {
                Some(newline) => (newline + 1, true),
                None => (window.len(), window.len() == room),
            };
            if complete && partial.text.is_empty() {
                emit(stream, at_ns, &bytes[..taken]);
            } else {
                partial.text.extend_from_slice(&bytes[..taken]);
                if complete {
                    emit(stream, partial.at_ns, &partial.text);
                    partial.text.clear();
                }
            }
            bytes = &bytes[taken..];
        }
    }

    /// Gives up waiting: every unfinished line is handed out as it is.
    pub(crate) fn flush(&mut self, mut emit: impl FnMut(OutputStream, u64, &[u8])) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let partial = self.partial(stream);
            if !partial.text.is_empty() {
                emit(stream, partial.at_ns, &partial.text);
                partial.text.clear();
            }
        }
    }

    /// Whether no line is unfinished.
    pub(crate) fn is_empty(&self) -> bool {
        self.stdout.text.is_empty() && self.stderr.text.is_empty()
    }

    fn partial(&mut self, stream: OutputStream) -> &mut Partial {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, text: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        lines.push(OutputStream::Stdout, 7, text, |_, _, line| {
            seen.push(String::from_utf8_lossy(line).into_owned());
        });
        seen
    }

    #[test]
    fn lines_end_at_newlines_and_unfinished_ones_wait() {
        let mut lines = Lines::default();
        assert_eq!(feed(&mut lines, b"one\ntwo\nthr"), ["one\n", "two\n"]);
        assert!(!lines.is_empty());
        assert_eq!(feed(&mut lines, b"ee\n"), ["three\n"]);
        assert!(lines.is_empty());
        assert_eq!(feed(&mut lines, b"prompt> "), Vec::<String>::new());
        let mut rest = Vec::new();
        lines.flush(|_, _, line| rest.extend_from_slice(line));
        assert_eq!(rest, b"prompt> ");
        assert!(lines.is_empty());
    }

    #[test]
    fn a_line_without_end_is_split_at_16_kib() {
        let mut lines = Lines::default();
        let long = vec![b'x'; 40_000];
        let seen = feed(&mut lines, &long);
        assert_eq!(seen.iter().map(String::len).collect::<Vec<_>>(), [16_384, 16_384]);
        assert_eq!(feed(&mut lines, b"\n").iter().map(String::len).collect::<Vec<_>>(), [7_233]);
    }
}
