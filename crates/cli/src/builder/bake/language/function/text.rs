//! Texts: their letters, their parts, and patterns.

use regex_lite::{Regex, RegexBuilder};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{ANY, Arguments, Row, fits, texts};
use crate::{
    builder::bake::language::value::{Shape, Value},
    parse::path::clean,
};

pub(super) const FUNCTIONS: &[Row] = &[
    ("basename", 1, 1, |it| Ok(Value::text(base(&it.text(0)?)))),
    ("byteslen", 1, 1, |it| Ok(Value::count(it.text(0)?.len()))),
    ("bytesslice", 3, 3, bytes_slice),
    ("chomp", 1, 1, |it| Ok(Value::text(it.text(0)?.trim_end_matches(['\r', '\n'])))),
    ("dirname", 1, 1, |it| Ok(Value::text(directory(&it.text(0)?)))),
    ("indent", 2, 2, indent),
    ("join", 1, ANY, join),
    ("lower", 1, 1, |it| Ok(Value::text(it.text(0)?.chars().map(small).collect::<String>()))),
    ("regex", 2, 2, |it| {
        matched(it)?.into_iter().next().ok_or_else(|| "pattern did not match any part of the given string".to_owned())
    }),
    ("regex_replace", 3, 3, replace_pattern),
    ("regexall", 2, 2, |it| Ok(super::list(matched(it)?))),
    ("replace", 3, 3, replace),
    ("reverse", 1, 1, |it| Ok(Value::text(it.text(0)?.graphemes(true).rev().collect::<String>()))),
    ("sanitize", 1, 1, sanitize),
    ("split", 2, 2, split),
    ("strlen", 1, 1, |it| Ok(Value::count(it.text(0)?.graphemes(true).count()))),
    ("substr", 3, 3, substring),
    ("title", 1, 1, title),
    ("trim", 2, 2, |it| {
        let set: Vec<char> = it.text(1)?.chars().collect();
        Ok(Value::text(it.text(0)?.trim_matches(set.as_slice())))
    }),
    ("trimprefix", 2, 2, |it| Ok(Value::text(it.text(0)?.strip_prefix(&it.text(1)?).unwrap_or(&it.text(0)?)))),
    ("trimspace", 1, 1, |it| Ok(Value::text(it.text(0)?.trim()))),
    ("trimsuffix", 2, 2, |it| Ok(Value::text(it.text(0)?.strip_suffix(&it.text(1)?).unwrap_or(&it.text(0)?)))),
    ("upper", 1, 1, |it| Ok(Value::text(it.text(0)?.chars().map(large).collect::<String>()))),
];

/// States of a pattern, in bytes; and what it is looked for in.
const PATTERN_BYTES_MAX: usize = 32 << 10;
const SEARCHED_BYTES_MAX: usize = 256 << 10;
const REPLACEMENT_BYTES_MAX: usize = 1 << 10;

// Letter by letter, as Go does: one that becomes several stays as it is.
fn large(c: char) -> char {
    let mut all = c.to_uppercase();
    all.next().filter(|_| all.next().is_none()).unwrap_or(c)
}

