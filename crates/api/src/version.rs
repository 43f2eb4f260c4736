//! API versions: what is supported and how they compare.
//!
//! Docker 29 raised its minimum to 1.44 and then went back to 1.40; 1.24 stays here because fixed
//! clients (Traefik, docker-java, Testcontainers) still ask for it.

use std::{fmt, str::FromStr};

/// A version of the Engine API, such as 1.50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

/// A text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionError {
    text: String,
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid API version: {:?}", self.text)
    }
}

impl std::error::Error for VersionError {}

/// Why a version is not served. The sentences are Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    TooOld(ApiVersion),
    TooNew(ApiVersion),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld(version) => write!(
                f,
                "client version {version} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
                ApiVersion::MIN
            ),
            Self::TooNew(version) => {
                write!(f, "client version {version} is too new. Maximum supported API version is {}", ApiVersion::MAX)
            }
        }
    }
}

impl ApiVersion {
    /// The oldest that is served.
    pub const MIN: Self = Self::new(1, 24);
    /// The newest whose shapes pass; also what un-prefixed paths mean.
    pub const MAX: Self = Self::new(1, 50);

    /// `major.minor`
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// What stands behind the point.
    pub const fn minor(self) -> u16 {
        self.minor
    }

    /// Whether this is `1.minor` or later.
    pub const fn at_least(self, minor: u16) -> bool {
        self.major > 1 || (self.major == 1 && self.minor >= minor)
    }

    /// Whether it is between [`Self::MIN`] and [`Self::MAX`].
    ///
    /// # Errors
    /// With Docker's sentence for the side on which it lies outside.
    pub fn supported(self) -> Result<Self, Unsupported> {
        if self < Self::MIN {
            Err(Unsupported::TooOld(self))
        } else if self > Self::MAX {
            Err(Unsupported::TooNew(self))
        } else {
            Ok(self)
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = VersionError;

    /// `1.41`, also with a leading `v`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError { text: text.to_owned() };
        let number = |digits: &str| {
            // `parse` alone would take "+1".
            digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let (major, minor) = text.strip_prefix('v').unwrap_or(text).split_once('.').ok_or_else(error)?;
        match (number(major), number(minor)) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_text() {
        let version = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(version("1.9") < version("1.24"));
        assert!(version("1.50") > version("1.5"));
        assert!(version("v1.44").at_least(44) && !version("1.43").at_least(44));
        for text in ["", "1", "1.", ".1", "1.+4", "one.two", "1.2.3", "1.99999"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_served_is_told_in_dockers_words() {
        assert_eq!(
            ApiVersion::new(1, 12).supported().unwrap_err().to_string(),
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        assert_eq!(
            ApiVersion::new(1, 51).supported().unwrap_err().to_string(),
            "client version 1.51 is too new. Maximum supported API version is 1.50"
        );
        assert!(ApiVersion::MIN.supported().is_ok() && ApiVersion::MAX.supported().is_ok());
    }
}
