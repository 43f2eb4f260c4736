//! `--annotation [TYPE[PLATFORM]:]KEY=VALUE`: what is said of an index, and of what is in it.

use std::collections::BTreeMap;

use hako_model::Platform;

use crate::registry::DescriptorPlatform;

/// All that is to be said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) index: BTreeMap<String, String>,
    /// Of the manifests for one platform, or for all.
    descriptors: Vec<(Option<Platform>, String, String)>,
}

impl Annotations {
    /// # Errors
    /// What is no annotation, or says something of what cannot be changed.
    pub(super) fn parse(texts: &[String]) -> Result<Self, String> {
        let mut all = Self::default();
        for text in texts {
            let (key, value) =
                text.split_once('=').ok_or_else(|| format!("invalid annotation {text:?}: expected KEY=VALUE"))?;
            let (kinds, key) = key.split_once(':').unwrap_or(("", key));
            if key.is_empty() {
                return Err(format!("invalid annotation {text:?}: it has no key"));
            }
            for kind in kinds.split(',') {
                all.say(kind, key, value).map_err(|why| format!("invalid annotation {text:?}: {why}"))?;
            }
        }
        Ok(all)
    }

    fn say(&mut self, kind: &str, key: &str, value: &str) -> Result<(), String> {
        let (kind, platform) = match kind.strip_suffix(']').and_then(|kind| kind.split_once('[')) {
            Some((kind, platform)) => (kind, Some(platform.parse::<Platform>().map_err(|error| error.to_string())?)),
            None => (kind, None),
        };
        match (kind, platform) {
            ("index", None) => drop(self.index.insert(key.to_owned(), value.to_owned())),
            ("index", Some(_)) => return Err("an index is for every platform".to_owned()),
            ("manifest-descriptor", platform) => self.descriptors.push((platform, key.to_owned(), value.to_owned())),
            // A manifest with another word in it would be another manifest.
            _ => {
                let but = "manifests stay as they are: write index:KEY=VALUE or manifest-descriptor:KEY=VALUE";
                return Err(if kind.is_empty() { but.to_owned() } else { format!("{kind:?} is not supported, {but}") });
            }
        }
        Ok(())
    }

    /// What is said of the index alone.
    pub(super) fn of_index(index: BTreeMap<String, String>) -> Self {
        Self { index, descriptors: Vec::new() }
    }

    /// What is said of the manifest for this platform.
    pub(super) fn of(&self, platform: &DescriptorPlatform) -> impl Iterator<Item = (&str, &str)> {
        let here =
            self.descriptors.iter().filter(|(wanted, ..)| wanted.as_ref().is_none_or(|wanted| is(wanted, platform)));
        here.map(|(_, key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty() && self.descriptors.is_empty()
    }
}

/// Whether a manifest is for the platform that somebody names; without a variant all are meant.
pub(super) fn is(wanted: &Platform, platform: &DescriptorPlatform) -> bool {
    let variant = wanted.variant.as_deref().filter(|variant| !variant.is_empty());
    wanted.os == platform.os
        && wanted.architecture == platform.architecture
        && variant.is_none_or(|variant| variant == platform.variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match Annotations::parse(&[text.to_owned()]) {
            Ok(all) => format!("{all:?}"),
            Err(why) => why,
        };
        assert!(got.contains(expected), "{text}: {got}");
    }

    #[test]
    fn indexes_and_descriptors_are_annotated_and_manifests_are_not() {
        check("index:a=b=c", r#"index: {"a": "b=c"}"#);
        check("manifest-descriptor[linux/arm64]:a=", r#"architecture: "arm64", variant: None }), "a", "")"#);
        check("index,manifest-descriptor:org.x=1", r#"index: {"org.x": "1"}, descriptors: [(None, "org.x", "1")]"#);
        check("manifest:a=b", "\"manifest\" is not supported");
        check("a=b", "invalid annotation \"a=b\": manifests stay as they are");
        check("index[linux/amd64]:a=b", "an index is for every platform");
        check("index:a", "expected KEY=VALUE");
        check("index:=b", "it has no key");
    }
}
