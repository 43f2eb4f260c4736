//! Signals by name and number, as `--stop-signal` and `kill --signal` take them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A Linux signal number, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl Signal {
    pub const TERM: Self = Self(15);
    pub const KILL: Self = Self(9);

    /// The number the kernel knows it by.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// A text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {text}")]
pub struct SignalError {
    text: String,
}

impl TryFrom<i32> for Signal {
    type Error = SignalError;

    fn try_from(number: i32) -> Result<Self, SignalError> {
        if (1..=64).contains(&number) { Ok(Self(number)) } else { Err(SignalError { text: number.to_string() }) }
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let error = || SignalError { text: text.to_owned() };
        if let Ok(number) = text.parse::<i32>() {
            return Self::try_from(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            return Self::try_from(index as i32 + 1);
        }
        // glibc keeps 32 and 33 for itself, so RTMIN is 34.
        let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
            Some(digits) => digits.parse::<i32>().ok().filter(|n| (0..=30).contains(n)),
            None if rest.is_empty() => Some(0),
            None => None,
        };
        match name {
            "CLD" => Ok(Self(17)),
            "POLL" => Ok(Self(29)),
            "IOT" => Ok(Self(6)),
            _ => {
                if let Some(rest) = name.strip_prefix("RTMIN") {
                    offset(rest, '+').map(|n| Self(34 + n)).ok_or_else(error)
                } else if let Some(rest) = name.strip_prefix("RTMAX") {
                    offset(rest, '-').map(|n| Self(64 - n)).ok_or_else(error)
                } else {
                    Err(error())
                }
            }
        }
    }
}

impl fmt::Display for Signal {
    /// `SIGTERM`, `SIGRTMIN+3`, or the number where there is no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1..=31 => write!(f, "SIG{}", NAMES[self.0 as usize - 1]),
            34 => f.write_str("SIGRTMIN"),
            35..=64 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            number => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("TERM", 15), ("sigkill", 9), ("15", 15), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("IOT", 6)]
        {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
        for text in ["", "SIGFOO", "0", "65", "RTMIN+99"] {
            assert_eq!(text.parse::<Signal>().unwrap_err().to_string(), format!("invalid signal: {text}"));
        }
    }
}
