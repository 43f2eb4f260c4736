//! From bytes to nodes: directives, comments, continued lines, here-documents, flags.
//!
//! A [`Node`] is an instruction as it stands in the file: its keyword, its flags and the rest as text. What the rest
//! means is `instruction.rs`'s matter. The rules are those of the Dockerfile reference ("Format", "Parser
//! directives", "Here-documents") and of the published parser fixtures.

use super::{
    error::{SyntaxError, suggest},
    word,
};
use crate::limits;

/// Every keyword, for suggestions.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A Dockerfile as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub directives: Directives,
    pub nodes: Vec<Node>,
    /// What will not be accepted for ever, with the line it stands in.
    pub warnings: Vec<(usize, String)>,
}

/// The parser directives at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    pub escape: char,
    pub syntax: Option<String>,
    pub check: Option<String>,
}

impl Directives {
    /// Build arguments of BuildKit's say the same and stand before what the file says.
    pub(crate) fn overridden(&mut self, argument: impl Fn(&str) -> Option<String>) {
        if let Some(syntax) = argument("BUILDKIT_SYNTAX") {
            self.syntax = Some(syntax);
        }
        if let Some(check) = argument("BUILDKIT_DOCKERFILE_CHECK") {
            self.check = Some(check);
        }
    }

    /// Whether this front end is the wanted one: `docker/dockerfile` in any version, from anywhere.
    pub(crate) fn front_end(&self) -> Result<(), String> {
        let Some(syntax) = self.syntax.as_deref().and_then(|text| text.split_whitespace().next()) else {
            return Ok(());
        };
        let last = syntax.rsplit('/').next().unwrap_or_default();
        let name = last.split([':', '@']).next().unwrap_or_default();
        if matches!(name, "dockerfile" | "dockerfile-upstream") {
            return Ok(());
        }
        Err(format!("the front end {syntax:?} is not built: # syntax= may be docker/dockerfile in any version"))
    }
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// As it was typed.
    pub keyword: String,
    pub flags: Vec<String>,
    /// Everything behind keyword and flags, continued lines joined.
    pub rest: String,
    pub heredocs: Vec<Heredoc>,
    /// First and last line, from 1.
    pub lines: (usize, usize),
    /// The whole instruction on one line, for people and histories.
    pub original: String,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    pub content: String,
    /// Whether variables are replaced in it (its name stands without quotes).
    pub expand: bool,
    /// Whether leading tabs are taken away.
    pub chomp: bool,
}

/// Reads a whole Dockerfile.
///
/// # Errors
/// Bytes that are no text, an unknown instruction, a here-document without an end, a file with no instruction.
pub(crate) fn scan(text: &str) -> Result<Source, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    if text.len() > limits::DOCKERFILE_BYTES_MAX {
        return Err(SyntaxError::new(
            (1, 1),
            format!("the file is larger than {} bytes", limits::DOCKERFILE_BYTES_MAX),
        ));
    }
    let (directives, mut at) = directives(&lines)?;
    let mut source = Source { directives, nodes: Vec::new(), warnings: Vec::new() };
    while at < lines.len() {
        if is_comment(lines[at]) || lines[at].trim().is_empty() {
            at += 1;
            continue;
        }
        let (mut logical, end) = join(&lines, at, source.directives.escape, &mut source.warnings);
        logical.truncate(logical.trim_end().len());
        let mut node = node(&logical, (at + 1, end), source.directives.escape)?;
        at = end;
        if takes_heredocs(&node) {
            at = heredocs(&mut node, &lines, at, source.directives.escape)?;
        }
        source.nodes.push(node);
    }
    if source.nodes.is_empty() {
        return Err(SyntaxError::new((1, 1), "file with no instructions"));
    }
    Ok(source)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

