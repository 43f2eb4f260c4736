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
        let until = filters.values("until").next().map(instant).transpose()?;
        Ok(Self { filters, until })
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
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| bad());
    }
    let age = hako_base::duration::parse_go(text).map_err(|_| bad())?;
    clock::now().checked_sub(jiff::SignedDuration::from_nanos(age)).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_times_or_ages() {
        assert!(["2020-01-01", "1h30m", "1.5s", "1700000000"].iter().all(|text| instant(text).is_ok()));
        assert!(["", "never", "5y", "h"].iter().all(|text| instant(text).is_err()));
    }
}
