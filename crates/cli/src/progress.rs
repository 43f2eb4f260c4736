//! What takes long: a line for each layer with a bar, redrawn in place on a terminal, and plain
//! lines, one for each new state, where there is none.

use std::io::{self, IsTerminal, Write};

use hako_api::progress::{ProgressDetail, ProgressMessage};
use hako_client::JsonStream;

use crate::{error::CommandError, format::size, terminal};

const BAR_WIDTH: usize = 50;
/// Below this a bar leaves no room for its numbers.
const BAR_COLUMNS_MIN: usize = 110;

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Stdout,
    Stderr,
    Nowhere,
}

/// Shows a stream of progress to its end.
///
/// # Errors
/// When the stream ends with an error, or breaks off.
pub(crate) async fn show(mut stream: JsonStream<ProgressMessage>, place: Place) -> Result<(), CommandError> {
    let is_terminal = match place {
        Place::Stdout => io::stdout().is_terminal(),
        Place::Stderr => io::stderr().is_terminal(),
        Place::Nowhere => false,
    };
    let columns = terminal::size().map_or(80, |(_, columns)| usize::from(columns));
    let mut screen = Screen { lines: Vec::new(), is_terminal, columns };
    while let Some(message) = stream.next().await? {
        if let Some(error) = message.error_text() {
            return Err(CommandError::Said(error.to_owned()));
        }
        let text = screen.update(&message);
        match place {
            Place::Stdout => io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output)?,
            Place::Stderr => io::stderr().write_all(text.as_bytes()).map_err(CommandError::Output)?,
            Place::Nowhere => {}
        }
    }
    if place == Place::Stdout { io::stdout().flush().map_err(CommandError::Output) } else { Ok(()) }
}

/// The lines shown so far: which id has which.
struct Screen {
    lines: Vec<String>,
    is_terminal: bool,
    columns: usize,
}

impl Screen {
    /// What to write so that the message is shown.
    fn update(&mut self, message: &ProgressMessage) -> String {
        if !message.stream.is_empty() {
            return message.stream.clone();
        }
        let detail = message.progress_detail.as_ref().filter(|detail| detail.current > 0 || detail.total > 0);
        if !self.is_terminal {
            // Without a terminal a bar that moves would be a line for each of its steps.
            return match (detail, message.status.as_str()) {
                (Some(_), _) | (None, "") => String::new(),
                (None, status) if message.id.is_empty() => format!("{status}\n"),
                (None, status) => format!("{}: {status}\n", message.id),
            };
        }
        let bar = detail.map(|detail| bar(detail, self.columns)).unwrap_or_default();
        let gap = if bar.is_empty() { "" } else { " " };
        if message.id.is_empty() {
            self.lines.clear();
            return format!("{}{gap}{bar}\n", message.status);
        }
        let line = format!("{}: {}{gap}{bar}", message.id, message.status);
        match self.lines.iter().position(|id| *id == message.id) {
            Some(at) => {
                let up = self.lines.len() - at;
                // Up, clear the line, write, and down again.
                format!("\x1b[{up}A\x1b[2K\r{line}\r\x1b[{up}B")
            }
            None => {
                self.lines.push(message.id.clone());
                format!("{line}\n")
            }
        }
    }
}

fn bar(detail: &ProgressDetail, columns: usize) -> String {
    let (current, total) = (detail.current, detail.total.max(0));
    let count = |value: i64| match detail.units.as_str() {
        "" => size::human(value, 4),
        units => format!("{value} {units}"),
    };
    if total == 0 {
        return format!("{:>8}", count(current));
    }
    let done = (current.min(total).max(0) as u128 * BAR_WIDTH as u128 / total as u128) as usize;
    let numbers = if detail.hidecounts { String::new() } else { format!(" {:>8}/{}", count(current), count(total)) };
    if columns < BAR_COLUMNS_MIN {
        return numbers.trim_start().to_owned();
    }
    let arrow = if done < BAR_WIDTH { ">" } else { "" };
    let rest = BAR_WIDTH - done - arrow.len();
    format!("[{}{arrow}{}]{numbers}", "=".repeat(done), " ".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, status: &str, current: i64, total: i64) -> ProgressMessage {
        ProgressMessage {
            id: id.to_owned(),
            status: status.to_owned(),
            progress_detail: Some(ProgressDetail { current, total, ..ProgressDetail::default() }),
            ..ProgressMessage::default()
        }
    }

    #[test]
    fn a_terminal_gets_a_line_for_each_layer() {
        let mut screen = Screen { lines: Vec::new(), is_terminal: true, columns: 120 };
        assert_eq!(screen.update(&message("", "Pulling from library/x", 0, 0)), "Pulling from library/x\n");
        assert_eq!(screen.update(&message("a1", "Waiting", 0, 0)), "a1: Waiting\n");
        assert_eq!(screen.update(&message("b2", "Waiting", 0, 0)), "b2: Waiting\n");
        let bar = "[=========================>                        ]     500B/1kB";
        let expected = format!("\x1b[2A\x1b[2K\ra1: Downloading {bar}\r\x1b[2B");
        assert_eq!(screen.update(&message("a1", "Downloading", 500, 1000)), expected);
    }

    #[test]
    fn a_file_gets_a_line_for_each_state() {
        let mut screen = Screen { lines: Vec::new(), is_terminal: false, columns: 80 };
        assert_eq!(screen.update(&message("a1", "Downloading", 500, 1000)), "");
        assert_eq!(screen.update(&message("a1", "Pull complete", 0, 0)), "a1: Pull complete\n");
        let loaded = ProgressMessage { stream: "Loaded image: x\n".to_owned(), ..ProgressMessage::default() };
        assert_eq!(screen.update(&loaded), "Loaded image: x\n");
    }
}
