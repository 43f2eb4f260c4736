//! What the instructions say: from nodes to values. Variables stand in them as they were written.
//!
//! Every instruction is judged here, before anything is done, so that a mistake in the last line costs no build of
//! the lines above it.

use hako_model::HealthSpec;

use super::{
    error::{SyntaxError, suggest},
    flag::{self, CopyFlags, RunFlags},
    scan::{self, Heredoc, Node},
    word,
};

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    pub kind: Kind,
    pub lines: (usize, usize),
    /// On one line, as it was typed.
    pub original: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    From {
        image: String,
        platform: Option<String>,
        name: Option<String>,
    },
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Run {
        flags: RunFlags,
        command: Command,
        heredocs: Vec<Heredoc>,
    },
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Copy(Box<Copy>),
    Workdir(String),
    User(String),
    Volume(Vec<String>),
    Expose(Vec<String>),
    StopSignal(String),
    HealthCheck(HealthSpec),
    /// The trigger, as it was typed.
    OnBuild(String),
    Maintainer(String),
}

/// The two forms of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Shell(String),
    Exec(Vec<String>),
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub is_add: bool,
    pub flags: CopyFlags,
    pub sources: Vec<String>,
    pub target: String,
    /// Files that stand in the Dockerfile itself: `(name, document)`.
    pub documents: Vec<Heredoc>,
}

/// A whole Dockerfile, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    pub directives: scan::Directives,
    pub instructions: Vec<Instruction>,
    pub warnings: Vec<(usize, String)>,
}

impl Dockerfile {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let source = scan::scan(text)?;
        let escape = source.directives.escape;
        let read = source.nodes.iter().map(|node| instruction(node, escape));
        let instructions = read.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { directives: source.directives, instructions, warnings: source.warnings })
    }
}

/// One instruction on its own (a trigger of `ONBUILD`).
///
/// # Errors
/// What is wrong with it.
pub fn parse_one(text: &str) -> Result<Instruction, SyntaxError> {
    let source = scan::scan(text)?;
    match source.nodes.as_slice() {
        [node] => instruction(node, source.directives.escape),
        _ => Err(SyntaxError::new((1, 1), "one instruction is expected")),
    }
}

/// A node and how its words are read.
struct Reader<'n> {
    node: &'n Node,
    keyword: String,
    escape: char,
}

fn instruction(node: &Node, escape: char) -> Result<Instruction, SyntaxError> {
    let reader = Reader { node, keyword: node.keyword.to_uppercase(), escape };
    let kind = match reader.keyword.as_str() {
        "FROM" => reader.from()?,
        "ARG" => reader.arg()?,
        "ENV" => Kind::Env(reader.pairs()?),
        "LABEL" => Kind::Label(reader.pairs()?),
        "RUN" => Kind::Run {
            flags: flag::run(&node.flags).map_err(|text| reader.flag_error(text))?,
            command: reader.required_command()?,
            heredocs: node.heredocs.clone(),
        },
        "CMD" => Kind::Cmd(reader.command()?),
        "ENTRYPOINT" => Kind::Entrypoint(reader.required_command()?),
        "SHELL" => reader.shell()?,
        "COPY" | "ADD" => reader.copy()?,
        "WORKDIR" => Kind::Workdir(reader.single()?),
        "USER" => Kind::User(reader.single()?),
        "STOPSIGNAL" => Kind::StopSignal(reader.single()?),
        "MAINTAINER" => Kind::Maintainer(reader.single()?),
        "VOLUME" => reader.volume()?,
        "EXPOSE" => Kind::Expose(reader.words_required()?),
        "HEALTHCHECK" => {
            let flags = node.flags.iter().map(String::as_str);
            Kind::HealthCheck(hako_image::health::parse(flags, &node.rest).map_err(|text| reader.error(text))?)
        }
        _ => reader.on_build()?,
    };
    if !matches!(kind, Kind::Run { .. } | Kind::Copy(_) | Kind::From { .. } | Kind::HealthCheck(_) | Kind::OnBuild(_)) {
        reader.no_flags()?;
    }
    Ok(Instruction { kind, lines: node.lines, original: node.original.clone() })
}

