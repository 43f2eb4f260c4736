//! Waiting for a condition, by a deadline; the loop itself is the product's.
//!
//! A wait that gives up says what it waited for and what it last saw: that is the message a person debugs with.

use std::{fmt::Debug, time::Duration};

/// How long anything may take before a test calls it broken, in seconds. Generous: machines are busy.
const PATIENCE: u64 = 20;

/// [`PATIENCE`], longer by `HAKO_TEST_SLOWNESS` times where the machine is emulated.
pub fn patience() -> Duration {
    let times = std::env::var("HAKO_TEST_SLOWNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u64);
    Duration::from_secs(PATIENCE * times.max(1))
}

/// Looks until `good` likes what it sees, and returns that.
///
/// # Panics
/// When [`patience`] is over, with what was seen last.
pub fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, mut good: impl FnMut(&T) -> bool) -> T {
    let (mut last, patience) = (None, patience());
    let found = hako_base::backoff::wait_for(patience, || {
        let seen = look();
        if good(&seen) {
            return Some(seen);
        }
        last = Some(seen);
        None
    });
    found.unwrap_or_else(|| panic!("waited {patience:?} for {what}; last seen: {last:#?}"))
}

/// Lets time pass where passing time is what the test is about, such as "this must not happen within a second".
pub fn pass(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the one place where a test may let time pass")]
    std::thread::sleep(time);
}
