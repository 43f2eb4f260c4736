//! What is attested of an image beside it in its index: how it was made (SLSA), and what is in it (SPDX).
//!
//! BuildKit's "attestation storage": a manifest that names the image's in an annotation, with in-toto statements as its
//! layers.

use hako_model::Reference;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    error::CommandError,
    registry::{Descriptor, Place},
};

use super::{failed, present};

/// What a layer attests.
const PREDICATE: &str = "in-toto.io/predicate-type";

/// A kind of attestation, and what Buildx calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Provenance,
    Sbom,
}

impl Kind {
    fn is(self, predicate: &str) -> bool {
        match self {
            Self::Provenance => predicate.starts_with("https://slsa.dev/provenance/"),
            Self::Sbom => predicate == "https://spdx.dev/Document",
        }
    }

    /// The first of them, and those after it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Provenance => ("SLSA", "AdditionalSLSAs"),
            Self::Sbom => ("SPDX", "AdditionalSPDXs"),
        }
    }
}

#[derive(Deserialize)]
struct Layers {
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Statement {
    predicate: Box<RawValue>,
}

/// What a manifest of attestations says of this kind, as JSON; `None`: nothing.
///
/// # Errors
/// When the registry does not give it, or it cannot be read.
pub(super) async fn of(
    place: &Place,
    name: &Reference,
    descriptor: &Descriptor,
    kind: Kind,
) -> Result<Option<String>, CommandError> {
    let malformed =
        |what: &str, error: &dyn std::fmt::Display| failed(format!("{what} of {name} is malformed: {error}"));
    let digest = descriptor.digest.parse().map_err(|error| malformed("the index", &error))?;
    let manifest = present(place, &name.with_digest(digest)).await?;
    let layers: Layers =
        serde_json::from_slice(&manifest.bytes).map_err(|error| malformed("an attestation", &error))?;
    let mut predicates = Vec::new();
    for layer in layers.layers {
        if layer.annotations.get(PREDICATE).is_some_and(|predicate| kind.is(predicate)) {
            let digest = layer.digest.parse().map_err(|error| malformed("an attestation", &error))?;
            let bytes = place.document(name, (digest, layer.size)).await.map_err(failed)?;
            let statement: Statement =
                serde_json::from_slice(&bytes).map_err(|error| malformed("an attestation", &error))?;
            predicates.push(statement.predicate.get().to_owned());
        }
    }
    Ok(text(kind, &predicates))
}

fn text(kind: Kind, predicates: &[String]) -> Option<String> {
    let (first, rest) = predicates.split_first()?;
    let (name, others) = kind.names();
    let more = if rest.is_empty() { String::new() } else { format!(",\"{others}\":[{}]", rest.join(",")) };
    Some(format!("{{\"{name}\":{first}{more}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_comes_before_the_others() {
        let check = |predicates: &[&str]| {
            let predicates: Vec<String> = predicates.iter().map(|text| (*text).to_owned()).collect();
            text(Kind::Sbom, &predicates).unwrap_or_default()
        };
        assert_eq!(check(&[]), "");
        assert_eq!(check(&["1"]), r#"{"SPDX":1}"#);
        assert_eq!(check(&["1", "2", "3"]), r#"{"SPDX":1,"AdditionalSPDXs":[2,3]}"#);
    }
}
