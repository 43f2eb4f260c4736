//! Ids, times and long texts as tables show them.

use std::cmp::Ordering;

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

/// A unix time in the local zone by RFC 3339: `2026-11-27T06:01:51+01:00`, `Z` for UTC.
pub(crate) fn local_rfc3339(seconds: i64) -> String {
    let Ok(at) = Timestamp::from_second(seconds) else { return seconds.to_string() };
    let at = at.to_zoned(TimeZone::system());
    let offset = if at.offset().seconds() == 0 { "Z".to_owned() } else { at.strftime("%:z").to_string() };
    format!("{}{offset}", at.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// A time of the API as C's `asctime` has it: `Fri Nov 27 03:28:25 2026`.
pub(crate) fn c_time(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// Names in the order in which people count: `net2` before `net10`.
pub(crate) fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    while let (Some(a), Some(b)) = (left.chars().next(), right.chars().next()) {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (a_end, b_end) = (digits(left), digits(right));
        let order = if a_end > 0 && b_end > 0 {
            let (a, b) = (left[..a_end].trim_start_matches('0'), right[..b_end].trim_start_matches('0'));
            (left, right) = (&left[a_end..], &right[b_end..]);
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        } else {
            (left, right) = (&left[a.len_utf8()..], &right[b.len_utf8()..]);
            a.cmp(&b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
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

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["net10", "net2", "a", "net", "net02", "b1c"];
        names.sort_by(|left, right| natural(left, right));
        assert_eq!(names, ["a", "b1c", "net", "net2", "net02", "net10"]);
    }
}
