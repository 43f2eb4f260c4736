//! `--filter key=value`, repeated: what listings and prunes are narrowed by.

use hako_api::Filters;

use crate::flag::Value;

/// The filters given so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilterFlag(pub Filters);

impl Value for FilterFlag {
    fn set(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let Some((key, value)) = text.split_once('=') else {
            return Err("bad format of filter (expected name=value)".to_owned());
        };
        self.0.add(key.trim().to_ascii_lowercase(), value.trim());
        Ok(())
    }

    fn kind(&self) -> &'static str {
        "filter"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_pairs() {
        let mut filter = FilterFlag::default();
        filter.set("Label = a=b").unwrap();
        filter.set("status=exited").unwrap();
        assert_eq!(filter.0.encode(), r#"{"label":{"a=b":true},"status":{"exited":true}}"#);
        assert_eq!(filter.set("x").unwrap_err(), "bad format of filter (expected name=value)");
    }
}
