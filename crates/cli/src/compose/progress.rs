//! What is being done: on a terminal a tree of objects with their states and times, redrawn in place; elsewhere a line
//! for each new state.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hako_compose::{
    apply::{Event, Phase, Tell},
    project::Project,
};

use crate::{context::Context, error::CommandError, terminal};

/// How often a tree is drawn again while something is being done.
const TICK: Duration = Duration::from_millis(100);

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Tree,
    Lines,
    Quiet,
}

/// Shows events on standard error, or where `COMPOSE_STATUS_STDOUT` wants them.
#[derive(Clone)]
pub(super) struct Display {
    screen: Arc<Mutex<Screen>>,
    to_stdout: bool,
}

impl Display {
    /// # Errors
    /// When the flag's value is none of the known ones.
    pub(super) fn new(cx: &Context, project: &Project) -> Result<Self, CommandError> {
        let chosen = |flag: &'static str, given: &str| match given {
            "auto" => project.setting(flag).unwrap_or("auto").to_owned(),
            given => given.to_owned(),
        };
        let progress = chosen("COMPOSE_PROGRESS", &cx.compose.progress);
        let ansi = chosen("COMPOSE_ANSI", &cx.compose.ansi);
        if !matches!(ansi.as_str(), "auto" | "never" | "always") {
            return Err(CommandError::Said(format!(
                "unsupported --ansi value {ansi:?}; never, always and auto are known"
            )));
        }
        let to_stdout = project.is_set("COMPOSE_STATUS_STDOUT");
        let is_terminal = if to_stdout { io::stdout().is_terminal() } else { io::stderr().is_terminal() };
        let mode = match (progress.as_str(), ansi.as_str()) {
            ("quiet", _) => Mode::Quiet,
            ("plain", _) | ("auto" | "tty", "never") => Mode::Lines,
            ("tty", _) | ("auto", "always") => Mode::Tree,
            ("auto", _) if is_terminal => Mode::Tree,
            ("auto", _) => Mode::Lines,
            (other, _) => return Err(CommandError::Said(format!("unsupported --progress value {other:?}"))),
        };
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Screen { mode, colours, lines: Vec::new(), drawn: 0, hidden: false };
        let display = Self { screen: Arc::new(Mutex::new(screen)), to_stdout };
        if mode == Mode::Tree {
            display.keep_drawing();
        }
        Ok(display)
    }

    // Times go on although nothing happens, until nobody holds the screen any more.
    fn keep_drawing(&self) {
        let (screen, to_stdout) = (Arc::downgrade(&self.screen), self.to_stdout);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                let Some(screen) = screen.upgrade() else { return };
                let text = screen.lock().unwrap_or_else(PoisonError::into_inner).tick();
                show(&text, to_stdout);
            }
        });
    }

    /// What the work tells its events to.
    pub(super) fn tell(&self) -> Tell {
        let (screen, to_stdout) = (self.screen.clone(), self.to_stdout);
        Arc::new(move |event| {
            let text = screen.lock().unwrap_or_else(PoisonError::into_inner).update(event);
            show(&text, to_stdout);
        })
    }

    /// Shows nothing until the next tree: the lines of containers have the screen.
    pub(super) fn hide(&self) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).hidden = true;
    }

    /// A line for each new state from here on: a tree cannot be drawn over while others write on the screen.
    pub(super) fn go_on_in_lines(&self) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.hidden = false;
        if screen.mode == Mode::Tree {
            screen.mode = Mode::Lines;
            screen.lines.clear();
            screen.drawn = 0;
        }
    }

    /// Begins a new tree below the old one.
    pub(super) fn next_tree(&self) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.lines.clear();
        screen.drawn = 0;
        screen.hidden = false;
    }
}

fn show(text: &str, to_stdout: bool) {
    // Work goes on although nobody watches.
    let _ = match to_stdout {
        true => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()),
        false => io::stderr().write_all(text.as_bytes()),
    };
}

struct Line {
    event: Event,
    since: Instant,
    took_s: Option<f64>,
}

struct Screen {
    mode: Mode,
    colours: bool,
    lines: Vec<Line>,
    drawn: usize,
    hidden: bool,
}

impl Screen {
    fn update(&mut self, event: Event) -> String {
        match self.mode {
            Mode::Quiet => String::new(),
            _ if self.hidden && event.phase != Phase::Failed => String::new(),
            // A line cannot be drawn over: how far something is, is not worth one.
            Mode::Lines if !event.detail.is_empty() => String::new(),
            Mode::Lines => format!(" {} {}  {}\n", event.kind, event.name, event.state),
            Mode::Tree => {
                self.remember(event);
                self.redraw_to_fit()
            }
        }
    }

    // Nothing where all is done, or where there is no tree.
    fn tick(&mut self) -> String {
        let works = self.lines.iter().any(|line| line.took_s.is_none());
        if works && self.drawn > 0 && !self.hidden { self.redraw_to_fit() } else { String::new() }
    }