// `# name=value` lines before anything else.
fn directives(lines: &[&str]) -> Result<(Directives, usize), SyntaxError> {
    let mut found = Directives { escape: '\\', syntax: None, check: None };
    let mut seen: Vec<String> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // A script's first line may stand before them.
        if index == 0 && line.starts_with("#!") {
            continue;
        }
        let Some(comment) = line.trim_start().strip_prefix('#') else { return Ok((found, index)) };
        let Some((name, value)) = comment.split_once('=') else { return Ok((found, index)) };
        let (name, value) = (name.trim().to_lowercase(), value.trim());
        let here = (index + 1, index + 1);
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            return Ok((found, index));
        }
        if seen.contains(&name) {
            return Err(SyntaxError::new(here, format!("only one {name} parser directive can be used")));
        }
        match name.as_str() {
            "escape" => match value {
                "\\" => found.escape = '\\',
                "`" => found.escape = '`',
                _ => {
                    let text = format!("invalid escape token '{value}' does not match ` or \\");
                    return Err(SyntaxError::new(here, text).words(value));
                }
            },
            "syntax" => found.syntax = Some(value.to_owned()),
            _ => found.check = Some(value.to_owned()),
        }
        seen.push(name);
    }
    Ok((found, lines.len()))
}

// A line and those that continue it; answers it joined, and the number of lines read so far.
fn join(lines: &[&str], from: usize, escape: char, warnings: &mut Vec<(usize, String)>) -> (String, usize) {
    let mut joined = String::new();
    let mut at = from;
    let mut first = true;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if !first && is_comment(line) {
            continue;
        }
        if !first && line.trim().is_empty() {
            warnings.push((at, "Empty continuation line".to_owned()));
            continue;
        }
        let line = if first { line.trim_start() } else { line };
        first = false;
        match continued(line, escape) {
            Some(part) => joined.push_str(part),
            None => {
                joined.push_str(line);
                break;
            }
        }
    }
    (joined, at)
}

// What stands before the escape character that ends a line; `None` when the line is the last. Two of them are a
// character that is meant.
fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

fn node(logical: &str, lines: (usize, usize), escape: char) -> Result<Node, SyntaxError> {
    let (keyword, rest) = logical.split_once(char::is_whitespace).unwrap_or((logical, ""));
    if !KEYWORDS.contains(&keyword.to_uppercase().as_str()) {
        let error = SyntaxError::new(lines, format!("unknown instruction: {keyword}")).words(keyword);
        return Err(match suggest(keyword, KEYWORDS) {
            Some(known) => {
                SyntaxError { text: format!("unknown instruction: {keyword} (did you mean {known}?)"), ..error }
            }
            None => error.hint("an instruction that goes on in the next line needs a \\ at its end"),
        });
    }
    let (flags, rest) = flags(rest.trim(), escape);
    Ok(Node {
        keyword: keyword.to_owned(),
        flags,
        rest: rest.to_owned(),
        heredocs: Vec::new(),
        lines,
        original: logical.to_owned(),
    })
}

/// Words that begin with `--` before the first that does not; `--` alone ends them. Quotes hold a flag together.
pub(crate) fn flags(rest: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let end = flag_end(rest, escape);
        let flag = &rest[..end];
        rest = &rest[end..];
        if flag == "--" {
            return (flags, rest.trim_start());
        }
        flags.push(unquote(flag, escape));
    }
}

fn flag_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), c) if c == escape => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

fn unquote(flag: &str, escape: char) -> String {
    let mut plain = String::with_capacity(flag.len());
    let mut quote = None;
    let mut chars = flag.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), c) if c == escape => plain.extend(chars.next()),
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (_, c) => plain.push(c),
        }
    }
    plain
}

fn takes_heredocs(node: &Node) -> bool {
    let first = |text: &str| text.split_whitespace().next().unwrap_or_default().to_uppercase();
    let keyword = node.keyword.to_uppercase();
    let keyword = if keyword == "ONBUILD" { first(&node.rest) } else { keyword };
    matches!(keyword.as_str(), "RUN" | "COPY" | "ADD") && node.rest.contains("<<") && !node.rest.starts_with('[')
}

