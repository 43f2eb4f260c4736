//! YAML that describes things, read as the JSON it stands for; for files whose own form is JSON's and which people write
//! in YAML as well.
//!
//! A scalar is text, for what is asked for are names, paths and versions (`0.5.0`, `"0"`), but for plain `true`, `false`
//! and `null`. One document; aliases and tags, which such files do without, are refused by name. Compose files have a
//! reader of their own, which knows all of it and the places of mistakes.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Deeper than any description, and far below what the stack of whoever reads the value holds.
const DEPTH_MAX: usize = 64;

/// What is no YAML, or none that is read here.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct YamlError {
    why: String,
}

/// The one document of a text; an empty one is null.
///
/// # Errors
/// No YAML, several documents, an alias, a tag, a key that is no text or is there twice.
pub fn value(text: &str) -> Result<Value, YamlError> {
    let bad = |why: String| YamlError { why };
    let mut open: Vec<Level> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| bad(error.to_string()))?;
        let at = |why: &str| bad(format!("line {}: {why}", span.start.line()));
        let whole = match event {
            Event::MappingStart(_, None) => {
                open.push(Level::Mapping { key: None, map: Map::new() });
                None
            }
            Event::SequenceStart(_, None) => {
                open.push(Level::Sequence(Vec::new()));
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(Level::close),
            Event::Scalar(value, style, _, None) => Some(scalar(&value, style)),
            Event::Alias(_) => return Err(at("aliases are not read")),
            Event::MappingStart(..) | Event::SequenceStart(..) | Event::Scalar(..) => {
                return Err(at("tags are not read"));
            }
            _ => None,
        };
        if open.len() > DEPTH_MAX {
            return Err(at("it is nested too deep"));
        }
        let Some(whole) = whole else { continue };
        match open.last_mut() {
            Some(level) => level.put(whole).map_err(|why| at(&why))?,
            None if document.is_some() => return Err(at("there is a second document")),
            None => document = Some(whole),
        }
    }
    Ok(document.unwrap_or_default())
}

enum Level {
    Mapping { key: Option<String>, map: Map<String, Value> },
    Sequence(Vec<Value>),
}

impl Level {
    fn put(&mut self, value: Value) -> Result<(), String> {
        match self {
            Self::Sequence(list) => list.push(value),
            Self::Mapping { key, map } => match (key.take(), value) {
                (None, Value::String(name)) if map.contains_key(&name) => {
                    return Err(format!("{name:?} is there twice"));
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, other) => return Err(format!("{other} is no key")),
                (Some(name), value) => drop(map.insert(name, value)),
            },
        }
        Ok(())
    }

    fn close(self) -> Value {
        match self {
            Self::Mapping { map, .. } => Value::Object(map),
            Self::Sequence(list) => Value::Array(list),
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "true" | "True" | "TRUE") => Value::Bool(true),
        (ScalarStyle::Plain, "false" | "False" | "FALSE") => Value::Bool(false),
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(value(text).map_or_else(|error| error.to_string(), |value| value.to_string()), expected, "{text}");
    }

    #[test]
    fn a_description_is_the_json_it_stands_for() {
        check(
            "---\na: 0.5.0\nb:\n- c: \"0\"\n  d: [x, 'true']\n- e\n",
            r#"{"a":"0.5.0","b":[{"c":"0","d":["x","true"]},"e"]}"#,
        );
        check("open: true\nnone:\ntext: |\n  two\n  lines\n", r#"{"none":null,"open":true,"text":"two\nlines\n"}"#);
        check("{\"a\": [\"b\"]}", r#"{"a":["b"]}"#);
        check("# nothing\n", "null");
    }

    #[test]
    fn what_is_not_read_is_named_with_its_line() {
        check("a: &x 1\nb: *x", "line 2: aliases are not read");
        check("a: 1\na: 2", "line 2: \"a\" is there twice");
        check("a: !!binary eA==", "line 1: tags are not read");
        check("a\n---\nb", "line 3: there is a second document");
        check("{[x]: 1}", "line 1: [\"x\"] is no key");
        assert!(value("a: [").is_err());
        assert!(value(&"[".repeat(100)).is_err());
        check(&format!("{}{}", "[".repeat(65), "]".repeat(65)), "line 1: it is nested too deep");
    }
}
