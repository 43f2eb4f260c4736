//! Reads a `json-file` log back: the last lines, a span of time, and what comes.
//!
//! A follower remembers (generation, offset). When the writer has rotated, the rest of the file it
//! was reading is found one name further, so nothing is skipped however often it rotates, as long
//! as the follower is not more than all kept files behind.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{LogPlan, compress};
use crate::view::{LogOptions, OutputStream};

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) stream: OutputStream,
    pub(crate) at: Timestamp,
    pub(crate) text: String,
    /// What was noted with it: `name=value,…`, escaped as in a URL.
    pub(crate) attributes: String,
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    time: Timestamp,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) generation: u64,
    pub(crate) offset: u64,
}

impl LogOptions {
    /// Whether a line is wanted, by stream and time.
    pub(crate) fn wants(&self, line: &LogLine) -> bool {
        let stream = match line.stream {
            OutputStream::Stdout => self.stdout,
            OutputStream::Stderr => self.stderr,
        };
        stream && self.since.is_none_or(|since| line.at >= since) && self.until.is_none_or(|until| line.at <= until)
    }
}

/// Reads every line from `place` to the end of the log as it is now, `generation` being the writer's, and says
/// where the end was. `emit` answers whether it wants more.
///
/// # Errors
/// Those of the file system. Files that have been rotated away are passed over, damaged lines too.
pub(crate) fn read_from(
    plan: &LogPlan,
    mut place: Place,
    generation: u64,
    emit: &mut dyn FnMut(LogLine) -> bool,
) -> io::Result<Place> {
    loop {
        let age = generation - place.generation;
        match compress::open(plan, age, place.offset) {
            Ok(file) => match read_file(file, place.offset, emit)? {
                Some(offset) => place.offset = offset,
                None => return Ok(place),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if age == 0 {
            return Ok(place);
        }
        place = Place { generation: place.generation + 1, offset: 0 };
    }
}

/// Reads a file's complete lines from `offset`; `None` when `emit` had enough.
fn read_file(file: impl Read, mut offset: u64, emit: &mut dyn FnMut(LogLine) -> bool) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = reader.read_until(b'\n', &mut text)?;
        if length == 0 || text.last() != Some(&b'\n') {
            return Ok(Some(offset));
        }
        offset += length as u64;
        if let Some(line) = decode(&text)
            && !emit(line)
        {
            return Ok(None);
        }
    }
}

fn decode(text: &[u8]) -> Option<LogLine> {
    let stored: Stored = serde_json::from_slice(text).ok()?;
    let stream = if stored.stream == "stderr" { OutputStream::Stderr } else { OutputStream::Stdout };
    let attributes: Vec<String> =
        stored.attrs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    Some(LogLine { stream, at: stored.time, text: stored.log.into_owned(), attributes: attributes.join(",") })
}

/// As in the query of a URL: what is no letter, digit or one of `-_.~` is `%XX`, a blank is `+`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The oldest place that is still on disk, seen from the writer's `generation`.
pub(crate) fn beginning(plan: &LogPlan, generation: u64) -> Place {
    // Files rotated by an earlier daemon count as generations before this one's first.
    let oldest = (1..plan.files_max as u64)
        .take_while(|age| plan.file(*age).exists() || plan.compressed(*age).exists())
        .last()
        .unwrap_or(0);
    Place { generation: generation - oldest, offset: 0 }
}

/// Where the last `lines` lines begin.
pub(crate) fn last_lines(plan: &LogPlan, generation: u64, lines: usize) -> Place {
    let oldest = beginning(plan, generation).generation;
    let mut missing = lines;
    for age in 0..=generation - oldest {
        let place = |offset| Place { generation: generation - age, offset };
        let found = match File::open(plan.file(age)) {
            Ok(mut file) => offset_of_last(&mut file, missing),
            Err(_) => match offset_in_compressed(plan, age, missing) {
                Ok(found) => Ok(found),
                Err(_) => continue,
            },
        };
        match found {
            Ok((offset, found)) if found == missing => return place(offset),
            Ok((_, found)) => missing -= found,
            Err(error) => {
                tracing::warn!(file = %plan.file(age).display(), %error, "cannot read the log");
                return place(0);
            }
        }
    }
    Place { generation: oldest, offset: 0 }
}