// Reads the documents that the line announces; answers where the next instruction may begin.
fn heredocs(node: &mut Node, lines: &[&str], from: usize, escape: char) -> Result<usize, SyntaxError> {
    let mut at = from;
    for word in word::raw_words(&node.rest, escape) {
        let Some(mut document) = announced(&word) else { continue };
        loop {
            let Some(line) = lines.get(at) else {
                let text = format!("unterminated heredoc {}", document.name);
                return Err(SyntaxError::new((node.lines.0, lines.len()), text).words(word.clone()));
            };
            at += 1;
            let line = if document.chomp { line.trim_start_matches('\t') } else { line };
            if line == document.name {
                break;
            }
            document.content.push_str(line);
            document.content.push('\n');
        }
        node.heredocs.push(document);
    }
    node.lines.1 = at;
    Ok(at)
}

/// The here-document that a word announces: `<<NAME`, `<<-NAME`, with quotes if nothing in it is to be replaced; a
/// number before it is a file descriptor of the shell.
pub(crate) fn announced(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    let quoted = rest.contains(['"', '\'']);
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    // `<<<` is a shell's here-string, `<<(` and the like are not ours.
    let is_name = !name.is_empty() && !name.contains(['<', '>', '(', ')', '$', '`', '\\', ' ']);
    is_name.then_some(Heredoc { name, content: String::new(), expand: !quoted, chomp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match scan(text) {
            Ok(source) => source
                .nodes
                .iter()
                .map(|node| {
                    let documents: String =
                        node.heredocs.iter().map(|d| format!(" <{}:{:?}>", d.name, d.content)).collect();
                    format!("{} {:?} {}{documents}\n", node.keyword, node.flags, node.rest)
                })
                .collect(),
            Err(error) => format!("{error}\n"),
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn lines_go_on_comments_and_empty_lines_are_passed_over() {
        check("RUN a \\\n# why\n\n  b\nRUN c", "RUN [] a   b\nRUN [] c\n");
        check("#escape=`\nRUN a `\nb\\\nRUN c", "RUN [] a b\\\nRUN [] c\n");
        check("  from x\n", "from [] x\n");
        check("RUN a\\\\\nRUN b", "RUN [] a\\\\\nRUN [] b\n");
        check("\u{feff}RUN a\r\nRUN b \\\r\nc\r\n", "RUN [] a\nRUN [] b c\n");
    }

    #[test]
    fn flags_come_first() {
        check("COPY --from=a --chown=\"1:1\" x y", "COPY [\"--from=a\", \"--chown=1:1\"] x y\n");
        check("RUN --mount=type=bind,target=\"/a b\" -- --x", "RUN [\"--mount=type=bind,target=/a b\"] --x\n");
    }

    #[test]
    fn documents_are_read_to_their_names() {
        check("RUN <<EOF\na\n# b\nEOF\nRUN c", "RUN [] <<EOF <EOF:\"a\\n# b\\n\">\nRUN [] c\n");
        check("COPY <<-A <<'B' /x/\n\t1\n\tA\n\t2\nB\n", "COPY [] <<-A <<'B' /x/ <A:\"1\\n\"> <B:\"\\t2\\n\">\n");
        check("RUN <<EOF\na", "dockerfile parse error on line 1: unterminated heredoc EOF\n");
        check("RUN cat <<<word", "RUN [] cat <<<word\n");
    }

    #[test]
    fn what_is_no_instruction_is_told_with_what_may_be_meant() {
        check("FROM a\nCPOY a b", "dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)\n");
        check("FROM a\nRUN x\napt-get y", "dockerfile parse error on line 3: unknown instruction: apt-get\n");
        check("# only\n", "dockerfile parse error on line 1: file with no instructions\n");
        check(
            "# escape=x\nFROM a",
            "dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\\n",
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,200}|([A-Z \\\\\n#<='\"$-]{0,80})") {
            let _ = scan(&text);
        }
    }
}
