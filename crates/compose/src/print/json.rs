//! Trees as JSON, byte for byte as Go's encoder writes them.

use crate::node::{Node, Value, float_text};

/// With line ends and two blanks for each level.
pub fn pretty(node: &Node) -> String {
    let mut out = String::new();
    write(node, Some(0), &mut out);
    out
}

/// Without any blanks.
pub fn compact(node: &Node) -> String {
    let mut out = String::new();
    write(node, None, &mut out);
    out
}

fn write(node: &Node, level: Option<usize>, out: &mut String) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float_text(*value)),
        Value::Text(text) => quote(text, out),
        Value::List(list) => {
            surround(('[', ']'), list.len(), level, out, |at, level, out| write(&list[at], level, out));
        }
        Value::Map(map) => surround(('{', '}'), map.0.len(), level, out, |at, level, out| {
            let (key, node) = &map.0[at];
            quote(key, out);
            out.push_str(if level.is_some() { ": " } else { ":" });
            write(node, level, out);
        }),
    }
}

fn surround(
    (open, close): (char, char),
    count: usize,
    level: Option<usize>,
    out: &mut String,
    each: impl Fn(usize, Option<usize>, &mut String),
) {
    let inner = level.map(|level| level + 1);
    let line = |level: Option<usize>, out: &mut String| {
        if let Some(level) = level {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        }
    };
    out.push(open);
    for at in 0..count {
        if at > 0 {
            out.push(',');
        }
        line(inner, out);
        each(at, inner, out);
    }
    if count > 0 {
        line(level, out);
    }
    out.push(close);
}

// Go's encoder also escapes what HTML gives a meaning.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
