//! Words: how a line is split, and how variables, quotes and escapes in a word are replaced.
//!
//! The syntax is the shell's, cut down: `$v`, `${v}`, `:-` `-` `:+` `+` `:?` `?`, prefixes and suffixes by pattern
//! (`#` `##` `%` `%%`), replacement (`/` `//`). In double quotes the escape character stands before `"`, `$` and
//! itself; in single quotes it is itself.

use std::{iter::Peekable, vec::IntoIter};

/// Gives the value of a variable, if it is set.
pub(crate) type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Why a word cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    Quote(&'static str),
    #[error("syntax error: missing '}}'")]
    Brace,
    #[error("bad substitution")]
    Substitution,
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    #[error("{name}: {text}")]
    Unset { name: String, text: String },
}

/// Splits at white space outside of quotes; quotes and escapes stay.
pub(crate) fn raw_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// One word with everything replaced.
///
/// # Errors
/// A quote or brace without its end, a substitution that there is none of, `${v:?text}` of what is not set.
pub(crate) fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, WordError> {
    Expander::new(word, escape, lookup, false).run().map(|output| output.text)
}

/// A text in which only variables are replaced; quotes are characters like any other (here-documents).
///
/// # Errors
/// As [`expand`].
pub(crate) fn expand_text(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, WordError> {
    Expander::new(text, escape, lookup, true).run().map(|output| output.text)
}

/// A line with everything replaced, split at white space that is not in quotes (values are split too).
///
/// # Errors
/// As [`expand`].
pub(crate) fn expand_words(text: &str, escape: char, lookup: Lookup<'_>) -> Result<Vec<String>, WordError> {
    Expander::new(text, escape, lookup, false).run().map(Output::into_words)
}

/// The text so far, and as words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: Option<String>,
}

impl Output {
    // A character that was written in the file: white space outside of quotes ends a word.
    fn plain(&mut self, c: char) {
        self.text.push(c);
        self.split(c);
    }

    fn split(&mut self, c: char) {
        if c.is_whitespace() {
            self.words.extend(self.word.take());
        } else {
            self.word.get_or_insert_default().push(c);
        }
    }

    // A character that stays in its word.
    fn held(&mut self, c: char) {
        self.text.push(c);
        self.word.get_or_insert_default().push(c);
    }

    // The value of a variable.
    fn value(&mut self, value: &str, quoted: bool) {
        for c in value.chars() {
            if quoted { self.held(c) } else { self.plain(c) }
        }
    }

    fn into_words(mut self) -> Vec<String> {
        self.words.extend(self.word.take());
        self.words
    }
}

struct Expander<'l> {
    chars: Peekable<IntoIter<char>>,
    escape: char,
    lookup: Lookup<'l>,
    /// Quotes are characters like any other.
    keep_quotes: bool,
}

impl<'l> Expander<'l> {
    fn new(word: &str, escape: char, lookup: Lookup<'l>, keep_quotes: bool) -> Self {
        let chars = word.chars().collect::<Vec<_>>().into_iter().peekable();
        Self { chars, escape, lookup, keep_quotes }
    }

    fn run(&mut self) -> Result<Output, WordError> {
        let mut output = Output::default();
        self.until(None, &mut output)?;
        Ok(output)
    }

