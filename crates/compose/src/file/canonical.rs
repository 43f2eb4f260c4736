//! A tree as a person wrote it becomes one in canonical form: long forms, lists where lists may stand, texts where
//! texts are meant; whatever the shape does not know is a mistake with its place.

use std::fmt;

use super::{
    merge,
    shape::{self, Field, List, Shape, Short},
    short, size, words,
};
use crate::{
    error::Mistake,
    node::{Map, Node, Place, Tag, Value},
    suggest,
};

type Result<T> = std::result::Result<T, Box<Mistake>>;

/// The way to a value, for messages: `services.web.ports[0]`.
#[derive(Debug, Clone, Copy)]
pub enum Key<'k> {
    Root,
    Name(&'k Key<'k>, &'k str),
    Item(&'k Key<'k>, usize),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Name(Key::Root, name) => f.write_str(name),
            Self::Name(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// Puts a tree into canonical form.
///
/// Where `as_written`, variables have not been replaced, and a text with a `$` is taken for whatever is wanted.
///
/// # Errors
/// At the first thing that the shape does not allow.
pub fn tree(node: Node, shape: &Shape, as_written: bool) -> Result<Node> {
    Canonical { as_written }.node(node, shape, &Key::Root)
}

struct Canonical {
    as_written: bool,
}

fn expected(node: &Node, key: &Key<'_>, what: &str) -> Box<Mistake> {
    Mistake::new(&node.place, key.to_string(), format!("expected {what}, found {}", node.kind_name()))
}

impl Canonical {
    fn node(&self, node: Node, shape: &Shape, key: &Key<'_>) -> Result<Node> {
        if node.is_null() && !matches!(shape, Shape::Any) || self.is_template(&node) {
            return Ok(node);
        }
        match shape {
            Shape::Any => Ok(node),
            Shape::Struct(fields) => self.structure(node, fields, key),
            Shape::Names(inner) => self.names(node, inner, key),
            Shape::NamesOrList(inner, form) => self.names_or_list(node, inner, *form, key),
            Shape::List(list) => self.list(node, list, key),
            Shape::Short(form, inner) => {
                let node = short::expand(node, *form, key)?;
                match node.value {
                    Value::List(_) if *form == Short::Port => Ok(node),
                    Value::Map(_) | Value::List(_) => self.node(node, inner, key),
                    _ => Ok(node),
                }
            }
            Shape::Mapping | Shape::Variables | Shape::Keys => mapping(node, matches!(shape, Shape::Variables), key),
            Shape::Hosts => hosts(node, key),
            Shape::Texts => texts(node, false, true, key),
            Shape::OneOrMany => texts(node, true, true, key),
            Shape::Command => command(node, key, words::split),
            Shape::Test => command(node, key, |text| Ok(vec!["CMD-SHELL".to_owned(), text.to_owned()])),
            Shape::Refused(why) => Err(Mistake::new(&node.place, key.to_string(), format!("not supported: {why}"))),
            scalar => value(node, scalar, key),
        }
    }

    fn is_template(&self, node: &Node) -> bool {
        self.as_written && node.as_str().is_some_and(|text| text.contains('$'))
    }

    fn structure(&self, node: Node, fields: &'static [Field], key: &Key<'_>) -> Result<Node> {
        let (place, tag) = (node.place.clone(), node.tag);
        let Value::Map(map) = node.value else {
            return Err(expected(&node, key, "a mapping"));
        };
        let mut out = Map(Vec::with_capacity(map.0.len()));
        for (name, node) in map.0 {
            let below = Key::Name(key, &name);
            if name.starts_with("x-") {
                out.0.push((name, node));
                continue;
            }
            let Some(field) = fields.iter().find(|field| field.key == name) else {
                let mistake = Mistake::new(&node.place, below.to_string(), "this key is not known here");
                return Err(match suggest::nearest(&name, fields.iter().map(|field| field.key)) {
                    Some(meant) => mistake.hint(format!("did you mean {meant:?}?")),
                    None => mistake.hint(format!("known are {}", short_list(fields))),
                });
            };
            let node = self.node(node, &field.shape, &below)?;
            out.0.push((name, node));
        }
        Ok(Node { value: Value::Map(out), place, tag })
    }

    fn names(&self, node: Node, inner: &Shape, key: &Key<'_>) -> Result<Node> {
        let (place, tag) = (node.place.clone(), node.tag);
        let Value::Map(map) = node.value else {
            return Err(expected(&node, key, "a mapping of names"));
        };
        let mut out = Map(Vec::with_capacity(map.0.len()));
        for (name, node) in map.0 {
            let below = Key::Name(key, &name);
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) || name.is_empty() {
                let message = format!("{name:?} is no name; letters, digits, '.', '_' and '-' make one");
                return Err(Mistake::new(&node.place, key.to_string(), message));
            }
            let node = self.node(node, inner, &below)?;
            out.0.push((name, node));
        }
        Ok(Node { value: Value::Map(out), place, tag })
    }

    fn names_or_list(&self, node: Node, inner: &Shape, form: Short, key: &Key<'_>) -> Result<Node> {
        let Value::List(list) = node.value else {
            return self.names(node, inner, key);
        };
        let mut out = Map::default();
        for (at, item) in list.into_iter().enumerate() {
            let below = Key::Item(key, at);
            let Some(name) = item.scalar_text() else {
                return Err(expected(&item, &below, "a name"));
            };
            let place = item.place.clone();
            let value = match form {
                Short::Dependency => short::dependency(&place),
                _ => Node::new(Value::Null, &place),
            };
            out.set(&name, value);
        }
        Ok(Node { value: Value::Map(out), place: node.place, tag: node.tag })
    }

    fn list(&self, node: Node, list: &'static List, key: &Key<'_>) -> Result<Node> {
        let (place, tag) = (node.place.clone(), node.tag);
        let items = match node.value {
            Value::List(items) => items,
            _ if matches!(list.item, Shape::Short(Short::EnvFile, _)) => vec![node],
            _ => return Err(expected(&node, key, "a list")),
        };
        let mut out: Vec<Node> = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let below = Key::Item(key, at);
            if item.is_null() {
                return Err(expected(&item, &below, "an entry"));
            }
            let node = self.node(item, &list.item, &below)?;
            match node.value {
                // One short port may stand for several.
                Value::List(several) => out.extend(several),
                _ => out.push(node),
            }
        }
        Ok(Node { value: Value::List(merge::once(out, list.unique)), place, tag })
    }
}

