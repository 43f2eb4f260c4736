//! `--log-driver` and `--log-opt`, read: which driver, how much it keeps, what it adds to each line. Pure; Docker's
//! sentences where there are any.

use std::{collections::BTreeMap, path::Path};

use super::{
    LogPlan,
    forward::{Facility, Format, Forward, Target},
    label::Attributes,
};
use crate::{EngineError, limits};

/// What Docker brings besides those that are built. Any other name is a plugin's, and there are no plugins.
const DRIVERS_OF_DOCKER: &[&str] = &["awslogs", "fluentd", "gcplogs", "gelf", "splunk"];

const KEEPING: &[&str] = &["max-size", "max-file", "compress"];
const ADDING: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];
/// Of what is kept beside a driver that cannot be read back.
const CACHE: &[&str] = &["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const SYSLOG: &[&str] = &["syslog-address", "syslog-facility", "syslog-format"];

/// Reads them; the options that every driver takes are `mode` and `max-buffer-size`.
///
/// # Errors
/// An unknown driver or option, by name; a value that is none.
pub(crate) fn parse(path: &Path, driver: &str, options: &BTreeMap<String, String>) -> Result<LogPlan, EngineError> {
    mode(options)?;
    let file = |name: &str, bytes: u64| LogPlan {
        path: path.with_file_name(name),
        file_bytes_max: bytes,
        compress: true,
        ..LogPlan::json(path, bytes, limits::LOG_FILES)
    };
    match driver {
        "" | "json-file" => {
            // A cache of what can be read anyway is taken and never made, as with Docker.
            known(options, "json-file", &[KEEPING, ADDING, CACHE])?;
            let mut plan = LogPlan::json(path, limits::LOG_FILE_BYTES, limits::LOG_FILES);
            plan.compress = true;
            keeping(&mut plan, options, "")?;
            plan.attributes = Attributes::parse(options, None)?;
            Ok(LogPlan { shown: true, ..plan })
        }
        "local" => {
            known(options, "local", &[KEEPING, CACHE])?;
            let mut plan = file("container.log", limits::LOG_LOCAL_FILE_BYTES);
            keeping(&mut plan, options, "")?;
            Ok(plan)
        }
        "journald" => {
            known(options, "journald", &[ADDING, CACHE])?;
            let mut plan = file("cache.log", limits::LOG_LOCAL_FILE_BYTES);
            cache(&mut plan, options)?;
            plan.forward = Some(Forward::Journald);
            plan.attributes = Attributes::parse(options, Some("{{.ID}}"))?;
            Ok(plan)
        }
        "syslog" => {
            if let Some(key) = options.keys().find(|key| key.starts_with("syslog-tls-")) {
                return Err(EngineError::NotBuilt { text: format!("log opt '{key}': syslog over TLS is not built") });
            }
            known(options, "syslog", &[ADDING, CACHE, SYSLOG])?;
            let mut plan = file("cache.log", limits::LOG_LOCAL_FILE_BYTES);
            cache(&mut plan, options)?;
            let option = |key: &str| options.get(key).map_or("", String::as_str);
            plan.forward = Some(Forward::Syslog {
                target: Target::parse(option("syslog-address"))?,
                facility: Facility::parse(option("syslog-facility"))?,
                format: Format::parse(option("syslog-format"))?,
            });
            plan.attributes = Attributes::parse(options, Some("{{.ID}}"))?;
            Ok(plan)
        }
        "none" => Ok(LogPlan { kept: false, ..LogPlan::json(path, u64::MAX, 1) }),
        other if DRIVERS_OF_DOCKER.contains(&other) => Err(EngineError::NotBuilt {
            text: format!("log driver {other:?} is not built: json-file, local, journald, syslog and none are"),
        }),
        other => {
            Err(EngineError::invalid(format!("error looking up logging plugin {other}: plugin {other:?} not found")))
        }
    }
}

/// What to do when the log is slower than the container.
fn mode(options: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(EngineError::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(EngineError::invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        size_of(size)
            .map_err(|error| EngineError::invalid(format!("error parsing option max-buffer-size: {error}")))?;
    }
    Ok(())
}

fn known(options: &BTreeMap<String, String>, driver: &str, lists: &[&[&str]]) -> Result<(), EngineError> {
    let everywhere = ["mode", "max-buffer-size"];
    let unknown = options
        .keys()
        .find(|key| !everywhere.contains(&key.as_str()) && !lists.iter().any(|list| list.contains(&key.as_str())));
    match unknown {
        // The words of the driver that everybody has are in another order.
        Some(key) if driver == "json-file" => {
            Err(EngineError::invalid(format!("unknown log opt '{key}' for json-file log driver")))
        }
        Some(key) if driver == "local" => {
            Err(EngineError::invalid(format!("unknown log opt '{key}' for log driver local")))
        }
        Some(key) => Err(EngineError::invalid(format!("unknown log opt '{key}' for {driver} log driver"))),
        None => Ok(()),
    }
}

fn keeping(plan: &mut LogPlan, options: &BTreeMap<String, String>, prefix: &str) -> Result<(), EngineError> {
    let option = |key: &str| options.get(&format!("{prefix}{key}"));
    if let Some(value) = option("max-size") {
        plan.file_bytes_max = size_of(value)?;
    }
    if let Some(value) = option("max-file") {
        plan.files_max = value.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
            EngineError::invalid(format!("{prefix}max-file must be a number of at least 1, not {value:?}"))
        })?;
    }
    if let Some(value) = option("compress") {
        plan.compress = truth(&format!("{prefix}compress"), value)?;
    }
    Ok(())
}

