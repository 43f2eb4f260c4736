//! What is noted with each line besides its text: labels and variables that `--log-opt` chooses, and a tag.

use std::collections::BTreeMap;

use regex_lite::Regex;

use crate::{EngineError, record::Record};

/// Which of a container's labels and variables are noted, and the form of its tag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    labels: Vec<String>,
    labels_like: Option<Regex>,
    env: Vec<String>,
    env_like: Option<Regex>,
    /// Empty: none is noted.
    tag: String,
}

/// What a tag may be put together from.
/// A name in a tag, and what it stands for.
type Field = (&'static str, fn(&Record) -> String);

const FIELDS: &[Field] = &[
    ("{{.ID}}", |record| record.id.short()),
    ("{{.FullID}}", |record| record.id.to_string()),
    ("{{.Name}}", |record| record.name.clone()),
    ("{{.ImageName}}", |record| record.spec.image.clone()),
    ("{{.ImageFullID}}", |record| record.image.to_string()),
    ("{{.ImageID}}", |record| record.image.to_string().chars().skip("sha256:".len()).take(12).collect()),
    ("{{.DaemonName}}", |_| "hako".to_owned()),
    ("{{.Command}}", |record| std::iter::once(&record.path).chain(&record.args).cloned().collect::<Vec<_>>().join(" ")),
    ("{{.Hostname}}", |_| hako_runtime::observe::hostname()),
];

impl Attributes {
    /// From `labels`, `labels-regex`, `env`, `env-regex` and `tag`.
    ///
    /// # Errors
    /// A regular expression that is none, or a tag with an unknown field.
    pub(crate) fn parse(options: &BTreeMap<String, String>, default_tag: Option<&str>) -> Result<Self, EngineError> {
        let list = |key: &str| -> Vec<String> {
            options
                .get(key)
                .map_or("", String::as_str)
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let like = |key: &str| match options.get(key).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => Regex::new(text).map(Some).map_err(|error| {
                EngineError::invalid(format!("invalid regular expression {text:?} for log opt '{key}': {error}"))
            }),
        };
        let tag = options.get("tag").map(String::as_str).filter(|tag| !tag.is_empty()).or(default_tag);
        let tag = tag.unwrap_or_default().replace("{{ ", "{{").replace(" }}", "}}");
        let bare = FIELDS.iter().fold(tag.clone(), |text, (field, _)| text.replace(field, ""));
        if bare.contains("{{") {
            let known: Vec<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
            return Err(EngineError::invalid(format!("log opt 'tag': {tag:?}: known are {}", known.join(", "))));
        }
        Ok(Self {
            labels: list("labels"),
            labels_like: like("labels-regex")?,
            env: list("env"),
            env_like: like("env-regex")?,
            tag,
        })
    }

    /// What is noted of this container; the tag aside.
    pub(crate) fn of(&self, record: &Record) -> BTreeMap<String, String> {
        let wanted = |names: &[String], like: &Option<Regex>, name: &str| {
            names.iter().any(|known| known == name) || like.as_ref().is_some_and(|like| like.is_match(name))
        };
        let labels = record.config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = labels.filter(|(name, _)| wanted(&self.labels, &self.labels_like, name));
        let env = record.config.env.iter().filter_map(|variable| variable.split_once('='));
        let env = env.filter(|(name, _)| wanted(&self.env, &self.env_like, name));
        labels.chain(env).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The tag of this container; empty if none was asked for.
    pub(crate) fn tag(&self, record: &Record) -> String {
        FIELDS.iter().fold(self.tag.clone(), |text, (field, value)| {
            if text.contains(field) { text.replace(field, &value(record)) } else { text }
        })
    }
}

impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        let text = |like: &Option<Regex>| like.as_ref().map(|like| like.as_str().to_owned());
        self.labels == other.labels
            && self.env == other.env
            && self.tag == other.tag
            && text(&self.labels_like) == text(&other.labels_like)
            && text(&self.env_like) == text(&other.env_like)
    }
}

impl Eq for Attributes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_or_expression_that_is_none_is_told() {
        let parse = |key: &str, value: &str| {
            let options = [(key.to_owned(), value.to_owned())].into();
            Attributes::parse(&options, None).map_or_else(|error| error.to_string(), |attributes| attributes.tag)
        };
        assert_eq!(parse("tag", "{{ .Name }}/{{.ID}}"), "{{.Name}}/{{.ID}}");
        assert!(parse("tag", "{{.Nothing}}").starts_with("log opt 'tag': \"{{.Nothing}}\": known are {{.ID}}"));
        assert!(parse("labels-regex", "(").starts_with("invalid regular expression \"(\" for log opt 'labels-regex'"));
    }
}
