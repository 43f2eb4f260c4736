//! Progress as lines, each printed once: for files, pipes and logs.

use std::collections::HashMap;

use super::board::{Board, Change};

/// What was printed about parts already.
#[derive(Default)]
pub(crate) struct Plain {
    parts: HashMap<(usize, usize), bool>,
    last: Option<usize>,
}

impl Plain {
    /// The lines for these changes.
    pub(crate) fn lines(&mut self, board: &Board, changes: &[Change]) -> String {
        let mut text = String::new();
        for change in changes {
            let (step, line) = match change {
                Change::Began(at) => (*at, board.steps[*at].name.clone()),
                Change::Line(at, second, line) => (*at, format!("{second:.3} {line}")),
                Change::Part(at, index) => {
                    let part = &board.steps[*at].parts[*index];
                    let is_over = part.completed.is_some();
                    // Once when it begins, once when it ends: a line for each piece would be thousands.
                    let is_news = match self.parts.insert((*at, *index), is_over) {
                        None => true,
                        Some(was_over) => is_over && !was_over,
                    };
                    if !is_news || part.id == "why" {
                        continue;
                    }
                    let done = if is_over { " done" } else { "" };
                    // BuildKit's names are the same for all of a kind.
                    (*at, format!("{}{}{done}", part.id, part.amount()))
                }
                Change::Ended(at) => {
                    let step = &board.steps[*at];
                    let end = match step.error.as_str() {
                        "" if step.cached => "CACHED".to_owned(),
                        "" => format!("DONE {:.1}s", step.seconds(step.completed)),
                        error => format!("ERROR: {error}"),
                    };
                    (*at, end)
                }
            };
            let number = board.steps[step].number;
            if self.last.is_some_and(|last| last != step) {
                text.push('\n');
                if !matches!(change, Change::Began(_)) {
                    text.push_str(&format!("#{number} {}\n", board.steps[step].name));
                }
            }
            self.last = Some(step);
            text.push_str(&format!("#{number} {line}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::board::tests::{log, vertex},
        *,
    };

    #[test]
    fn a_build_is_told_line_by_line() {
        let (mut board, mut plain) = (Board::default(), Plain::default());
        let mut text = String::new();
        for news in [
            vertex("a", "[1/2] FROM x", Some(0), None),
            vertex("a", "[1/2] FROM x", Some(0), Some(1)),
            vertex("b", "[2/2] RUN y", Some(1), None),
            log("b", 2, "hi\n"),
            vertex("b", "[2/2] RUN y", Some(1), Some(3)),
        ] {
            let changes = board.update(&news);
            text += &plain.lines(&board, &changes);
        }
        assert_eq!(text, "#1 [1/2] FROM x\n#1 DONE 1.0s\n\n#2 [2/2] RUN y\n#2 1.000 hi\n#2 DONE 2.0s\n");
    }
}
