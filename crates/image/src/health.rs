//! `HEALTHCHECK`, as Dockerfiles and `--change` write it.

use hako_base::duration;
use hako_model::HealthSpec;

/// Reads the instruction's flags and what follows them.
///
/// # Errors
/// Docker's sentence for what is wrong.
pub fn parse<'f>(flags: impl IntoIterator<Item = &'f str>, rest: &str) -> Result<HealthSpec, String> {
    let mut spec = HealthSpec::default();
    let mut has_flags = false;
    for flag in flags {
        has_flags = true;
        set(&mut spec, flag.trim_start_matches("--"))?;
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    spec.test = match kind.to_uppercase().as_str() {
        "" => return Err("HEALTHCHECK requires at least one argument".to_owned()),
        "NONE" if !command.is_empty() || has_flags => return Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "NONE" => vec!["NONE".to_owned()],
        "CMD" if command.is_empty() => return Err("Missing command after HEALTHCHECK CMD".to_owned()),
        "CMD" => match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Err(_) => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        other => return Err(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")),
    };
    Ok(spec)
}

fn set(spec: &mut HealthSpec, flag: &str) -> Result<(), String> {
    let Some((name, value)) = flag.split_once('=') else { return Err(format!("Missing a value on flag: {flag}")) };
    if name == "retries" {
        spec.retries = match value.parse() {
            Ok(count) if count >= 0 => count,
            Ok(count) => return Err(format!("--retries cannot be negative ({count})")),
            Err(_) => return Err(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")),
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
    let span = duration::parse_go(value).map_err(|_| format!("time: invalid duration {value:?}"))?;
    if span != 0 && span < 1_000_000 {
        return Err(format!("Interval {name:?} cannot be less than 1ms"));
    }
    *slot = span;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_and_mistakes() {
        let spec = parse(["--interval=1m30s", "--retries=3"], "CMD [\"a\"]").unwrap();
        assert_eq!(
            (spec.test, spec.interval_ns, spec.retries),
            (vec!["CMD".to_owned(), "a".to_owned()], 90_000_000_000, 3)
        );
        assert_eq!(parse([], "cmd a b").unwrap().test, ["CMD-SHELL", "a b"]);
        assert_eq!(parse([], "none").unwrap().test, ["NONE"]);
        for (flags, rest, why) in [
            ("", "FOO", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)"),
            ("", "CMD", "Missing command after HEALTHCHECK CMD"),
            ("", "NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("--timeout=1us", "CMD a", "Interval \"timeout\" cannot be less than 1ms"),
            ("--timeout=x", "CMD a", "time: invalid duration \"x\""),
            ("--nosuch=1", "CMD a", "unknown flag: HEALTHCHECK: nosuch"),
        ] {
            assert_eq!(parse(flags.split_whitespace(), rest).unwrap_err(), why);
        }
    }
}