    fn until(&mut self, stop: Option<char>, output: &mut Output) -> Result<(), WordError> {
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == stop => return Ok(()),
                '\'' if !self.keep_quotes => self.single(output)?,
                '"' if !self.keep_quotes => self.double(output)?,
                '$' => {
                    let value = self.dollar()?;
                    output.value(&value, false);
                }
                c if c == self.escape && self.keep_quotes => match self.chars.peek() {
                    Some('$') => output.plain(self.chars.next().unwrap_or('$')),
                    _ => output.plain(c),
                },
                // At the end it stands for nothing.
                c if c == self.escape => {
                    if let Some(next) = self.chars.next() {
                        output.held(next);
                    }
                }
                c => output.plain(c),
            }
        }
        if stop.is_some() { Err(WordError::Brace) } else { Ok(()) }
    }

    fn single(&mut self, output: &mut Output) -> Result<(), WordError> {
        output.word.get_or_insert_default();
        loop {
            match self.chars.next() {
                None => return Err(WordError::Quote("single")),
                Some('\'') => return Ok(()),
                Some(c) => output.held(c),
            }
        }
    }

    fn double(&mut self, output: &mut Output) -> Result<(), WordError> {
        output.word.get_or_insert_default();
        loop {
            match self.chars.next() {
                None => return Err(WordError::Quote("double")),
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.dollar()?;
                    output.value(&value, true);
                }
                Some(c) if c == self.escape => match self.chars.peek() {
                    None => return Err(WordError::Quote("double")),
                    Some(&next) if next == '"' || next == '$' || next == self.escape => {
                        self.chars.next();
                        output.held(next);
                    }
                    Some(_) => output.held(c),
                },
                Some(c) => output.held(c),
            }
        }
    }

    // What stands behind a `$`.
    fn dollar(&mut self) -> Result<String, WordError> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() });
        }
        if self.chars.peek() == Some(&'{') {
            return Err(WordError::Substitution);
        }
        let name = self.name();
        match self.chars.next() {
            _ if name.is_empty() => Err(WordError::Substitution),
            None => Err(WordError::Brace),
            Some('}') => Ok(self.value(&name).unwrap_or_default()),
            Some(':') => match self.chars.next() {
                Some(modifier @ ('-' | '+' | '?')) => self.default(&name, modifier, true),
                Some(other) => Err(WordError::Modifier(format!(":{other}"))),
                None => Err(WordError::Brace),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.default(&name, modifier, false),
            Some(modifier @ ('#' | '%')) => {
                let greedy = self.chars.next_if_eq(&modifier).is_some();
                let pattern = self.braced()?;
                let value = self.value(&name).unwrap_or_default();
                Ok(strip(&value, &pattern, modifier == '#', greedy))
            }
            Some('/') => {
                let all = self.chars.next_if_eq(&'/').is_some();
                let pattern = self.pattern_until_slash()?;
                let replacement = pattern.1;
                let value = self.value(&name).unwrap_or_default();
                Ok(replace(&value, &pattern.0, &replacement, all))
            }
            Some(other) => Err(WordError::Modifier(other.to_string())),
        }
    }

    fn default(&mut self, name: &str, modifier: char, empty_counts: bool) -> Result<String, WordError> {
        let word = self.braced()?;
        let value = self.value(name);
        let is_set = value.as_ref().is_some_and(|value| !(empty_counts && value.is_empty()));
        match (modifier, is_set) {
            ('-', true) | ('?', true) => Ok(value.unwrap_or_default()),
            ('-', false) | ('+', true) => Ok(word),
            ('+', false) => Ok(String::new()),
            (_, _) => {
                let text = if word.is_empty() { "is not allowed to be unset".to_owned() } else { word };
                Err(WordError::Unset { name: name.to_owned(), text })
            }
        }
    }

    // A word up to the closing brace, replaced.
    fn braced(&mut self) -> Result<String, WordError> {
        let mut output = Output::default();
        self.until(Some('}'), &mut output)?;
        Ok(output.text)
    }

    fn pattern_until_slash(&mut self) -> Result<(String, String), WordError> {
        let mut pattern = String::new();
        loop {
            match self.chars.next() {
                None => return Err(WordError::Brace),
                Some('/') => return Ok((pattern, self.braced()?)),
                Some('}') => return Ok((pattern, String::new())),
                Some('$') => pattern.push_str(&self.dollar()?),
                Some(c) if c == self.escape => match self.chars.next() {
                    Some('/') => pattern.push('/'),
                    Some(next) => pattern.extend(['\\', next]),
                    None => return Err(WordError::Brace),
                },
                Some(c) => pattern.push(c),
            }
        }
    }

    // A name: letters, or digits, or one of the shell's special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
                while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {}
        }
        name
    }

    fn value(&self, name: &str) -> Option<String> {
        // Positional and special parameters are never set.
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') { (self.lookup)(name) } else { None }
    }
}

