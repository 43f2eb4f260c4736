//! GPUs: `--gpus all`, `--gpus 2`, `--gpus '"device=0,1",capabilities=utility'`.

use std::collections::BTreeMap;

use super::csv;
use crate::flag::FromFlag;

/// One `--gpus`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GpuRequest {
    pub driver: String,
    /// -1 for all.
    pub count: i64,
    pub devices: Option<Vec<String>>,
    pub capabilities: Vec<String>,
    pub options: BTreeMap<String, String>,
}

impl FromFlag for GpuRequest {
    const KIND: &'static str = "gpu-request";
    const LIST: &'static str = "gpu-request";

    fn from_flag(text: &str) -> Result<Self, String> {
        let mut request = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let mut counted = false;
        for field in csv::fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            if seen.iter().any(|known| known == key) {
                return Err(format!("gpu request key '{key}' can be specified only once"));
            }
            seen.push(key.to_owned());
            let list = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
            match (key, value) {
                (count, None) | ("count", Some(count)) => {
                    request.count = parse_count(count)?;
                    counted = true;
                }
                ("driver", Some(value)) => request.driver = value.to_owned(),
                ("device", Some(value)) => request.devices = Some(list(value)),
                ("capabilities", Some(value)) => request.capabilities = list(value),
                ("options", Some(value)) => {
                    for pair in csv::fields(value)? {
                        let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
                        request.options.insert(name.to_owned(), value.to_owned());
                    }
                }
                _ => return Err(format!("unexpected key '{key}' in '{field}'")),
            }
        }
        if !counted && request.devices.is_none() {
            request.count = 1;
        }
        request.capabilities.push("gpu".to_owned());
        Ok(request)
    }
}

fn parse_count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse()
        .map_err(|_| format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_devices_and_capabilities() {
        let count = |text: &str| GpuRequest::from_flag(text).map(|request| request.count);
        assert_eq!(count("all"), Ok(-1));
        assert_eq!(count("driver=nvidia,count=3"), Ok(3));
        assert_eq!(count("driver=nvidia"), Ok(1));
        let request = GpuRequest::from_flag("\"device=0,1\",capabilities=utility").unwrap();
        assert_eq!(request.devices, Some(vec!["0".to_owned(), "1".to_owned()]));
        assert_eq!(request.capabilities, ["utility", "gpu"]);
        assert_eq!(count("foo=1"), Err("unexpected key 'foo' in 'foo=1'".to_owned()));
        assert_eq!(
            count("abc"),
            Err("invalid count (abc): value must be either \"all\" or an integer: invalid syntax".to_owned())
        );
    }
}
