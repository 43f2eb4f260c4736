//! Waiting for a condition, by a deadline; the loop itself is the product's.
//!
//! A wait that gives up says what it waited for and what it last saw: that is the message a person debugs with.

use std::{fmt::Debug, time::Duration};

/// How long anything may take before a test calls it broken. Generous: machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until `good` likes what it sees, and returns that.
///
/// # Panics
/// When [`PATIENCE`] is over, with what was seen last.
pub fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, mut good: impl FnMut(&T) -> bool) -> T {
    let mut last = None;
    let found = hako_base::backoff::wait_for(PATIENCE, || {
        let seen = look();
        if good(&seen) {
            return Some(seen);
        }
        last = Some(seen);
        None
    });
    found.unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}; last seen: {last:#?}"))
}

/// Lets time pass where passing time is what the test is about, such as "this must not happen within a second".
pub fn pass(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the one place where a test may let time pass")]
    std::thread::sleep(time);
}
