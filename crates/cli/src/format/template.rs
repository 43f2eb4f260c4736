//! `--format`: Go templates with the functions Docker adds to them.
//!
//! The engine is gotmpl. It has no method calls with arguments, and `.Label "name"` is the only
//! one Docker's templates know, so that is rewritten to a function call before parsing.

use gotmpl::{MissingKey, Template, TemplateError, Value};

use super::{go, json::KeyOrder};

/// A template that can be executed for many rows.
pub(crate) struct Format {
    template: Template,
    /// As it was written: mistakes are told with their place in it.
    text: String,
}

/// What is wrong with a template, or with a template for this value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("failed to parse template: {0}")]
    Parse(String),
    #[error("failed to execute template: template: :1: can't evaluate field {name}")]
    Column { name: String, meant: Option<&'static str> },
    #[error("template parsing error: {0}")]
    Execute(String),
    #[error(
        "template parsing error: template: :{line}:{column}: executing \"\" at <{chain}>: map has no entry for key \"{key}\"",
        line = place.line, column = place.column, chain = place.text
    )]
    Missing { key: String, place: Place },
    #[error(
        "template: :{line}:{column}: executing \"\" at <{chain}>: can't evaluate field {key}",
        line = place.line, column = place.column, chain = place.text
    )]
    Unknown { key: String, place: Place },
}

/// What a field that a row lacks means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The person mistyped it: an error.
    Error,
    /// It prints as `<no value>` and is false in a condition.
    NoValue,
}

/// Where in a template something is, as Go's errors tell it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    line: usize,
    /// Bytes before it in its line.
    column: usize,
    /// The expression.
    text: String,
}

impl Place {
    /// The first chain of fields (`.State.Health.Status`) that has this one. Go points at the second field of a chain.
    fn of_field(text: &str, key: &str) -> Self {
        let chains = chains(text);
        let found = chains.iter().find(|(_, chain)| chain.split('.').any(|name| name == key));
        let Some((at, chain)) = found else { return Self::at(text, 2, format!(".{key}")) };
        let second = chain[1..].find('.').map_or(0, |dot| dot + 1);
        Self::at(text, at + second, (*chain).to_owned())
    }

    /// The first call of `index`.
    fn of_index(text: &str) -> Option<Self> {
        let at = ["{{index ", "{{ index ", "(index "]
            .iter()
            .filter_map(|call| text.find(call).map(|at| at + call.len() - "index ".len()));
        let at = at.min()?;
        let mut depth = 0;
        let end = text[at..].char_indices().find(|(offset, c)| {
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return true,
                ')' => depth -= 1,
                '|' => return true,
                _ => {}
            }
            text[at + offset..].starts_with("}}")
        });
        let end = end.map_or(text.len(), |(offset, _)| at + offset);
        Some(Self::at(text, at, text[at..end].trim_end().to_owned()))
    }

    /// Whether it is a chain with this field among its first ones.
    fn begins_with(&self, key: &str, depth: usize) -> bool {
        self.text.split('.').skip(1).take(depth).any(|name| name == key)
    }

    fn at(text: &str, at: usize, expression: String) -> Self {
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        Self { line, column: before.len() - before.rfind('\n').map_or(0, |at| at + 1), text: expression }
    }
}

/// The chains of fields in a template's actions, outside of quotes, with their places.
fn chains(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|open| at + open + 2) {
        let end = text[open..].find("}}").map_or(text.len(), |end| open + end);
        let mut quoted = false;
        let mut start = None;
        for (offset, c) in text[open..end].char_indices().chain([(end - open, ' ')]) {
            let part_of_name = c == '_' || c.is_alphanumeric();
            match start {
                None if c == '"' || c == '`' => quoted = !quoted,
                None if c == '.' && !quoted => start = Some(open + offset),
                Some(from) if c != '.' && !part_of_name => {
                    if open + offset > from + 1 {
                        found.push((from, &text[from..open + offset]));
                    }
                    start = None;
                }
                _ => {}
            }
        }
        at = end;
    }
    found
}

