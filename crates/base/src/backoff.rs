//! Waiting for a condition, by a deadline. The only place in the product that sleeps.
//!
//! Use it where the kernel or another program gives no event to wait for.

use std::time::{Duration, Instant};

/// Asks `ready` again and again, with growing pauses (1 ms to 50 ms), until it answers `Some` or `deadline` has passed.
#[expect(clippy::disallowed_methods, reason = "the one place that may sleep")]
pub fn wait_for<T>(deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The pauses of a restart policy: doubling from `first` to `longest`.
#[derive(Debug, Clone)]
pub struct Doubling {
    next: Duration,
    longest: Duration,
}

impl Doubling {
    /// Starts at `first`, never exceeds `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }
}

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        Some(now)
    }
}
