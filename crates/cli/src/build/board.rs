//! What a build has told so far: its steps in order, how long each took, what it printed last.
//!
//! Both ways of showing it read from here: `plain.rs` prints lines once, `screen.rs` draws again and again.

use std::collections::{HashMap, VecDeque};

use hako_api::build::{BuildLog, BuildNews, BuildStatus, BuildVertex, BuildWarning};
use jiff::Timestamp;

/// Lines of a step that are kept to be shown if it fails.
const LINES_KEPT: usize = 200;

/// All steps.
#[derive(Default)]
pub(crate) struct Board {
    pub steps: Vec<Step>,
    pub warnings: Vec<BuildWarning>,
    by_digest: HashMap<String, usize>,
    numbers: usize,
}

/// One step.
#[derive(Default)]
pub(crate) struct Step {
    /// From 1, in the order in which steps began; 0 before.
    pub number: usize,
    pub name: String,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub cached: bool,
    pub error: String,
    pub parts: Vec<Part>,
    /// Whole lines with the seconds at which they came.
    pub lines: VecDeque<(f64, String)>,
    unfinished: Vec<u8>,
}

/// A part of a step.
#[derive(Default)]
pub(crate) struct Part {
    pub id: String,
    pub name: String,
    pub current: i64,
    pub total: i64,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
}

/// What changed on the board, in order: for those who print each thing once.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Began(usize),
    Part(usize, usize),
    Line(usize, f64, String),
    Ended(usize),
}

fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|text| text.parse().ok())
}

impl Board {
    /// Takes news in.
    pub(crate) fn update(&mut self, news: &BuildNews) -> Vec<Change> {
        let mut changes = Vec::new();
        for vertex in &news.vertexes {
            self.vertex(vertex, &mut changes);
        }
        for status in &news.statuses {
            self.status(status, &mut changes);
        }
        for log in &news.logs {
            self.log(log, &mut changes);
        }
        self.warnings.extend(news.warnings.iter().cloned());
        // What a step printed last and without an end of line is told before its end.
        changes.sort_by_key(|change| matches!(change, Change::Ended(_)));
        changes
    }

    fn vertex(&mut self, vertex: &BuildVertex, changes: &mut Vec<Change>) {
        let at = *self.by_digest.entry(vertex.digest.clone()).or_insert_with(|| {
            self.steps.push(Step::default());
            self.steps.len() - 1
        });
        let step = &mut self.steps[at];
        let was = (step.started.is_some(), step.completed.is_some());
        step.name.clone_from(&vertex.name);
        step.started = time(vertex.started.as_ref()).or(step.started);
        step.completed = time(vertex.completed.as_ref()).or(step.completed);
        step.cached |= vertex.cached;
        step.error.clone_from(&vertex.error);
        if !was.0 && step.started.is_some() {
            self.numbers += 1;
            step.number = self.numbers;
            changes.push(Change::Began(at));
        }
        if !was.1 && step.completed.is_some() {
            if !step.unfinished.is_empty() {
                let rest = std::mem::take(&mut step.unfinished);
                let line = String::from_utf8_lossy(&rest).into_owned();
                let second = step.seconds(step.completed);
                step.lines.push_back((second, line.clone()));
                changes.push(Change::Line(at, second, line));
            }
            changes.push(Change::Ended(at));
        }
    }

    fn status(&mut self, status: &BuildStatus, changes: &mut Vec<Change>) {
        let Some(at) = self.by_digest.get(&status.vertex).copied() else { return };
        let parts = &mut self.steps[at].parts;
        let index = parts.iter().position(|part| part.id == status.id).unwrap_or_else(|| {
            parts.push(Part { id: status.id.clone(), ..Part::default() });
            parts.len() - 1
        });
        let part = &mut parts[index];
        status.name.clone_into(&mut part.name);
        (part.current, part.total) = (status.current, status.total);
        part.started = time(status.started.as_ref()).or(part.started);
        part.completed = time(status.completed.as_ref()).or(part.completed);
        changes.push(Change::Part(at, index));
    }

