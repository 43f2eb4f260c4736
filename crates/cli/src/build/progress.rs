//! `--progress`: which way a build is shown, and the task that shows it.

use std::io::{self, IsTerminal, Write};

use hako_api::build::BuildNews;
use hako_base::clock;
use tokio::sync::mpsc;

use super::{
    board::{Board, Change},
    plain::Plain,
    screen::Screen,
};
use crate::{error::CommandError, terminal};

/// How often a terminal is drawn at most.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Auto,
    Plain,
    Terminal,
    Quiet,
    Json,
}

impl Mode {
    /// Reads `--progress`.
    ///
    /// # Errors
    /// A word that is none of them.
    pub(crate) fn parse(text: &str) -> Result<Self, CommandError> {
        Ok(match text {
            "" | "auto" => Self::Auto,
            "plain" => Self::Plain,
            "tty" => Self::Terminal,
            "quiet" | "none" => Self::Quiet,
            "rawjson" => Self::Json,
            other => {
                return Err(CommandError::Said(format!(
                    "invalid progress mode {other:?}: expected auto, plain, tty, quiet or rawjson"
                )));
            }
        })
    }

    fn decided(self) -> Self {
        match self {
            Self::Auto if io::stderr().is_terminal() => Self::Terminal,
            Self::Auto => Self::Plain,
            other => other,
        }
    }
}

/// Shows news until there are no more; answers the board.
pub(crate) async fn show(mut news: mpsc::Receiver<BuildNews>, mode: Mode) -> Board {
    let mode = mode.decided();
    let (mut board, mut plain, mut screen) = (Board::default(), Plain::default(), Screen::default());
    let mut ticks = tokio::time::interval(PAUSE);
    loop {
        tokio::select! {
            message = news.recv() => {
                let Some(message) = message else { break };
                let changes = board.update(&message);
                say(&text_of(mode, &mut plain, &board, &changes, &message));
            }
            _ = ticks.tick(), if mode == Mode::Terminal && !board.steps.is_empty() => {
                say(&screen.draw(&board, clock::now(), size(), false));
            }
        }
    }
    if mode == Mode::Terminal && !board.steps.is_empty() {
        say(&screen.draw(&board, clock::now(), size(), true));
    }
    board
}

fn text_of(mode: Mode, plain: &mut Plain, board: &Board, changes: &[Change], message: &BuildNews) -> String {
    match mode {
        Mode::Plain => plain.lines(board, changes),
        Mode::Json => serde_json::to_string(message).map(|line| line + "\n").unwrap_or_default(),
        Mode::Auto | Mode::Terminal | Mode::Quiet => String::new(),
    }
}

fn size() -> (usize, usize) {
    terminal::size().map_or((24, 80), |(rows, columns)| (usize::from(rows), usize::from(columns)))
}

fn say(text: &str) {
    // A closed standard error is no reason to stop.
    let _ = io::stderr().write_all(text.as_bytes());
}
