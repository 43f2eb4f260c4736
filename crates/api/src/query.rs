//! Query strings: how they are read and written, and one type for each endpoint that has one.
//!
//! Server and client share these types, so a parameter has one name and one meaning. Reading is
//! Docker's: a flag is off when it says `0`, `no`, `false`, `none` or nothing, and on otherwise.

mod build;
mod container;
mod image;
mod other;

pub use build::{BuildPruneQuery, BuildStartQuery};
pub use container::{
    ContainerArchivePutQuery, ContainerArchiveQuery, ContainerAttachQuery, ContainerCreateQuery, ContainerInspectQuery,
    ContainerKillQuery, ContainerListQuery, ContainerLogsQuery, ContainerRemoveQuery, ContainerRenameQuery,
    ContainerStartQuery, ContainerStatsQuery, ContainerStopQuery, ContainerTopQuery, ContainerWaitQuery, ResizeQuery,
};
pub use image::{
    ImageCommitQuery, ImageCreateQuery, ImageDiffQuery, ImageListQuery, ImageLoadQuery, ImagePlatformQuery,
    ImagePushQuery, ImageRemoveQuery, ImageSaveQuery, ImageSearchQuery, ImageTagQuery, ImageVerifyQuery,
};
pub use other::{
    NetworkInspectQuery, NetworkListQuery, PruneQuery, SystemDfQuery, SystemEventsQuery, VolumeCloneQuery,
    VolumeImportQuery, VolumeListQuery, VolumeRemoveQuery, VolumeSnapshotCreateQuery, VolumeSnapshotQuery,
};

use std::fmt;

use crate::Filters;

/// The parameters of a request, in order, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// A parameter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    pub text: String,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for QueryError {}

impl Query {
    /// Reads what stands after the `?`. A broken escape stands for itself.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(&key.replace('+', " ")), percent_decode(&value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter; none when it is absent or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Adds a parameter.
    pub fn push(&mut self, key: &str, value: impl Into<String>) {
        self.0.push((key.to_owned(), value.into()));
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Query {
    /// As it stands after the `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "&" };
            write!(f, "{separator}{}={}", percent_encode(key, ""), percent_encode(value, ""))?;
        }
        Ok(())
    }
}

/// Encodes everything but unreserved characters and those in `also`.
pub fn percent_encode(text: &str, also: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.as_bytes().contains(&byte);
        if plain {
            encoded.push(byte as char);
        } else {
            encoded.push('%');
            encoded.push(DIGITS[usize::from(byte >> 4)] as char);
            encoded.push(DIGITS[usize::from(byte & 15)] as char);
        }
    }
    encoded
}

/// Undoes [`percent_encode`]; what is not an escape stands for itself.
pub fn percent_decode(text: &str) -> String {
    let nibble = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let pair = (bytes[index] == b'%')
            .then(|| Some((nibble(*bytes.get(index + 1)?)?, nibble(*bytes.get(index + 2)?)?)))
            .flatten();
        if let Some((high, low)) = pair {
            decoded.push(high << 4 | low);
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A type that a parameter can have.
trait Parameter: Sized {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError>;
    fn write(&self, key: &str, query: &mut Query);
}

impl Parameter for bool {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.get(key).is_some_and(is_true))
    }

    fn write(&self, key: &str, query: &mut Query) {
        if *self {
            query.push(key, "1");
        }
    }
}

fn is_true(text: &str) -> bool {
    !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

impl Parameter for Option<bool> {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.get(key).map(is_true))
    }

    fn write(&self, key: &str, query: &mut Query) {
        if let Some(value) = self {
            query.push(key, if *value { "1" } else { "0" });
        }
    }
}

impl Parameter for String {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.get(key).unwrap_or_default().to_owned())
    }

    fn write(&self, key: &str, query: &mut Query) {
        if !self.is_empty() {
            query.push(key, self);
        }
    }
}

