//! `.dockerignore`: which files of a context a build does not see.
//!
//! Patterns are those of Go's `filepath.Match` and `**`; the last that matches decides, and one that matches a
//! directory matches all below it. A file that `!` takes back is there although its directory is not.

/// The patterns of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// As it stands in the file, cleaned.
    text: String,
    parts: Vec<String>,
    negated: bool,
}

/// A pattern that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    #[error("illegal exclusion pattern: \"!\"")]
    Alone,
    #[error("syntax error in pattern {pattern:?}")]
    Syntax { pattern: String },
}

impl Ignore {
    /// Reads a `.dockerignore`.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::of(text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty()))
    }

    /// The same from patterns (`--exclude`).
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l str>) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for line in lines {
            let (negated, text) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            if negated && text.is_empty() {
                return Err(IgnoreError::Alone);
            }
            let text = clean(text);
            if text == "." || text.is_empty() {
                continue;
            }
            let parts: Vec<String> = text.split('/').map(str::to_owned).collect();
            if parts.iter().any(|part| part != "**" && part_matches(part, "").is_none()) {
                return Err(IgnoreError::Syntax { pattern: text });
            }
            patterns.push(Pattern { text, parts, negated });
        }
        Ok(Self { patterns })
    }

    /// The patterns, cleaned, as a client takes them.
    pub fn patterns(&self) -> Vec<String> {
        let shown = |pattern: &Pattern| format!("{}{}", if pattern.negated { "!" } else { "" }, pattern.text);
        self.patterns.iter().map(shown).collect()
    }

    /// The pattern that leaves `path` (relative, with `/`) out; `None` if it is part of the context.
    pub fn excluded_by(&self, path: &str) -> Option<&str> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() {
            return None;
        }
        let mut decided = None;
        for pattern in &self.patterns {
            // A directory that matches brings everything below it along.
            if (1..=parts.len()).any(|length| parts_match(&pattern.parts, &parts[..length])) {
                decided = (!pattern.negated).then_some(pattern.text.as_str());
            }
        }
        decided
    }

    /// Whether something below the directory `path`, which is left out itself, may be part of the context.
    pub fn may_return_below(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.patterns.iter().any(|pattern| pattern.negated && begins_as(&pattern.parts, &parts))
    }
}

// Whether all parts match what is wanted of them, up to the first `**`.
fn begins_as(wanted: &[String], parts: &[&str]) -> bool {
    for (wanted, part) in wanted.iter().zip(parts) {
        if wanted == "**" {
            return true;
        }
        if part_matches(wanted, part) != Some(true) {
            return false;
        }
    }
    true
}

// As Go's `filepath.Clean`, without a leading slash.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.last().is_none_or(|last| *last == "..") {
                    // Above the context there is nothing to match.
                    if !path.starts_with('/') {
                        parts.push("..");
                    }
                } else {
                    parts.pop();
                }
            }
            other => parts.push(other),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

fn parts_match(pattern: &[String], parts: &[&str]) -> bool {
    // Row by row: which numbers of parts the pattern so far can have used up.
    let mut reach = vec![false; parts.len() + 1];
    reach[0] = true;
    for (index, wanted) in pattern.iter().enumerate() {
        let mut next = vec![false; parts.len() + 1];
        if wanted == "**" {
            let is_last = index + 1 == pattern.len();
            let mut open = false;
            for at in 0..=parts.len() {
                // At the end it stands for something below, in the middle also for nothing.
                next[at] = if is_last { open } else { open || reach[at] };
                open |= reach[at];
            }
            if is_last && index == 0 {
                next[parts.len()] = !parts.is_empty();
            }
        } else {
            for at in 0..parts.len() {
                next[at + 1] = reach[at] && part_matches(wanted, parts[at]) == Some(true);
            }
        }
        reach = next;
    }
    reach[parts.len()]
}

