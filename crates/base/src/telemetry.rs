//! How the daemon's own log looks: one line an event, on standard error.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Changes how much is logged, once [`start`] has been called.
static SET: OnceLock<SetLevel> = OnceLock::new();

/// Sends `tracing` events to standard error; `level` is `debug`, `info`, `warn` or `error`.
/// `HAKO_LOG` (the syntax of `tracing_subscriber::EnvFilter`) wins over `level`.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env("HAKO_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_ansi(ansi)
        .with_target(false)
        .with_writer(std::io::stderr)
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
