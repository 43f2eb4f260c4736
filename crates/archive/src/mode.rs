//! Permission bits that are wanted of files: a number, or changes of what they have, as chmod(1) writes both.
//!
//! Pure. Who is not named is everybody, as far as the usual mask (022) lets them.

use std::fmt;

const MASK: u32 = 0o022;

/// Bits for every file, or what is changed of each one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeWish {
    Exactly(u32),
    Changes(Vec<Change>),
}

/// One change: `go-w`, `u=rwX`, `g=u`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    who: Who,
    operator: Operator,
    bits: Bits,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Who {
    user: bool,
    group: bool,
    others: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    /// `rwx` as a digit; whether `X`, `s` and `t` are among them.
    Letters { digit: u32, traverse: bool, set_id: bool, sticky: bool },
    /// Those that the user (6), the group (3) or the others (0) have: how far their digit is from the right.
    Of(u32),
}

/// What is no mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoMode(String);

impl fmt::Display for NoMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "invalid mode {:?}: expected an octal number up to 07777, or changes such as u=rwX,go=rX",
            self.0
        )
    }
}

impl std::error::Error for NoMode {}

impl ModeWish {
    /// Reads what chmod(1) takes.
    ///
    /// # Errors
    /// What is no mode.
    pub fn parse(text: &str) -> Result<Self, NoMode> {
        let none = || NoMode(text.to_owned());
        if text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Exactly).ok_or_else(none);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(none)?;
            let who = who(&clause[..at]).ok_or_else(none)?;
            let mut rest = &clause[at..];
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
                let bits = bits(&rest[1..end]).ok_or_else(none)?;
                let operator = match operator {
                    '+' => Operator::Add,
                    '-' => Operator::Remove,
                    _ => Operator::Set,
                };
                changes.push(Change { who, operator, bits });
                rest = &rest[end..];
            }
        }
        Ok(Self::Changes(changes))
    }

    /// The mode of a file that has this one.
    pub fn of(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Exactly(mode) => *mode,
            Self::Changes(changes) => {
                changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, is_directory))
            }
        }
    }
}

fn who(letters: &str) -> Option<Who> {
    let mut who = Who::default();
    for letter in letters.chars() {
        match letter {
            'u' => who.user = true,
            'g' => who.group = true,
            'o' => who.others = true,
            'a' => who = Who { user: true, group: true, others: true },
            _ => return None,
        }
    }
    Some(who)
}

fn bits(letters: &str) -> Option<Bits> {
    if let Some(shift) = match letters {
        "u" => Some(6),
        "g" => Some(3),
        "o" => Some(0),
        _ => None,
    } {
        return Some(Bits::Of(shift));
    }
    let (mut digit, mut traverse, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters.chars() {
        match letter {
            'r' => digit |= 4,
            'w' => digit |= 2,
            'x' => digit |= 1,
            'X' => traverse = true,
            's' => set_id = true,
            't' => sticky = true,
            _ => return None,
        }
    }
    Some(Bits::Letters { digit, traverse, set_id, sticky })
}

impl Change {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let is_nobody = self.who == Who::default();
        let Who { user, group, others } =
            if is_nobody { Who { user: true, group: true, others: true } } else { self.who };
        let (mut wanted, mut reach) = (0, 0);
        let (digit, set_id, sticky) = match self.bits {
            Bits::Of(shift) => (mode >> shift & 7, false, false),
            Bits::Letters { digit, traverse, set_id, sticky } => {
                // `X`: directories, and what somebody may execute already.
                let executes = traverse && (is_directory || mode & 0o111 != 0);
                (digit | u32::from(executes), set_id, sticky)
            }
        };
        for (is_meant, shift, special) in [(user, 6, 0o4000), (group, 3, 0o2000), (others, 0, 0)] {
            if is_meant {
                wanted |= digit << shift | if set_id { special } else { 0 };
                reach |= 7 << shift | special;
            }
        }
        if is_nobody {
            wanted &= !MASK;
        }
        if sticky && others {
            wanted |= 0o1000;
        }
        match self.operator {
            Operator::Add => mode | wanted,
            Operator::Remove => mode & !wanted,
            // A directory keeps what is not a permission unless that is named, as chmod(1) does it.
            Operator::Set if is_directory => (mode & !(reach & 0o777)) | wanted,
            Operator::Set => (mode & !reach) | wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: u32, is_directory: bool, expected: u32) {
        let got = ModeWish::parse(text).unwrap().of(mode, is_directory);
        assert_eq!(format!("{got:04o}"), format!("{expected:04o}"), "{text} on {mode:04o}");
    }

    // Each as chmod(1) of coreutils does it.
    #[test]
    fn modes_are_what_chmod_makes_of_them() {
        check("0644", 0o777, false, 0o644);
        check("4755", 0o644, false, 0o4755);
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, false, 0o755);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("a+x", 0o644, false, 0o755);
        check("+x", 0o644, false, 0o755);
        check("+w", 0o444, false, 0o644);
        check("go-rwx", 0o755, false, 0o700);
        check("g=u", 0o750, false, 0o770);
        check("o=g", 0o750, false, 0o755);
        check("u+s,g+s", 0o755, false, 0o6755);
        check("u=rx", 0o4755, false, 0o555);
        check("u=rx", 0o4755, true, 0o4555);
        check("+t", 0o777, true, 0o1777);
        check("u=r,u+w", 0o777, false, 0o677);
        check("u+r-w", 0o200, false, 0o400);
        check("a=", 0o755, false, 0);
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "u", "9", "10000", "u=q", "z=r", "u=r,", "rwx", "u=ug"] {
            assert!(ModeWish::parse(text).is_err(), "{text}");
        }
    }
}