/// One part of a path against one part of a pattern; `None` when the pattern is malformed.
fn part_matches(pattern: &str, text: &str) -> Option<bool> {
    let text: Vec<char> = text.chars().collect();
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let mut next = vec![false; text.len() + 1];
        match c {
            '*' => {
                let mut open = false;
                for at in 0..=text.len() {
                    open |= reach[at];
                    next[at] = open;
                }
            }
            '[' => {
                let class = Class::read(&mut chars)?;
                for at in 0..text.len() {
                    next[at + 1] = reach[at] && class.has(text[at]);
                }
            }
            c => {
                let wanted = if c == '\\' { chars.next()? } else { c };
                for at in 0..text.len() {
                    next[at + 1] = reach[at] && (c == '?' || text[at] == wanted);
                }
            }
        }
        reach = next;
    }
    Some(reach[text.len()])
}

/// `[a-z]`, `[^a-z]`.
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn read(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Self> {
        let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
        let mut ranges = Vec::new();
        loop {
            let low = match chars.next()? {
                ']' if !ranges.is_empty() => return Some(Self { negated, ranges }),
                ']' | '-' => return None,
                '\\' => chars.next()?,
                c => c,
            };
            let mut high = low;
            if chars.next_if_eq(&'-').is_some() {
                high = match chars.next()? {
                    ']' | '-' => return None,
                    '\\' => chars.next()?,
                    c => c,
                };
            }
            ranges.push((low, high));
        }
    }

    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// Whether a whole path matches a pattern with `*`, `?`, classes and `**` (sources of COPY).
pub fn path_matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<String> = pattern.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts_match(&pattern, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, path: &str, excluded: bool) {
        let ignore = Ignore::parse(file).unwrap();
        assert_eq!(ignore.excluded_by(path).is_some(), excluded, "{path} by {file:?}");
    }

    #[test]
    fn patterns_of_the_reference() {
        check("*/temp*", "somedir/temporary.txt", true);
        check("*/temp*", "somedir/temp/x", true);
        check("*/temp*", "temp", false);
        check("*/*/temp*", "a/b/temporary", true);
        check("temp?", "tempa", true);
        check("temp?", "temp", false);
        check("**/*.go", "main.go", true);
        check("**/*.go", "a/b/main.go", true);
        check("/foo/bar/", "foo/bar/baz", true);
        check("# comment\n\n a ", "a", true);
        check("a/**", "a/b/c", true);
        check("a/**", "a", false);
        check("**", "x", true);
        check(".", "x", false);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check("a\\*", "a*", true);
        check("../a", "a", false);
    }

    #[test]
    fn the_last_pattern_decides() {
        check("*.md\n!README.md", "README.md", false);
        check("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true);
        check("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false);
        check("dir\n!dir/kept", "dir/kept", false);
        check("dir\n!dir/kept", "dir/other", true);
        let ignore = Ignore::parse("dir\n!dir/*/kept").unwrap();
        assert!(
            ignore.may_return_below("dir") && ignore.may_return_below("dir/a") && !ignore.may_return_below("other")
        );
    }

    #[test]
    fn what_is_no_pattern_is_an_error() {
        assert_eq!(Ignore::parse("!").unwrap_err().to_string(), "illegal exclusion pattern: \"!\"");
        assert_eq!(Ignore::parse("a[").unwrap_err().to_string(), "syntax error in pattern \"a[\"");
    }

    proptest::proptest! {
        #[test]
        fn a_name_without_signs_matches_itself_and_what_is_below(name in "[a-z]{1,5}(/[a-z]{1,5}){0,3}", below in "[a-z]{1,5}") {
            let ignore = Ignore::parse(&name).unwrap();
            proptest::prop_assert!(ignore.excluded_by(&name).is_some());
            let below = format!("{}/{}", name, below);
            proptest::prop_assert!(ignore.excluded_by(&below).is_some());
        }

        #[test]
        fn no_file_is_too_strange(text in "[a!*?\\\\\\[\\]^./\n -]{0,60}", path in "[a*./]{0,20}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = ignore.excluded_by(&path);
            }
        }
    }
}
