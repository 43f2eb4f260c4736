//! What is wrong with a file: told with the line, as Buildx tells it.

use std::fmt::Write as _;

/// Where something is written: bytes of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: usize,
    pub from: usize,
    pub to: usize,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub name: String,
    pub text: String,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mistake {
    summary: String,
    detail: String,
    place: Option<Place>,
    /// `try` and `can` do not go on after this one.
    pub is_final: bool,
}

impl Mistake {
    pub(crate) fn new(summary: &str, detail: impl Into<String>) -> Self {
        Self { summary: summary.to_owned(), detail: detail.into(), place: None, is_final: false }
    }

    /// The place, unless one is known that is nearer.
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    pub(crate) fn ends_all(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// As it is shown: the lines around it, and the words.
    pub(crate) fn shown(&self, sources: &[Source]) -> String {
        let words = format!("{}; {}", self.summary, self.detail);
        let Some((place, source)) = self.place.and_then(|place| Some((place, sources.get(place.file)?))) else {
            return format!("ERROR: {words}");
        };
        let (line, from) = position(&source.text, place.from);
        let (last, to) = position(&source.text, place.to.max(place.from));
        let until = if last == line { to.to_string() } else { format!("{last},{to}") };
        let mut shown = format!("{}:{line}\n--------------------\n", source.name);
        for (at, text) in source.text.lines().enumerate().skip(line.saturating_sub(3)).take(5.min(line + 2)) {
            let mark = if at + 1 == line { ">>>" } else { "   " };
            let shortened: String = text.chars().take(LINE_CHARS_MAX).collect();
            let _ = writeln!(shown, "{:>4} | {mark} {shortened}", at + 1);
        }
        let _ = write!(shown, "--------------------\nERROR: {}:{line},{from}-{until}: {words}", source.name);
        shown
    }
}

/// So much of a line is shown: a file may be one line.
const LINE_CHARS_MAX: usize = 200;

// Line and column, both from one; columns are characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}
