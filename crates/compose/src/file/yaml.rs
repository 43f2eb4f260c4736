//! YAML text to trees: events of the parser put together, anchors and `<<` resolved, scalars given the types that
//! Go's YAML library gives them (1.2 with the octal and underscored numbers of 1.1).

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag as YamlTag};

use super::time;
use crate::{
    error::Mistake,
    node::{Map, Node, Place, Tag, Value},
};

/// Aliases make a small file a huge tree ("billion laughs"); no honest file comes near this.
const NODES_MAX: usize = 200_000;
/// Deeper nesting than any honest file has, and far below what the stack holds.
const DEPTH_MAX: usize = 100;

type Result<T> = std::result::Result<T, Box<Mistake>>;

/// All documents of a text.
///
/// # Errors
/// At the first place that is no YAML.
pub fn parse(text: &str, file: &str) -> Result<Vec<Node>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { file: file.into(), parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        let (event, _) = builder.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                builder.anchors.clear();
                let (event, span) = builder.next()?;
                documents.push(builder.node(event, span, 0)?);
            }
            _ => {}
        }
    }
}

struct Builder<'t> {
    file: Arc<str>,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn place(&self, span: Span) -> Place {
        Place { file: self.file.clone(), line: span.start.line(), column: span.start.col() + 1 }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span)> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let mark = error.marker();
                let place = Place { file: self.file.clone(), line: mark.line(), column: mark.col() + 1 };
                Err(Mistake::new(&place, "", format!("not valid YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn count(&mut self, more: usize, place: &Place) -> Result<()> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            return Err(Mistake::new(place, "", format!("the document has more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node> {
        let place = self.place(span);
        self.count(1, &place)?;
        if depth > DEPTH_MAX {
            return Err(Mistake::new(&place, "", format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let before = self.nodes;
        let (node, anchor) = match event {
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(Mistake::new(&place, "", "an alias of something that contains it"));
                };
                self.count(size, &place)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                let value = scalar(text.into_owned(), style, tag);
                (Node { value, place, tag: merge_tag(tag) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let list = self.list(depth)?;
                (Node { value: Value::List(list), place, tag: merge_tag(tag.as_deref()) }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let map = self.mapping(depth)?;
                (Node { value: Value::Map(map), place, tag: merge_tag(tag.as_deref()) }, anchor)
            }
            _ => (Node::new(Value::Null, &place), 0),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(list);
            }
            list.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Map> {
        let mut map = Map::default();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(name) = key.scalar_text().or_else(|| key.is_null().then(|| "null".to_owned())) else {
                return Err(Mistake::new(&key.place, "", format!("{} cannot be a key", key.kind_name())));
            };
            if name == "<<" {
                match value.value {
                    Value::List(list) => merged.extend(list),
                    _ => merged.push(value),
                }
            } else if let Some(first) = map.get(&name) {
                let message = format!("{name:?} is there twice, first in line {}", first.place.line);
                return Err(Mistake::new(&key.place, name, message));
            } else {
                map.0.push((name, value));
            }
        }
        // What the mapping says itself wins, then the first of several merged ones.
        for node in merged {
            let Value::Map(more) = node.value else {
                return Err(Mistake::new(&node.place, "<<", "only a mapping can be merged here"));
            };
            for (key, value) in more.0 {
                if !map.contains(&key) {
                    map.0.push((key, value));
                }
            }
        }
        Ok(map)
    }
}

fn merge_tag(tag: Option<&YamlTag>) -> Tag {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Tag::Reset,
        Some(tag) if tag.handle == "!" && tag.suffix == "override" => Tag::Override,
        _ => Tag::None,
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&YamlTag>) -> Value {
    match tag.filter(|tag| tag.handle.ends_with("yaml.org,2002:") || tag.handle == "!!").map(|tag| tag.suffix.as_str())
    {
        Some("str") => return Value::Text(text),
        Some(_) => return plain(text),
        None => {}
    }
    if style == ScalarStyle::Plain { plain(text) } else { Value::Text(text) }
}

fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | ".nan" | ".NaN" | ".NAN" => return Value::Text(text),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::Text(text);
    }
    if let Some(number) = integer(&text) {
        return Value::Int(number);
    }
    if let Some(moment) = time::go_spelling(&text) {
        return Value::Text(moment);
    }
    let digits = text.replace('_', "");
    let looks_like_number = digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
        && digits.contains(|c: char| c.is_ascii_digit());
    match digits.parse::<f64>() {
        Ok(number) if looks_like_number && number.is_finite() => Value::Float(number),
        _ => Value::Text(text),
    }
}

fn integer(text: &str) -> Option<i64> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |prefix: &str, radix| digits.strip_prefix(prefix).map(|rest| i64::from_str_radix(rest, radix).ok());
    let value = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        // `0440` is octal for Go's library, and file modes are written so.
        .or_else(|| (digits.len() > 1).then(|| radix("0", 8)).flatten())
        .unwrap_or_else(|| digits.parse().ok())?;
    if digits.starts_with(['+', '-']) {
        return None;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match parse(text, "f.yaml") {
            Ok(documents) => documents.iter().map(|node| node.to_json().to_string()).collect::<Vec<_>>().join("\n"),
            Err(mistake) => mistake.to_string(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn scalars_have_the_types_that_gos_library_gives_them() {
        check(
            "[1, 0440, 0x1F, 1_000, 1.5, true, yes, null, ~, '1', 1e3]",
            r#"[1,288,31,1000,1.5,true,"yes",null,null,"1",1000.0]"#,
        );
        check(
            "[-1, +1, 0o17, 0b11, 1:20, 1.2.3, 08, 10.0.0.1, a-, .5]",
            r#"[-1,1,15,3,"1:20","1.2.3",8.0,"10.0.0.1","a-",0.5]"#,
        );
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        check(
            "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x",
            r#"{"a":{"p":1,"q":2},"b":{"p":1,"q":3},"c":{"p":1,"q":2}}"#,
        );
        check(
            "a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc: {<<: [*x, *y]}",
            r#"{"a":{"p":1},"b":{"p":2,"r":3},"c":{"p":1,"r":3}}"#,
        );
    }

    #[test]
    fn mistakes_name_their_place() {
        check("a: 1\na: 2", r#"f.yaml:2:1: a: "a" is there twice, first in line 1"#);
        check(
            "a:\n  - b\n c: d",
            "f.yaml:3:2: not valid YAML: while parsing a block mapping, did not find expected key",
        );
    }

    #[test]
    fn many_documents_are_many_trees() {
        check("a: 1\n---\nb: 2\n", "{\"a\":1}\n{\"b\":2}");
        check("", "");
    }

    #[test]
    fn a_billion_laughs_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let refs = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{refs}]\n"));
        }
        let mistake = parse(&text, "f.yaml").unwrap_err();
        assert!(mistake.message.contains("more than"), "{mistake}");
    }
}
