//! The JSON inside `filters=`: `{"key":["value"]}`, or the older `{"key":{"value":true}}`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Wanted values by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters(pub BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    // Docker ignores a value that is marked false.
    Marked(BTreeMap<String, bool>),
}

impl Filters {
    /// Adds one wanted value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads either form; an empty text is no filter.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let keys: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|_| format!("invalid filter: {text:?}"))?;
        let sets = keys.into_iter().map(|(key, values)| {
            let values = match values {
                Values::List(list) => list.into_iter().collect(),
                Values::Marked(marked) => marked.into_iter().filter(|(_, wanted)| *wanted).map(|(v, _)| v).collect(),
            };
            (key, values)
        });
        Ok(Self(sets.collect()))
    }

    /// The form that servers since API 1.22 read.
    pub fn encode(&self) -> String {
        let marked: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(key, values)| (key.as_str(), values.iter().map(|value| (value.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&marked).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let list = Filters::parse(r#"{"label":["a=1","b"],"status":["exited"]}"#).unwrap();
        let marked = Filters::parse(r#"{"label":{"a=1":true,"b":true,"c":false},"status":{"exited":true}}"#).unwrap();
        assert_eq!(list, marked);
        assert_eq!(Filters::parse(&list.encode()).unwrap(), list);
        assert!(Filters::parse("").unwrap().is_empty() && Filters::parse("{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_neither_form_is_refused() {
        for text in ["[", "[]", "7", r#"{"a":"b"}"#, r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#] {
            assert_eq!(Filters::parse(text).unwrap_err(), format!("invalid filter: {text:?}"));
        }
    }
}