// Takes the shortest or longest match of a pattern away at the start or the end.
fn strip(value: &str, pattern: &str, from_start: bool, greedy: bool) -> String {
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    if from_start == greedy {
        cuts.reverse();
    }
    let fits = |at: &&usize| matches(pattern, if from_start { &value[..**at] } else { &value[**at..] });
    match cuts.iter().find(fits) {
        Some(at) => if from_start { &value[*at..] } else { &value[..*at] }.to_owned(),
        None => value.to_owned(),
    }
}

fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let mut result = String::new();
    let mut rest = value;
    let mut done = pattern.is_empty();
    while !rest.is_empty() {
        let longest =
            rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev().find(|end| matches(pattern, &rest[..*end]));
        match longest {
            Some(end) if !done => {
                result.push_str(replacement);
                rest = &rest[end..];
                done = !all;
            }
            _ => {
                let mut chars = rest.chars();
                result.extend(chars.next());
                rest = chars.as_str();
            }
        }
    }
    result
}

// `*`, `?` and escapes; in time that grows with the product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let mut next = vec![false; text.len() + 1];
        match c {
            '*' => {
                let mut open = false;
                for (at, here) in reach.iter().enumerate() {
                    open |= here;
                    next[at] = open;
                }
            }
            _ => {
                let wanted = if c == '\\' { chars.next().unwrap_or('\\') } else { c };
                for at in 0..text.len() {
                    next[at + 1] = reach[at] && ((c == '?') || text[at] == wanted);
                }
            }
        }
        reach = next;
    }
    reach[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let known = [
            ("PWD", "/home"),
            ("SHELL", "bash"),
            ("NULL", ""),
            ("KOREAN", "한국어"),
            ("file", "a/b.tar.gz"),
            ("two", "a  b"),
        ];
        known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn check(word: &str, expected: &str) {
        let got = expand(word, '\\', &lookup).unwrap_or_else(|error| format!("error: {error}"));
        assert_eq!(got, expected, "{word}");
    }

    #[test]
    fn modifiers() {
        check("${PWD:-x}${NULL:-x}${NULL-x}${NONE-y}", "/homexy");
        check("${PWD:+x}${NULL:+x}${NULL+z}", "xz");
        check("${NONE?gone}", "error: NONE: gone");
        check("${file#*/} ${file##*.} ${file%.*} ${file%%.*}", "b.tar.gz gz a/b.tar a/b");
        check("${file/./-} ${file//./-} ${file/\\//_} ${file//z}", "a/b-tar.gz a/b-tar-gz a_b.tar.gz a/b.tar.g");
        check("${PWD:=x}", "error: unsupported modifier (:=) in substitution");
        check("${PWD", "error: syntax error: missing '}'");
    }

    #[test]
    fn quotes() {
        check(r#"'$PWD'"$PWD"\$PWD"#, "$PWD/home$PWD");
        check("\"open", "error: unexpected end of statement while looking for matching double-quote");
    }

    #[test]
    fn words_are_split_where_no_quote_holds_them() {
        let split = |text: &str| expand_words(text, '\\', &lookup).unwrap();
        assert_eq!(split("a b\\ c \"$two\" $two ''"), ["a", "b c", "a  b", "a", "b", ""]);
        assert_eq!(raw_words("a=\"b c\" d\\ e 'f g'", '\\'), ["a=\"b c\"", "d\\ e", "'f g'"]);
    }

    #[test]
    fn documents_keep_their_quotes() {
        let text = expand_text("a=\"$PWD\" '\\$x' \\n", '\\', &lookup).unwrap();
        assert_eq!(text, "a=\"/home\" '$x' \\n");
    }

    proptest::proptest! {
        #[test]
        fn no_word_is_too_strange(word in "[a\\\\'\"${}:#%/*?+ -]{0,40}") {
            let _ = expand(&word, '\\', &lookup);
            let _ = expand_words(&word, '\\', &lookup);
            let _ = raw_words(&word, '\\');
        }

        #[test]
        fn a_quoted_value_comes_out_as_it_is(value in "[^'\\x00]{0,40}") {
            proptest::prop_assert_eq!(expand(&format!("'{value}'"), '\\', &lookup).unwrap(), value);
        }
    }
}
