//! What a command ends with when it does not end well: a message, a hint, an exit code.
//!
//! This is the one place where a kind of error becomes an exit code. Docker's codes: 1 for what
//! the daemon refused, 125 for a command line or a `run` that failed before the container's own
//! process could, 126 and 127 for a process that could not be started, else the process's own.

use std::{io, process::ExitCode};

use hako_client::ClientError;

use crate::format::template::FormatError;

/// Everything a command can end with but success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The words on the command line make no sense together.
    #[error("{message}")]
    Usage { message: String, hint: Option<String>, code: u8 },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Something here went wrong; the sentence is complete.
    #[error("{0}")]
    Said(String),
    /// Some of several names failed; one line each.
    #[error("{}", .0.join("\n"))]
    Several(Vec<String>),
    #[error("cannot {action}")]
    Local { action: String, source: io::Error },
    /// Nobody reads what is printed.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The exit code is the whole message.
    #[error("exit status {0}")]
    Exit(u8),
}

impl CommandError {
    /// A failure of this machine, in words: `cannot open /x: no such file or directory`.
    pub(crate) fn local(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        |source| Self::Local { action, source }
    }

    /// What the shell gets.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { code, .. } | Self::Exit(code) => *code,
            // As if by SIGPIPE, which is what ends other programs here.
            Self::Output(_) => 141,
            _ => 1,
        }
    }

    /// The message as it is printed, without its hint; nothing where the code says it all.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Exit(_) | Self::Output(_) => None,
            Self::Client(error) => Some(client_message(error)),
            other => Some(hako_base::error::chain(other)),
        }
    }

    /// What the person might do about it.
    pub(crate) fn hint(&self, program: &str) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Client(ClientError::NoSocket { .. } | ClientError::Connect { .. }) if program == "hako" => {
                Some("\"hako daemon\" starts one, as root".to_owned())
            }
            Self::Format(FormatError::Column { meant: Some(name), .. }) => Some(format!("did you mean .{name}?")),
            Self::Client(ClientError::NoPermission { .. }) => {
                Some("only root and the socket's group may use it; try sudo".to_owned())
            }
            _ => None,
        }
    }
}

/// A client's error as docker's CLI words it.
pub(crate) fn client_message(error: &ClientError) -> String {
    match error {
        ClientError::Api { message, .. } => format!("Error response from daemon: {message}"),
        // The sentence that scripts and people know, whether the socket is missing or deaf.
        ClientError::NoSocket { host, .. } | ClientError::Connect { host, .. } => {
            format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")
        }
        other => hako_base::error::chain(other),
    }
}

/// Prints an error the way scripts and people expect it, and gives its exit code.
pub(crate) fn report(program: &str, error: &CommandError) -> ExitCode {
    if let Some(message) = error.message() {
        let (red, plain) = if crate::terminal::colours() { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        let hint = error.hint(program).map(|hint| format!("{red}hint:{plain} {hint}\n")).unwrap_or_default();
        // There is nowhere left to report to when standard error is closed.
        let _ = io::Write::write_all(&mut io::stderr(), format!("{message}\n{hint}").as_bytes());
    }
    ExitCode::from(error.exit_code())
}