fn short_list(fields: &[Field]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.key).take(12).collect();
    let more = if fields.len() > names.len() { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

// `{a: 1}` or `[a=1]`.
fn mapping(node: Node, from_surroundings: bool, key: &Key<'_>) -> Result<Node> {
    let (place, tag) = (node.place.clone(), node.tag);
    let absent = |place: &Place| match from_surroundings {
        true => Node::new(Value::Null, place),
        false => Node::text("", place),
    };
    let mut out = Map::default();
    match node.value {
        Value::Map(map) => {
            for (name, node) in map.0 {
                let below = Key::Name(key, &name);
                let value = match (&node.value, node.scalar_text()) {
                    (Value::Null, _) if node.tag == Tag::Reset => node,
                    (Value::Null, _) => absent(&node.place),
                    (_, Some(text)) => Node { value: Value::Text(text), ..node },
                    (_, None) => return Err(expected(&node, &below, "a text, a number, true or false")),
                };
                out.set(&name, value);
            }
        }
        Value::List(list) => {
            for (at, item) in list.into_iter().enumerate() {
                let below = Key::Item(key, at);
                let Some(text) = item.scalar_text() else {
                    return Err(expected(&item, &below, "\"name=value\""));
                };
                match text.split_once('=') {
                    Some((name, value)) => out.set(name, Node::text(value, &item.place)),
                    None => out.set(&text, absent(&item.place)),
                }
            }
        }
        _ => return Err(expected(&node, key, "a mapping, or a list of \"name=value\"")),
    }
    Ok(Node { value: Value::Map(out), place, tag })
}

// Kept as a mapping of host names to lists of addresses, so that files can be merged.
fn hosts(node: Node, key: &Key<'_>) -> Result<Node> {
    let (place, tag) = (node.place.clone(), node.tag);
    let mut out = Map::default();
    let mut add = |name: &str, address: &str, item: &Node| {
        let address = Node::text(address.trim_matches(['[', ']']), &item.place);
        let entry = out.set_default(name.trim(), || Node::new(Value::List(Vec::new()), &item.place));
        if let Value::List(list) = &mut entry.value {
            list.push(address);
        }
    };
    match &node.value {
        Value::List(list) => {
            for (at, item) in list.iter().enumerate() {
                let parts = item.as_str().and_then(|text| text.split_once('=').or_else(|| text.split_once(':')));
                let Some((name, address)) = parts else {
                    return Err(expected(item, &Key::Item(key, at), "\"host=address\""));
                };
                add(name, address, item);
            }
        }
        Value::Map(map) => {
            for (name, item) in map.iter() {
                match &item.value {
                    Value::List(list) => {
                        list.iter().for_each(|each| add(name, each.as_str().unwrap_or_default(), each))
                    }
                    _ => add(name, item.as_str().unwrap_or_default(), item),
                }
            }
        }
        _ => return Err(expected(&node, key, "a mapping, or a list of \"host=address\"")),
    }
    Ok(Node { value: Value::Map(out), place, tag })
}

/// A list of texts, each once; a single one where that may stand for a list.
pub(super) fn texts(node: Node, from_one: bool, once: bool, key: &Key<'_>) -> Result<Node> {
    let (place, tag) = (node.place.clone(), node.tag);
    let items = match node.value {
        Value::List(items) => items,
        _ if from_one && node.scalar_text().is_some() => vec![node],
        _ => return Err(expected(&node, key, "a list")),
    };
    let mut out: Vec<Node> = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let Some(text) = item.scalar_text() else {
            return Err(expected(&item, &Key::Item(key, at), "a text or a number"));
        };
        let item = Node { value: Value::Text(text), ..item };
        if !once || !out.contains(&item) {
            out.push(item);
        }
    }
    Ok(Node { value: Value::List(out), place, tag })
}