    fn redraw_to_fit(&mut self) -> String {
        let (rows, columns) = terminal::size().map_or((24, 80), |(rows, columns)| (rows.into(), columns.into()));
        self.redraw(rows, columns)
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
            out.push_str(&format!("\x1b[2K{}\n", shown(line, width, columns, self.colours)));
        }
        self.drawn = self.lines.len() - hidden + 1;
        out
    }
}

// Never wider than the screen: a line that wraps cannot be drawn over.
fn shown(line: &Line, width: usize, columns: usize, colours: bool) -> String {
    let (sign, colour) = match line.event.phase {
        Phase::Working => ("⠿", "\x1b[36m"),
        Phase::Done => ("✔", "\x1b[32m"),
        Phase::Failed => ("✘", "\x1b[31m"),
    };
    let (colour, plain) = if colours { (colour, "\x1b[0m") } else { ("", "") };
    let room = columns.saturating_sub(1);
    let width = width.min(room.saturating_sub(BLANKS));
    let object: String = format!("{} {}", line.event.kind, line.event.name).chars().take(width).collect();
    let seconds = line.took_s.unwrap_or_else(|| line.since.elapsed().as_secs_f64());
    let time = format!(" {seconds:.1}s");
    let rest = room.saturating_sub(width + BLANKS);
    let (room, time) = match rest.checked_sub(time.len()) {
        Some(left) if left >= STATE_WIDTH_MIN => (left, time),
        _ => (rest, String::new()),
    };
    let state = [line.event.state.as_str(), &line.event.detail].join(" ");
    let state: String = state.trim_end().chars().take(room).collect();
    format!(" {colour}{sign}{plain} {object:width$}  {colour}{state:room$}{plain}{time}")
}

/// The sign and what stands between it, the object and the state.
const BLANKS: usize = 5;
/// With less room a line shows no time.
const STATE_WIDTH_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, state: &str, phase: Phase) -> Event {
        Event { kind: "Container", name: name.to_owned(), state: state.to_owned(), detail: String::new(), phase }
    }

    #[test]
    fn without_a_terminal_each_state_is_a_line() {
        let mut screen = Screen { mode: Mode::Lines, colours: true, lines: Vec::new(), drawn: 0, hidden: false };
        assert_eq!(screen.update(event("p-web-1", "Creating", Phase::Working)), " Container p-web-1  Creating\n");
    }

    #[test]
    fn a_tree_is_drawn_over_itself() {
        let mut screen = Screen { mode: Mode::Tree, colours: true, lines: Vec::new(), drawn: 0, hidden: false };
        screen.remember(event("a", "Creating", Phase::Working));
        let first = screen.redraw(24, 60);
        assert!(first.starts_with("\x1b[2K[+] Running 0/1\n"), "{first:?}");
        screen.remember(event("a", "Created", Phase::Done));
        let second = screen.redraw(24, 60);
        assert!(second.starts_with("\x1b[2A\x1b[2K[+] Running 1/1\n") && second.contains("✔"), "{second:?}");
    }

    #[test]
    fn only_what_is_not_done_is_drawn_again() {
        let mut screen = Screen { mode: Mode::Tree, colours: true, lines: Vec::new(), drawn: 0, hidden: false };
        assert_eq!(screen.tick(), "");
        screen.update(event("a", "Creating", Phase::Working));
        assert!(screen.tick().contains("Creating"));
        screen.hidden = true;
        assert_eq!(
            (screen.tick(), screen.update(event("b", "Creating", Phase::Working))),
            (String::new(), String::new())
        );
        screen.hidden = false;
        screen.update(event("a", "Created", Phase::Done));
        assert_eq!(screen.tick(), "");
    }

    #[test]
    fn a_tree_higher_than_the_screen_shows_its_end() {
        let mut screen = Screen { mode: Mode::Tree, colours: true, lines: Vec::new(), drawn: 0, hidden: false };
        (0..50).for_each(|at| screen.remember(event(&format!("c{at}"), "Creating", Phase::Working)));
        let text = screen.redraw(10, 80);
        assert!(text.contains("c49") && !text.contains("c42 "), "{text}");
        assert_eq!(screen.drawn, 8);
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let event = event("application-web-1", "Created", Phase::Done);
        let line = Line { event, since: Instant::now(), took_s: Some(0.1) };
        let shown = |columns| shown(&line, 27, columns, false);
        assert_eq!(shown(60), " ✔ Container application-web-1  Created                0.1s");
        assert_eq!(shown(42), " ✔ Container application-web-1  Created  ");
        assert_eq!(shown(20), " ✔ Container appl  ");
        assert!((1..80).all(|columns| shown(columns).chars().count() <= columns.max(6)));
    }
}
