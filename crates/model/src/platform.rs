//! For which machine an image is: what people and programs write, and what fits what.
//!
//! Written `os[(version)]`, `architecture` or `os/architecture[/variant]`, by the rules and in the words of containerd,
//! whose reader Docker and BuildKit use. A version of the system is read and says nothing here: images for Linux have
//! none.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// For which machine an image was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    #[error("{text:?}: wildcards not yet supported: invalid argument")]
    Wildcard { text: String },
    #[error(
        "{part:?} is an invalid OS component of {text:?}: OSAndVersion specifier component must match {SYSTEM:?}: invalid argument"
    )]
    System { part: String, text: String },
    #[error(
        "{part:?} is an invalid component of {text:?}: platform specifier component must match {WORD:?}: invalid argument"
    )]
    Component { part: String, text: String },
    #[error("{text:?}: unknown operating system or architecture: invalid argument")]
    Unknown { text: String },
    #[error("{text:?}: cannot parse platform specifier: invalid argument")]
    Parts { text: String },
}

/// What parts must match; for people, who are told. [`is_word`] and [`system`] are what decides.
const SYSTEM: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?$";
const WORD: &str = "^[A-Za-z0-9_.-]+$";

/// What Go knows (go/build, syslist), which alone may be written without the other half.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// The machine this program runs on, in Go's words (`amd64`, `arm64`).
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "x86" => ("386", None),
            "arm" => ("arm", Some("v7")),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Whether an image for `own` is one for this platform. Who names no variant takes any, and an image that names
    /// none is for all.
    pub fn takes(&self, own: &Self) -> bool {
        let variant = |platform: &Self| normal(&platform.architecture, platform.variant.as_deref().unwrap_or_default());
        let ((wanted, variant_wanted), (found, variant_found)) = (variant(self), variant(own));
        let any = self.variant.is_none() || own.variant.is_none();
        self.os == own.os && wanted == found && (any || variant_wanted == variant_found)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let whole = || text.to_owned();
        if text.contains('*') {
            return Err(PlatformError::Wildcard { text: whole() });
        }
        // Three parts mean something; the fourth takes the rest.
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let os = system(parts[0]).ok_or_else(|| PlatformError::System { part: parts[0].to_owned(), text: whole() })?;
        if let Some(part) = parts[1..].iter().find(|part| !is_word(part, true)) {
            return Err(PlatformError::Component { part: (*part).to_owned(), text: whole() });
        }
        let some = |variant: String| (!variant.is_empty()).then_some(variant);
        match parts[..] {
            [_] if SYSTEMS.contains(&os.as_str()) => {
                Ok(Self { os, architecture: Self::host().architecture, variant: None })
            }
            [word] => {
                let (architecture, variant) = usual(word);
                if !ARCHITECTURES.contains(&architecture.as_str()) {
                    return Err(PlatformError::Unknown { text: whole() });
                }
                Ok(Self { os: Self::host().os, architecture, variant: some(variant) })
            }
            [_, word] => {
                let (architecture, variant) = usual(word);
                Ok(Self { os, architecture, variant: some(variant) })
            }
            [_, word, variant] => {
                let (architecture, mut variant) = normal(word, variant);
                if architecture == "arm64" && variant.is_empty() {
                    "v8".clone_into(&mut variant);
                }
                Ok(Self { os, architecture, variant: some(variant) })
            }
            _ => Err(PlatformError::Parts { text: whole() }),
        }
    }
}

/// As people write it, for where documents have always had it so; what an older one has and cannot be read is nothing.
pub(crate) mod as_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Platform;

    pub(crate) fn serialize<S: Serializer>(platform: &Option<Platform>, to: S) -> Result<S::Ok, S::Error> {
        platform.as_ref().map(Platform::to_string).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Platform>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.and_then(|text| text.parse().ok()))
    }
}

fn is_word(part: &str, dots: bool) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-') || (dots && c == b'.');
    !part.is_empty() && part.bytes().all(fits)
}

/// The system's usual name, without its version; nothing where it is no word.
fn system(part: &str) -> Option<String> {
    let name = match part.strip_suffix(')') {
        None => part,
        Some(rest) => {
            let (name, version) = rest.split_once('(')?;
            (version.is_empty() || is_word(version, true)).then_some(name)?
        }
    };
    is_word(name, false).then(|| match name.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    })
}

/// An architecture's usual name, and its variant where that is not the common one.
fn usual(word: &str) -> (String, String) {
    match normal(word, "") {
        (architecture, variant) if architecture == "arm" && variant == "v7" => (architecture, String::new()),
        other => other,
    }
}

/// The usual names of an architecture and its variant; the common variant of one has none (but for `arm`).
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", if variant == "v1" { "" } else { variant }),
        ("aarch64" | "arm64", variant) => ("arm64", if matches!(variant, "8" | "v8") { "" } else { variant }),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        same => same,
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        text.parse::<Platform>().map_or_else(|error| error.to_string(), |platform| platform.to_string())
    }

    #[test]
    fn what_is_written_gets_its_usual_names() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("LINUX/X86_64", "linux/amd64"),
            ("linux/x86-64/v1", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("aarch64", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("armhf", "linux/arm"),
            ("linux/armel", "linux/arm/v6"),
            ("arm/v7", "arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows/amd64"),
            // A pair is believed.
            ("linux/nintendo64", "linux/nintendo64"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(read("linux"), format!("linux/{}", Platform::host().architecture));
    }

    #[test]
    fn what_is_none_is_told_in_the_words_of_others() {
        for (text, expected) in [
            ("nintendo64", r#""nintendo64": unknown operating system or architecture: invalid argument"#),
            ("*", r#""*": wildcards not yet supported: invalid argument"#),
            ("a/b/c/d", r#""a/b/c/d": cannot parse platform specifier: invalid argument"#),
            (
                "a b/c",
                r#""a b" is an invalid OS component of "a b/c": OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.-]*)\\))?$": invalid argument"#,
            ),
            (
                "linux/$X",
                r#""$X" is an invalid component of "linux/$X": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument"#,
            ),
        ] {
            assert_eq!(read(text), expected);
        }
        for text in ["", "/", "       ", "linux/", "linux(/amd64", "linux(1 2)/amd64", "linux)"] {
            assert!(read(text).ends_with("invalid argument"), "{text}");
        }
    }

    #[test]
    fn a_variant_that_nobody_names_is_any() {
        let takes = |wanted: &str, own: &str| {
            let own = own.split('/').map(str::to_owned).collect::<Vec<_>>();
            let own = Platform { os: own[0].clone(), architecture: own[1].clone(), variant: own.get(2).cloned() };
            wanted.parse::<Platform>().unwrap().takes(&own)
        };
        assert!(takes("linux/arm64", "linux/arm64/v8") && takes("linux/arm64/v8", "linux/arm64"));
        assert!(takes("linux/arm64/v8", "linux/arm64/v8") && takes("linux/arm/v7", "linux/arm/7"));
        assert!(!takes("linux/arm/v6", "linux/arm/v7") && !takes("linux/arm64", "linux/amd64"));
        assert!(!takes("freebsd/amd64", "linux/amd64"));
    }
}
