//! Times, durations and base64 as the wire spells them.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::Timestamp;

// Go's clients pad, others do not; both are read.
const TOLERANT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, TOLERANT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);

/// The alphabet of `X-Registry-Auth`, with padding.
pub fn base64_url(bytes: &[u8]) -> String {
    URL.encode(bytes)
}

/// Reads [`base64_url`], and the other alphabet too, which some clients use by mistake.
pub fn base64_url_decode(text: &str) -> Option<Vec<u8>> {
    URL.decode(text).or_else(|_| STANDARD.decode(text)).ok()
}

/// The alphabet of `X-Docker-Container-Path-Stat` and of Go's `[]byte` in JSON.
pub fn base64_standard(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A time in a query string: seconds since 1970 with up to nine digits after the dot. Docker's CLI
/// turns everything else people type into this form.
pub fn parse_unix_time(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 9 || !digits(fraction) || !digits(seconds.strip_prefix('-').unwrap_or(seconds)) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

/// The inverse of [`parse_unix_time`].
pub fn unix_time(at: Timestamp) -> String {
    format!("{}.{:09}", at.as_second(), at.subsec_nanosecond())
}

/// Go's duration text, `1h30m`, `1.5s`, `300ms`, in nanoseconds.
pub fn parse_go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    let total = if negative { -total } else { total };
    (total.abs() < i64::MAX as f64).then_some(total.round() as i64)
}

/// How Go prints a duration of so many nanoseconds: `1m30s`, `1.5s`, `300ms`, `0s`.
pub fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        let dot = if digits.is_empty() { "" } else { "." };
        format!("{}{dot}{digits}{name}", value / unit)
    };
    let text = match size {
        0 => return "0s".to_owned(),
        1..1_000 => format!("{size}ns"),
        1_000..1_000_000 => fraction(size, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(size, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (size / 3_600_000_000_000, size / 60_000_000_000 % 60);
            let seconds = fraction(size % 60_000_000_000, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, _) => format!("{minutes}m{seconds}"),
                _ => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, nanos) in [
            ("0", 0),
            ("1s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("300ms", 300_000_000),
            ("-2us", -2_000),
            ("1h0m0.000000001s", 3_600_000_000_001),
        ] {
            assert_eq!(parse_go_duration(text), Some(nanos), "{text}");
            assert_eq!(parse_go_duration(&go_duration(nanos)), Some(nanos), "{text}");
        }
        for text in ["", "1", "s", "1x", "1s2", "1.2.3s", "-"] {
            assert_eq!(parse_go_duration(text), None, "{text}");
        }
        for (nanos, text) in
            [(90_000_000_000, "1m30s"), (3_600_000_000_000, "1h0m0s"), (1_500_000, "1.5ms"), (7, "7ns")]
        {
            assert_eq!(go_duration(nanos), text);
        }
    }

    #[test]
    fn times_of_queries_are_seconds_and_nanoseconds() {
        let at = Timestamp::new(1_700_000_000, 120_000_000).unwrap();
        assert_eq!(parse_unix_time("1700000000.12"), Some(at));
        assert_eq!(parse_unix_time("1700000000.120000000"), Some(at));
        assert_eq!(parse_unix_time(&unix_time(at)), Some(at));
        for text in ["", "yesterday", "1.1234567890", "1.x", "1e5", "2024-01-01"] {
            assert_eq!(parse_unix_time(text), None, "{text}");
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for text in ["eyJhIjoxfQ==", "eyJhIjoxfQ"] {
            assert_eq!(base64_url_decode(text).unwrap(), br#"{"a":1}"#);
        }
        assert!(base64_url_decode("{}").is_none());
    }
}
