//! Variables in values: `$V ${V} ${V:-d} ${V-d} ${V:?e} ${V?e} ${V:+a} ${V+a}`, nested, and `$$` for a dollar.
//!
//! Values are interpolated, keys are not; it happens to each file by itself, before anything is merged.

use std::{collections::BTreeSet, ops::ControlFlow};

use crate::{
    error::Mistake,
    node::{Node, Value},
};

/// Where variables come from.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// A variable as a template mentions it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    pub name: String,
    pub required: bool,
    pub default: String,
    pub alternate: String,
}

/// What a template refers to that is not set: told once, as a warning.
pub type Missing = BTreeSet<String>;

/// Replaces the variables in all values below a node.
///
/// # Errors
/// At a template that is none, and at a variable that must be set and is not.
pub fn tree(node: &mut Node, key: &str, lookup: Lookup<'_>, missing: &mut Missing) -> Result<(), Box<Mistake>> {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            *text = self::text(text, lookup, missing).map_err(|message| Mistake::new(&node.place, key, message))?;
        }
        Value::List(list) => {
            for (at, item) in list.iter_mut().enumerate() {
                tree(item, &format!("{key}[{at}]"), lookup, missing)?;
            }
        }
        Value::Map(map) => {
            for (name, item) in &mut map.0 {
                let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                tree(item, &below, lookup, missing)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Replaces the variables in one text.
///
/// # Errors
/// When it is no template, or a variable that must be set is not.
pub fn text(template: &str, lookup: Lookup<'_>, missing: &mut Missing) -> Result<String, String> {
    let mut out = String::with_capacity(template.len());
    let done = walk(template, &mut |part| {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Variable { name, modifier } => match value(name, modifier, lookup, missing) {
                Ok(text) => out.push_str(&text),
                Err(error) => return ControlFlow::Break(error),
            },
        }
        ControlFlow::Continue(())
    });
    done.map(|()| out).map_err(|error| match error.is_empty() {
        true => format!("invalid interpolation format, {template:?} is not \"${{NAME}}\", \"$NAME\" or \"$$\""),
        false => error,
    })
}

fn value(
    name: &str,
    modifier: Option<(&str, &str)>,
    lookup: Lookup<'_>,
    missing: &mut Missing,
) -> Result<String, String> {
    let found = lookup(name);
    let Some((operator, word)) = modifier else {
        return Ok(found.unwrap_or_else(|| {
            missing.insert(name.to_owned());
            String::new()
        }));
    };
    let set = found.filter(|value| !operator.starts_with(':') || !value.is_empty());
    match (operator.trim_start_matches(':'), set) {
        ("+", Some(_)) => text(word, lookup, missing),
        ("+", None) => Ok(String::new()),
        (_, Some(value)) => Ok(value),
        ("-", None) => text(word, lookup, missing),
        (_, None) => {
            let reason = text(word, lookup, missing)?;
            Err(match reason.is_empty() {
                true => format!("required variable {name} is missing a value"),
                false => format!("required variable {name} is missing a value: {reason}"),
            })
        }
    }
}

/// The variables that a text mentions.
pub fn variables(template: &str, into: &mut Vec<Variable>) {
    let _ = walk(template, &mut |part| {
        if let Part::Variable { name, modifier } = part {
            let (operator, word) = modifier.unwrap_or(("", ""));
            let kind = operator.trim_start_matches(':');
            let pick = |wanted: &str| if kind == wanted { word.to_owned() } else { String::new() };
            into.push(Variable {
                name: name.to_owned(),
                required: kind == "?",
                default: pick("-"),
                alternate: pick("+"),
            });
            variables(word, into);
        }
        ControlFlow::Continue(())
    });
}

enum Part<'t> {
    Literal(&'t str),
    Variable { name: &'t str, modifier: Option<(&'t str, &'t str)> },
}

// An empty error means that the text is no template.
fn walk<'t>(template: &'t str, each: &mut dyn FnMut(Part<'t>) -> ControlFlow<String>) -> Result<(), String> {
    let give = |each: &mut dyn FnMut(Part<'t>) -> ControlFlow<String>, part| match each(part) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    };
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        give(each, Part::Literal(&rest[..at]))?;
        let after = &rest[at + 1..];
        if let Some(more) = after.strip_prefix('$') {
            give(each, Part::Literal("$"))?;
            rest = more;
        } else if let Some(inside) = after.strip_prefix('{') {
            let end = closing_brace(inside).ok_or_else(String::new)?;
            let body = &inside[..end];
            let name_end = name_length(body);
            let modifier = match &body[name_end..] {
                "" => None,
                more => Some(
                    [":-", ":?", ":+", "-", "?", "+"]
                        .into_iter()
                        .find_map(|operator| more.strip_prefix(operator).map(|word| (&more[..operator.len()], word)))
                        .ok_or_else(String::new)?,
                ),
            };
            if name_end == 0 {
                return Err(String::new());
            }
            give(each, Part::Variable { name: &body[..name_end], modifier })?;
            rest = &inside[end + 1..];
        } else {
            let length = name_length(after);
            let part = match length {
                // A dollar before anything else stands for itself.
                0 => Part::Literal("$"),
                _ => Part::Variable { name: &after[..length], modifier: None },
            };
            give(each, part)?;
            rest = &after[length..];
        }
    }
    give(each, Part::Literal(rest))
}

fn name_length(text: &str) -> usize {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    match text.chars().next() {
        Some(c) if is_first(c) => text.find(|c: char| !is_first(c) && !c.is_ascii_digit()).unwrap_or(text.len()),
        _ => 0,
    }
}

// The brace that ends `${…`, past those of variables within.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        let lookup = |name: &str| match name {
            "SET" => Some("yes".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut missing = Missing::new();
        let got = text(template, &lookup, &mut missing).unwrap_or_else(|error| error);
        assert_eq!(got, expected, "{template}");
    }

    #[test]
    fn every_modifier_has_its_meaning() {
        for (template, expected) in [
            ("$SET-${SET}", "yes-yes"),
            ("a$$SET", "a$SET"),
            ("a $ b$5$", "a $ b$5$"),
            ("${NO}x$NO.", "x."),
            ("${NO:-d}${EMPTY:-e}${SET:-f}", "deyes"),
            ("${NO-d}${EMPTY-e}${SET-f}", "dyes"),
            ("${SET:+a}${EMPTY:+b}${NO:+c}", "a"),
            ("${SET+a}${EMPTY+b}${NO+c}", "ab"),
            ("${EMPTY?no}${SET:?no}", "yes"),
            ("${NO:-${SET}-${NO:-x}}", "yes-x"),
            ("${NO:-http://h:80/a?b={c}", "http://h:80/a?b={c"),
            ("${NO:?must be $SET}", "required variable NO is missing a value: must be yes"),
            ("${EMPTY:?}", "required variable EMPTY is missing a value"),
        ] {
            check(template, expected);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for template in ["${", "${}", "${SET", "${SET/a/b}", "${5}"] {
            let message =
                format!("invalid interpolation format, {template:?} is not \"${{NAME}}\", \"$NAME\" or \"$$\"");
            check(template, &message);
        }
    }

    #[test]
    fn variables_are_listed_with_their_defaults() {
        let mut found = Vec::new();
        variables("${A:-${B}}-$C ${D?e}", &mut found);
        let told: Vec<String> = found.iter().map(|v| format!("{} {} {:?}", v.name, v.required, v.default)).collect();
        assert_eq!(told, ["A false \"${B}\"", "B false \"\"", "C false \"\"", "D true \"\""]);
    }
}
