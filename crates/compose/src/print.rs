//! A model as `config` shows it: keys in the reference's order, names sorted, what is empty left out; as YAML, as JSON,
//! and as the bytes that a service's hash is made of.

mod json;
mod yaml;

pub use json::{compact, pretty};
pub use yaml::yaml;

use crate::{
    file::shape::{Field, Shape, Zero},
    node::{Map, Node, Value},
};

/// Which of the two notations; they differ in what they leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    Yaml,
    Json,
}

/// A tree as it is printed. JSON has no extensions below services.
pub fn arranged(node: &Node, shape: &Shape, notation: Notation) -> Node {
    arrange(node, shape, notation).unwrap_or_else(|| Node::new(Value::Null, &node.place))
}

fn arrange(node: &Node, shape: &Shape, notation: Notation) -> Option<Node> {
    let value = match (shape, &node.value) {
        (Shape::Struct(fields), Value::Map(map)) => Value::Map(structure(map, fields, notation)),
        (Shape::Short(_, inner), _) => return arrange(node, inner, notation),
        (Shape::Names(inner) | Shape::NamesOrList(inner, _), Value::Map(map)) => {
            let named = |(key, node): (&str, &Node)| {
                let shown = arrange(node, inner, notation).unwrap_or_else(|| Node::new(Value::Null, &node.place));
                (key.to_owned(), shown)
            };
            Value::Map(sorted(map.iter().map(named)))
        }
        (Shape::List(list), Value::List(items)) => {
            Value::List(items.iter().filter_map(|item| arrange(item, &list.item, notation)).collect())
        }
        (Shape::Hosts, Value::Map(map)) => Value::List(hosts(map)),
        (Shape::Keys, Value::Map(map)) => Value::List(keys(map)),
        (Shape::Mapping | Shape::Variables | Shape::Any, Value::Map(map)) => {
            Value::Map(sorted(map.iter().map(|(key, node)| (key.to_owned(), arrange_any(node)))))
        }
        (Shape::Any, _) => return Some(arrange_any(node)),
        _ => node.value.clone(),
    };
    Some(Node::new(value, &node.place))
}

// Extensions: as they are, but with their keys sorted.
pub(crate) fn arrange_any(node: &Node) -> Node {
    let value = match &node.value {
        Value::Map(map) => Value::Map(sorted(map.iter().map(|(key, node)| (key.to_owned(), arrange_any(node))))),
        Value::List(list) => Value::List(list.iter().map(arrange_any).collect()),
        other => other.clone(),
    };
    Node::new(value, &node.place)
}

fn sorted(entries: impl Iterator<Item = (String, Node)>) -> Map {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    Map(entries)
}

fn hosts(map: &Map) -> Vec<Node> {
    let sorted = sorted(map.iter().map(|(key, node)| (key.to_owned(), node.clone())));
    let lines = sorted.0.iter().flat_map(|(name, addresses)| {
        let addresses = addresses.as_list().unwrap_or_default().iter();
        addresses.map(move |it| Node::text(format!("{name}={}", it.as_str().unwrap_or_default()), &it.place))
    });
    lines.collect()
}

// docker compose 2.26 prints these so that it cannot read them again; later ones do it like this.
fn keys(map: &Map) -> Vec<Node> {
    let one = |(name, path): (&str, &Node)| match path.as_str().unwrap_or_default() {
        "" => Node::text(name, &path.place),
        file => Node::text(format!("{name}={file}"), &path.place),
    };
    map.iter().map(one).collect()
}

fn structure(map: &Map, fields: &[Field], notation: Notation) -> Map {
    let mut out = Map::default();
    for field in fields.iter().filter(|field| field.printed) {
        let shown = map.get(field.key).and_then(|node| arrange(node, &field.shape, notation));
        match shown.filter(|node| is_shown(node, field, notation)) {
            Some(node) => {
                let key = field.json_key.filter(|_| notation == Notation::Json).unwrap_or(field.key);
                out.0.push((key.to_owned(), node));
            }
            None if notation == Notation::Json => {
                if let Some(zero) = field.json_zero {
                    out.0.push((field.key.to_owned(), zero_node(zero)));
                }
            }
            None => {}
        }
    }
    if notation == Notation::Yaml {
        let extensions = map.iter().filter(|(key, _)| key.starts_with("x-"));
        out.0.extend(sorted(extensions.map(|(key, node)| (key.to_owned(), arrange_any(node)))).0);
    }
    out
}

fn is_shown(node: &Node, field: &Field, notation: Notation) -> bool {
    let is_zero = match &node.value {
        Value::Null => return false,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Float(value) => *value == 0.0,
        Value::Text(text) => {
            text.is_empty() || (is_bytes(&field.shape) && text == "0") || (is_duration(&field.shape) && text == "0s")
        }
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.0.is_empty(),
    };
    match field.json_zero {
        // A structure held by value: YAML leaves it out when it is empty.
        Some(Zero::Object | Zero::Exec) if notation == Notation::Yaml => !is_zero,
        _ => field.keep || !is_zero,
    }
}

fn is_bytes(shape: &Shape) -> bool {
    matches!(shape, Shape::Bytes)
}

fn is_duration(shape: &Shape) -> bool {
    matches!(shape, Shape::Duration)
}

fn zero_node(zero: Zero) -> Node {
    let place = crate::node::Place::start_of("");
    let null = || Node::new(Value::Null, &place);
    match zero {
        Zero::Null => null(),
        Zero::Object => Node::map(&place),
        Zero::Exec => Node::new(Value::Map(Map(vec![("command".to_owned(), null())])), &place),
    }
}
