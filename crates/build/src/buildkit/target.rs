//! `--output` as clients send it: what is exported, where, and how manifests are written. What cannot be done is refused
//! by name.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use hako_model::Reference;
use tonic::Status;

type Attributes = HashMap<String, String>;

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An image in the store, under these names.
    Image { names: Vec<Reference>, push: bool, form: Form },
    /// An image as an archive that OCI's tools read, under these names; Docker's if it is of one platform.
    Archive { names: Vec<Reference>, for_docker: bool, form: Form },
    /// Files in a directory of the client's; whether each platform has a directory of its own, if it is said.
    Files { split: Option<bool> },
    /// The files as one tar; the same.
    Tar { split: Option<bool> },
}

/// How manifests and layers are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) annotations: Vec<Annotation>,
    /// Pushed without a tag.
    pub(super) by_digest: bool,
    /// `None`: OCI's words where an index needs them.
    pub(super) oci: Option<bool>,
    pub(super) compression: Option<Compression>,
    /// Attestations as OCI artifacts, which registries list as referrers.
    pub(super) artifact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    /// As layers are stored here.
    Zstd,
    Uncompressed,
}

/// `annotation-index[linux/amd64].key=value`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotation {
    pub(super) at: At,
    /// `None`: for every platform.
    pub(super) platform: Option<String>,
    pub(super) key: String,
    pub(super) value: String,
}

/// The document that carries an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

impl Annotation {
    fn parse(key: &str, value: &str) -> Option<Result<Self, Status>> {
        let rest = key.strip_prefix("annotation")?;
        let invalid = || Status::invalid_argument(format!("invalid annotation {key}={value}"));
        let (kind, name) = rest.split_once('.')?;
        let (kind, platform) = match kind.split_once('[') {
            Some((kind, platform)) => (kind, platform.strip_suffix(']')),
            None => (kind, None),
        };
        let at = match kind {
            "" | "-manifest" => At::Manifest,
            "-manifest-descriptor" => At::ManifestDescriptor,
            "-index" => At::Index,
            "-index-descriptor" => At::IndexDescriptor,
            _ => return Some(Err(invalid())),
        };
        if name.is_empty() {
            return Some(Err(invalid()));
        }
        let platform = platform.map(str::to_owned);
        Some(Ok(Self { at, platform, key: name.to_owned(), value: value.to_owned() }))
    }
}

/// What an image's output may say; `unpack`, `store`, `load` (docker compose says it) and `prefer-image-digest` (what an
/// image is known by in the store) are as they are here anyway.
const IMAGE_KEYS: [&str; 8] =
    ["name", "push", "unpack", "store", "load", "dangling-name-prefix", "push-by-digest", "prefer-image-digest"];
const ARCHIVE_KEYS: [&str; 3] = ["name", "tar", "prefer-image-digest"];
const FILES_KEYS: [&str; 2] = ["dest", "platform-split"];
const FORM_KEYS: [&str; 5] =
    ["oci-mediatypes", "oci-artifact", "compression", "force-compression", "rewrite-timestamp"];

