//! What a command printed, as a test compares it: ids and times replaced, output and exit status in one text.

use std::{collections::BTreeMap, fmt, process::Output};

/// What a command line printed and how it ended.
#[derive(Debug, Clone)]
pub struct Shown {
    line: String,
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shown {
    pub(crate) fn new(line: &str, output: &Output) -> Self {
        // A shell reports a command killed by a signal as 128 + its number; so do we.
        let signal = || std::os::unix::process::ExitStatusExt::signal(&output.status).map(|signal| 128 + signal);
        Self {
            line: line.to_owned(),
            code: output.status.code().or_else(signal).unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands exit status 0.
    #[track_caller]
    pub fn success(&self) -> &Self {
        self.code(0)
    }

    /// Demands this exit status.
    #[track_caller]
    pub fn code(&self, expected: i32) -> &Self {
        assert!(self.code == expected, "`{}` should have ended with {expected}\n{self}", self.line);
        self
    }

    /// Demands that standard output or standard error contains `text`.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "`{}` should say {text:?}\n{self}",
            self.line
        );
        self
    }

    /// Demands the opposite of [`Shown::says`].
    #[track_caller]
    pub fn says_not(&self, text: &str) -> &Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!said, "`{}` should not say {text:?}\n{self}", self.line);
        self
    }

    /// Demands exactly this, ids and times replaced as [`normalised`] does.
    #[track_caller]
    pub fn shows(&self, expected: expect_test::Expect) -> &Self {
        expected.assert_eq(&self.to_string());
        self
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as it came.
    pub fn stdout(&self) -> &str {
        &self.stdout
    }

    /// Standard error as it came.
    pub fn stderr(&self) -> &str {
        &self.stderr
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}` should print JSON: {error}\n{self}", self.line))
    }
}

/// Standard output, then `! ` and standard error line by line, then the exit status unless it is 0.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.stdout.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for line in self.stderr.lines() {
            text.push_str("! ");
            text.push_str(line);
            text.push('\n');
        }
        if self.code != 0 {
            text.push_str(&format!("exit {}\n", self.code));
        }
        f.write_str(&normalised(&text))
    }
}

/// Replaces what differs from run to run: ids by `<id1>`, `<id2>` … (12 and 64 digits of the same id by the same
/// name), times by `<time>` and ages by `<ago>`; blanks at the ends of lines go.
pub fn normalised(text: &str) -> String {
    let mut names = BTreeMap::new();
    let mut lines = Vec::new();
    for line in text.replace('\r', "").lines() {
        let line = without_ages(&without_times(&without_ids(line, &mut names)));
        lines.push(line.trim_end().to_owned());
    }
    let mut normal = lines.join("\n");
    if text.ends_with('\n') {
        normal.push('\n');
    }
    normal
}

fn without_ids(line: &str, names: &mut BTreeMap<String, usize>) -> String {
    let mut normal = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !matches!(c, '0'..='9' | 'a'..='f')).unwrap_or(rest.len());
        let after_word = normal.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let before_word = rest[digits..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_');
        if matches!(digits, 12 | 64)
            && !after_word
            && !before_word
            && rest[..digits].bytes().any(|b| b.is_ascii_alphabetic())
        {
            let next = names.len() + 1;
            let number = *names.entry(rest[..12].to_owned()).or_insert(next);
            normal.push_str(&format!("<id{number}>"));
            rest = &rest[digits..];
        } else {
            let step = digits.max(rest.chars().next().map_or(0, char::len_utf8));
            normal.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    normal
}

/// `2026-11-27T03:28:25.123456789Z` and the same with an offset.
fn without_times(line: &str) -> String {
    line.split(' ')
        .map(|word| {
            let bytes = word.as_bytes();
            let is_time = bytes.len() >= 20
                && bytes[..4].iter().all(u8::is_ascii_digit)
                && bytes[4] == b'-'
                && bytes[10] == b'T'
                && bytes[13] == b':';
            if is_time { "<time>" } else { word }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// `3 seconds ago`, `Less than a second ago`, `About a minute ago`, and `Up 3 seconds`.
fn without_ages(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut normal: Vec<String> = Vec::new();
    let is_unit = |word: &str| matches!(word.trim_end_matches('s'), "second" | "minute" | "hour" | "day");
    let mut at = 0;
    while at < words.len() {
        let span = [
            (&["Less", "than", "a", "second"][..], 4),
            (&["About", "a", "minute"][..], 3),
            (&["About", "an", "hour"][..], 3),
        ]
        .iter()
        .find(|(phrase, _)| words[at..].starts_with(phrase))
        .map(|(_, length)| *length)
        .or_else(|| {
            let is_age = words[at].parse::<u32>().is_ok() && words.get(at + 1).is_some_and(|word| is_unit(word));
            is_age.then_some(2)
        });
        match span {
            Some(length) => {
                normal.push("<age>".to_owned());
                at += length;
            }
            None => {
                normal.push(words[at].to_owned());
                at += 1;
            }
        }
    }
    squeezed(&normal.join(" "))
}

/// The padding of a column depends on the width of what was replaced: three blanks or more become three.
fn squeezed(line: &str) -> String {
    let mut normal = String::new();
    let mut blanks = 0;
    for character in line.chars() {
        blanks = if character == ' ' { blanks + 1 } else { 0 };
        if blanks <= 3 {
            normal.push(character);
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_named_in_order_and_short_ones_with_long_ones() {
        let long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(normalised(&format!("{long}\nffff00000001 0123456789ab\n")), "<id1>\n<id2> <id1>\n");
        assert_eq!(normalised("123456789012 deadbeef"), "123456789012 deadbeef");
    }

    #[test]
    fn times_and_ages_are_replaced() {
        assert_eq!(normalised("2026-11-27T03:28:25.1Z up"), "<time> up");
        assert_eq!(normalised("Up 3 seconds  x"), "Up <age>  x");
        assert_eq!(normalised("Exited (0) Less than a second ago"), "Exited (0) <age> ago");
    }
}
