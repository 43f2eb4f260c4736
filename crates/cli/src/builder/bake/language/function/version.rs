//! `semvercmp`: whether a version is one of those that are wanted.

use std::cmp::Ordering;

use super::{Arguments, Row};
use crate::builder::bake::language::value::Value;

pub(super) const FUNCTIONS: &[Row] = &[("semvercmp", 2, 2, compare)];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    before: Vec<String>,
    /// How many of the numbers are written; the others may be any.
    written: usize,
}

impl Version {
    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(text, _)| text);
        let (numbers, before) = text.split_once('-').map_or((text, ""), |(numbers, before)| (numbers, before));
        let mut version = Self { numbers: [0; 3], before: Vec::new(), written: 0 };
        for part in numbers.split('.') {
            if matches!(part, "x" | "X" | "*") {
                return (version.written < 3).then_some(version);
            }
            *version.numbers.get_mut(version.written)? = part.parse().ok()?;
            version.written += 1;
        }
        if !before.is_empty() {
            version.before = before.split('.').map(str::to_owned).collect();
        }
        Some(version)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before_order(other),
        })
    }

    // Numbers by their size and before words, words by their letters; the longer one later.
    fn before_order(&self, other: &Self) -> Ordering {
        for (left, right) in self.before.iter().zip(&other.before) {
            let order = match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => left.cmp(right),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        self.before.len().cmp(&other.before.len())
    }

    // The first version after all that begin with the first numbers of this.
    fn after(&self, count: usize) -> Self {
        let mut numbers = [0; 3];
        if let Some(at) = count.checked_sub(1) {
            numbers[..=at].copy_from_slice(&self.numbers[..=at]);
            numbers[at] = numbers[at].saturating_add(1);
        }
        Self { numbers, before: Vec::new(), written: 3 }
    }
}

fn compare(it: &Arguments) -> Result<Value, String> {
    let text = it.text(0)?;
    let version = Version::read(&text).filter(|version| version.written > 0).ok_or("Invalid Semantic Version")?;
    Ok(Value::Truth(satisfies(&version, &it.text(1)?)?))
}

// Alternatives by `||`, each a list of conditions.
fn satisfies(version: &Version, constraint: &str) -> Result<bool, String> {
    let invalid = || format!("improper constraint: {constraint}");
    let mut any = false;
    for alternative in constraint.split("||") {
        let mut all = true;
        for (operator, wanted) in conditions(alternative).ok_or_else(invalid)? {
            let wanted = Version::read(&wanted).ok_or_else(invalid)?;
            all &= holds(version, &operator, &wanted).ok_or_else(invalid)?;
        }
        any |= all;
    }
    Ok(any)
}

// `>= 1.2, < 2`, by commas or spaces; `1.2 - 1.4` is a range.
fn conditions(text: &str) -> Option<Vec<(String, String)>> {
    let is_operator = |c: char| "=!<>~^".contains(c);
    let mut made: Vec<(String, String)> = Vec::new();
    let mut operator = String::new();
    let words: Vec<&str> = text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).collect();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        if *word == "-" {
            let (first, last) = (made.pop()?, words.get(at)?);
            at += 1;
            made.push((">=".to_owned(), first.1));
            made.push(("<=".to_owned(), (*last).to_owned()));
            continue;
        }
        let end = word.find(|c| !is_operator(c)).unwrap_or(word.len());
        operator.push_str(&word[..end]);
        if end < word.len() {
            made.push((std::mem::take(&mut operator), word[end..].to_owned()));
        }
    }
    (operator.is_empty() && !made.is_empty()).then_some(made)
}

fn holds(version: &Version, operator: &str, wanted: &Version) -> Option<bool> {
    // A version before the release is wanted only by who names one.
    let is_ruled_out = !version.before.is_empty() && wanted.before.is_empty();
    let order = version.order(wanted);
    let begins = || version.numbers[..wanted.written] == wanted.numbers[..wanted.written];
    let until =
        |count: usize| order != Ordering::Less && (count == 0 || version.order(&wanted.after(count)) == Ordering::Less);
    let is_whole = wanted.written == 3;
    let result = match operator {
        "" | "=" if is_whole => order == Ordering::Equal,
        "" | "=" => begins(),
        "!=" if is_whole => return Some(order != Ordering::Equal),
        "!=" => return Some(!begins()),
        ">" if is_whole || wanted.written == 0 => order == Ordering::Greater,
        ">" => order != Ordering::Less && !begins(),
        "<" => order == Ordering::Less,
        ">=" | "=>" => order != Ordering::Less,
        "<=" | "=<" if is_whole => order != Ordering::Greater,
        "<=" | "=<" => order != Ordering::Greater || begins(),
        "~" | "~>" => until(wanted.written.min(2)),
        "^" => {
            // What may not change is the first number that is not zero.
            let first = wanted.numbers.iter().take(wanted.written).position(|number| *number != 0);
            until(first.map_or(wanted.written, |at| at + 1))
        }
        _ => return None,
    };
    Some(result && !is_ruled_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_wanted_by_conditions() {
        let check = |version: &str, constraint: &str| satisfies(&Version::read(version).unwrap(), constraint).unwrap();
        for (version, constraint) in [
            ("3.23", ">= 3.20"),
            ("1.2.3", "1.2"),
            ("1.2.3", "1.x"),
            ("1.2.3", "^1.1"),
            ("0.2.9", "^0.2.3"),
            ("1.2.9", "~1.2.3"),
            ("1.9.0", "~1"),
            ("1.3.0", "1.2 - 1.4"),
            ("2.0.0", "< 1 || >= 2, < 3"),
            ("1.2.3-beta.2", ">= 1.2.3-beta.1"),
            ("v1.2.3", "!= 1.2.4"),
        ] {
            assert!(check(version, constraint), "{version} {constraint}");
        }
        for (version, constraint) in [
            ("3.9", ">= 3.20"),
            ("2.0.0", "^1.1"),
            ("0.3.0", "^0.2.3"),
            ("1.3.0", "~1.2.3"),
            ("1.2.3-beta", ">= 1.0"),
            ("1.2.9", "> 1.2"),
        ] {
            assert!(!check(version, constraint), "{version} {constraint}");
        }
        assert!(satisfies(&Version::read("1").unwrap(), "?? 1").is_err());
    }
}