/// The same for a file that can only be read forward: its lines are counted, and then counted off.
fn offset_in_compressed(plan: &LogPlan, age: u64, lines: usize) -> io::Result<(u64, usize)> {
    let all = BufReader::new(compress::open(plan, age, 0)?).split(b'\n').count();
    let mut reader = BufReader::new(compress::open(plan, age, 0)?);
    let (mut offset, mut line) = (0, Vec::new());
    for _ in 0..all.saturating_sub(lines) {
        line.clear();
        offset += reader.read_until(b'\n', &mut line)? as u64;
    }
    Ok((offset, all.min(lines)))
}

/// The offset at which the last `lines` lines of a file begin, and how many of them there are.
fn offset_of_last(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    const BLOCK: u64 = 64 << 10;
    let end = file.seek(SeekFrom::End(0))?;
    let (mut position, mut found) = (end, 0_usize);
    let mut block = vec![0_u8; BLOCK as usize];
    if lines == 0 {
        return Ok((end, 0));
    }
    while position > 0 {
        let length = position.min(BLOCK);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let block = &mut block[..length as usize];
        file.read_exact(block)?;
        for (index, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = position + index as u64 + 1;
            // The newline at the very end closes the last line; each one before it begins another.
            if after == end {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((after, lines));
            }
        }
    }
    Ok((0, if end > 0 { found + 1 } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::write::LogWriter;

    #[test]
    fn a_follower_misses_nothing_when_the_log_is_rotated() {
        let directory = std::env::temp_dir().join(format!("hako-log-{}", hako_base::random::hex(8)));
        std::fs::create_dir(&directory).unwrap();
        let plan = LogPlan::json(&directory.join("c-json.log"), 200, 5);
        let mut log = LogWriter::open(plan.clone(), None, &BTreeMap::new()).unwrap();
        let mut place = beginning(&plan, log.generation());
        let mut seen = Vec::new();
        for number in 0..12 {
            log.append(OutputStream::Stdout, 0, format!("line {number}\n").as_bytes());
            log.flush().unwrap();
            if number % 4 == 3 {
                let emit = &mut |line: LogLine| {
                    seen.push(line.text);
                    true
                };
                place = read_from(&plan, place, log.generation(), emit).unwrap();
            }
        }
        let expected: Vec<String> = (0..12).map(|number| format!("line {number}\n")).collect();
        assert_eq!(seen, expected);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_last_lines_are_found_across_files() {
        last_lines_are_found(false);
    }

    #[test]
    fn the_last_lines_are_found_in_compressed_files() {
        last_lines_are_found(true);
    }

    fn last_lines_are_found(compress: bool) {
        let directory = std::env::temp_dir().join(format!("hako-log-{}", hako_base::random::hex(8)));
        std::fs::create_dir(&directory).unwrap();
        let plan = LogPlan { compress, ..LogPlan::json(&directory.join("c-json.log"), 200, 5) };
        let mut log = LogWriter::open(plan.clone(), None, &BTreeMap::new()).unwrap();
        for number in 0..7 {
            log.append(OutputStream::Stdout, 0, format!("line {number}\n").as_bytes());
            log.flush().unwrap();
            // What is being compressed when the log turns again is left as it is: one after the other here.
            let done = || !(1..5).any(|age| plan.file(age).exists()) || !compress;
            let waited = hako_base::backoff::wait_for(std::time::Duration::from_secs(10), || done().then_some(()));
            assert!(waited.is_some());
        }
        for wanted in [0, 1, 2, 3, 5, 7, 100] {
            let mut seen = 0;
            let place = last_lines(&plan, log.generation(), wanted);
            read_from(&plan, place, log.generation(), &mut |_| {
                seen += 1;
                true
            })
            .unwrap();
            assert_eq!(seen, wanted.min(7));
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
