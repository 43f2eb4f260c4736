//! Sizes as people read and write them: decimal when printed, binary when given.
//!
//! `1.2kB` is 1,200 bytes in a listing; `--memory 1k` is 1,024. Digits follow C's `%.3g`.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Powers of 1000 with `digits` significant digits: `human(12_345, 3)` is `12.3kB`.
pub(crate) fn human(bytes: i64, digits: usize) -> String {
    scaled(bytes as f64, 1000.0, &DECIMAL, digits)
}

/// Powers of 1024: `1.5GiB`.
pub(crate) fn binary(bytes: i64) -> String {
    scaled(bytes as f64, 1024.0, &BINARY, 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit < units.len() - 1 {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// C's `%.{digits}g`: significant digits, no trailing zeros, an exponent where it is shorter.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}

/// `512m`, `1.5GiB`, `100`: a size whose units are powers of 1024, whatever they are called.
///
/// # Errors
/// In go-units' words.
pub(crate) fn parse_ram(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let digits_end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(digits_end + 1);
    let (number, suffix) = match suffix.strip_prefix(' ') {
        Some(rest) => (number, rest),
        None => (number, suffix),
    };
    let value: f64 = number.parse().map_err(|_| invalid())?;
    if value < 0.0 || number.starts_with(['+', '-']) {
        return Err(invalid());
    }
    let bad_suffix = || format!("invalid suffix: '{suffix}'");
    let lower = suffix.to_ascii_lowercase();
    let power = match lower.as_str() {
        "" | "b" => 0,
        _ => {
            let unit = lower.chars().next().ok_or_else(bad_suffix)?;
            let power = "kmgtp".find(unit).ok_or_else(bad_suffix)? as i32 + 1;
            if !matches!(&lower[1..], "" | "b" | "ib") {
                return Err(bad_suffix());
            }
            power
        }
    };
    Ok((value * 1024_f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_count_in_thousands() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (12_345, "12.3kB"),
            (4_493_000, "4.49MB"),
            (999_900, "1e+03kB"),
            (139_000_000, "139MB"),
            (1_234_000_000, "1.23GB"),
        ] {
            assert_eq!(human(bytes, 3), expected);
        }
        assert_eq!(human(1_234_567, 4), "1.235MB");
        assert_eq!(binary(512 << 20), "512MiB");
        assert_eq!(binary(1_610_612_736), "1.5GiB");
    }

    #[test]
    fn given_sizes_count_in_powers_of_two() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(parse_ram(text), expected.map_err(str::to_owned), "{text}");
        };
        check("512m", Ok(512 << 20));
        check("1.5g", Ok(1_610_612_736));
        check("100", Ok(100));
        check("1KiB", Ok(1024));
        check("2 kb", Ok(2048));
        check("1x", Err("invalid suffix: 'x'"));
        check("abc", Err("invalid size: 'abc'"));
        check("-5", Err("invalid size: '-5'"));
        check("", Err("invalid size: ''"));
    }
}
