//! JSON that keeps the order it came in.
//!
//! `inspect` prints what the daemon sent, re-indented, never re-ordered. The order of an object's
//! keys is also what `--format '{{json .}}'` needs: template values are sorted maps, so the order
//! is looked up from the document the values came from.

use std::{collections::HashMap, sync::Arc, sync::LazyLock};

use gotmpl::Value;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::go;

/// Re-indents a document the way Go's encoder does: empty lists and objects stay closed.
pub(crate) fn indent(compact: &str, unit: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut depth, mut in_string, mut escaped, mut opened) = (0_usize, false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(unit);
        }
    };
    for c in compact.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if opened && c != '}' && c != ']' {
            depth += 1;
            line(&mut out, depth);
        }
        let was_opened = std::mem::replace(&mut opened, matches!(c, '{' | '['));
        match c {
            '}' | ']' if !was_opened => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                in_string = true;
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Drops the blanks between the tokens of a document.
///
/// # Errors
/// When it is not JSON.
pub(crate) fn compact(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    };
    Ok(text.chars().filter(keep).collect())
}

/// A parsed document, objects in their written order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Document {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Document>),
    Object(Vec<(String, Document)>),
}

/// What Go has for a list or a map that is not there: it is printed as an empty one, and is `null` in JSON.
static NIL_LIST: LazyLock<Arc<[Value]>> = LazyLock::new(|| Vec::new().into());
static NIL_MAP: LazyLock<Arc<std::collections::BTreeMap<Arc<str>, Value>>> = LazyLock::new(Arc::default);

/// Fields that are lists, and fields that are maps, in Docker's Go structs: a `null` there has members, namely none.
const LISTS: &[&str] = &[
    "Aliases",
    "Args",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "Config",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "Log",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "SecurityOpt",
    "Shell",
    "Ulimits",
    "VolumesFrom",
    "Warnings",
];
const MAPS: &[&str] = &[
    "Annotations",
    "AuxiliaryAddresses",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// A field's value for templates.
fn field(key: &str, value: &Document) -> Value {
    match value {
        Document::Null if LISTS.contains(&key) => Value::List(NIL_LIST.clone()),
        Document::Null if MAPS.contains(&key) => Value::Map(NIL_MAP.clone()),
        Document::List(items) => Value::List(items.iter().map(|item| field(key, item)).collect()),
        Document::Object(entries) => object(key, entries),
        value => value.to_value(),
    }
}

/// An object's value: its fields, those that Go has and the daemon left out, and how Go prints it if it is a struct.
fn object(key: &str, entries: &[(String, Document)]) -> Value {
    // What is in a map of structs is such a struct; the fields of a struct have names of their own.
    let form = go::form(key, entries);
    let is_map = form.is_none() && MAPS.contains(&key);
    let inner = |name: &str, value: &Document| if is_map { field(key, value) } else { field(name, value) };
    let mut map: std::collections::BTreeMap<Arc<str>, Value> =
        entries.iter().map(|(name, value)| (name.as_str().into(), inner(name, value))).collect();
    let left_out: Vec<Value> = go::left_out(key, entries)
        .map(|name| {
            map.insert(name.into(), field(name, &Document::Null));
            Value::String(name.into())
        })
        .collect();
    if !left_out.is_empty() {
        map.insert(go::LEFT_OUT.into(), Value::List(left_out.into()));
    }
    if let Some(form) = form {
        map.insert(go::FIRST.into(), Value::String(form.into()));
        map.insert(go::LAST.into(), Value::String("".into()));
    }
    Value::Map(map.into())
}

/// The names of what the daemon sent, without those that were put in beside it.
fn sent(entries: &std::collections::BTreeMap<Arc<str>, Value>) -> Vec<String> {
    let left_out = |name: &str| match entries.get(go::LEFT_OUT) {
        Some(Value::List(names)) => names.iter().any(|known| known.as_str() == Some(name)),
        _ => false,
    };
    let own = |name: &&Arc<str>| !matches!(&***name, go::FIRST | go::LAST | go::LEFT_OUT) && !left_out(name);
    entries.keys().filter(own).map(|name| name.to_string()).collect()
}

impl Document {
    /// The same as a template value.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::String(text.as_str().into()),
            Self::List(items) => Value::List(items.iter().map(Self::to_value).collect()),
            Self::Object(entries) => object("", entries),
        }
    }
}

impl Document {
    /// The same for templates that call some fields otherwise (`names`: as JSON has them, as templates do). Both go; the
    /// second is no part of its JSON.
    pub(crate) fn to_value_called(&self, names: &[(&str, &str)]) -> Value {
        match self {
            Self::List(items) => Value::List(items.iter().map(|item| item.to_value_called(names)).collect()),
            Self::Object(entries) => {
                let mut map = std::collections::BTreeMap::<Arc<str>, Value>::new();
                let mut beside = Vec::new();
                for (key, value) in entries {
                    let value = value.to_value_called(names);
                    if let Some((_, name)) = names.iter().find(|(known, _)| known == key) {
                        map.insert((*name).into(), value.clone());
                        beside.push(Value::String((*name).into()));
                    }
                    map.insert(key.as_str().into(), value);
                }
                map.insert(go::LEFT_OUT.into(), Value::List(beside.into()));
                Value::Map(map.into())
            }
            other => other.to_value(),
        }
    }
}

