//! Appends to a `json-file` log and rotates it.
//!
//! Rotation makes each file one older (`compress`) and begins a new one. It happens only
//! before a line is written, and the new length is committed to the ring right after, so recovery
//! can tell what happened: a file shorter than what was committed is one that was just begun.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

use hako_base::clock;
use jiff::Timestamp;

use super::{LogPlan, compress::Shelf};
use crate::view::OutputStream;

/// Where a daemon begins to count rotations: the files that earlier daemons rotated come before it.
pub(crate) const FIRST_GENERATION: u64 = 1 << 32;

/// The open end of a log.
pub(crate) struct LogWriter {
    plan: LogPlan,
    file: Option<File>,
    length: u64,
    /// Grows by one with each rotation.
    generation: u64,
    buffer: Vec<u8>,
    shelf: Shelf,
    /// What is noted with each line, as JSON; empty: nothing.
    attributes: Vec<u8>,
    /// What went wrong since the last flush.
    failure: Option<io::Error>,
}

impl LogWriter {
    /// Opens the log for appending. `committed` is the length that the ring remembers, after a daemon has died:
    /// what was written beyond it is cut off, since it will come again.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn open(
        plan: LogPlan,
        committed: Option<u64>,
        attributes: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let mut log = Self {
            plan,
            file: None,
            length: 0,
            generation: FIRST_GENERATION,
            buffer: Vec::new(),
            shelf: Shelf::new(),
            attributes: noted(attributes),
            failure: None,
        };
        if !log.plan.kept {
            return Ok(log);
        }
        let file = open_append(&log.plan)?;
        log.length = file.metadata()?.len();
        if let Some(committed) = committed {
            // Shorter than committed: the file was begun by a rotation and holds nothing that counts.
            let keep = if committed > log.length { 0 } else { committed };
            if keep != log.length {
                file.set_len(keep)?;
                log.length = keep;
            }
        }
        log.file = Some(file);
        Ok(log)
    }

    /// Adds one line to what [`LogWriter::flush`] writes; begins another file where this one is full.
    pub(crate) fn append(&mut self, stream: OutputStream, at_ns: u64, text: &[u8]) {
        if !self.plan.kept {
            return;
        }
        if self.length + self.buffer.len() as u64 >= self.plan.file_bytes_max {
            let turned = self.write().and_then(|()| self.rotate());
            self.failure = self.failure.take().or(turned.err());
        }
        encode(&mut self.buffer, stream, at_ns, text, &self.attributes);
    }

    /// Writes what was appended.
    ///
    /// # Errors
    /// Those of the file system since the last flush; what could not be written is dropped, so that a full disk stops
    /// the log and not the container.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = self.write();
        self.failure.take().map_or(written, Err)
    }

    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = match self.file.as_mut() {
            Some(file) => file.write_all(&self.buffer),
            None => Ok(()),
        };
        match &written {
            Ok(()) => self.length += self.buffer.len() as u64,
            // A part of a line would hide the next one from every reader.
            Err(_) => {
                if let Some(file) = &self.file {
                    let _ = file.set_len(self.length);
                }
            }
        }
        self.buffer.clear();
        if self.buffer.capacity() > 64 << 10 {
            self.buffer.shrink_to(0);
        }
        written
    }

    /// Takes other limits over; the file that is being written stays.
    pub(crate) fn retune(&mut self, plan: &LogPlan) {
        plan.trim(self.plan.files_max);
        self.plan.file_bytes_max = plan.file_bytes_max;
        self.plan.files_max = plan.files_max;
        self.plan.compress = plan.compress;
    }

    /// Bytes of the newest file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Grows by one with each rotation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.shelf.turn(&self.plan, self.length)?;
        self.file = Some(open_append(&self.plan)?);
        self.length = 0;
        self.generation += 1;
        Ok(())
    }
}

fn open_append(plan: &LogPlan) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(&plan.path)
}