/// One row of something whose fields are known down to `depth`, though `omitted` may be left out: to ask for another is a
/// mistake, and what is not there further down is empty.
///
/// # Errors
/// When the text is no template, or asks for what there is not.
pub(crate) fn row_of_known(
    text: &str,
    order: impl Fn() -> KeyOrder,
    value: &Value,
    depth: usize,
    omitted: &[&str],
) -> Result<String, FormatError> {
    // In there a field may be anything's.
    let has_scopes = ["range", "with", "$"].iter().any(|word| text.contains(word));
    match Format::parse(text, order(), Missing::Error)?.row(value) {
        Err(FormatError::Missing { key, place })
            if !has_scopes && place.begins_with(&key, depth) && !omitted.contains(&key.as_str()) =>
        {
            Err(FormatError::Unknown { key, place })
        }
        Err(FormatError::Missing { key, .. }) => {
            let row = Format::parse(text, order(), Missing::NoValue)?.row(value)?;
            Ok(if omitted.contains(&key.as_str()) { row.replace("<no value>", "") } else { row })
        }
        other => other,
    }
}

/// Whether a template takes a field of this name for what is meant, and not only for something within it.
pub(crate) fn asks_for(text: &str, key: &str) -> bool {
    chains(text).iter().any(|(_, chain)| chain.rsplit('.').next() == Some(key))
}

/// Whether a template looks into a field of this name.
pub(crate) fn looks_into(text: &str, key: &str) -> bool {
    chains(text).iter().any(|(_, chain)| chain.split('.').any(|name| name == key))
}

impl Format {
    /// Parses `text`; `\t` and `\n` written with a backslash count as tabs and line ends.
    ///
    /// # Errors
    /// When it is not a template.
    pub(crate) fn parse(text: &str, order: KeyOrder, missing: Missing) -> Result<Self, FormatError> {
        Self::build(missing)
            .func("json", move |args: &[Value]| {
                let mut out = String::new();
                order.write(args.first().unwrap_or(&Value::Nil), &mut out);
                Ok(Value::String(out.into()))
            })
            .finish(text)
    }

    /// The same template, to be executed with column titles instead of values: functions that
    /// would change a value leave a title as it is.
    ///
    /// # Errors
    /// When it is not a template.
    pub(crate) fn parse_header(text: &str) -> Result<Self, FormatError> {
        let mut template = Self::build(Missing::Error);
        for name in ["json", "title", "lower", "upper", "truncate", "join", "split", "pad"] {
            template = template.func(name, |args: &[Value]| Ok(args.first().cloned().unwrap_or(Value::Nil)));
        }
        template
            .func("label", |args: &[Value]| {
                let name = args.get(1).and_then(Value::as_str).unwrap_or_default();
                let last = name.rsplit('.').next().unwrap_or(name);
                Ok(Value::String(last.replace(['-', '_'], " ").into()))
            })
            .finish(text)
    }

    /// Writes one row.
    ///
    /// # Errors
    /// When the row has no such field, or a function is given what it cannot take.
    pub(crate) fn row(&self, value: &Value) -> Result<String, FormatError> {
        let row = self.template.execute_to_string(value).map_err(|error| match error {
            TemplateError::MissingKey { key } => {
                let place = Place::of_field(&self.text, &key);
                FormatError::Missing { key, place }
            }
            other => {
                let what = gos(&other.to_string());
                match Place::of_index(&self.text).filter(|_| what.starts_with("error calling index")) {
                    Some(Place { line, column, text }) => {
                        FormatError::Execute(format!("template: :{line}:{column}: executing \"\" at <{text}>: {what}"))
                    }
                    None => FormatError::Execute(what),
                }
            }
        })?;
        Ok(go::printed(&row))
    }

