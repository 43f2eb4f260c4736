//! Flags as Docker's users know them: GNU style, in any order, values checked where they stand.
//!
//! A command binds its fields to flags, one line each, and the set is then parsed, printed as help
//! or offered for completion from that one list. Hand-written rather than derived because scripts
//! match the sentences of Go's flag package to the letter (`invalid argument "x" for "-p, --publish"
//! flag: …`), `--flag=false` is legal for every switch, and building the 101 flags of `run` takes
//! one allocation. What a value means is said in `flag::value`; how help looks in `help`.

mod value;

pub(crate) use value::{Bytes, Cpus, FromFlag, GoDuration, KeyValue, Value, go_quote, number as parse_number};

/// One flag of a command, bound to the field its value goes to.
pub(crate) struct Flag<'a> {
    /// As printed in help and errors: `-p, --publish` or `--name`.
    pub spec: &'static str,
    /// One sentence for `--help`; defaults that matter are written in it.
    pub help: &'static str,
    /// Not shown in help: an alias or something that is only tolerated.
    pub hidden: bool,
    kind: Option<&'static str>,
    value: &'a mut dyn Value,
}

impl Flag<'_> {
    /// Hides the flag from help: an older spelling, or something that is only tolerated.
    pub(crate) fn hide(&mut self) -> &mut Self {
        self.hidden = true;
        self
    }

    /// Names the kind of value in help where the type's own name says too little.
    pub(crate) fn kind(&mut self, kind: &'static str) -> &mut Self {
        self.kind = Some(kind);
        self
    }

    /// What help prints after the name: `list`, `int`, nothing for a switch.
    pub(crate) fn kind_name(&self) -> &'static str {
        self.kind.unwrap_or_else(|| self.value.kind())
    }

    /// `publish` of `-p, --publish`.
    pub(crate) fn name(&self) -> &'static str {
        self.spec.rsplit("--").next().unwrap_or(self.spec)
    }

    /// `p` of `-p, --publish`.
    pub(crate) fn short(&self) -> Option<char> {
        let mut chars = self.spec.chars();
        (chars.next() == Some('-')).then(|| chars.next()).flatten().filter(|c| *c != '-')
    }

    fn set(&mut self, text: &str) -> Result<(), FlagError> {
        // A message to people may begin with any quote; a name or a path of a computer does not.
        if self.name() != "message"
            && let Some(error) = curly_quote(text)
        {
            return Err(error);
        }
        self.value.set(text).map_err(|reason| FlagError::Invalid { text: text.to_owned(), spec: self.spec, reason })
    }
}