fn cache(plan: &mut LogPlan, options: &BTreeMap<String, String>) -> Result<(), EngineError> {
    keeping(plan, options, "cache-")?;
    if let Some(value) = options.get("cache-disabled") {
        plan.kept = !truth("cache-disabled", value)?;
    }
    Ok(())
}

fn truth(key: &str, value: &str) -> Result<bool, EngineError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => {
            Err(EngineError::invalid(format!("invalid value for log opt '{key}': {value:?} is neither true nor false")))
        }
    }
}

/// `10m`, `512k`, `1g`, `-1` (no limit), as go-units reads sizes.
fn size_of(text: &str) -> Result<u64, EngineError> {
    if text == "-1" {
        return Ok(u64::MAX);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => 0_u64,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|size| *size > 0)
        .ok_or_else(|| EngineError::invalid(format!("invalid size: '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(driver: &str, options: &[(&str, &str)], expected: &str) {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = match parse(Path::new("/c/x-json.log"), driver, &options) {
            Ok(plan) => {
                let zip = if plan.compress { " gz" } else { "" };
                format!("{} {} x {}{zip}", plan.path.display(), plan.files_max, plan.file_bytes_max)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{driver} {options:?}");
    }

    #[test]
    fn options_are_read_or_refused_by_name() {
        check("", &[], "/c/x-json.log 5 x 10485760 gz");
        check("json-file", &[("max-size", "1k"), ("max-file", "2"), ("compress", "false")], "/c/x-json.log 2 x 1024");
        check("json-file", &[("cache-disabled", "true")], "/c/x-json.log 5 x 10485760 gz");
        check("json-file", &[("max-size", "x")], "invalid size: 'x'");
        check("json-file", &[("colour", "red")], "unknown log opt 'colour' for json-file log driver");
        check("local", &[], "/c/container.log 5 x 20971520 gz");
        check("local", &[("labels", "a")], "unknown log opt 'labels' for log driver local");
        check("journald", &[("cache-max-file", "2")], "/c/cache.log 2 x 20971520 gz");
        check("syslog", &[("syslog-address", "foo")], "unsupported scheme: ''");
        check("syslog", &[("syslog-facility", "foo")], "invalid syslog facility");
        check("syslog", &[("syslog-format", "foo")], "Invalid syslog format");
        check("syslog", &[("syslog-tls-cert", "x")], "log opt 'syslog-tls-cert': syslog over TLS is not built");
        check("json-file", &[("mode", "foo")], "logger: logging mode not supported: foo");
        check(
            "json-file",
            &[("max-buffer-size", "1m")],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        );
        check(
            "json-file",
            &[("mode", "non-blocking"), ("max-buffer-size", "x")],
            "error parsing option max-buffer-size: invalid size: 'x'",
        );
        check("splunk", &[], "log driver \"splunk\" is not built: json-file, local, journald, syslog and none are");
        check("nosuch", &[], "error looking up logging plugin nosuch: plugin \"nosuch\" not found");
    }
}
