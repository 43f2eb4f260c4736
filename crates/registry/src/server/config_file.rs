//! The reference registry's configuration file: YAML whose keys, joined, are the names of its variables.
//!
//! `storage: {delete: {enabled: true}}` is `REGISTRY_STORAGE_DELETE_ENABLED=true`, so one reader of variables knows
//! all settings, and what a variable says wins over the file, as there. Pure.

use saphyr_parser::{Event, Parser};

use super::settings::SettingsError;

/// The variables that a file stands for.
///
/// # Errors
/// Text that is no YAML, or has anchors, which no such file needs.
pub fn variables(text: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let bad = |why: String| SettingsError { name: "the configuration file".to_owned(), why };
    let mut found = Vec::new();
    let mut open: Vec<Level> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| bad(error.to_string()))?;
        match event {
            Event::MappingStart(..) => open.push(Level::Mapping { key: None }),
            Event::SequenceStart(..) => open.push(Level::Sequence { at: 0 }),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                passed(&mut open);
            }
            Event::Scalar(value, ..) => match open.last_mut() {
                Some(Level::Mapping { key: key @ None }) => *key = Some(value.to_uppercase()),
                Some(_) => {
                    let parts = open.iter().map(Level::name).collect::<Vec<_>>();
                    found.push((format!("REGISTRY_{}", parts.join("_")), value.into_owned()));
                    passed(&mut open);
                }
                None => return Err(bad("expected a mapping".to_owned())),
            },
            Event::Alias(_) => return Err(bad("aliases are not supported".to_owned())),
            _ => {}
        }
    }
    Ok(found)
}

enum Level {
    Mapping { key: Option<String> },
    Sequence { at: usize },
}

impl Level {
    fn name(&self) -> String {
        match self {
            Self::Mapping { key } => key.clone().unwrap_or_default(),
            Self::Sequence { at } => at.to_string(),
        }
    }
}

// A value is over; the level it stood in goes on.
fn passed(open: &mut [Level]) {
    match open.last_mut() {
        Some(Level::Mapping { key }) => *key = None,
        Some(Level::Sequence { at }) => *at += 1,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_variables() {
        let text = "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\n  delete:\n    enabled: true\n\
                    http:\n  addr: :5000\n  tls:\n    clientcas:\n      - /a.pem\n      - /b.pem\n  headers:\n    X-A: [b]\n";
        let found: Vec<String> =
            variables(text).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            found,
            [
                "REGISTRY_VERSION=0.1",
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry",
                "REGISTRY_STORAGE_DELETE_ENABLED=true",
                "REGISTRY_HTTP_ADDR=:5000",
                "REGISTRY_HTTP_TLS_CLIENTCAS_0=/a.pem",
                "REGISTRY_HTTP_TLS_CLIENTCAS_1=/b.pem",
                "REGISTRY_HTTP_HEADERS_X-A_0=b",
            ]
        );
        assert!(variables("a: [").is_err() && variables("a: &x 1\nb: *x").is_err() && variables("text").is_err());
        assert_eq!(variables("").unwrap(), []);
    }
}
