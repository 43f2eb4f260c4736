//! Waiting for a condition, by a deadline. The tools have no dependencies, so this is their own copy of the one loop.

use std::time::{Duration, Instant};

/// Asks `ready` again and again until it answers `Some` or `deadline` has passed.
pub(crate) fn wait_for<T>(deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "the one place where the tools wait")]
        std::thread::sleep(Duration::from_millis(20));
    }
}
