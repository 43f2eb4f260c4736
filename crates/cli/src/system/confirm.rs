//! The question before something is removed for good.

use std::io::{self, BufRead, Write};

use crate::{context::Context, error::CommandError};

/// Prints `warning` and asks; anything but `y` and `yes` means no.
///
/// # Errors
/// When the question cannot be printed.
pub(crate) fn confirm(cx: &Context, warning: &str) -> Result<bool, CommandError> {
    cx.print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    io::stdout().flush().map_err(CommandError::Output)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::local("read the answer"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