    fn log(&mut self, log: &BuildLog, changes: &mut Vec<Change>) {
        let Some(at) = self.by_digest.get(&log.vertex).copied() else { return };
        let step = &mut self.steps[at];
        let second = step.seconds(log.timestamp.parse().ok());
        step.unfinished.extend_from_slice(&log.data);
        while let Some(end) = step.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = step.unfinished.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            // Programs that draw over their own line mean the last of it.
            let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
            step.lines.push_back((second, line.clone()));
            if step.lines.len() > LINES_KEPT {
                step.lines.pop_front();
            }
            changes.push(Change::Line(at, second, line));
        }
    }

    /// Steps that ended, and all.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.steps.iter().filter(|step| step.completed.is_some()).count(), self.steps.len())
    }

    /// What the step that failed printed, between rules, as BuildKit's users know it; nothing when none did.
    pub(crate) fn failure(&self) -> String {
        let Some(step) = self.steps.iter().find(|step| !step.error.is_empty() && !step.lines.is_empty()) else {
            return String::new();
        };
        let mut text = format!("------\n > {}:\n", step.name);
        for (second, line) in &step.lines {
            text.push_str(&format!("{second:.3} {line}\n"));
        }
        text.push_str("------\n");
        text
    }

    /// For each step whether it was taken from the cache, or why not.
    pub(crate) fn reasons(&self) -> String {
        let mut text = String::new();
        for step in self.steps.iter().filter(|step| step.completed.is_some() && !step.name.starts_with("[internal]")) {
            let why = step.parts.iter().find(|part| part.id == "why").map(|part| part.name.as_str());
            let why = if step.cached { "cached" } else { why.unwrap_or("done") };
            if !step.name.starts_with("exporting ") {
                text.push_str(&format!("{}\n    {why}\n", step.name));
            }
        }
        text
    }
}

impl Step {
    /// Seconds from its beginning to `at`.
    pub(crate) fn seconds(&self, at: Option<Timestamp>) -> f64 {
        match (self.started, at) {
            (Some(from), Some(at)) => at.duration_since(from).as_secs_f64().max(0.0),
            _ => 0.0,
        }
    }
}

impl Part {
    /// `2.1MB / 3.4MB`, as far as it is known.
    pub(crate) fn amount(&self) -> String {
        use crate::format::size;
        match (self.current, self.total) {
            (0, 0) => String::new(),
            (current, 0) => format!(" {}", size::human(current, 3)),
            (current, total) => format!(" {} / {}", size::human(current, 3), size::human(total, 3)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn vertex(digest: &str, name: &str, started: Option<u32>, completed: Option<u32>) -> BuildNews {
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
        let vertex = BuildVertex {
            digest: digest.to_owned(),
            name: name.to_owned(),
            started: started.map(at),
            completed: completed.map(at),
            ..BuildVertex::default()
        };
        BuildNews { vertexes: vec![vertex], ..BuildNews::default() }
    }

    pub(crate) fn log(digest: &str, second: u32, text: &str) -> BuildNews {
        let log = BuildLog {
            vertex: digest.to_owned(),
            stream: 1,
            data: text.as_bytes().to_vec(),
            timestamp: format!("2026-01-01T00:00:{second:02}Z"),
        };
        BuildNews { logs: vec![log], ..BuildNews::default() }
    }

    #[test]
    fn lines_are_whole_and_the_last_is_told_before_the_end() {
        let mut board = Board::default();
        board.update(&vertex("a", "RUN x", Some(1), None));
        assert_eq!(board.update(&log("a", 2, "one\ntw")), [Change::Line(0, 1.0, "one".to_owned())]);
        assert_eq!(
            board.update(&log("a", 3, "o\n10%\r20%\nend")),
            [Change::Line(0, 2.0, "two".to_owned()), Change::Line(0, 2.0, "20%".to_owned()),]
        );
        assert_eq!(
            board.update(&vertex("a", "RUN x", Some(1), Some(4))),
            [Change::Line(0, 3.0, "end".to_owned()), Change::Ended(0),]
        );
    }
}