    fn build(missing: Missing) -> Template {
        let missing = match missing {
            Missing::Error => MissingKey::Error,
            Missing::NoValue => MissingKey::Invalid,
        };
        Template::new("")
            .missing_key(missing)
            .func("split", |args| {
                let (text, separator) = two_texts(args);
                Ok(Value::List(text.split(separator.as_str()).map(|part| Value::String(part.into())).collect()))
            })
            .func("join", |args| {
                let separator = args.get(1).map(ToString::to_string).unwrap_or_default();
                let Some(Value::List(items)) = args.first() else { return Ok(Value::String("".into())) };
                let parts: Vec<String> = items.iter().map(ToString::to_string).collect();
                Ok(Value::String(parts.join(&separator).into()))
            })
            .func("lower", |args| one_text(args, |text| text.to_lowercase()))
            .func("upper", |args| one_text(args, |text| text.to_uppercase()))
            .func("title", |args| one_text(args, title))
            .func("pad", |args| {
                let blanks = |at: usize| {
                    " ".repeat(usize::try_from(args.get(at).and_then(Value::as_int).unwrap_or(0)).unwrap_or(0))
                };
                one_text(args, |text| match text {
                    "" => String::new(),
                    _ => format!("{}{text}{}", blanks(1), blanks(2)),
                })
            })
            .func("truncate", |args| {
                let limit = usize::try_from(args.get(1).and_then(Value::as_int).unwrap_or(0)).unwrap_or(0);
                one_text(args, |text| text.chars().take(limit).collect())
            })
            // What the daemon left out has no members; gotmpl has no length for nothing.
            .func("len", |args| {
                let length = args.first().and_then(Value::len).unwrap_or(0);
                Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
            })
            .func("index", |args| {
                let (first, rest) = args.split_first().ok_or_else(|| exec("wrong number of args for index"))?;
                rest.iter().try_fold(first.clone(), |value, at| index(&value, at))
            })
            .func("label", |args| {
                let name = args.get(1).and_then(Value::as_str).unwrap_or_default();
                let labels = args.first().and_then(|row| row.field(LABELS));
                Ok(labels.and_then(|labels| labels.field(name)).cloned().unwrap_or(Value::String("".into())))
            })
    }
}

/// The hidden field of a row that `.Label "name"` looks into.
pub(crate) const LABELS: &str = "\u{0}labels";

/// Some mistakes in the words of Go's templates, which scripts and people look for.
fn gos(text: &str) -> String {
    let text = text.strip_prefix("execution error: ").unwrap_or(text);
    if let Some(name) = text.strip_prefix("undefined function: ") {
        return format!("template: :1: function \"{name}\" not defined");
    }
    match text.split_once(": ") {
        Some((place, what)) if place.starts_with("template") && what.contains("unclosed action") => {
            "template: :1: unclosed action".to_owned()
        }
        _ => text.to_owned(),
    }
}

trait Finish {
    fn finish(self, text: &str) -> Result<Format, FormatError>;
}

impl Finish for Template {
    fn finish(self, text: &str) -> Result<Format, FormatError> {
        let text = label_calls(&text.replace("\\t", "\t").replace("\\n", "\n"));
        let template = self.parse(&text).map_err(|error: TemplateError| FormatError::Parse(gos(&error.to_string())))?;
        Ok(Format { template, text })
    }
}

