//! What the answers mean: healthy at once, unhealthy after so many failures, starting until either. Pure.

use hako_base::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::check::Check;

/// Results kept for `inspect` (Docker's).
const LOG_MAX: usize = 5;

/// How well a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Health {
    /// Docker's word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// 0: well; 1 and others: not; −1: it took too long.
    pub(crate) exit_code: i32,
    pub(crate) output: String,
}

/// What is known so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HealthRecord {
    pub(crate) status: Health,
    pub(crate) failing_streak: u32,
    /// The last looks, oldest first.
    pub(crate) log: Vec<Probe>,
}

impl HealthRecord {
    /// Takes one look into account. A failure within the start period of a container that has not been well yet does
    /// not count, as Docker documents it.
    pub(crate) fn note(&mut self, check: &Check, started: Option<Timestamp>, probe: Probe) {
        if probe.exit_code == 0 {
            self.status = Health::Healthy;
            self.failing_streak = 0;
        } else {
            let age = started.map_or(0, |started| clock::now().duration_since(started).as_nanos());
            let forgiven = self.status == Health::Starting
                && u128::try_from(age).is_ok_and(|age| age < check.start_period.as_nanos());
            if !forgiven {
                self.failing_streak += 1;
                if self.failing_streak >= check.retries {
                    self.status = Health::Unhealthy;
                }
            }
        }
        if self.log.len() >= LOG_MAX {
            self.log.drain(..=self.log.len() - LOG_MAX);
        }
        self.log.push(probe);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hako_model::{HealthSpec, ImageConfig};

    use super::*;

    fn story(start_period: Duration, exit_codes: &[i32]) -> String {
        let spec = HealthSpec {
            test: vec!["CMD".to_owned(), "x".to_owned()],
            retries: 2,
            start_period_ns: i64::try_from(start_period.as_nanos()).unwrap(),
            ..HealthSpec::default()
        };
        let check = Check::parse(&spec, &ImageConfig::default()).unwrap().unwrap();
        let mut record = HealthRecord::default();
        let now = clock::now();
        let words = exit_codes.iter().map(|exit_code| {
            let probe = Probe { start: now, end: now, exit_code: *exit_code, output: String::new() };
            record.note(&check, Some(now), probe);
            format!("{}/{}/{}", record.status.name(), record.failing_streak, record.log.len())
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn failures_in_a_row_make_unhealthy_and_one_success_makes_healthy() {
        assert_eq!(
            story(Duration::ZERO, &[1, 1, 1, 0, -1, 0, 0]),
            "starting/1/1 unhealthy/2/2 unhealthy/3/3 healthy/0/4 healthy/1/5 healthy/0/5 healthy/0/5"
        );
    }

    #[test]
    fn failures_while_it_starts_up_do_not_count() {
        assert_eq!(
            story(Duration::from_secs(600), &[1, 1, 1, 0, 1, 1]),
            "starting/0/1 starting/0/2 starting/0/3 healthy/0/4 healthy/1/5 unhealthy/2/5"
        );
    }
}
