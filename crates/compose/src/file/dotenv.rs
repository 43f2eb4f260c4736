//! `.env` and `env_file`: a variable a line, in Compose's dialect.
//!
//! `'single'` quotes keep everything as it is, `"double"` ones know escapes, both may go over several lines; what is
//! not in single quotes is interpolated. A name alone takes its value from the surroundings. `raw` files (the format
//! of `docker run --env-file`) know none of this.

use super::interpolate::{self, Lookup, Missing};

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    pub line: usize,
    pub message: String,
}

/// Names with values, in the order of the file; nothing where only a name stands and nobody knows it.
pub type Pairs = Vec<(String, Option<String>)>;

/// Reads a file of variables.
///
/// # Errors
/// At the first line that cannot be read.
pub fn parse(text: &str, lookup: Lookup<'_>, missing: &mut Missing) -> Result<Pairs, BadLine> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: &text, line: 1, pairs: Vec::new(), lookup, missing };
    while reader.pair()? {}
    Ok(reader.pairs)
}

/// Reads a file of `name=value` lines in which nothing but `#` at the start has a meaning.
///
/// # Errors
/// When a line has no name.
pub fn parse_raw(text: &str, lookup: Lookup<'_>) -> Result<Pairs, BadLine> {
    let mut pairs = Vec::new();
    for (at, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some(("", _)) => {
                return Err(BadLine { line: at + 1, message: format!("no variable name on line {line:?}") });
            }
            Some((name, value)) => pairs.push((name.to_owned(), Some(value.to_owned()))),
            None => pairs.push((line.to_owned(), lookup(line))),
        }
    }
    Ok(pairs)
}

struct Reader<'t, 'l> {
    rest: &'t str,
    line: usize,
    pairs: Pairs,
    lookup: Lookup<'l>,
    missing: &'l mut Missing,
}

impl Reader<'_, '_> {
    fn bad(&self, message: impl Into<String>) -> BadLine {
        BadLine { line: self.line, message: message.into() }
    }

    fn skip(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }

    /// Reads one variable; gives whether there was one.
    fn pair(&mut self) -> Result<bool, BadLine> {
        loop {
            self.skip(self.rest.len() - self.rest.trim_start().len());
            if !self.rest.starts_with('#') {
                break;
            }
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
        if self.rest.is_empty() {
            return Ok(false);
        }
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.skip(self.rest.len() - after.trim_start_matches([' ', '\t']).len());
        }
        let name = self.name()?;
        if self.rest.is_empty() || self.rest.starts_with('\n') {
            let value = (self.lookup)(&name);
            self.pairs.push((name, value));
            return Ok(true);
        }
        self.skip(1);
        self.skip(self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len());
        let value = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.unquoted()?,
        };
        self.pairs.push((name, Some(value)));
        Ok(true)
    }

    // Leaves the rest at `=`, `:` or the end of the line.
    fn name(&mut self) -> Result<String, BadLine> {
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim_end();
        if name.is_empty() {
            return Err(self.bad("no variable name"));
        }
        let stranger = |c: &char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'));
        if let Some(c) = name.chars().find(stranger) {
            return Err(match c.is_whitespace() {
                true => self.bad(format!("key cannot contain a space: {name:?}")),
                false => self.bad(format!("unexpected character {c:?} in variable name {name:?}")),
            });
        }
        let name = name.to_owned();
        self.skip(end);
        Ok(name)
    }

    fn quoted(&mut self, quote: char) -> Result<String, BadLine> {
        let body = &self.rest[1..];
        let mut escaped = false;
        let end = body.char_indices().find_map(|(at, c)| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends.then_some(at)
        });
        let Some(end) = end else {
            return Err(self.bad("unterminated quoted value"));
        };
        let text = &body[..end];
        let value = if quote == '\'' { text.replace("\\'", "'") } else { self.expand(&unescape(text))? };
        self.skip(end + 2);
        let tail = self.rest.find('\n').unwrap_or(self.rest.len());
        let behind = self.rest[..tail].trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(self.bad(format!("unexpected text behind a quoted value: {behind:?}")));
        }
        self.skip(tail);
        Ok(value)
    }

    fn unquoted(&mut self) -> Result<String, BadLine> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        let value = match line.find(" #").or_else(|| line.find("\t#")) {
            Some(at) => &line[..at],
            None if line.starts_with('#') => "",
            None => line,
        };
        let value = self.expand(value.trim())?;
        self.skip(end);
        Ok(value)
    }

    // Earlier lines of the file are known too; the surroundings win.
    fn expand(&mut self, text: &str) -> Result<String, BadLine> {
        let (pairs, lookup) = (&self.pairs, self.lookup);
        let known = |name: &str| {
            lookup(name).or_else(|| pairs.iter().rev().find(|(known, _)| known == name).and_then(|(_, v)| v.clone()))
        };
        interpolate::text(text, &known, self.missing).map_err(|message| BadLine { line: self.line, message })
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => {
                out.push('\\');
                out.push(c);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let lookup = |name: &str| (name == "OUTER").then(|| "out".to_owned());
        let got = match parse(text, &lookup, &mut Missing::new()) {
            Ok(pairs) => pairs.iter().map(|(k, v)| format!("{k}={v:?}")).collect::<Vec<_>>().join(" "),
            Err(bad) => format!("{}: {}", bad.line, bad.message),
        };
        assert_eq!(got.replace("Some(", "").replace(')', ""), expected, "{text}");
    }

    #[test]
    fn blanks_and_comments_are_no_part_of_values() {
        check(
            "A=1\nB= 2\nC =3\n456 = x\nD=\nE = my text # why\n#F=1\n",
            r#"A="1" B="2" C="3" 456="x" D="" E="my text""#,
        );
        check("A=a#b\nexport B=2\nC: 3\nD=#x", r#"A="a#b" B="2" C="3" D="""#);
    }

    #[test]
    fn quotes_keep_blanks_lines_and_dollars() {
        check(
            "A='a $OUTER \\n'\nB=\"b ${OUTER}\\n\" # c\nC='Let\\'s'\nD='1\n2'\n",
            r#"A="a $OUTER \\n" B="b out\n" C="Let's" D="1\n2""#,
        );
    }

    #[test]
    fn earlier_variables_and_the_surroundings_are_known() {
        check("A=1\nB=$A-${OUTER}-${NO:-x}\nOUTER\nNONE\n", r#"A="1" B="1-out-x" OUTER="out" NONE=None"#);
    }

    #[test]
    fn mistakes_name_their_line() {
        check("A=1\nINVALID LINE\n", "2: key cannot contain a space: \"INVALID LINE\"");
        check("A='x\n", "1: unterminated quoted value");
    }

    #[test]
    fn a_raw_file_means_what_it_says() {
        let pairs = parse_raw("A='1'\n# c\nB=$X # y\nOUTER\n", &|name| Some(name.to_lowercase())).unwrap();
        let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}={}", v.unwrap_or_default())).collect();
        assert_eq!(pairs, ["A='1'", "B=$X # y", "OUTER=outer"]);
    }
}
