//! `HEALTHCHECK`: its flags and its command.

use hako_model::HealthSpec;

use super::instruction::Command;

/// A health check whose command is in one of its two forms yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Health {
    None,
    Check { command: Command, spec: HealthSpec },
}

/// Reads flags and words.
pub(crate) fn parse(flags: &[String], rest: &str) -> Result<Health, String> {
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    match kind.to_uppercase().as_str() {
        "" => Err("HEALTHCHECK requires at least one argument".to_owned()),
        "NONE" if !command.is_empty() || !flags.is_empty() => Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "NONE" => Ok(Health::None),
        "CMD" if command.is_empty() => Err("Missing command after HEALTHCHECK CMD".to_owned()),
        "CMD" => {
            let mut spec = HealthSpec::default();
            for flag in flags {
                set(&mut spec, flag)?;
            }
            let command = match serde_json::from_str::<Vec<String>>(command) {
                Ok(words) => Command::Exec(words),
                Err(_) => Command::Shell(command.to_owned()),
            };
            Ok(Health::Check { command, spec })
        }
        other => Err(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")),
    }
}

fn set(spec: &mut HealthSpec, flag: &str) -> Result<(), String> {
    let flag = flag.trim_start_matches("--");
    let Some((name, value)) = flag.split_once('=') else { return Err(format!("Missing a value on flag: {flag}")) };
    if name == "retries" {
        spec.retries = match value.parse() {
            Ok(count) if count >= 0 => count,
            Ok(count) => return Err(format!("--retries cannot be negative ({count})")),
            Err(_) => return Err(format!("--retries wants a number, not {value:?}")),
        };
        return Ok(());
    }
    let slot = match name {
        "interval" => &mut spec.interval_ns,
        "timeout" => &mut spec.timeout_ns,
        "start-period" => &mut spec.start_period_ns,
        "start-interval" => &mut spec.start_interval_ns,
        _ => return Err(format!("unknown flag: HEALTHCHECK: {name}")),
    };
    let duration = duration_ns(value).ok_or_else(|| format!("time: invalid duration {value:?}"))?;
    if duration != 0 && duration < 1_000_000 {
        return Err(format!("Interval {name:?} cannot be less than 1ms"));
    }
    *slot = duration;
    Ok(())
}

/// A duration as Go writes it: `1h2m3.5s`.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_i64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let unit = match &behind[..letters] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut nanoseconds = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.checked_mul(unit)? };
        let mut place = unit;
        for digit in fraction.chars() {
            place /= 10;
            nanoseconds = nanoseconds.checked_add(i64::from(digit.to_digit(10)?) * place)?;
        }
        total = total.checked_add(nanoseconds)?;
        rest = &behind[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("90s", Some(90_000_000_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("9999999h", None),
        ] {
            assert_eq!(duration_ns(text), expected, "{text}");
        }
    }

    #[test]
    fn checks_and_mistakes() {
        let flags = ["--interval=1m30s".to_owned(), "--retries=3".to_owned()];
        assert!(matches!(
            parse(&flags, "CMD [\"a\"]"),
            Ok(Health::Check { command: Command::Exec(_), spec }) if spec.interval_ns == 90_000_000_000 && spec.retries == 3
        ));
        assert_eq!(parse(&[], "FOO").unwrap_err(), "Unknown type \"FOO\" in HEALTHCHECK (try CMD)");
        assert_eq!(parse(&[], "CMD").unwrap_err(), "Missing command after HEALTHCHECK CMD");
        assert_eq!(
            parse(&["--timeout=1us".to_owned()], "CMD a").unwrap_err(),
            "Interval \"timeout\" cannot be less than 1ms"
        );
    }
}