impl Target {
    /// Everything that a request wants exported.
    pub(super) fn all(request: &SolveRequest) -> Result<Vec<Self>, Status> {
        let old = Some((request.exporter_deprecated.as_str(), &request.exporter_attrs_deprecated));
        let old = old.filter(|(kind, _)| !kind.is_empty() && request.exporters.is_empty());
        let new = request.exporters.iter().map(|exporter| (exporter.r#type.as_str(), &exporter.attrs));
        new.chain(old).map(|(kind, attributes)| Self::one(kind, attributes)).collect()
    }

    /// Whether no file of one may be younger than the time that the build is given.
    pub(super) fn rewrites_times(request: &SolveRequest) -> Result<bool, Status> {
        let exporters = request.exporters.iter().map(|exporter| &exporter.attrs);
        let said = exporters.chain([&request.exporter_attrs_deprecated]).map(|all| flag(all, "rewrite-timestamp"));
        Ok(said.collect::<Result<Vec<_>, _>>()?.contains(&Some(true)))
    }

    fn one(kind: &str, attributes: &Attributes) -> Result<Self, Status> {
        let not_built = |what: &str| Err(Status::unimplemented(format!("{what} is not built yet")));
        match kind {
            "moby" | "image" => {
                check_keys("image", attributes, &IMAGE_KEYS)?;
                let target = Self::Image {
                    names: names(attributes)?,
                    push: is_true(attributes, "push"),
                    form: form(attributes)?,
                };
                if let Self::Image { names, push: false, form } = &target
                    && *form != Form::default()
                    && !names.is_empty()
                    && (!form.annotations.is_empty() || form.by_digest)
                {
                    return Err(Status::invalid_argument(
                        "--output type=image with annotations or push-by-digest needs push=true: the image store keeps no manifests",
                    ));
                }
                Ok(target)
            }
            "docker" | "oci" => {
                if attributes.get("tar").is_some_and(|tar| tar == "false") {
                    return not_built(&format!("--output type={kind} as a directory"));
                }
                check_keys(kind, attributes, &ARCHIVE_KEYS)?;
                let (names, form) = (names(attributes)?, form(attributes)?);
                Ok(Self::Archive { names, for_docker: kind == "docker", form })
            }
            "local" | "tar" => {
                check_keys(kind, attributes, &FILES_KEYS)?;
                let split = flag(attributes, "platform-split")?;
                Ok(if kind == "tar" { Self::Tar { split } } else { Self::Files { split } })
            }
            other => not_built(&format!("--output type={other}")),
        }
    }
}

fn check_keys(kind: &str, attributes: &Attributes, own: &[&str]) -> Result<(), Status> {
    let is_known = |key: &str| own.contains(&key) || FORM_KEYS.contains(&key) || key.starts_with("annotation");
    match attributes.keys().find(|key| !is_known(key)) {
        Some(key) => Err(Status::unimplemented(format!("--output type={kind} with {key} is not built yet"))),
        None => Ok(()),
    }
}

fn flag(attributes: &Attributes, key: &str) -> Result<Option<bool>, Status> {
    match attributes.get(key).map(String::as_str) {
        None => Ok(None),
        Some("true" | "1" | "") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(other) => Err(Status::invalid_argument(format!("invalid {key}={other}: expected true or false"))),
    }
}

fn form(attributes: &Attributes) -> Result<Form, Status> {
    let compression = match attributes.get("compression").map(String::as_str) {
        None => None,
        Some("gzip") => Some(Compression::Gzip),
        Some("zstd") => Some(Compression::Zstd),
        Some("uncompressed") => Some(Compression::Uncompressed),
        Some(other) => {
            let text = format!("compression={other} is not built yet: expected gzip, zstd or uncompressed");
            return Err(Status::unimplemented(text));
        }
    };
    if flag(attributes, "force-compression")? == Some(true) {
        return Err(Status::unimplemented("force-compression: layers of a base stay as they came; not built yet"));
    }
    let mut annotations: Vec<Annotation> =
        attributes.iter().filter_map(|(key, value)| Annotation::parse(key, value)).collect::<Result<_, _>>()?;
    annotations.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Form {
        annotations,
        by_digest: is_true(attributes, "push-by-digest"),
        oci: flag(attributes, "oci-mediatypes")?,
        compression,
        artifact: flag(attributes, "oci-artifact")?.unwrap_or(false),
    })
}

fn is_true(attributes: &Attributes, key: &str) -> bool {
    attributes.get(key).is_some_and(|value| !matches!(value.as_str(), "false" | "0"))
}

fn names(attributes: &Attributes) -> Result<Vec<Reference>, Status> {
    let names = attributes.get("name").map_or("", String::as_str);
    let names = names.split(',').filter(|name| !name.is_empty()).map(|name| {
        let parsed = name.parse::<Reference>();
        parsed.map_err(|error| Status::invalid_argument(error.to_string()))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, words: &[&str], expected: &str) {
        let pairs = words.iter().map(|word| word.split_once('=').unwrap_or((word, "")));
        let attributes = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let got = match Target::one(kind, &attributes) {
            Ok(Target::Image { form, .. } | Target::Archive { form, .. }) => {
                let one = |a: &Annotation| format!("{:?} {:?} {}={}", a.at, a.platform, a.key, a.value);
                let annotations: Vec<String> = form.annotations.iter().map(one).collect();
                format!("{:?} {:?} {} {annotations:?}", form.oci, form.compression, form.by_digest)
            }
            Ok(other) => format!("{other:?}"),
            Err(status) => status.message().to_owned(),
        };
        assert_eq!(got, expected, "{words:?}");
    }

    #[test]
    fn outputs_are_understood_or_refused() {
        check("image", &["name=a", "push=true"], "None None false []");
        check("oci", &["compression=zstd", "oci-mediatypes=true"], "Some(true) Some(Zstd) false []");
        check(
            "oci",
            &["compression=estargz"],
            "compression=estargz is not built yet: expected gzip, zstd or uncompressed",
        );
        check("oci", &["tar=false"], "--output type=oci as a directory is not built yet");
        check("image", &["odd=1"], "--output type=image with odd is not built yet");
        check(
            "oci",
            &["annotation.a=1", "annotation-index[linux/arm64].b.c=2"],
            "None None false [\"Manifest None a=1\", \"Index Some(\\\"linux/arm64\\\") b.c=2\"]",
        );
        check("oci", &["annotation-odd.a=1"], "invalid annotation annotation-odd.a=1");
        check("image", &["name=a", "push=true", "push-by-digest=true"], "None None true []");
        check("local", &[], "Files { split: None }");
        check("tar", &["platform-split=false"], "Tar { split: Some(false) }");
        check("local", &["mode=delete"], "--output type=local with mode is not built yet");
    }
}
