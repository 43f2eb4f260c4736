//! Progress on a terminal: the steps with their times, drawn over and over in the same place.

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::board::{Board, Step};

/// Lines of output shown below a step that runs.
const TAIL: usize = 6;

/// What is on the terminal now.
#[derive(Default)]
pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// What to write so that the terminal shows the board as it is.
    pub(crate) fn draw(&mut self, board: &Board, now: Timestamp, size: (usize, usize), is_over: bool) -> String {
        let (rows, columns) = size;
        let lines = lines(board, now, rows.saturating_sub(1).max(3), columns, is_over);
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            text.push_str(&format!("\x1b[2K{line}\n"));
        }
        // What was below, when fewer lines are left.
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        text
    }
}

/// The picture: no more than `rows` lines before the end, all of them at the end.
fn lines(board: &Board, now: Timestamp, rows: usize, columns: usize, is_over: bool) -> Vec<String> {
    let (done, all) = board.count();
    let first = board.steps.iter().filter_map(|step| step.started).min();
    let last = board.steps.iter().filter_map(|step| step.completed).max();
    let end = if is_over { last } else { Some(now) };
    let seconds = match (first, end) {
        (Some(first), Some(end)) => end.duration_since(first).as_secs_f64().max(0.0),
        _ => 0.0,
    };
    let has_failed = board.steps.iter().any(|step| !step.error.is_empty());
    let state = if is_over && !has_failed { " FINISHED" } else { "" };
    let mut picture = vec![fit(&format!("[+] Building {seconds:.1}s ({done}/{all}){state}"), "", columns)];
    for step in board.steps.iter().filter(|step| step.started.is_some()) {
        picture.extend(of_step(step, now, columns));
    }
    if !is_over && picture.len() > rows {
        // The oldest go: what runs is at the end.
        let surplus = picture.len() - rows;
        picture.drain(1..=surplus);
    }
    picture
}

fn of_step(step: &Step, now: Timestamp, columns: usize) -> Vec<String> {
    let runs = step.completed.is_none();
    let word = match (step.cached, step.error.as_str()) {
        (true, _) => "CACHED ",
        (false, "") => "",
        (false, _) => "ERROR ",
    };
    let time = |seconds: f64| format!("{seconds:.1}s");
    let mut lines =
        vec![fit(&format!(" => {word}{}", step.name), &time(step.seconds(step.completed.or(Some(now)))), columns)];
    for part in step.parts.iter().filter(|part| part.id != "why") {
        let seconds = match (part.started, part.completed.or(Some(now))) {
            (Some(from), Some(to)) => to.duration_since(from).as_secs_f64().max(0.0),
            _ => 0.0,
        };
        lines.push(fit(&format!(" => => {}{}", part.name, part.amount()), &time(seconds), columns));
    }
    if runs {
        let from = step.lines.len().saturating_sub(TAIL);
        lines.extend(step.lines.iter().skip(from).map(|(_, line)| fit(&format!(" => => # {line}"), "", columns)));
    }
    lines
}

// One line of the terminal: what is too long is cut, the time stands at the right. Characters of East Asia take two cells.
fn fit(text: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(right.width() + 1).max(10);
    let mut left = room;
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = visible
        .map_while(|c| {
            left = left.checked_sub(c.width().unwrap_or(0))?;
            Some(c)
        })
        .collect();
    if right.is_empty() {
        return text;
    }
    format!("{text}{}{right}", " ".repeat(room - text.width() + 1))
}

#[cfg(test)]
mod tests {
    use super::{
        super::board::tests::{log, vertex},
        *,
    };

    #[test]
    fn what_runs_is_drawn_with_its_last_lines() {
        let mut board = Board::default();
        board.update(&vertex("a", "[1/2] FROM x", Some(0), Some(1)));
        board.update(&vertex("b", "[2/2] RUN y", Some(1), None));
        board.update(&log("b", 2, "hi\x1b[2J\n"));
        let now = "2026-01-01T00:00:03Z".parse().unwrap();
        assert_eq!(
            lines(&board, now, 20, 30, false),
            [
                "[+] Building 3.0s (1/2)",
                " => [1/2] FROM x          1.0s",
                " => [2/2] RUN y           2.0s",
                " => => # hi [2J",
            ]
        );
        assert_eq!(lines(&board, now, 3, 30, false).len(), 3);
    }
    #[test]
    fn characters_that_take_two_cells_are_counted_so() {
        assert_eq!(fit("日本語の長い行です", "1.0s", 20), "日本語の長い行  1.0s");
        assert_eq!(fit("日本語の長い行です", "", 12), "日本語の長");
        assert_eq!(fit("ab", "1.0s", 20), "ab              1.0s");
    }
}