impl Parameter for Option<String> {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.get(key).map(str::to_owned))
    }

    fn write(&self, key: &str, query: &mut Query) {
        if let Some(value) = self {
            query.push(key, value);
        }
    }
}

impl Parameter for Vec<String> {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Ok(query.all(key).filter(|value| !value.is_empty()).map(str::to_owned).collect())
    }

    fn write(&self, key: &str, query: &mut Query) {
        for value in self {
            query.push(key, value);
        }
    }
}

impl Parameter for Option<i64> {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        query.get(key).map(|text| text.parse().map_err(|_| not_a_number(key, text))).transpose()
    }

    fn write(&self, key: &str, query: &mut Query) {
        if let Some(value) = self {
            query.push(key, value.to_string());
        }
    }
}

/// A side of a terminal; the words are Docker's, whose two reasons are those of Go's parser.
impl Parameter for u16 {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        let text = query.get(key).unwrap_or_default();
        text.parse().map_err(|_| {
            let side = if key == "h" { "height" } else { "width" };
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            QueryError { text: format!("invalid resize {side} {text:?}: {why}") }
        })
    }

    fn write(&self, key: &str, query: &mut Query) {
        query.push(key, self.to_string());
    }
}

fn not_a_number(key: &str, text: &str) -> QueryError {
    QueryError { text: format!("invalid value {text:?} for parameter {key}: not a number in range") }
}

impl Parameter for Filters {
    fn read(query: &Query, key: &str) -> Result<Self, QueryError> {
        Self::parse(query.get(key).unwrap_or_default()).map_err(|text| QueryError { text })
    }

    fn write(&self, key: &str, query: &mut Query) {
        if !self.is_empty() {
            query.push(key, self.encode());
        }
    }
}

/// Structs whose fields are parameters: `pub field: Type = "name on the wire"`.
macro_rules! query {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty = $key:literal, )*
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl TryFrom<&crate::query::Query> for $name {
            type Error = crate::query::QueryError;

            fn try_from(query: &crate::query::Query) -> Result<Self, Self::Error> {
                Ok(Self { $( $field: crate::query::Parameter::read(query, $key)?, )* })
            }
        }

        impl From<&$name> for crate::query::Query {
            fn from(from: &$name) -> Self {
                let mut query = Self::default();
                $( crate::query::Parameter::write(&from.$field, $key, &mut query); )*
                query
            }
        }
    )* };
}
use query;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_the_wire() {
        let mut query = Query::default();
        query.push("filters", r#"{"label":["a=b & c"]}"#);
        query.push("t", "é+ %");
        let text = query.to_string();
        assert_eq!(text, "filters=%7B%22label%22%3A%5B%22a%3Db%20%26%20c%22%5D%7D&t=%C3%A9%2B%20%25");
        assert_eq!(Query::parse(&text), query);
        assert_eq!(Query::parse("a=x+y&b&&c=%zz%4").to_string(), "a=x%20y&b=&c=%25zz%254");
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("all=1", true),
            ("all=true", true),
            ("all=yes", true),
            ("all=anything", true),
            ("all=0", false),
            ("all=False", false),
            ("all=no", false),
            ("all=none", false),
            ("all=", false),
            ("all", false),
            ("", false),
        ] {
            let list = ContainerListQuery::try_from(&Query::parse(text)).unwrap();
            assert_eq!(list.all, expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_must_be_numbers() {
        let error = ContainerStopQuery::try_from(&Query::parse("t=soon")).unwrap_err();
        assert_eq!(error.text, "invalid value \"soon\" for parameter t: not a number in range");
        assert_eq!(ContainerStopQuery::try_from(&Query::parse("t=-1")).unwrap().timeout_s, Some(-1));
        assert!(ResizeQuery::try_from(&Query::parse("h=24")).is_err(), "a size needs both");
        let resize = ResizeQuery { rows: 24, columns: 80 };
        assert_eq!(Query::from(&resize).to_string(), "h=24&w=80");
    }
}
