//! How the daemon's own log looks: one line an event, on standard error.

mod json; // one object a line

use std::{fmt, str::FromStr, sync::OnceLock};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format},
    registry::LookupSpan,
};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object with `level`, `msg`, `time` and what else is told, as dockerd's.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?}: expected text or json")),
        }
    }
}

struct Lines {
    format: LogFormat,
    text: format::Format,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.format {
            LogFormat::Text => self.text.format_event(context, writer, event),
            LogFormat::Json => json::line(writer, event),
        }
    }
}

type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Changes how much is logged, once [`start`] has been called.
static SET: OnceLock<SetLevel> = OnceLock::new();

/// Sends `tracing` events to standard error; `level` is `debug`, `info`, `warn` or `error`.
/// `HAKO_LOG` (the syntax of `tracing_subscriber::EnvFilter`) wins over `level`.
pub fn start(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env("HAKO_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_ansi(ansi && format == LogFormat::Text)
        .with_writer(std::io::stderr)
        // It would say so on the same stream, and end the process because that fails, too: a full disk is no reason.
        .log_internal_errors(false)
        .event_format(Lines { format, text: format::Format::default().with_target(false) })
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    if builder.try_init().is_err() {
        tracing::debug!("telemetry was started twice");
        return;
    }
    let _ = SET.set(Box::new(move |level| {
        // It fails only when the subscriber is gone, and with it everybody who could hear of it.
        let _ = handle.reload(EnvFilter::new(level));
    }));
}

/// Logs at `level` from now on, unless `HAKO_LOG` says what to log.
pub fn set_level(level: &str) {
    if let (Some(set), None) = (SET.get(), std::env::var_os("HAKO_LOG")) {
        set(level);
    }
}