/// `"attrs":{"name":"value"},`
fn noted(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in attributes {
        text.extend_from_slice(if text.is_empty() { b"\"attrs\":{\"" } else { b",\"" });
        escape(&mut text, name);
        text.extend_from_slice(b"\":\"");
        escape(&mut text, value);
        text.push(b'"');
    }
    if !text.is_empty() {
        text.extend_from_slice(b"},");
    }
    text
}

/// `{"log":"text\n","stream":"stdout","time":"2026-11-27T03:28:25.123456789Z"}` and a newline.
fn encode(to: &mut Vec<u8>, stream: OutputStream, at_ns: u64, text: &[u8], attributes: &[u8]) {
    to.extend_from_slice(b"{\"log\":\"");
    escape(to, &String::from_utf8_lossy(text));
    to.extend_from_slice(match stream {
        OutputStream::Stdout => b"\",\"stream\":\"stdout\",".as_slice(),
        OutputStream::Stderr => b"\",\"stream\":\"stderr\",",
    });
    to.extend_from_slice(attributes);
    to.extend_from_slice(b"\"time\":\"");
    let at = Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    to.extend_from_slice(clock::rfc3339_nano(at).as_bytes());
    to.extend_from_slice(b"\"}\n");
}

// As Docker's encoder: what could end a script element is written as an escape.
fn escape(to: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' => to.extend_from_slice(b"\\\""),
            '\\' => to.extend_from_slice(b"\\\\"),
            '\n' => to.extend_from_slice(b"\\n"),
            '\r' => to.extend_from_slice(b"\\r"),
            '\t' => to.extend_from_slice(b"\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                to.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => to.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan(directory: &Path, bytes: u64, files: usize) -> LogPlan {
        LogPlan::json(&directory.join("c-json.log"), bytes, files)
    }

    fn directory() -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("hako-log-{}", hako_base::random::hex(8)));
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    #[test]
    fn a_line_is_what_docker_writes() {
        let mut line = Vec::new();
        encode(&mut line, OutputStream::Stderr, 1_700_000_000_120_000_000, b"a \"b\" <c>\x1b\n", b"");
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"log\":\"a \\\"b\\\" \\u003cc\\u003e\\u001b\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20.12Z\"}\n"
        );
    }

    #[test]
    fn what_is_noted_stands_before_the_time() {
        let mut line = Vec::new();
        let attributes = BTreeMap::from([("a".to_owned(), "b\"".to_owned()), ("tag".to_owned(), "x".to_owned())]);
        encode(&mut line, OutputStream::Stdout, 1_700_000_000_000_000_000, b"x\n", &noted(&attributes));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\\\"\",\"tag\":\"x\"},\"time\":\"2023-11-14T22:13:20Z\"}\n"
        );
    }

    #[test]
    fn a_full_file_is_rotated_and_the_oldest_goes() {
        let directory = directory();
        let mut log = LogWriter::open(plan(&directory, 100, 3), None, &BTreeMap::new()).unwrap();
        for number in 0..5 {
            log.append(OutputStream::Stdout, 0, format!("line {number} {}\n", "x".repeat(60)).as_bytes());
            log.flush().unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["c-json.log", "c-json.log.1", "c-json.log.2"]);
        assert_eq!(log.generation(), FIRST_GENERATION + 4);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_was_not_committed_is_cut_off() {
        let directory = directory();
        let mut log = LogWriter::open(plan(&directory, 1000, 3), None, &BTreeMap::new()).unwrap();
        log.append(OutputStream::Stdout, 0, b"kept\n");
        log.flush().unwrap();
        let committed = log.length();
        log.append(OutputStream::Stdout, 0, b"not committed\n");
        log.flush().unwrap();
        let log = LogWriter::open(plan(&directory, 1000, 3), Some(committed), &BTreeMap::new()).unwrap();
        assert_eq!(log.length(), committed);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
