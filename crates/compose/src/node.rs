//! A YAML document as a tree that remembers where each value stands, and the tags that steer merging.
//!
//! Everything that happens to a Compose file before it has types (interpolation, `extends`, `include`, merging)
//! happens to this tree, so that every complaint can name file, line and column.

use std::{fmt, sync::Arc};

/// Where a value stands; lines and columns are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The beginning of a file, for what is wrong with the whole of it.
    pub fn start_of(file: &str) -> Self {
        Self { file: file.into(), line: 1, column: 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What a tag asks of merging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tag {
    #[default]
    None,
    /// `!reset`: what earlier files said is forgotten, and so is this value.
    Reset,
    /// `!override`: this value stands alone.
    Override,
}

/// One value.
#[derive(Debug, Clone)]
pub struct Node {
    pub value: Value,
    pub place: Place,
    pub tag: Tag,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Keys with their values, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map(pub Vec<(String, Node)>);

// Two nodes are the same when they say the same, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    pub fn new(value: Value, place: &Place) -> Self {
        Self { value, place: place.clone(), tag: Tag::None }
    }

    pub fn text(text: impl Into<String>, place: &Place) -> Self {
        Self::new(Value::Text(text.into()), place)
    }

    /// An empty mapping.
    pub fn map(place: &Place) -> Self {
        Self::new(Value::Map(Map::default()), place)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value below a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key)
    }

    /// The text below a key of a mapping.
    pub fn str_at(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The value below a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Sets a text that is there already, below a path of keys.
    pub fn set_at(&mut self, path: &[&str], text: &str) {
        let node = path.iter().try_fold(self, |node, key| node.get_mut(key));
        if let Some(node) = node {
            node.value = Value::Text(text.to_owned());
        }
    }

    /// What a person would call it.
    pub fn kind_name(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A single value as text, as Go prints it; nothing for lists, mappings and null.
    pub fn scalar_text(&self) -> Option<String> {
        Some(match &self.value {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => float_text(*value),
            Value::Text(text) => text.clone(),
            Value::Null | Value::List(_) | Value::Map(_) => return None,
        })
    }

    /// The same as JSON, in the order that the tree has.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(list) => list.iter().map(Node::to_json).collect(),
            Value::Map(map) => map.0.iter().map(|(key, node)| (key.clone(), node.to_json())).collect(),
        }
    }
}

/// A number as Go's `%v` prints it: whole numbers without a dot.
pub fn float_text(value: f64) -> String {
    if value.abs() >= 1e21 {
        return format!("{value:e}").replace('e', "e+");
    }
    format!("{value}")
}

impl Map {
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Sets a key, in its old place if it is there already.
    pub fn set(&mut self, key: &str, node: Node) {
        match self.get_mut(key) {
            Some(old) => *old = node,
            None => self.0.push((key.to_owned(), node)),
        }
    }

    /// Sets a key that is not there.
    pub fn set_default(&mut self, key: &str, node: impl FnOnce() -> Node) -> &mut Node {
        let at = match self.0.iter().position(|(name, _)| name == key) {
            Some(at) => at,
            None => {
                self.0.push((key.to_owned(), node()));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }

    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, node)| (key.as_str(), node))
    }
}
