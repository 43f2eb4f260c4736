//! Which objects a prune is about: the filters `label`, `label!` and `until`.

use std::collections::BTreeMap;

use hako_base::clock;
use hako_model::Filters;
use jiff::Timestamp;

use crate::EngineError;

/// The filters of a prune, read.
pub(crate) struct Chosen<'a> {
    filters: &'a Filters,
    until: Option<Timestamp>,
}

impl<'a> Chosen<'a> {
    /// Reads the filters; `more` are those that only this kind of object has.
    ///
    /// # Errors
    /// A key that there is none of, or a time that is none.
    pub(crate) fn parse(filters: &'a Filters, more: &[&str]) -> Result<Self, EngineError> {
        let known = [&["label", "label!", "until"], more].concat();
        if let Some(key) = filters.unknown_key(&known) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        if filters.values("until").count() > 1 {
            return Err(EngineError::invalid("more than one until filter specified"));
        }
        Self::of_list(filters)
    }

    /// The same for a list, which may name several times: an object is meant that is older than all of them.
    pub(crate) fn of_list(filters: &'a Filters) -> Result<Self, EngineError> {
        let times = filters.values("until").map(instant).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { filters, until: times.into_iter().min() })
    }

    /// Whether an object of this age and with these labels is meant.
    pub(crate) fn contains(&self, created: Timestamp, labels: &BTreeMap<String, String>) -> bool {
        let unwanted = self.filters.has("label!") && self.filters.labels("label!", labels);
        self.until.is_none_or(|until| created < until) && self.filters.labels("label", labels) && !unwanted
    }
}

/// A Unix time, an RFC 3339 time, a date, or a Go duration before now (`1h30m`).
fn instant(text: &str) -> Result<Timestamp, EngineError> {
    let bad = || EngineError::invalid(format!("failed to parse value as time or duration: {text:?}"));
    if let Some((seconds, fraction)) = unix_time(text) {
        return Timestamp::new(seconds, fraction).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.trim_end_matches('Z').parse::<jiff::civil::Date>()
        && !text.contains(' ')
    {
        return date.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| bad());
    }
    let age = hako_base::duration::parse_go(text).map_err(|_| bad())?;
    clock::now().checked_sub(jiff::SignedDuration::from_nanos(age)).map_err(|_| bad())
}

/// `1700000000.5`: seconds and nanoseconds, as Go's programs spell them.
fn unix_time(text: &str) -> Option<(i64, i32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds = is_number.then(|| format!("{fraction:0<9}").parse().ok())??;
    Some((seconds.parse().ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_times_or_ages() {
        assert!(
            ["2020-01-01", "2020-01-01Z", "2020-01-01T10:00", "1h30m", "1.5s", "1700000000", "1700000000.25"]
                .iter()
                .all(|text| instant(text).is_ok())
        );
        assert!(
            ["", "never", "5y", "h", "1.", "1e3", "2020-01-01 10:00", "2020-13-45"]
                .iter()
                .all(|text| instant(text).is_err())
        );
    }
}
