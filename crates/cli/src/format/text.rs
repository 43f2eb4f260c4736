//! Ids, times and long texts as tables show them.

use jiff::{Timestamp, tz::TimeZone};

/// The first twelve digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// At most `limit` characters, the last of them `…` where something was cut off.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A unix time in the local zone, as Go prints it: `2026-11-27 03:28:25 +0000 UTC`.
pub(crate) fn go_time(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        Err(_) => seconds.to_string(),
    }
}

/// A time of the API in the form that Go prints, with its fraction of a second.
pub(crate) fn go_time_exact(rfc3339: &str) -> String {
    let Ok(at) = rfc3339.parse::<Timestamp>() else { return rfc3339.to_owned() };
    let at = at.to_zoned(TimeZone::UTC);
    let fraction = match at.subsec_nanosecond() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    format!("{}{fraction} +0000 UTC", at.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_things_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
        assert_eq!(ellipsis("/bin/sh -c 'while true'", 20), "/bin/sh -c 'while t…");
        assert_eq!(ellipsis("short", 20), "short");
    }
}
