//! What is wrong with a Dockerfile, and where: line, column and the words themselves.
//!
//! [`SyntaxError`] is one sentence in the words that Docker's users search for; [`SyntaxError::excerpt`] shows the
//! lines around the place with a mark under the offending words, for people.

use std::fmt::Write as _;

/// A Dockerfile that says nothing, and where it stops doing so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{text}", if *is_bare { String::new() } else { format!("dockerfile parse error on line {line}: ") })]
pub struct SyntaxError {
    /// The first line of the instruction, from 1.
    pub line: usize,
    /// Its last line.
    pub end_line: usize,
    pub text: String,
    /// The words that are wrong, as they stand in the file; empty: the whole instruction.
    pub words: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// About the whole file rather than a line: Docker says it without one.
    pub(crate) is_bare: bool,
}

impl SyntaxError {
    pub(crate) fn new(lines: (usize, usize), text: impl Into<String>) -> Self {
        Self { line: lines.0, end_line: lines.1, text: text.into(), words: String::new(), hint: None, is_bare: false }
    }

    pub(crate) fn words(mut self, words: impl Into<String>) -> Self {
        self.words = words.into();
        self
    }

    pub(crate) fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Line and column, both from 1, of the offending words in `source`.
    pub fn place(&self, source: &str) -> (usize, usize) {
        let lines = source.lines().enumerate().skip(self.line.saturating_sub(1));
        for (index, text) in lines.take_while(|(index, _)| *index < self.end_line.max(self.line)) {
            if let Some(at) = find_word(text, &self.words) {
                return (index + 1, text[..at].chars().count() + 1);
            }
        }
        (self.line.max(1), 1)
    }

    /// The place in `source` for people: the line, and marks under the words.
    pub fn excerpt(&self, name: &str, source: &str) -> String {
        let (line, column) = self.place(source);
        let mut shown = format!("{name}:{line}:{column}\n--------------------\n");
        let first = line.saturating_sub(2).max(1);
        for (number, text) in source.lines().enumerate().map(|(index, text)| (index + 1, text)) {
            if number < first || number > line + 1 {
                continue;
            }
            let mark = if number == line { ">>>" } else { "   " };
            let _ = writeln!(shown, "{number:>4} | {mark} {text}");
            if number == line {
                let start: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let width =
                    if self.words.is_empty() { text.trim().chars().count() } else { self.words.chars().count() };
                let _ = writeln!(shown, "     |     {start}{}", "^".repeat(width.max(1)));
            }
        }
        shown.push_str("--------------------\n");
        if let Some(hint) = &self.hint {
            let _ = writeln!(shown, "hint: {hint}");
        }
        shown
    }
}

// Where `words` stand in a line as words of their own, else as part of one.
fn find_word(line: &str, words: &str) -> Option<usize> {
    if words.is_empty() {
        return line.find(|c: char| !c.is_whitespace());
    }
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let whole = line.match_indices(words).find(|(at, found)| {
        is_edge(line[..*at].chars().next_back()) && is_edge(line[at + found.len()..].chars().next())
    });
    whole.map(|(at, _)| at).or_else(|| line.find(words))
}

/// The known word that somebody may have meant; `None` if none is near.
pub(crate) fn suggest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let typed = typed.to_uppercase();
    let near = known.into_iter().map(|word| (distance(&typed, &word.to_uppercase()), word)).min()?;
    (near.0 <= 2 && near.0 < typed.chars().count()).then_some(near.1)
}

// How many letters must be changed, added, dropped or exchanged with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["COPY", "CMD", "RUN", "FROM"];
        for (typed, expected) in [("CPOY", Some("COPY")), ("FORM", Some("FROM")), ("rnu", Some("RUN")), ("APT", None)] {
            assert_eq!(suggest(typed, known), expected, "{typed}");
        }
    }

    #[test]
    fn the_words_are_marked_where_they_stand() {
        let source = "FROM a\nRUN x\nCOPPY a b\n";
        let error = SyntaxError::new((3, 3), "unknown instruction: COPPY").words("COPPY").hint("did you mean COPY?");
        expect_test::expect![[r"
            Dockerfile:3:1
            --------------------
               1 |     FROM a
               2 |     RUN x
               3 | >>> COPPY a b
                 |     ^^^^^
            --------------------
            hint: did you mean COPY?
        "]]
        .assert_eq(&error.excerpt("Dockerfile", source));
    }
}