impl Reader<'_> {
    fn error(&self, text: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.node.lines, text)
    }

    fn flag_error(&self, error: flag::FlagError) -> SyntaxError {
        let text = match suggest(&error.name, error.known.iter().copied()) {
            Some(known) => format!("{} (did you mean {known}?)", error.text),
            None => error.text,
        };
        self.error(text).words(error.words)
    }

    fn no_flags(&self) -> Result<(), SyntaxError> {
        match self.node.flags.first() {
            None => Ok(()),
            Some(flag) => {
                let name = flag.split('=').next().unwrap_or(flag).trim_start_matches('-');
                Err(self.error(format!("unknown flag: {}: {name}", self.keyword)).words(flag.clone()))
            }
        }
    }

    fn words(&self) -> Vec<String> {
        self.node.rest.split_whitespace().map(str::to_owned).collect()
    }

    fn words_required(&self) -> Result<Vec<String>, SyntaxError> {
        let words = self.words();
        if words.is_empty() {
            return Err(self.error(format!("{} requires at least one argument", self.keyword)));
        }
        Ok(words)
    }

    fn single(&self) -> Result<String, SyntaxError> {
        if self.node.rest.is_empty() {
            return Err(self.error(format!("{} requires exactly one argument", self.keyword)));
        }
        Ok(self.node.rest.clone())
    }

    fn from(&self) -> Result<Kind, SyntaxError> {
        let words = self.words();
        // People write what they read in articles: text behind a `#` is no comment in the middle of a line.
        if let Some(at) = words.iter().position(|word| word.starts_with('#')) {
            let error = self.error("FROM requires either one or three arguments: a comment needs a line of its own");
            return Err(error.words(words[at..].join(" ")).hint("put the text behind # into the line above"));
        }
        let (image, name) = match words.as_slice() {
            [image] => (image.clone(), None),
            [image, word, name] if word.eq_ignore_ascii_case("as") => {
                let name = name.to_lowercase();
                let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
                    && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
                if !is_name {
                    let text = format!(
                        "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
                    );
                    return Err(self.error(text).words(words[2].clone()));
                }
                (image.clone(), Some(name))
            }
            [] => return Err(self.error("FROM requires either one or three arguments")),
            [_, rest @ ..] => {
                let error = self.error("FROM requires either one or three arguments");
                return Err(error.words(rest.join(" ")).hint("FROM image, or FROM image AS name"));
            }
        };
        let platform = flag::platform(&self.node.flags).map_err(|error| self.flag_error(error))?;
        Ok(Kind::From { image, platform, name })
    }

    fn arg(&self) -> Result<Kind, SyntaxError> {
        let mut arguments = Vec::new();
        for word in word::raw_words(&self.node.rest, self.escape) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            if name.is_empty() {
                return Err(self.error("ARG names can not be blank").words(word));
            }
            arguments.push((name, value));
        }
        if arguments.is_empty() {
            return Err(self.error("ARG requires at least one argument"));
        }
        Ok(Kind::Arg(arguments))
    }

    // `NAME=value …`, or the old form `NAME the rest of the line`.
    fn pairs(&self) -> Result<Vec<(String, String)>, SyntaxError> {
        let words = word::raw_words(&self.node.rest, self.escape);
        let Some(first) = words.first() else {
            return Err(self.error(format!("{} requires at least one argument", self.keyword)));
        };
        if !first.contains('=') {
            let Some((name, value)) = self.node.rest.split_once(char::is_whitespace) else {
                return Err(self.error(format!("{} must have two arguments", self.keyword)).words(first.clone()));
            };
            return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
        }
        words
            .iter()
            .map(|word| match word.split_once('=') {
                Some(("", _)) => {
                    Err(self.error(format!("{} names can not be blank", self.keyword)).words(word.clone()))
                }
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => {
                    let text = format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
                    Err(self.error(text).words(word.clone()))
                }
            })
            .collect()
    }

    fn json(&self) -> Option<Vec<String>> {
        self.node.rest.starts_with('[').then(|| serde_json::from_str(&self.node.rest).ok()).flatten()
    }

    fn command(&self) -> Result<Command, SyntaxError> {
        Ok(match self.json() {
            Some(words) => Command::Exec(words),
            None => Command::Shell(self.node.rest.clone()),
        })
    }

    fn required_command(&self) -> Result<Command, SyntaxError> {
        if self.node.rest.is_empty() {
            return Err(self.error(format!("{} requires at least one argument", self.keyword)));
        }
        self.command()
    }

    fn shell(&self) -> Result<Kind, SyntaxError> {
        match self.json() {
            Some(words) if !words.is_empty() => Ok(Kind::Shell(words)),
            Some(_) => Err(self.error("SHELL requires at least one argument")),
            None => Err(self.error("SHELL requires the arguments to be in JSON form").words(self.node.rest.clone())),
        }
    }

    fn volume(&self) -> Result<Kind, SyntaxError> {
        let paths = match self.json() {
            Some(paths) => paths,
            None => self.words(),
        };
        if paths.is_empty() {
            return Err(self.error("VOLUME requires at least one argument"));
        }
        if paths.iter().any(|path| path.trim().is_empty()) {
            return Err(self.error("VOLUME specified can not be an empty string"));
        }
        Ok(Kind::Volume(paths))
    }

    fn copy(&self) -> Result<Kind, SyntaxError> {
        let is_add = self.keyword == "ADD";
        let flags = flag::copy(&self.node.flags, is_add).map_err(|error| self.flag_error(error))?;
        let mut paths = self.json().unwrap_or_else(|| self.words());
        if paths.len() < 2 {
            let error = self.error(format!(
                "{} requires at least two arguments, but only one was provided. Destination could not be determined",
                self.keyword
            ));
            return Err(error.words(self.node.rest.clone()));
        }
        let target = paths.pop().unwrap_or_default();
        if scan::announced(&target).is_some() && !self.node.heredocs.is_empty() {
            return Err(self.error(format!("{} cannot accept a heredoc as a destination", self.keyword)).words(target));
        }
        if !self.node.heredocs.is_empty() {
            paths.retain(|path| scan::announced(path).is_none());
        }
        Ok(Kind::Copy(Box::new(Copy { is_add, flags, sources: paths, target, documents: self.node.heredocs.clone() })))
    }

    fn on_build(&self) -> Result<Kind, SyntaxError> {
        let trigger = self.node.original.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
        match trigger.split_whitespace().next().unwrap_or_default().to_uppercase().as_str() {
            "" => Err(self.error("ONBUILD requires at least one argument")),
            "ONBUILD" => Err(self.error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            word @ ("FROM" | "MAINTAINER") => Err(self.error(format!("{word} isn't allowed as an ONBUILD trigger"))),
            _ => {
                // A trigger that cannot be carried out is a mistake here, not in the image that is built on this one.
                parse_one(&with_documents(trigger, &self.node.heredocs)).map_err(|error| self.error(error.text))?;
                Ok(Kind::OnBuild(with_documents(trigger, &self.node.heredocs)))
            }
        }
    }
}