/// Why a command line could not be read. The sentences are those of Go's flag package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    /// `--help` was among the arguments.
    #[error("help requested")]
    Help,
    #[error("unknown flag: --{name}")]
    Unknown { name: String, suggestion: Option<&'static str> },
    #[error("unknown shorthand flag: '{short}' in -{cluster}")]
    UnknownShort { short: char, cluster: String, meant: Option<String> },
    #[error("flag needs an argument: --{name}")]
    NeedsArgument { name: String },
    #[error("flag needs an argument: '{short}' in -{cluster}")]
    ShortNeedsArgument { short: char, cluster: String },
    #[error("bad flag syntax: {text}")]
    Syntax { text: String },
    /// Typography of books and web pages in the place of what a keyboard has.
    #[error("{text} begins with {what}: type {meant}")]
    Pasted { text: String, what: &'static str, meant: String },
    #[error("invalid argument {} for \"{spec}\" flag: {reason}", go_quote(text))]
    Invalid { text: String, spec: &'static str, reason: String },
}

/// The flags of one command.
#[derive(Default)]
pub(crate) struct FlagSet<'a> {
    flags: Vec<Flag<'a>>,
    spellings: Vec<(&'static str, &'static str)>,
}

impl<'a> FlagSet<'a> {
    /// Binds `value` to a flag written like `-p, --publish` or `--name`.
    pub(crate) fn add(&mut self, value: &'a mut dyn Value, spec: &'static str, help: &'static str) -> &mut Flag<'a> {
        let at = self.flags.len();
        self.flags.push(Flag { spec, help, hidden: false, kind: None, value });
        &mut self.flags[at]
    }

    /// Takes `--old` for the flag `name`, without showing it in help.
    pub(crate) fn also(&mut self, old: &'static str, name: &'static str) {
        self.spellings.push((old, name));
    }

    /// All flags, in the order in which they were added.
    pub(crate) fn flags(&self) -> &[Flag<'a>] {
        &self.flags
    }

    /// Reads `arguments` and returns what is not a flag. Without `interspersed`, the first such
    /// word ends the flags: `run IMAGE --this-is-for-the-image`.
    ///
    /// # Errors
    /// At the first argument that cannot be understood.
    pub(crate) fn parse(&mut self, arguments: &[String], interspersed: bool) -> Result<Vec<String>, FlagError> {
        let mut rest = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                rest.extend(words.by_ref().cloned());
            } else if let Some(long) = word.strip_prefix("--") {
                self.parse_long(long, &mut words)?;
            } else if word.len() > 1 && word.starts_with('-') {
                self.parse_short(&word[1..], &mut words)?;
            } else if let Some(error) = long_dash(word).or_else(|| curly_quote(word)).filter(|_| rest.is_empty()) {
                return Err(error);
            } else {
                rest.push(word.clone());
                if !interspersed {
                    rest.extend(words.by_ref().cloned());
                }
            }
        }
        Ok(rest)
    }

    fn parse_long<'w>(&mut self, word: &str, words: &mut impl Iterator<Item = &'w String>) -> Result<(), FlagError> {
        if word.starts_with(['-', '=']) {
            return Err(FlagError::Syntax { text: format!("--{word}") });
        }
        let (name, given) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let typed = name;
        let name = self.spellings.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        let Some(at) = self.flags.iter().position(|flag| flag.name() == name) else {
            return Err(match name {
                "help" => FlagError::Help,
                _ => FlagError::Unknown { name: name.to_owned(), suggestion: self.similar(name) },
            });
        };
        let flag = &mut self.flags[at];
        match (given, flag.value.implied()) {
            (Some(value), _) | (None, Some(value)) => flag.set(value),
            (None, None) => match words.next() {
                Some(value) => flag.set(value),
                None => Err(FlagError::NeedsArgument { name: typed.to_owned() }),
            },
        }
    }

    // `-itp8080:80`: switches until one wants a value, which is the rest or the next word.
    fn parse_short<'w>(
        &mut self,
        cluster: &str,
        words: &mut impl Iterator<Item = &'w String>,
    ) -> Result<(), FlagError> {
        for (at, short) in cluster.char_indices() {
            let remaining = &cluster[at..];
            let Some(flag) = self.flags.iter_mut().find(|flag| flag.short() == Some(short)) else {
                return Err(match (short, long_dash(remaining)) {
                    ('h', _) => FlagError::Help,
                    (_, Some(pasted)) => pasted,
                    _ => FlagError::UnknownShort {
                        short,
                        cluster: remaining.to_owned(),
                        meant: self.meant_by(&cluster[..at], remaining),
                    },
                });
            };
            let after = &remaining[short.len_utf8()..];
            if let Some(value) = after.strip_prefix('=') {
                return flag.set(value);
            }
            if let Some(implied) = flag.value.implied() {
                flag.set(implied)?;
                continue;
            }
            if !after.is_empty() {
                return flag.set(after);
            }
            return match words.next() {
                Some(value) => flag.set(value),
                None => Err(FlagError::ShortNeedsArgument { short, cluster: remaining.to_owned() }),
            };
        }
        Ok(())
    }

    // `-name`, as in many a book, or `-it--rm` without its space.
    fn meant_by(&self, understood: &str, rest: &str) -> Option<String> {
        if rest.starts_with("--") {
            return Some(format!("-{understood} {rest}"));
        }
        let name = rest.split_once('=').map_or(rest, |(name, _)| name);
        let is_long = understood.is_empty() && self.flags.iter().any(|flag| flag.name() == name);
        is_long.then(|| format!("--{name}"))
    }

    fn similar(&self, name: &str) -> Option<&'static str> {
        crate::suggest::nearest(name, self.flags.iter().filter(|flag| !flag.hidden).map(Flag::name))
    }
}

