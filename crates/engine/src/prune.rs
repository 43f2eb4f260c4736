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
    /// Reads the filters.
    ///
    /// # Errors
    /// A key that there is none of, or a time that is none.
    pub(crate) fn parse(filters: &'a Filters) -> Result<Self, EngineError> {
        if let Some(key) = filters.unknown_key(&["label", "label!", "until", "dangling", "all"]) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
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
    let bad = || EngineError::invalid(format!("invalid filter 'until={text}'"));
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| bad());
    }
    let age = duration(text).ok_or_else(bad)?;
    clock::now().checked_sub(age).map_err(|_| bad())
}

/// Go's durations: numbers with units `h`, `m`, `s`, `ms`, one after another.
fn duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut sum = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        sum += number
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| std::time::Duration::try_from_secs_f64(sum).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_go_reads_them() {
        assert_eq!(duration("1h30m").unwrap().as_secs(), 5400);
        assert_eq!(duration("1.5s").unwrap().as_millis(), 1500);
        for bad in ["", "x", "5", "5y", "h"] {
            assert!(duration(bad).is_none(), "{bad}");
        }
        assert!(instant("2020-01-01").is_ok());
        assert!(instant("never").is_err());
    }
}
