//! Spans of time as Docker's users read and write them.
//!
//! `About a minute ago` in listings, Go's `1m30s` in flags, and the instants of `--since` and
//! `--until`, which may be either a span before now or a date.

use hako_base::duration;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A rounded span: `12 seconds`, `About an hour`, `3 weeks`.
pub(crate) fn human(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, all other units are cut off.
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match seconds {
        i64::MIN..=0 => return "Less than a second".to_owned(),
        1 => return "1 second".to_owned(),
        2..=59 => return format!("{seconds} seconds"),
        _ => {}
    }
    match (minutes, hours) {
        (1, _) => "About a minute".to_owned(),
        (2..=59, _) => format!("{minutes} minutes"),
        (_, 1) => "About an hour".to_owned(),
        (_, 2..=47) => format!("{hours} hours"),
        (_, 48..=335) => format!("{} days", hours / 24),
        (_, 336..=1439) => format!("{} weeks", hours / 24 / 7),
        (_, 1440..=17519) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// `2 hours ago`, counted from a unix time in seconds.
pub(crate) fn ago(then: i64, now: Timestamp) -> String {
    format!("{} ago", human(now.as_second() - then))
}

/// Go's duration syntax, in nanoseconds: `1h2m3.5s`, `-1s`, `0`.
///
/// # Errors
/// In the words of Go's time package.
pub(crate) fn parse_go(text: &str) -> Result<i64, String> {
    duration::parse_go(text).map_err(|error| format!("time: {error} {}", crate::flag::go_quote(text)))
}

/// What `--since` and `--until` mean, as the API takes it: seconds, with nanoseconds behind a dot.
///
/// # Errors
/// When the text is neither a span, nor a date, nor a unix time.
pub(crate) fn parse_instant(text: &str, now: Timestamp, zone: &TimeZone) -> Result<String, String> {
    // 0 is the beginning of time, not a span.
    if text != "0"
        && let Ok(nanos) = parse_go(text)
    {
        let then = now.as_nanosecond() - i128::from(nanos);
        return Ok(then.div_euclid(NANOS_PER_SECOND).to_string());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(unix_text(at.as_nanosecond()));
    }
    // Dates may stop at the day, the hour or the minute; without a zone they are local.
    let padded = match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    if text.contains('-') {
        let civil: DateTime = padded
            .parse()
            .map_err(|_| format!("failed to parse value as time or duration: {}", crate::flag::go_quote(text)))?;
        let at = zone.to_timestamp(civil).map_err(|error| error.to_string())?;
        return Ok(unix_text(at.as_nanosecond()));
    }
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(nanos) || nanos.len() > 9 {
        return Err(format!("failed to parse value as time or duration: {}", crate::flag::go_quote(text)));
    }
    Ok(text.to_owned())
}

fn unix_text(nanos: i128) -> String {
    format!("{}.{:09}", nanos.div_euclid(NANOS_PER_SECOND), nanos.rem_euclid(NANOS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_as_docker_rounds_them() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3_000, "50 minutes"),
            (3_600, "About an hour"),
            (5_399, "About an hour"),
            (5_400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(parse_go(text), expected.map_err(str::to_owned), "{text}");
        };
        check("1m30s", Ok(90_000_000_000));
        check("1.5s", Ok(1_500_000_000));
        check("-1s", Ok(-1_000_000_000));
        check("1us", Ok(1_000));
        check("0", Ok(0));
        check("abc", Err(r#"time: invalid duration "abc""#));
        check("1", Err(r#"time: missing unit in duration "1""#));
        check("1y", Err(r#"time: unknown unit "y" in duration "1y""#));
    }

    #[test]
    fn instants_are_spans_dates_or_unix_times() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let check = |text: &str, expected: &str| {
            let got = parse_instant(text, now, &TimeZone::UTC).unwrap_or_else(|error| error);
            assert_eq!(got, expected, "{text}");
        };
        check("10m", "1699999400");
        check("2013-01-02T13:23:37Z", "1357133017.000000000");
        check("2013-01-02T13:23:37+01:00", "1357129417.000000000");
        check("2013-01-02", "1357084800.000000000");
        check("2013-01-02T13", "1357131600.000000000");
        check("1357133017.5", "1357133017.5");
        check("yesterday", r#"failed to parse value as time or duration: "yesterday""#);
    }
}
