//! Spans of time in Go's spelling (`1h2m3.5s`), which Docker's flags, files and answers use everywhere.

/// Units with their nanoseconds. Both spellings of the Greek letter occur.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("invalid duration")]
    Invalid,
    #[error("missing unit in duration")]
    MissingUnit,
    #[error("unknown unit {0:?} in duration")]
    UnknownUnit(String),
}

/// Reads a duration as Go's `time.ParseDuration` does, in nanoseconds: `1h30m`, `1.5s`, `-300ms`, `0`.
///
/// # Errors
/// No number, no unit, an unknown one, or a sum beyond 292 years.
pub fn parse_go(text: &str) -> Result<i64, DurationError> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Invalid);
    }
    let mut sum = 0_i64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if number.is_empty() || number == "." {
            return Err(DurationError::Invalid);
        }
        if unit.is_empty() {
            return Err(DurationError::MissingUnit);
        }
        let found = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanos) = found.ok_or_else(|| DurationError::UnknownUnit(unit.to_owned()))?;
        let span = multiple(number, *nanos).ok_or(DurationError::Invalid)?;
        sum = sum.checked_add(span).ok_or(DurationError::Invalid)?;
        rest = after;
    }
    Ok(if negative { -sum } else { sum })
}

/// So many of a unit, what is below a nanosecond cut off; `None` where it does not fit.
fn multiple(number: &str, nanos: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut span = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.checked_mul(nanos)? };
    // No more digits than the largest unit has nanoseconds; and a second dot is no digit.
    let digits: String = fraction.chars().take(18).collect();
    if !fraction.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    if !digits.is_empty() {
        let part = i128::from(nanos) * digits.parse::<i128>().ok()? / 10_i128.pow(u32::try_from(digits.len()).ok()?);
        span = span.checked_add(i64::try_from(part).ok()?)?;
    }
    Some(span)
}

/// How Go prints a duration of so many nanoseconds: `1m30s`, `1.5s`, `300ms`, `0s`.
pub fn go(nanos: i64) -> String {
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
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
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
            ("1h2m3.5s", 3_723_500_000_000),
            ("300ms", 300_000_000),
            ("-2us", -2_000),
            (".5s", 500_000_000),
            ("1h0m0.000000001s", 3_600_000_000_001),
        ] {
            assert_eq!(parse_go(text), Ok(nanos), "{text}");
            assert_eq!(parse_go(&go(nanos)), Ok(nanos), "{text}");
        }
        for (text, why) in [
            ("", "invalid duration"),
            ("-", "invalid duration"),
            ("s", "invalid duration"),
            ("1.2.3s", "invalid duration"),
            ("9999999h", "invalid duration"),
            ("1", "missing unit in duration"),
            ("1s2", "missing unit in duration"),
            ("1y", "unknown unit \"y\" in duration"),
        ] {
            assert_eq!(parse_go(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500_000, "1.5ms"),
            (250_000_000, "250ms"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go(nanos), text);
        }
    }
}
