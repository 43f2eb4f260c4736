//! Devices: `--device /dev/sda:/dev/xvda:rw`, their cgroup rules, weights and rates.

use crate::flag::FromFlag;

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// A device node of the host.
    Node { host: String, container: String, permissions: String },
    /// A device by its name in the Container Device Interface, `vendor.com/class=name`.
    Cdi(String),
}

/// Reads one `--device`.
///
/// # Errors
/// In Docker's words.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    if is_cdi_name(text) {
        return Ok(Device::Cdi(text.to_owned()));
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    let (host, container, permissions) = match parts.as_slice() {
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [_, _, mode] if !is_mode(mode) => return Err(format!("bad mode specified: {mode}")),
        [host, container, mode] => (*host, *container, *mode),
        _ => (parts[0], parts[0], "rwm"),
    };
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    let container_clean = super::path::clean(container);
    let host = if host == container { container_clean.clone() } else { host.to_owned() };
    Ok(Device::Node { host, container: container_clean, permissions: permissions.to_owned() })
}

// Any of r, w and m, each once.
fn is_mode(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'))
        && text.chars().all(|c| text.matches(c).count() == 1)
}

fn is_cdi_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |part: &str, extra: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c));
    word(vendor, "_-.") && word(class, "_-.") && is_name
}

/// One `--device-cgroup-rule`: `c 1:3 rwm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupRule(pub String);

impl FromFlag for CgroupRule {
    const KIND: &'static str = "list";

    fn from_flag(text: &str) -> Result<Self, String> {
        let number = |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        let well_formed = match text.split(' ').collect::<Vec<_>>().as_slice() {
            [kind, numbers, access] => {
                matches!(*kind, "a" | "c" | "b")
                    && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                    && (1..=3).contains(&access.len())
                    && access.chars().all(|c| "rwm".contains(c))
            }
            _ => false,
        };
        if !well_formed {
            return Err(format!("invalid device cgroup format '{text}'"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// One `--blkio-weight-device`: a path and a weight of 10 to 1000, or 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WeightDevice {
    pub path: String,
    pub weight: u16,
}

impl FromFlag for WeightDevice {
    const KIND: &'static str = "list";

    fn from_flag(text: &str) -> Result<Self, String> {
        let (path, weight) = split_device(text)?;
        let weight = weight
            .parse()
            .ok()
            .filter(|weight| *weight == 0 || (10..=1000).contains(weight))
            .ok_or_else(|| format!("invalid weight for device: {text}"))?;
        Ok(Self { path, weight })
    }
}

/// A rate in bytes a second: `/dev/sda:1mb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BytesPerSecond {
    pub path: String,
    pub rate: u64,
}

impl FromFlag for BytesPerSecond {
    const KIND: &'static str = "list";

    fn from_flag(text: &str) -> Result<Self, String> {
        let (path, rate) = split_device(text)?;
        let rate = crate::format::size::parse_ram(rate).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(|| {
            format!(
                "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
            )
        })?;
        Ok(Self { path, rate })
    }
}

/// A rate in operations a second: `/dev/sda:1000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationsPerSecond {
    pub path: String,
    pub rate: u64,
}

impl FromFlag for OperationsPerSecond {
    const KIND: &'static str = "list";

    fn from_flag(text: &str) -> Result<Self, String> {
        let (path, rate) = split_device(text)?;
        let rate = rate.parse().map_err(|_| {
            format!(
                "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
            )
        })?;
        Ok(Self { path, rate })
    }
}

fn split_device(text: &str) -> Result<(String, &str), String> {
    let Some((path, value)) = text.split_once(':').filter(|(_, value)| !value.contains(':')) else {
        return Err(format!("bad format: {text}"));
    };
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match device(text) {
            Ok(Device::Node { host, container, permissions }) => format!("{host} {container} {permissions}"),
            Ok(Device::Cdi(name)) => format!("cdi {name}"),
            Err(reason) => reason,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_device_has_a_place_and_permissions() {
        check("/dev/null", "/dev/null /dev/null rwm");
        check("/dev/null:/dev/x:rm", "/dev/null /dev/x rm");
        check("/dev/zero:rw", "/dev/zero /dev/zero rw");
        check("/dev/x/../y", "/dev/y /dev/y rwm");
        check("vendor.com/class=name", "cdi vendor.com/class=name");
        check("", "bad format for path: ");
        check("a:b:c:d", "bad format for path: a:b:c:d");
        check("/dev/null:/dev/x:z", "bad mode specified: z");
        check("dev/null", "dev/null is not an absolute path");
    }

    #[test]
    fn rules_weights_and_rates_are_checked() {
        assert!(CgroupRule::from_flag("a *:* rwm").is_ok());
        assert_eq!(CgroupRule::from_flag("foo").unwrap_err(), "invalid device cgroup format 'foo'");
        assert_eq!(WeightDevice::from_flag("/dev/sda:5").unwrap_err(), "invalid weight for device: /dev/sda:5");
        assert_eq!(WeightDevice::from_flag("foo").unwrap_err(), "bad format: foo");
        assert_eq!(BytesPerSecond::from_flag("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(BytesPerSecond::from_flag("sda:1m").unwrap_err(), "bad format for device path: sda:1m");
        assert!(OperationsPerSecond::from_flag("/dev/sda:-1").is_err());
    }
}