fn small(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".",
        (_, "") => "/",
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

fn directory(path: &str) -> String {
    clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn bytes_slice(it: &Arguments) -> Result<Value, String> {
    let (text, from, count) = (it.text(0)?, it.count(1)?, it.count(2)?);
    let end = from.checked_add(count).ok_or("offset plus length is too large")?;
    let part = text.as_bytes().get(from..end).ok_or("offset plus length is greater than the total length")?;
    String::from_utf8(part.to_vec()).map(Value::Text).map_err(|_| "the part is no text".to_owned())
}

fn indent(it: &Arguments) -> Result<Value, String> {
    let (spaces, text) = (it.count(0)?, it.text(1)?);
    fits(text.matches('\n').count().saturating_mul(spaces).saturating_add(text.len()))?;
    Ok(Value::text(text.replace('\n', &format!("\n{}", " ".repeat(spaces.min(text.matches('\n').count() * spaces))))))
}

fn join(it: &Arguments) -> Result<Value, String> {
    let separator = it.text(0)?;
    let mut all = Vec::new();
    for at in 1..it.0.len() {
        all.extend(it.texts(at)?);
    }
    let bytes = all.iter().map(String::len).sum::<usize>();
    fits(bytes.saturating_add(separator.len().saturating_mul(all.len())))?;
    Ok(Value::text(all.join(&separator)))
}

fn pattern(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|error| format!("invalid regexp pattern: {error}"))
}

// Each match: the text, or what the groups have found.
fn matched(it: &Arguments) -> Result<Vec<Value>, String> {
    let (pattern, text) = (pattern(&it.text(0)?)?, it.text(1)?);
    if text.len() > SEARCHED_BYTES_MAX {
        return Err(format!("patterns are looked for in at most {} KiB", SEARCHED_BYTES_MAX >> 10));
    }
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.iter().any(Option::is_some) && names.iter().any(Option::is_none) {
        return Err("cannot mix both named and unnamed capture groups in a single pattern".to_owned());
    }
    let mut made = Vec::new();
    for captures in pattern.captures_iter(&text) {
        let group = |at: usize| captures.get(at).map_or(Value::Null, |found| Value::text(found.as_str()));
        made.push(match names.first() {
            None => group(0),
            Some(None) => Value::Sequence(Shape::Tuple, (1..captures.len()).map(group).collect()),
            Some(Some(_)) => {
                let named = names.iter().enumerate().filter_map(|(at, name)| Some(((*name)?, group(at + 1))));
                Value::object(named)
            }
        });
    }
    Ok(made)
}

fn replace_pattern(it: &Arguments) -> Result<Value, String> {
    let (text, pattern, replacement) = (it.text(0)?, pattern(&it.text(1)?)?, it.text(2)?);
    if text.len() > SEARCHED_BYTES_MAX || replacement.len() > REPLACEMENT_BYTES_MAX {
        return Err(format!("patterns are replaced in at most {} KiB", SEARCHED_BYTES_MAX >> 10));
    }
    let (mut made, mut done) = (String::new(), 0);
    for captures in pattern.captures_iter(&text) {
        let Some(whole) = captures.get(0) else { continue };
        made.push_str(&text[done..whole.start()]);
        captures.expand(&replacement, &mut made);
        done = whole.end();
        fits(made.len())?;
    }
    Ok(Value::text(made + &text[done..]))
}

fn replace(it: &Arguments) -> Result<Value, String> {
    let (text, from, to) = (it.text(0)?, it.text(1)?, it.text(2)?);
    fits(text.matches(&from).count().saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(Value::text(text.replace(&from, &to)))
}

fn sanitize(it: &Arguments) -> Result<Value, String> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    Ok(Value::text(it.text(0)?.chars().map(allowed).collect::<String>()))
}

fn split(it: &Arguments) -> Result<Value, String> {
    let (separator, text) = (it.text(0)?, it.text(1)?);
    if separator.is_empty() {
        return Ok(texts(text.chars().map(String::from)));
    }
    Ok(texts(text.split(&separator).map(str::to_owned)))
}

// A negative offset counts from the end; a length of -1 is all that follows.
fn substring(it: &Arguments) -> Result<Value, String> {
    let (text, offset, length) = (it.text(0)?, it.whole(1)?, it.whole(2)?);
    let letters: Vec<&str> = text.graphemes(true).collect();
    let count = i128::try_from(letters.len()).unwrap_or(i128::MAX);
    let from = if offset < 0 { (count + offset).max(0) } else { offset.min(count) };
    let to = if length < 0 { count } else { from.saturating_add(length).min(count) };
    let part = usize::try_from(from).ok().zip(usize::try_from(to).ok()).and_then(|(from, to)| letters.get(from..to));
    Ok(Value::text(part.map(<[&str]>::concat).unwrap_or_default()))
}

// The letter after each separator is a large one.
fn title(it: &Arguments) -> Result<Value, String> {
    let is_separator = |c: char| {
        if c.is_ascii() { !c.is_ascii_alphanumeric() && c != '_' } else { !c.is_alphanumeric() && c.is_whitespace() }
    };
    let (mut made, mut before) = (String::new(), ' ');
    for c in it.text(0)?.chars() {
        made.push(if is_separator(before) { large(c) } else { c });
        before = c;
    }
    Ok(Value::text(made))
}