/// The written order of every kind of object in a document, found again by its set of keys.
#[derive(Debug, Default)]
pub(crate) struct KeyOrder {
    orders: HashMap<Vec<String>, Vec<String>>,
    escape_html: bool,
}

impl KeyOrder {
    /// No order learnt, and `<`, `>` and `&` escaped, as Docker's listings have them.
    pub(crate) fn escaping_html() -> Self {
        Self { escape_html: true, ..Self::default() }
    }

    /// Objects with these keys are written in this order.
    pub(crate) fn with(mut self, keys: &[&str]) -> Self {
        let written: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let mut sorted = written.clone();
        sorted.sort_unstable();
        self.orders.insert(sorted, written);
        self
    }

    /// Learns the orders of all objects within `document`.
    pub(crate) fn learn(&mut self, document: &Document) {
        match document {
            Document::List(items) => items.iter().for_each(|item| self.learn(item)),
            Document::Object(entries) => {
                let written: Vec<String> = entries.iter().map(|(key, _)| key.clone()).collect();
                let mut sorted = written.clone();
                sorted.sort_unstable();
                if sorted != written {
                    self.orders.insert(sorted, written);
                }
                entries.iter().for_each(|(_, value)| self.learn(value));
            }
            _ => {}
        }
    }

    /// A template value as compact JSON, objects in the order learnt for them.
    pub(crate) fn write(&self, value: &Value, out: &mut String) {
        match value {
            // Only a whole row goes through the encoder that escapes: `{{json .Ports}}` keeps its arrows.
            Value::String(text) => quote(text, out),
            _ => self.write_within(value, out),
        }
    }

    fn write_within(&self, value: &Value, out: &mut String) {
        match value {
            Value::List(items) if Arc::ptr_eq(items, &NIL_LIST) => out.push_str("null"),
            Value::Map(entries) if Arc::ptr_eq(entries, &NIL_MAP) => out.push_str("null"),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.write_within(item, out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                let sorted = sent(entries);
                let order = self.orders.get(&sorted).unwrap_or(&sorted);
                out.push('{');
                for (at, key) in order.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    quote(key, out);
                    out.push(':');
                    self.write_within(entries.get(key.as_str()).unwrap_or(&Value::Nil), out);
                }
                out.push('}');
            }
            Value::String(text) if self.escape_html => {
                let mut quoted = String::new();
                quote(text, &mut quoted);
                let escape = |c: char| matches!(c, '<' | '>' | '&');
                for piece in quoted.split_inclusive(escape) {
                    out.push_str(piece.trim_end_matches(escape));
                    if let Some(c) = piece.chars().last().filter(|c| escape(*c)) {
                        out.push_str(&format!("\\u{:04x}", u32::from(c)));
                    }
                }
            }
            Value::String(text) => quote(text, out),
            Value::Nil | Value::Function(_) => out.push_str("null"),
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) => out.push_str(&value.to_string()),
            Value::Float(number) => out.push_str(
                &serde_json::Number::from_f64(*number)
                    .map_or_else(|| "null".to_owned(), |number| number.to_string().trim_end_matches(".0").to_owned()),
            ),
        }
    }
}

/// A JSON string literal; `<`, `>` and `&` stay as they are.
pub(crate) fn quote(text: &str, out: &mut String) {
    // Serialising a string cannot fail; the fallback keeps the function total.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Int(value))
    }

    // Go decodes into signed fields; keeping small numbers signed makes `eq .Size 0` work.
    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(i64::try_from(value).map_or(Document::Uint(value), Document::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Document::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Document::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_is_gos() {
        let compact = r#"[{"Id":"a","L":[],"M":{},"N":[1,{"x":"a\"{,}"}]}]"#;
        let expected = "[\n    {\n        \"Id\": \"a\",\n        \"L\": [],\n        \"M\": {},\n        \"N\": [\n            1,\n            {\n                \"x\": \"a\\\"{,}\"\n            }\n        ]\n    }\n]";
        assert_eq!(indent(compact, "    "), expected);
        assert_eq!(indent(expected, "    "), expected);
        assert_eq!(indent("[]", "    "), "[]");
    }

    #[test]
    fn blanks_between_tokens_go_away() {
        assert_eq!(compact("{ \"a\\\" b\": [ 1,\n 2 ] }").unwrap(), "{\"a\\\" b\":[1,2]}");
        assert!(compact("{").is_err());
    }

    #[test]
    fn a_template_value_is_written_in_the_documents_order() {
        let text = r#"{"Name":"web","Id":"a<b","Ports":{"z":1,"a":null},"Rate":1.5}"#;
        let document: Document = serde_json::from_str(text).unwrap();
        let mut order = KeyOrder::default();
        order.learn(&document);
        let mut out = String::new();
        order.write(&document.to_value(), &mut out);
        assert_eq!(out, text);
    }
}
