//! How the daemon's own log looks: one line an event, on standard error.

use tracing_subscriber::EnvFilter;

/// Sends `tracing` events to standard error; `level` is `debug`, `info`, `warn` or `error`.
/// `HAKO_LOG` (the syntax of `tracing_subscriber::EnvFilter`) wins over `level`.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env("HAKO_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let done = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_target(false)
        .with_writer(std::io::stderr)
        .try_init();
    if done.is_err() {
        tracing::debug!("telemetry was started twice");
    }
}
