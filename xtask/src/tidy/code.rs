//! Rust text with the contents of strings, characters and comments blanked out, so that rules see code only.
//!
//! Lines and columns stay as they are. Not a parser: it knows just enough of Rust's lexis to find where text ends.

/// The same text, with everything that is not code replaced by spaces.
pub(super) fn only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blanked = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(text, at);
        let token = &text[at..end];
        if is_text(token) {
            blanked.extend(token.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            blanked.push_str(token);
        }
        at = end;
    }
    blanked
}

fn is_text(token: &str) -> bool {
    token.starts_with("//")
        || token.starts_with("/*")
        || token.contains('"')
        || (token.starts_with('\'') && token.len() > 1)
}

/// Where the token that starts at `at` ends: a comment, a string, a character, a word, or one character of anything.
fn token_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let first = rest.chars().next().expect("there is text left");
    if rest.starts_with("//") {
        return at + rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return at + rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if first == '"' {
        return at + quoted_end(rest, 1);
    }
    if first == '\'' {
        return at + character_end(rest);
    }
    if first.is_alphanumeric() || first == '_' {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        return at + raw_string_end(rest, word).unwrap_or(word);
    }
    at + first.len_utf8()
}

/// The end of a string whose text starts at `from`, past its closing quote.
fn quoted_end(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip_while(|(at, _)| *at < from) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or only the tick of a lifetime.
fn character_end(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest[3.min(rest.len())..].find('\'').map_or(rest.len(), |end| end + 4),
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `c"…"`: the end of such a string if the word before it is its prefix.
fn raw_string_end(rest: &str, word: usize) -> Option<usize> {
    let after = &rest[word..];
    match &rest[..word] {
        "b" | "c" if after.starts_with('"') => Some(quoted_end(rest, word + 1)),
        "r" | "br" | "cr" => {
            let hashes = after.len() - after.trim_start_matches('#').len();
            if !after[hashes..].starts_with('"') {
                return None;
            }
            let closing = format!("\"{}", "#".repeat(hashes));
            let start = word + hashes + 1;
            Some(rest[start..].find(&closing).map_or(rest.len(), |end| start + end + closing.len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_blanked_and_code_stays() {
        assert_eq!(only("a(\"b\\\"c\"); // d"), "a(      );     ");
        assert_eq!(only("r#\"x\"y\"# + b'z'"), "         + b   ");
        assert_eq!(only("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(only("'\\'' '\"' q"), "         q");
        assert_eq!(only("/* a\nb */ c"), "    \n     c");
    }
}
