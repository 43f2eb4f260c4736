//! What expressions come to.

use std::{cmp::Ordering, collections::BTreeMap, fmt::Write as _};

use super::number::Number;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Truth(bool),
    Number(Number),
    Text(String),
    Sequence(Shape, Vec<Value>),
    /// An object, or a map where `bool` says that all its values are of one kind.
    Mapping(bool, BTreeMap<String, Value>),
}

/// What a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As it is written: elements of any kinds.
    Tuple,
    /// Elements of one kind.
    List,
    /// Elements of one kind, ordered, each once.
    Set,
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn whole(number: impl Into<i128>) -> Self {
        Self::Number(Number::Whole(number.into()))
    }

    pub(crate) fn count(number: usize) -> Self {
        Self::Number(Number::Whole(i128::try_from(number).unwrap_or(i128::MAX)))
    }

    pub(crate) fn object<'k>(pairs: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Self::Mapping(false, pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// As a set has them: in order, each once.
    pub(crate) fn set(mut elements: Vec<Value>) -> Self {
        elements.sort_by(Value::order);
        elements.dedup();
        Self::Sequence(Shape::Set, elements)
    }

    /// The kind, for sentences.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Truth(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Sequence(Shape::Tuple, _) => "tuple",
            Self::Sequence(Shape::List, _) => "list",
            Self::Sequence(Shape::Set, _) => "set",
            Self::Mapping(false, _) => "object",
            Self::Mapping(true, _) => "map",
        }
    }

    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self, Self::Truth(_) | Self::Number(_) | Self::Text(_))
    }

    /// As text, which only primitive values have.
    pub(crate) fn to_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Truth(truth) => Some(truth.to_string()),
            _ => None,
        }
    }

    /// Equal as the language has it: a number is no text.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sequence(left, a), Self::Sequence(right, b)) => {
                left == right && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Self::Mapping(_, a), Self::Mapping(_, b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.equals(b.1))
            }
            _ => self == other,
        }
    }

    /// What it costs to have it once more.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Text(text) => 1 + text.len() as u64 / 8,
            Self::Sequence(_, all) => 1 + all.iter().map(Value::size).sum::<u64>(),
            Self::Mapping(_, all) => {
                1 + all.iter().map(|(key, value)| 1 + key.len() as u64 / 8 + value.size()).sum::<u64>()
            }
            _ => 1,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.partial_cmp(right).unwrap_or(Ordering::Equal),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Truth(left), Self::Truth(right)) => left.cmp(right),
            _ => self.json().cmp(&other.json()),
        }
    }

    /// As JSON, in the spelling of Go.
    pub(crate) fn json(&self) -> String {
        let mut made = String::new();
        self.write_json(&mut made);
        made
    }

    fn write_json(&self, to: &mut String) {
        let pair = |to: &mut String, first: bool| {
            if !first {
                to.push(',');
            }
        };
        match self {
            Self::Null => to.push_str("null"),
            Self::Truth(truth) => drop(write!(to, "{truth}")),
            Self::Number(number) => drop(write!(to, "{number}")),
            Self::Text(text) => to.push_str(&quoted(text)),
            Self::Sequence(_, all) => {
                to.push('[');
                for (at, one) in all.iter().enumerate() {
                    pair(to, at == 0);
                    one.write_json(to);
                }
                to.push(']');
            }
            Self::Mapping(_, all) => {
                to.push('{');
                for (at, (key, value)) in all.iter().enumerate() {
                    pair(to, at == 0);
                    to.push_str(&quoted(key));
                    to.push(':');
                    value.write_json(to);
                }
                to.push('}');
            }
        }
    }
}

/// A text in JSON as Go's encoder writes it: fit to be put into a web page.
pub(crate) fn quoted(text: &str) -> String {
    escaped(&serde_json::to_string(text).unwrap_or_default())
}

/// JSON whose texts are fit to be put into a web page; outside of texts none of these occurs.
pub(crate) fn escaped(json: &str) -> String {
    let mut made = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => drop(write!(made, "\\u{:04x}", u32::from(c))),
            // serde writes these two by a letter, Go by number.
            _ => made.push(c),
        }
    }
    made
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Truth(truth),
            Json::Number(number) => Number::parse(&number.to_string()).map_or(Self::Null, Self::Number),
            Json::String(text) => Self::Text(text),
            Json::Array(all) => Self::Sequence(Shape::Tuple, all.into_iter().map(Self::from).collect()),
            Json::Object(all) => {
                Self::Mapping(false, all.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}
