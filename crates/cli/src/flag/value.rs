//! What a flag's value may be: switches, numbers, sizes, durations, pairs, and lists of them.
//!
//! A type becomes usable as a flag by `FromFlag`; `Option` of it is a flag that may be absent,
//! `Vec` of it a flag that may be repeated. Error texts are those of Go's strconv and go-units.

/// A field that takes what a flag was given.
pub(crate) trait Value {
    /// Takes one value; a second one replaces the first, or joins it in a list.
    ///
    /// # Errors
    /// The reason, as it is printed after `invalid argument … flag:`.
    fn set(&mut self, text: &str) -> Result<(), String>;
    /// What help calls the value; nothing for a switch.
    fn kind(&self) -> &'static str;
    /// The value of the flag without a value: `true` for a switch.
    fn implied(&self) -> Option<&'static str> {
        None
    }
}

/// A type that can be read from one flag value.
pub(crate) trait FromFlag: Sized {
    /// What help calls it.
    const KIND: &'static str;
    /// What help calls a flag that takes several.
    const LIST: &'static str = "list";
    /// The value when none is written.
    const IMPLIED: Option<&'static str> = None;
    /// Reads one value.
    ///
    /// # Errors
    /// The reason, for a person.
    fn from_flag(text: &str) -> Result<Self, String>;
}

impl<T: FromFlag> Value for Option<T> {
    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = Some(T::from_flag(text)?);
        Ok(())
    }

    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn implied(&self) -> Option<&'static str> {
        T::IMPLIED
    }
}

impl<T: FromFlag> Value for Vec<T> {
    fn set(&mut self, text: &str) -> Result<(), String> {
        self.push(T::from_flag(text)?);
        Ok(())
    }

    fn kind(&self) -> &'static str {
        T::LIST
    }
}

macro_rules! plain_value {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            fn set(&mut self, text: &str) -> Result<(), String> {
                *self = <$kind>::from_flag(text)?;
                Ok(())
            }

            fn kind(&self) -> &'static str {
                <$kind>::KIND
            }

            fn implied(&self) -> Option<&'static str> {
                <$kind>::IMPLIED
            }
        }
    )*};
}

plain_value!(bool, String, i64, u64, u16, Bytes, Cpus);

impl FromFlag for String {
    const KIND: &'static str = "string";

    fn from_flag(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromFlag for bool {
    const KIND: &'static str = "";
    const IMPLIED: Option<&'static str> = Some("true");

    fn from_flag(text: &str) -> Result<Self, String> {
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", go_quote(text))),
        }
    }
}

impl FromFlag for i64 {
    const KIND: &'static str = "int";

    fn from_flag(text: &str) -> Result<Self, String> {
        number("ParseInt", text)
    }
}

impl FromFlag for u64 {
    const KIND: &'static str = "uint";

    fn from_flag(text: &str) -> Result<Self, String> {
        number("ParseUint", text)
    }
}

impl FromFlag for u16 {
    const KIND: &'static str = "uint16";

    fn from_flag(text: &str) -> Result<Self, String> {
        number("ParseUint", text)
    }
}

/// Go's strconv, with its two complaints.
pub(crate) fn number<T>(function: &str, text: &str) -> Result<T, String>
where
    T: std::str::FromStr<Err = std::num::ParseIntError>,
{
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.{function}: parsing {}: {reason}", go_quote(text))
    })
}

/// A text as Go's `%q` prints it.
pub(crate) fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An amount of memory or bandwidth: `512m`, `1.5g`, `100`; units are powers of 1024.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub i64);

impl FromFlag for Bytes {
    const KIND: &'static str = "bytes";

    fn from_flag(text: &str) -> Result<Self, String> {
        crate::format::size::parse_ram(text).map(Self)
    }
}

/// A number of processors in billionths: `1.5` is 1,500,000,000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpus(pub i64);

impl FromFlag for Cpus {
    const KIND: &'static str = "decimal";

    fn from_flag(text: &str) -> Result<Self, String> {
        let no_number = || format!("failed to parse {text} as a rational number");
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return Err(no_number());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 9 {
            return Err("value is too precise".to_owned());
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| no_number())? };
        let billionths: i64 = format!("{fraction:0<9}").parse().map_err(|_| no_number())?;
        let total = whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(billionths)).ok_or_else(no_number)?;
        Ok(Self(if negative { -total } else { total }))
    }
}

/// A duration in Go's spelling: `1m30s`, `500ms`, possibly negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GoDuration {
    /// Nanoseconds, as the API takes them.
    pub nanos: i64,
}

impl FromFlag for GoDuration {
    const KIND: &'static str = "duration";

    fn from_flag(text: &str) -> Result<Self, String> {
        crate::format::duration::parse_go(text).map(|nanos| Self { nanos })
    }
}

/// `key=value`; a missing value is an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub key: String,
    pub value: String,
}

impl FromFlag for KeyValue {
    const KIND: &'static str = "map";
    const LIST: &'static str = "map";

    fn from_flag(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromFlag + std::fmt::Debug>(text: &str, expected: &str) {
        let got = match T::from_flag(text) {
            Ok(value) => format!("{value:?}"),
            Err(reason) => reason,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn processors_are_counted_in_billionths() {
        check::<Cpus>("1.5", "Cpus(1500000000)");
        check::<Cpus>(".25", "Cpus(250000000)");
        check::<Cpus>("-1", "Cpus(-1000000000)");
        check::<Cpus>("abc", "failed to parse abc as a rational number");
        check::<Cpus>("1.1234567890123", "value is too precise");
        check::<Cpus>("", "failed to parse  as a rational number");
    }

    #[test]
    fn numbers_complain_as_go_does() {
        check::<u16>("99999999", r#"strconv.ParseUint: parsing "99999999": value out of range"#);
        check::<i64>("abc", r#"strconv.ParseInt: parsing "abc": invalid syntax"#);
        check::<KeyValue>("a", r#"KeyValue { key: "a", value: "" }"#);
    }
}