/// A command line with its here-documents behind it, as a shell reads it.
pub(crate) fn with_documents(line: &str, documents: &[Heredoc]) -> String {
    let mut text = line.to_owned();
    for document in documents {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match Dockerfile::parse(text) {
            Ok(file) => format!("{:?}", file.instructions.last().unwrap().kind),
            Err(error) => {
                let (line, column) = error.place(text);
                format!("{line}:{column} {:?} {}", error.words, error.text)
            }
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn forms() {
        check("FROM a:1 AS Build", r#"From { image: "a:1", platform: None, name: Some("build") }"#);
        check("CMD [\"a\", \"b\"]", r#"Cmd(Exec(["a", "b"]))"#);
        check("CMD ['a']", r#"Cmd(Shell("['a']"))"#);
        check("ENV a=b c='d e'", r#"Env([("a", "b"), ("c", "'d e'")])"#);
        check("ENV a  b c", r#"Env([("a", "b c")])"#);
        check("ARG a b=c", r#"Arg([("a", None), ("b", Some("c"))])"#);
        check("VOLUME [\"/a b\"]", r#"Volume(["/a b"])"#);
        check("ONBUILD COPY . /x", r#"OnBuild("COPY . /x")"#);
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        check(
            "FROM python:3 # text",
            "1:15 \"# text\" FROM requires either one or three arguments: a comment needs a line of its own",
        );
        check("FROM a b", "1:8 \"b\" FROM requires either one or three arguments");
        check(
            "FROM a\nENV A=1 \\\n  B",
            "3:3 \"B\" Syntax error - can't find = in \"B\". Must be of the form: name=value",
        );
        check("COPY --form=x a b", "1:6 \"--form=x\" unknown flag: COPY: form (did you mean from?)");
        check("RUN", "1:1 \"\" RUN requires at least one argument");
        check(
            "COPY a",
            "1:6 \"a\" COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        );
        check("ONBUILD ONBUILD RUN a", "1:1 \"\" Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        check("SHELL a", "1:7 \"a\" SHELL requires the arguments to be in JSON form");
        check("USER --x=1 a", "1:6 \"--x=1\" unknown flag: USER: x");
    }
}