// `.Label "x"` becomes `label $ "x"` within actions, outside quotes.
fn label_calls(text: &str) -> String {
    const CALL: &str = ".Label ";
    let mut out = String::with_capacity(text.len());
    let (mut in_action, mut quote, mut rest) = (false, None, text);
    while let Some(c) = rest.chars().next() {
        if let Some(closing) = quote {
            if c == '\\' && closing == '"' {
                out.push(c);
                rest = &rest[1..];
                let Some(escaped) = rest.chars().next() else { break };
                out.push(escaped);
                rest = &rest[escaped.len_utf8()..];
                continue;
            }
            quote = (c != closing).then_some(closing);
        } else if in_action && matches!(c, '"' | '`') {
            quote = Some(c);
        } else if rest.starts_with("{{") {
            in_action = true;
        } else if rest.starts_with("}}") {
            in_action = false;
        } else if in_action && rest.starts_with(CALL) {
            if out.ends_with('$') {
                out.pop();
            }
            out.push_str("label $ ");
            rest = &rest[CALL.len()..];
            continue;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn exec(text: impl Into<String>) -> TemplateError {
    TemplateError::Exec(text.into())
}

/// One step of `index`. A map of texts has the empty text under every other key, as in Go.
fn index(value: &Value, at: &Value) -> gotmpl::Result<Value> {
    match (value, at.as_str()) {
        (Value::Map(entries), Some(key)) => Ok(match entries.get(key) {
            Some(found) => found.clone(),
            None if entries.values().all(|value| matches!(value, Value::String(_))) => Value::String("".into()),
            None => Value::Nil,
        }),
        (Value::Nil, _) => Err(exec("error calling index: index of untyped nil")),
        _ => value.index(at).map_err(|_| exec(format!("error calling index: index out of range: {at}"))),
    }
}

fn one_text(args: &[Value], change: impl Fn(&str) -> String) -> gotmpl::Result<Value> {
    let text = args.first().map(ToString::to_string).unwrap_or_default();
    Ok(Value::String(change(&text).into()))
}

fn two_texts(args: &[Value]) -> (String, String) {
    let text = |at: usize| args.get(at).map(ToString::to_string).unwrap_or_default();
    (text(0), text(1))
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at_start = true;
    for c in text.chars() {
        if at_start {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        at_start = !c.is_alphanumeric() && c != '_' && c != '\'';
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, sync::Arc};

    fn text_map<'t>(entries: impl IntoIterator<Item = (&'t str, Value)>) -> Value {
        let map = entries.into_iter().map(|(key, value)| (key.into(), value));
        Value::Map(Arc::new(map.collect::<BTreeMap<Arc<str>, Value>>()))
    }

    fn check(template: &str, expected: &str) {
        let labels = text_map([("com.x", Value::String("blue".into()))]);
        let row = text_map([
            ("ID", Value::String("4a2f".into())),
            ("Names", Value::List(vec![Value::String("web".into()), Value::String("www".into())].into())),
            (LABELS, labels),
        ]);
        let got = Format::parse(template, KeyOrder::default(), Missing::Error)
            .and_then(|format| format.row(&row))
            .unwrap_or_else(|error| error.to_string());
        assert_eq!(got, expected, "{template}");
    }

    #[test]
    fn dockers_functions_are_there() {
        check("{{.ID}}\\t{{upper .ID}}", "4a2f\t4A2F");
        check("{{json .Names}} {{join .Names \",\"}}", "[\"web\",\"www\"] web,www");
        check("{{range split \"a:b\" \":\"}}<{{.}}>{{end}}", "<a><b>");
        check("{{title \"hello big world\"}}|{{pad \"x\" 1 2}}|{{truncate \"abcdef\" 3}}", "Hello Big World| x  |abc");
        check("{{println .ID}}", "4a2f\n");
    }

    #[test]
    fn a_label_is_found_by_its_name() {
        check("{{.Label \"com.x\"}}", "blue");
        check("{{upper (.Label \"com.x\")}} {{.Label \"com.x\" | upper}} {{$.Label \"com.x\"}}", "BLUE BLUE blue");
        check("{{.Label \"none\"}}.Label \"x\" {{print \".Label x\"}}", ".Label \"x\" .Label x");
    }

    #[test]
    fn a_header_shows_titles_whatever_is_done_to_values() {
        let header = Format::parse_header("{{json .ID}}\t{{.Label \"com.my-team\"}}").unwrap();
        let titles = text_map([("ID", Value::String("CONTAINER ID".into()))]);
        assert_eq!(header.row(&titles).unwrap(), "CONTAINER ID\tmy team");
    }

    #[test]
    fn mistakes_are_told_with_the_place_that_go_tells() {
        let told = |text: &str, key: &str| {
            let Place { line, column, text } = Place::of_field(text, key);
            format!("{line}:{column} {text}")
        };
        assert_eq!(told("{{.State.Health.Status}}", "Health"), "1:8 .State.Health.Status");
        assert_eq!(told("a {{.Name}} {{.Foo}}", "Foo"), "1:14 .Foo");
        assert_eq!(told("a\n{{json .Foo.Bar}}", "Foo"), "2:11 .Foo.Bar");
        let index = Place::of_index("x {{(index (index .Ports \"81/tcp\") 0).HostPort}}").unwrap();
        assert_eq!((index.column, index.text.as_str()), (5, "index (index .Ports \"81/tcp\") 0"));
        assert!(asks_for("{{if .State.Health}}x{{end}}", "Health") && !asks_for("{{.State.Health.Status}}", "Health"));
    }
}