fn command(
    node: Node,
    key: &Key<'_>,
    split: impl Fn(&str) -> std::result::Result<Vec<String>, String>,
) -> Result<Node> {
    let Some(text) = node.scalar_text() else {
        return texts(node, false, false, key);
    };
    let words = split(&text).map_err(|message| Mistake::new(&node.place, key.to_string(), message))?;
    let words = words.into_iter().map(|word| Node::text(word, &node.place)).collect();
    Ok(Node { value: Value::List(words), ..node })
}

fn value(node: Node, shape: &Shape, key: &Key<'_>) -> Result<Node> {
    let Some(text) = node.scalar_text() else {
        return Err(expected(&node, key, wanted(shape)));
    };
    let bad = |what: &str| Mistake::new(&node.place, key.to_string(), format!("expected {what}, found {text:?}"));
    let value = match shape {
        Shape::Text => Value::Text(text),
        Shape::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Value::Bool(true),
            "false" | "no" | "n" | "off" | "0" | "" => Value::Bool(false),
            _ => return Err(bad(wanted(shape))),
        },
        Shape::Int => match &node.value {
            Value::Text(text) => Value::Int(integer(text).ok_or_else(|| bad(wanted(shape)))?),
            Value::Int(number) => Value::Int(*number),
            _ => return Err(bad(wanted(shape))),
        },
        Shape::Float => {
            let number: f64 = text.trim().parse().map_err(|_| bad(wanted(shape)))?;
            Value::Float(number)
        }
        Shape::Count if text == "all" => Value::Int(-1),
        Shape::Count => Value::Int(integer(&text).ok_or_else(|| bad(wanted(shape)))?),
        Shape::PullPolicy => Value::Text(pull_policy(&text).ok_or_else(|| bad(wanted(shape)))?),
        Shape::Bytes => Value::Text(size::bytes(&text).ok_or_else(|| bad(wanted(shape)))?.to_string()),
        Shape::Duration => {
            let nanos = size::duration(&text).ok_or_else(|| bad(wanted(shape)))?;
            Value::Text(hako_base::duration::go(nanos))
        }
        Shape::Choice(choices) if !choices.contains(&text.as_str()) => {
            let mistake = bad(&format!("one of {}", choices.join(", ")));
            return Err(match suggest::nearest(&text, choices.iter().copied()) {
                Some(meant) => mistake.hint(format!("did you mean {meant:?}?")),
                None => mistake,
            });
        }
        _ => Value::Text(text),
    };
    Ok(Node { value, ..node })
}

// The policies that name a time are of newer files than docker compose 2.26 reads.
fn pull_policy(text: &str) -> Option<String> {
    let is_known = matches!(text, "always" | "never" | "missing" | "build" | "daily" | "weekly");
    let is_span = text.strip_prefix("every_").is_some_and(|span| size::duration(span).is_some());
    match text {
        "if_not_present" => Some("missing".to_owned()),
        text => (is_known || is_span).then(|| text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool => "true or false",
        Shape::Int => "a whole number",
        Shape::Float => "a number",
        Shape::Count => "a number or \"all\"",
        Shape::PullPolicy => "one of always, missing, never, build, daily, weekly or every_<duration>",
        Shape::Bytes => "a size like 64m or 1.5g",
        Shape::Duration => "a duration like 1m30s",
        _ => "a text",
    }
}

/// The shape of one key of a structure.
pub fn below<'s>(shape: &'s Shape, key: &str) -> Option<&'s Shape> {
    match shape {
        Shape::Names(inner) | Shape::NamesOrList(inner, _) => Some(inner),
        _ => shape::fields(shape)?.iter().find(|field| field.key == key).map(|field| &field.shape),
    }
}
