//! What is being done: on a terminal a tree of objects with their states and times, redrawn in place; elsewhere a line
//! for each new state.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use hako_compose::apply::{Event, Phase, Tell};

use crate::{error::CommandError, terminal};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Tree,
    Lines,
    Quiet,
}

/// Shows events on standard error.
#[derive(Clone)]
pub(super) struct Display {
    screen: Arc<Mutex<Screen>>,
}

impl Display {
    /// # Errors
    /// When the flag's value is none of the known ones.
    pub(super) fn new(progress: &str, ansi: &str) -> Result<Self, CommandError> {
        let variable = std::env::var("COMPOSE_PROGRESS").unwrap_or_default();
        let wanted = if progress == "auto" && !variable.is_empty() { variable.as_str() } else { progress };
        let mode = match (wanted, ansi) {
            ("quiet", _) => Mode::Quiet,
            ("plain", _) | ("auto" | "tty", "never") => Mode::Lines,
            ("tty", _) | ("auto", "always") => Mode::Tree,
            ("auto", _) if io::stderr().is_terminal() => Mode::Tree,
            ("auto", _) => Mode::Lines,
            (other, _) => return Err(CommandError::Said(format!("unsupported --progress value {other:?}"))),
        };
        Ok(Self { screen: Arc::new(Mutex::new(Screen { mode, lines: Vec::new(), drawn: 0 })) })
    }

    /// What the work tells its events to.
    pub(super) fn tell(&self) -> Tell {
        let screen = self.screen.clone();
        Arc::new(move |event| {
            let text = screen.lock().unwrap_or_else(PoisonError::into_inner).update(event);
            // Work goes on although nobody watches.
            let _ = io::stderr().write_all(text.as_bytes());
        })
    }

    /// Begins a new tree below the old one.
    pub(super) fn next_tree(&self) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.lines.clear();
        screen.drawn = 0;
    }
}

struct Line {
    event: Event,
    since: Instant,
    took_s: Option<f64>,
}

struct Screen {
    mode: Mode,
    lines: Vec<Line>,
    drawn: usize,
}

impl Screen {
    fn update(&mut self, event: Event) -> String {
        match self.mode {
            Mode::Quiet => String::new(),
            // A line cannot be drawn over: how far something is, is not worth one.
            Mode::Lines if !event.detail.is_empty() => String::new(),
            Mode::Lines => format!(" {} {}  {}\n", event.kind, event.name, event.state),
            Mode::Tree => {
                self.remember(event);
                let (rows, columns) =
                    terminal::size().map_or((24, 80), |(rows, columns)| (rows.into(), columns.into()));
                self.redraw(rows, columns)
            }
        }
    }

    fn remember(&mut self, event: Event) {
        let known = self.lines.iter_mut().find(|line| line.event.kind == event.kind && line.event.name == event.name);
        match known {
            Some(line) => {
                line.took_s = (event.phase != Phase::Working).then(|| line.since.elapsed().as_secs_f64());
                line.event = event;
            }
            None => {
                let took_s = (event.phase != Phase::Working).then_some(0.0);
                self.lines.push(Line { event, since: Instant::now(), took_s });
            }
        }
    }

    // Everything again, from the first line of the tree. What does not fit on the screen cannot be redrawn, so what is
    // done and lies farthest back is left out.
    fn redraw(&mut self, rows: usize, columns: usize) -> String {
        let done = self.lines.iter().filter(|line| line.took_s.is_some()).count();
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        out.push_str(&format!("\x1b[2K[+] Running {done}/{}\n", self.lines.len()));
        let room = rows.saturating_sub(3).max(1);
        let hidden = self.lines.len().saturating_sub(room);
        let width = self.lines.iter().map(|line| line.event.kind.len() + line.event.name.len() + 1).max().unwrap_or(0);
        for line in &self.lines[hidden..] {
            out.push_str(&format!("\x1b[2K{}\n", shown(line, width, columns)));
        }
        self.drawn = self.lines.len() - hidden + 1;
        out
    }
}

fn shown(line: &Line, width: usize, columns: usize) -> String {
    let (sign, colour) = match line.event.phase {
        Phase::Working => ("⠿", "\x1b[36m"),
        Phase::Done => ("✔", "\x1b[32m"),
        Phase::Failed => ("✘", "\x1b[31m"),
    };
    let seconds = line.took_s.unwrap_or_else(|| line.since.elapsed().as_secs_f64());
    let object = format!("{} {}", line.event.kind, line.event.name);
    let time = format!("{seconds:.1}s");
    let room = columns.saturating_sub(width + time.len() + 7);
    let state = [line.event.state.as_str(), &line.event.detail].join(" ");
    let state: String = state.trim_end().chars().take(room).collect();
    format!(" {colour}{sign}\x1b[0m {object:width$}  {colour}{state:room$}\x1b[0m {time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, state: &str, phase: Phase) -> Event {
        Event { kind: "Container", name: name.to_owned(), state: state.to_owned(), detail: String::new(), phase }
    }

    #[test]
    fn without_a_terminal_each_state_is_a_line() {
        let mut screen = Screen { mode: Mode::Lines, lines: Vec::new(), drawn: 0 };
        assert_eq!(screen.update(event("p-web-1", "Creating", Phase::Working)), " Container p-web-1  Creating\n");
    }

    #[test]
    fn a_tree_is_drawn_over_itself() {
        let mut screen = Screen { mode: Mode::Tree, lines: Vec::new(), drawn: 0 };
        screen.remember(event("a", "Creating", Phase::Working));
        let first = screen.redraw(24, 60);
        assert!(first.starts_with("\x1b[2K[+] Running 0/1\n"), "{first:?}");
        screen.remember(event("a", "Created", Phase::Done));
        let second = screen.redraw(24, 60);
        assert!(second.starts_with("\x1b[2A\x1b[2K[+] Running 1/1\n") && second.contains("✔"), "{second:?}");
    }

    #[test]
    fn a_tree_higher_than_the_screen_shows_its_end() {
        let mut screen = Screen { mode: Mode::Tree, lines: Vec::new(), drawn: 0 };
        (0..50).for_each(|at| screen.remember(event(&format!("c{at}"), "Creating", Phase::Working)));
        let text = screen.redraw(10, 80);
        assert!(text.contains("c49") && !text.contains("c42 "), "{text}");
        assert_eq!(screen.drawn, 8);
    }
}
