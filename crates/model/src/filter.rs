//! `filters`: keys to sets of wanted values. Which keys an operation knows is its own matter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Wanted values by key; within a key any value suffices, all keys must agree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// No filter at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one wanted value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().insert(value.to_owned());
    }

    /// The wanted values of a key; none when the key is absent.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// What a key that is true or false says; `None` when it is absent.
    ///
    /// # Errors
    /// Docker's sentence, when it says neither or both.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, String> {
        if !self.has(key) {
            return Ok(None);
        }
        let says = |words: [&str; 2]| self.values(key).any(|value| words.contains(&value));
        match (says(["1", "true"]), says(["0", "false"])) {
            (is_true, is_false) if is_true != is_false => Ok(Some(is_true)),
            _ => Err(format!("invalid filter '{key}=[{}]'", self.values(key).collect::<Vec<_>>().join(" "))),
        }
    }

    /// Removes a key; answers the values that were wanted.
    pub fn take(&mut self, key: &str) -> BTreeSet<String> {
        self.0.remove(key).unwrap_or_default()
    }

    /// Whether the key is present at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The first key that is not in `known`.
    pub fn unknown_key(&self, known: &[&str]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|key| !known.contains(key))
    }

    /// Whether the key is absent or one of its values satisfies `test`.
    pub fn any(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(test)
    }

    /// Whether `labels` has every wanted `KEY` or `KEY=VALUE` of filter `key`.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boolean_says_one_thing() {
        let said = |words: &[&str]| {
            let mut filters = Filters::default();
            words.iter().for_each(|word| filters.add("dangling", word));
            filters.boolean("dangling")
        };
        assert_eq!(said(&[]), Ok(None));
        assert_eq!(said(&["1"]), Ok(Some(true)));
        assert_eq!(said(&["x", "false"]), Ok(Some(false)));
        assert_eq!(said(&["t"]), Err("invalid filter 'dangling=[t]'".to_owned()));
        assert_eq!(said(&["true", "false"]), Err("invalid filter 'dangling=[false true]'".to_owned()));
    }
}