/// `—name`, as word processors make of `--name`.
fn long_dash(word: &str) -> Option<FlagError> {
    let rest = word.strip_prefix(['\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}'])?;
    let name = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
    let meant = if name.chars().count() == 1 { format!("-{name}") } else { format!("--{name}") };
    Some(FlagError::Pasted { text: word.to_owned(), what: "a long dash", meant })
}

/// `“A=b”`
fn curly_quote(text: &str) -> Option<FlagError> {
    const CURLY: [char; 6] = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}'];
    let rest = text.strip_prefix(CURLY)?;
    let meant = format!("'{}'", rest.trim_end_matches(CURLY));
    Some(FlagError::Pasted { text: text.to_owned(), what: "a curly quote, which no shell takes for one", meant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_word_processors_make_of_flags_is_explained() {
        check("\u{2014}name web img", "\u{2014}name begins with a long dash: type --name");
        check("\u{2013}t img", "\u{2013}t begins with a long dash: type -t");
        check("-\u{2013}name web img", "\u{2013}name begins with a long dash: type --name");
        check(
            "\u{201c}img\u{201d}",
            "\u{201c}img\u{201d} begins with a curly quote, which no shell takes for one: type 'img'",
        );
        check(
            "-l \u{201c}a=b\u{201d} img",
            "\u{201c}a=b\u{201d} begins with a curly quote, which no shell takes for one: type 'a=b'",
        );
        // What is given to the container is its own matter.
        check("img \u{2014}x", "tty=false name=\"\" last=0 labels=[] rest=[\"img\", \"\u{2014}x\"]");
    }

    fn check(line: &str, expected: &str) {
        let (mut tty, mut name, mut count, mut labels) = (false, String::new(), 0_i64, Vec::<String>::new());
        let mut set = FlagSet::default();
        set.add(&mut tty, "-t, --tty", "");
        set.add(&mut name, "--name", "");
        set.add(&mut count, "-n, --last", "");
        set.add(&mut labels, "-l, --label", "");
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let rest = set.parse(&words, false);
        let got = match rest {
            Ok(rest) => format!("tty={tty} name={name:?} last={count} labels={labels:?} rest={rest:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{line}");
    }

    #[test]
    fn values_stand_beside_after_or_behind_an_equals_sign() {
        check(
            "-tn5 --name=x -l a -lb -l=c img -x",
            r#"tty=true name="x" last=5 labels=["a", "b", "c"] rest=["img", "-x"]"#,
        );
        check("--tty=false --name a -- -t", r#"tty=false name="a" last=0 labels=[] rest=["-t"]"#);
        check("- x", r#"tty=false name="" last=0 labels=[] rest=["-", "x"]"#);
    }

    #[test]
    fn mistakes_are_told_in_the_words_scripts_know() {
        check("--foo", "unknown flag: --foo");
        check("-tZ", "unknown shorthand flag: 'Z' in -Z");
        check("--name", "flag needs an argument: --name");
        check("-tn", "flag needs an argument: 'n' in -n");
        check("--=x", "bad flag syntax: --=x");
        check(
            "--tty=x",
            r#"invalid argument "x" for "-t, --tty" flag: strconv.ParseBool: parsing "x": invalid syntax"#,
        );
        check(
            "--last x",
            r#"invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax"#,
        );
        check("--help", "help requested");
    }
}
