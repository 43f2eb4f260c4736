//! Sizes and durations as people write them.

/// `64m`, `1.5g`, `12mb`, `100`, `-1`: bytes, in powers of 1024.
pub fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let power = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes.abs() < i64::MAX as f64).then_some(bytes as i64)
}

/// `1m30s`, and with days and weeks too: nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    const DAY: i64 = 24 * 3_600_000_000_000;
    let mut total = 0_i64;
    let mut rest = text.trim();
    for (unit, nanos) in [('w', 7 * DAY), ('d', DAY)] {
        if let Some((count, after)) = rest.split_once(unit) {
            total = total.checked_add(count.parse::<i64>().ok()?.checked_mul(nanos)?)?;
            rest = after;
        }
    }
    if rest.is_empty() && total > 0 {
        return Some(total);
    }
    hako_base::duration::parse_go(rest).ok()?.checked_add(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        let sizes = [("64m", 67_108_864), ("1.5g", 1_610_612_736), ("12mb", 12_582_912), ("100", 100), ("-1", -1)];
        for (text, expected) in sizes {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!((bytes("x"), bytes("5x"), bytes("")), (None, None, None));
        assert_eq!((duration("1d2h"), duration("1m30s")), (Some(93_600_000_000_000), Some(90_000_000_000)));
        assert_eq!((duration("5"), duration("")), (None, None));
    }
}
