//! The terminal: its size, raw mode, and the promise that it is as it was when the program ends.
//!
//! Raw mode is undone when its guard is dropped, when the program panics (the release build aborts
//! then, so a hook does it) and when a deadly signal is about to end it.

use std::{
    io::{IsTerminal, stderr, stdin, stdout},
    sync::{Mutex, Once, PoisonError},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

// The settings to return to; something only while raw mode is on.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    stdout().is_terminal()
}

/// Whether messages may be coloured: on a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn colours() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows and columns of the terminal on standard output; nothing where there is none.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The columns that help may use.
pub(crate) fn columns_for_help() -> usize {
    let columns = tcgetwinsize(stdin()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { 79 } else { columns - 1 }
}

/// No echo, for as long as this lives: for passwords.
#[derive(Debug)]
pub(crate) struct Hidden(Option<Termios>);

impl Hidden {
    /// Switches the echo off, where there is a terminal.
    pub(crate) fn enter() -> Self {
        let Ok(before) = tcgetattr(stdin()) else { return Self(None) };
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        restore_on_panic();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before.clone());
        let set = tcsetattr(stdin(), OptionalActions::Now, &hidden);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }
}

/// Raw mode, for as long as this lives.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode.
    ///
    /// # Errors
    /// When standard input is no terminal, or refuses.
    pub(crate) fn enter() -> rustix::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        restore_on_panic();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns to the settings from before raw mode; does nothing where there is nothing to undo.
pub(crate) fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The terminal may be gone by now, and then there is nothing to restore.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}
