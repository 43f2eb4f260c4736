//! Reads a `json-file` log back: the last lines, a span of time, and what comes.
//!
//! A follower remembers (generation, offset). When the writer has rotated, the rest of the file it
//! was reading is found one name further, so nothing is skipped however often it rotates, as long
//! as the follower is not more than all kept files behind.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use jiff::Timestamp;
use serde::Deserialize;

use super::LogPlan;
use crate::view::{LogOptions, OutputStream};

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) stream: OutputStream,
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    time: Timestamp,
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
        match File::open(plan.file(age)) {
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
fn read_file(mut file: File, mut offset: u64, emit: &mut dyn FnMut(LogLine) -> bool) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(offset))?;
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
    Some(LogLine { stream, at: stored.time, text: stored.log.into_owned() })
}

/// The oldest place that is still on disk, seen from the writer's `generation`.
pub(crate) fn beginning(plan: &LogPlan, generation: u64) -> Place {
    // Files rotated by an earlier daemon count as generations before this one's first.
    let oldest = (1..plan.files_max as u64).take_while(|age| plan.file(*age).exists()).last().unwrap_or(0);
    Place { generation: generation - oldest, offset: 0 }
}

/// Where the last `lines` lines begin.
pub(crate) fn last_lines(plan: &LogPlan, generation: u64, lines: usize) -> Place {
    let oldest = beginning(plan, generation).generation;
    let mut missing = lines;
    for age in 0..=generation - oldest {
        let place = |offset| Place { generation: generation - age, offset };
        let Ok(mut file) = File::open(plan.file(age)) else { continue };
        match offset_of_last(&mut file, missing) {
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
        let plan = LogPlan { path: directory.join("c-json.log"), file_bytes_max: 200, files_max: 5, kept: true };
        let mut log = LogWriter::open(plan.clone(), None).unwrap();
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
        let directory = std::env::temp_dir().join(format!("hako-log-{}", hako_base::random::hex(8)));
        std::fs::create_dir(&directory).unwrap();
        let plan = LogPlan { path: directory.join("c-json.log"), file_bytes_max: 200, files_max: 5, kept: true };
        let mut log = LogWriter::open(plan.clone(), None).unwrap();
        for number in 0..7 {
            log.append(OutputStream::Stdout, 0, format!("line {number}\n").as_bytes());
            log.flush().unwrap();
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
