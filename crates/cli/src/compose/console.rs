//! Lines of several containers on one console, each with its container's name before it in a colour of its own.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use hako_api::multiplex::{Decoder, Stream};
use hako_client::LogReader;

use crate::error::CommandError;

const COLOURS: [&str; 10] = ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94"];

/// Where lines go.
#[derive(Clone)]
pub(super) struct Console {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    colours: bool,
    prefixes: bool,
    width: usize,
    of: BTreeMap<String, &'static str>,
    /// Lines of standard error go where the others go.
    joined: bool,
}

impl Console {
    /// A console for containers of these names.
    pub(super) fn new(names: &[String], prefixes: bool, no_color: bool, ansi: &str) -> Self {
        let colours = match ansi {
            "never" => false,
            "always" => !no_color,
            _ => !no_color && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()),
        };
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let of = names.iter().zip(COLOURS.iter().cycle()).map(|(name, colour)| (name.clone(), *colour)).collect();
        Self { inner: Arc::new(Mutex::new(Inner { colours, prefixes, width, of, joined: false })) }
    }

    /// Everything to standard output, where a pipe finds it, as docker compose prints logs.
    #[must_use]
    pub(super) fn joined(self) -> Self {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).joined = true;
        self
    }

    /// Prints one line that is about a container.
    ///
    /// # Errors
    /// When nobody reads the output.
    pub(super) fn note(&self, text: &str) -> Result<(), CommandError> {
        let _whole_lines = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(CommandError::Output)
    }

    /// Prints one line of a container.
    ///
    /// # Errors
    /// When nobody reads the output.
    pub(super) fn line(&self, name: &str, stream: Stream, line: &[u8]) -> Result<(), CommandError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = inner.prefix(name).into_bytes();
        bytes.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        let written = match stream {
            Stream::Stderr if !inner.joined => io::stderr().write_all(&bytes),
            _ => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            }
        };
        written.map_err(CommandError::Output)
    }

    /// Copies a log to its end, line by line.
    ///
    /// # Errors
    /// When the connection breaks off or nobody reads the output.
    pub(super) async fn copy(&self, name: &str, mut log: LogReader, tty: bool) -> Result<(), CommandError> {
        let mut decoder = log.multiplexed.unwrap_or(!tty).then(Decoder::default);
        let mut lines = Lines::default();
        while let Some(chunk) = log.body.chunk().await? {
            match &mut decoder {
                None => lines.add(Stream::Stdout, &chunk),
                Some(decoder) => decoder
                    .feed(&chunk, |stream, piece| lines.add(stream, piece))
                    .map_err(|error| CommandError::Said(error.to_string()))?,
            }
            for (stream, line) in lines.whole() {
                self.line(name, stream, &line)?;
            }
        }
        lines.rest().into_iter().try_for_each(|(stream, line)| self.line(name, stream, &line))
    }
}

impl Inner {
    fn prefix(&self, name: &str) -> String {
        if !self.prefixes {
            return String::new();
        }
        let padded = format!("{name:width$}  | ", width = self.width);
        match self.of.get(name) {
            Some(colour) if self.colours => format!("\x1b[{colour}m{padded}\x1b[0m"),
            _ => padded,
        }
    }
}

/// Bytes of two streams put together to lines.
#[derive(Default)]
struct Lines {
    open: BTreeMap<bool, Vec<u8>>,
    done: Vec<(Stream, Vec<u8>)>,
}

/// A longer line is shown in pieces.
const LINE_BYTES_MAX: usize = 64 << 10;

impl Lines {
    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let stream = if stream == Stream::Stderr { Stream::Stderr } else { Stream::Stdout };
        let open = self.open.entry(stream == Stream::Stderr).or_default();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || open.len() > LINE_BYTES_MAX {
                self.done.push((stream, std::mem::take(open)));
            }
        }
    }

    fn whole(&mut self) -> Vec<(Stream, Vec<u8>)> {
        std::mem::take(&mut self.done)
    }

    fn rest(self) -> Vec<(Stream, Vec<u8>)> {
        let stream = |is_error| if is_error { Stream::Stderr } else { Stream::Stdout };
        self.open.into_iter().filter(|(_, line)| !line.is_empty()).map(|(key, line)| (stream(key), line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::default();
        lines.add(Stream::Stdout, b"on");
        lines.add(Stream::Stderr, b"err\n");
        lines.add(Stream::Stdout, b"e\ntwo\nrest");
        let whole: Vec<String> = lines.whole().into_iter().map(|(_, line)| String::from_utf8(line).unwrap()).collect();
        assert_eq!(whole, ["err\n", "one\n", "two\n"]);
        assert_eq!(lines.rest().len(), 1);
    }

    #[test]
    fn names_are_padded_to_the_widest() {
        let console = Console::new(&["a-1".to_owned(), "longer-1".to_owned()], true, true, "auto");
        assert_eq!(console.inner.lock().unwrap().prefix("a-1"), "a-1       | ");
    }
}
