//! Deadlines for asynchronous waits. Nothing here polls: a timer is one of the events waited for.

use std::time::Duration;

use hako_base::clock;
use jiff::Timestamp;

/// Completes after `duration`.
pub async fn after(duration: Duration) {
    let _ = tokio::time::timeout(duration, std::future::pending::<()>()).await;
}

/// Completes at `instant` of the wall clock; never without one.
pub(crate) async fn at(instant: Option<Timestamp>) {
    match instant {
        Some(instant) => after(Duration::try_from(instant.duration_since(clock::now())).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}
