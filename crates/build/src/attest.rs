//! Provenance: what is known of how an image was made, as a statement of in-toto with a predicate of SLSA.
//!
//! The fields are those of BuildKit's `docs/attestations/slsa-definitions.md`, in SLSA's version 0.2 (which is what
//! Docker's tools write unless asked otherwise) or 1. Where a statement goes is the business of those who export images.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hako_base::clock;
use hako_model::{Digest, Reference};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    event::Vertex,
    sbom::{self, Sbom},
};

/// What BuildKit calls its way of building, and the beginning of names of its own fields.
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";
const BUILD_TYPE_1: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// Beginnings of attributes that are no part of what is built, or are told elsewhere.
const HIDDEN: [&str; 8] =
    ["attest:", "hako.", "vcs:", "cache-", "platform", "image-resolve-mode", "cgroup-parent", "multi-platform"];

/// What is asked of a provenance: `mode=max,version=v1,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Arguments, secrets and the Dockerfile too.
    all: bool,
    builder: String,
    reproducible: bool,
    /// Only into images, not beside files.
    pub(crate) inline_only: bool,
    version: Version,
    /// Beside files it has this name.
    file: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Slsa02,
    Slsa1,
}

impl Wish {
    /// Reads what stands behind `type=provenance`; `None`: there is to be none.
    ///
    /// # Errors
    /// What is none of its fields.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut wish = Self {
            all: true,
            builder: String::new(),
            reproducible: false,
            inline_only: false,
            version: Version::Slsa02,
            file: "provenance.json".to_owned(),
        };
        for field in text.split(',').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, "true"));
            let flag = || match value {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(format!("invalid {key}={value} in the attestation provenance: expected true or false")),
            };
            match (key, value) {
                ("type", "provenance") => {}
                ("disabled", _) if flag()? => return Ok(None),
                ("disabled", _) => {}
                ("mode", "min") => wish.all = false,
                ("mode", "max") => wish.all = true,
                ("version", "v0.2") => wish.version = Version::Slsa02,
                ("version", "v1") => wish.version = Version::Slsa1,
                ("builder-id", id) => id.clone_into(&mut wish.builder),
                ("filename", name) if is_file_name(name) => name.clone_into(&mut wish.file),
                ("reproducible", _) => wish.reproducible = flag()?,
                ("inline-only", _) => wish.inline_only = flag()?,
                _ => return Err(format!("invalid {field} in the attestation provenance")),
            }
        }
        Ok(Some(wish))
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..")
}

/// Something that came from elsewhere and went into a build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Material {
    pub(crate) uri: String,
    /// `sha256` or `sha1`, and the digest in hexadecimal.
    pub(crate) algorithm: &'static str,
    pub(crate) digest: String,
}

impl Material {
    /// An image, by its package URL.
    pub(crate) fn image(name: &Reference, platform: &str, digest: Digest) -> Self {
        Self { uri: package(name, platform), algorithm: "sha256", digest: digest.hex() }
    }

    /// An image of a layout, by what the context is called.
    pub(crate) fn layout(name: &str, platform: &str, digest: Digest) -> Self {
        let uri = format!("pkg:oci/{name}@{digest}?platform={}", platform.replace('/', "%2F"));
        Self { uri, algorithm: "sha256", digest: digest.hex() }
    }

    fn json(&self) -> Value {
        json!({ "uri": self.uri, "digest": { self.algorithm: self.digest } })
    }
}

/// `pkg:docker/alpine@3.17?platform=linux%2Famd64`: the package URL of an image.
pub(crate) fn package(name: &Reference, platform: &str) -> String {
    let version = name.tag().map(str::to_owned).or_else(|| name.digest().map(|digest| digest.to_string()));
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    format!("pkg:docker/{}{version}?platform={}", name.familiar_name(), platform.replace('/', "%2F"))
}

/// What a build knows of itself when it is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) materials: BTreeSet<Material>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    /// No step had a network.
    pub(crate) hermetic: bool,
    /// Ids, and whether it would have gone without.
    pub(crate) secrets: BTreeSet<(String, bool)>,
    pub(crate) agents: BTreeSet<(String, bool)>,
    pub(crate) steps: Vec<Vertex>,
    pub(crate) dockerfile: String,
    /// By the number of a step: the files that it came to.
    pub(crate) stacks: BTreeMap<u64, Digest>,
}

/// Layers as they are where an image goes, base first: the files that are there with each, and its descriptor.
pub(crate) type Layers = [(Digest, Value)];

/// What the client asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) frontend: String,
    pub(crate) attributes: HashMap<String, String>,
    /// The build's name.
    pub(crate) invocation: String,
    /// Of this machine.
    pub(crate) platform: String,
}

/// Something that is said of an image or of files.
pub(crate) struct Statement {
    /// The type of its predicate.
    pub(crate) predicate: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Beside files it has this name.
    pub(crate) file: String,
}

/// How `subjects` (names and digests) were made; `layers`: what they are made of, if that is an image.
pub(crate) fn provenance(
    wish: &Wish,
    facts: &Facts,
    asked: &Asked,
    subjects: &[(String, Digest)],
    layers: &Layers,
) -> Statement {
    let (predicate_type, predicate) = predicate(wish, facts, asked, layers);
    let version = if wish.version == Version::Slsa1 { "v1" } else { "v0.1" };
    let bytes = statement(version, predicate_type, subjects, &predicate);
    Statement { predicate: predicate_type, bytes, file: wish.file.clone() }
}

/// The same without saying what was made: which kind of words, and the words.
pub(crate) fn predicate(wish: &Wish, facts: &Facts, asked: &Asked, layers: &Layers) -> (&'static str, Value) {
    let own = own_metadata(wish, facts, asked, layers);
    match wish.version {
        Version::Slsa02 => ("https://slsa.dev/provenance/v0.2", slsa02(wish, facts, asked, own)),
        Version::Slsa1 => ("https://slsa.dev/provenance/v1", slsa1(wish, facts, asked, own)),
    }
}

/// Which packages `subjects` are made of.
pub(crate) fn packages(sbom: &Sbom, subjects: &[(String, Digest)]) -> Statement {
    let bytes = statement("v0.1", sbom::PREDICATE, subjects, &sbom.document);
    Statement { predicate: sbom::PREDICATE, bytes, file: format!("{}.spdx.json", sbom.name) }
}

// By in-toto's rules of this version.
fn statement(version: &str, predicate_type: &str, subjects: &[(String, Digest)], predicate: &Value) -> Vec<u8> {
    let subjects: Vec<Value> =
        subjects.iter().map(|(name, digest)| json!({ "name": name, "digest": { "sha256": digest.hex() } })).collect();
    let kind = format!("https://in-toto.io/Statement/{version}");
    let whole = json!({ "_type": kind, "predicateType": predicate_type, "subject": subjects, "predicate": predicate });
    serde_json::to_vec_pretty(&whole).unwrap_or_default()
}

fn slsa02(wish: &Wish, facts: &Facts, asked: &Asked, own: Value) -> Value {
    let mut source = config_source(facts, asked);
    source["entryPoint"] = json!(asked.file());
    let completeness = json!({
        "parameters": wish.all || !asked.has_arguments(),
        "environment": true,
        "materials": asked.is_remote(),
    });
    let mut metadata = json!({
        "buildInvocationID": asked.invocation,
        "buildStartedOn": time(facts.started),
        "buildFinishedOn": time(facts.finished),
        "completeness": completeness,
        "reproducible": wish.reproducible,
    });
    if facts.hermetic {
        metadata[format!("{BUILD_TYPE_02}#hermetic")] = json!(true);
    }
    metadata[format!("{BUILD_TYPE_02}#metadata")] = own;
    let mut predicate = json!({
        "builder": { "id": wish.builder },
        "buildType": BUILD_TYPE_02,
        "materials": materials(facts),
        "invocation": {
            "configSource": source,
            "parameters": request(wish, facts, asked),
            "environment": { "platform": asked.platform },
        },
        "metadata": metadata,
    });
    if wish.all {
        predicate["buildConfig"] = steps(facts);
    }
    predicate
}

fn slsa1(wish: &Wish, facts: &Facts, asked: &Asked, own: Value) -> Value {
    let mut source = config_source(facts, asked);
    source["path"] = json!(asked.file());
    let mut internal = json!({ "builderPlatform": asked.platform });
    if wish.all {
        internal["buildConfig"] = steps(facts);
    }
    let completeness = json!({
        "request": wish.all || !asked.has_arguments(),
        "resolvedDependencies": asked.is_remote(),
    });
    let mut metadata = json!({
        "invocationId": asked.invocation,
        "startedOn": time(facts.started),
        "finishedOn": time(facts.finished),
        "buildkit_reproducible": wish.reproducible,
        "buildkit_completeness": completeness,
        "buildkit_metadata": own,
    });
    if facts.hermetic {
        metadata["buildkit_hermetic"] = json!(true);
    }
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE_1,
            "externalParameters": { "configSource": source, "request": request(wish, facts, asked) },
            "internalParameters": internal,
            "resolvedDependencies": materials(facts),
        },
        "runDetails": { "builder": { "id": wish.builder }, "metadata": metadata },
    })
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(clock::rfc3339_nano)
}

fn materials(facts: &Facts) -> Vec<Value> {
    facts.materials.iter().map(Material::json).collect()
}

// Where the Dockerfile is from, if that is an address.
fn config_source(facts: &Facts, asked: &Asked) -> Value {
    let context = asked.text("context");
    match facts.materials.iter().find(|material| asked.is_remote() && material.uri == context) {
        Some(found) => found.json(),
        None => json!({}),
    }
}

// The request as the builder got it. Values may be secret: they are told only if everything is.
fn request(wish: &Wish, facts: &Facts, asked: &Asked) -> Value {
    let is_told = |key: &str| !HIDDEN.iter().any(|start| key.starts_with(start)) && (wish.all || !is_argument(key));
    let args: BTreeMap<&String, &String> = asked.attributes.iter().filter(|(key, _)| is_told(key)).collect();
    let mut request = json!({ "frontend": asked.frontend, "args": args });
    if !asked.is_remote() {
        request["locals"] = json!([{ "name": "context" }, { "name": "dockerfile" }]);
    }
    if wish.all {
        let ids = |all: &BTreeSet<(String, bool)>| -> Vec<Value> {
            all.iter().map(|(id, optional)| json!({ "id": id, "optional": optional })).collect()
        };
        request["secrets"] = json!(ids(&facts.secrets));
        request["ssh"] = json!(ids(&facts.agents));
    }
    request
}

fn is_argument(key: &str) -> bool {
    key.starts_with("build-arg:") || key.starts_with("label:")
}

// The steps, each with those before it.
fn steps(facts: &Facts) -> Value {
    let name = |id: u64| facts.steps.iter().position(|step| step.id == id).map(|at| format!("step{at}:0"));
    let step = |(at, step): (usize, &Vertex)| {
        let inputs: Vec<String> = step.inputs.iter().filter_map(|id| name(*id)).collect();
        match inputs.as_slice() {
            [] => json!({ "id": format!("step{at}") }),
            _ => json!({ "id": format!("step{at}"), "inputs": inputs }),
        }
    };
    json!({ "llbDefinition": facts.steps.iter().enumerate().map(step).collect::<Vec<_>>() })
}

fn own_metadata(wish: &Wish, facts: &Facts, asked: &Asked, layers: &Layers) -> Value {
    let vcs: BTreeMap<&str, &String> =
        asked.attributes.iter().filter_map(|(key, value)| Some((key.strip_prefix("vcs:")?, value))).collect();
    let mut metadata = json!({});
    if !vcs.is_empty() {
        metadata["vcs"] = json!(vcs);
    }
    if wish.all {
        let place = |line: usize| json!({ "line": line });
        let ranges = |step: &Vertex| json!([{ "start": place(step.lines.0), "end": place(step.lines.1) }]);
        let located = |(at, step)| (format!("step{at}"), json!({ "locations": [{ "ranges": ranges(step) }] }));
        let locations: BTreeMap<String, Value> = facts.steps.iter().enumerate().map(located).collect();
        let data = STANDARD.encode(&facts.dockerfile);
        let info = json!({ "filename": asked.file(), "language": "Dockerfile", "data": data });
        metadata["source"] = json!({ "locations": locations, "infos": [info] });
        let made = layers_of_steps(facts, layers);
        if !made.is_empty() {
            metadata["layers"] = json!(made);
        }
    }
    metadata
}

// Of each step that is in the image: its layers up to there, as the one way in which it is one.
fn layers_of_steps(facts: &Facts, layers: &Layers) -> BTreeMap<String, Value> {
    let of_step = |(at, step): (usize, &Vertex)| {
        let stack = facts.stacks.get(&step.id)?;
        let count = layers.iter().position(|(known, _)| known == stack)? + 1;
        let below: Vec<&Value> = layers[..count].iter().map(|(_, descriptor)| descriptor).collect();
        Some((format!("step{at}:0"), json!([below])))
    };
    facts.steps.iter().enumerate().filter_map(of_step).collect()
}

impl Asked {
    fn text(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    fn file(&self) -> &str {
        match self.text("filename") {
            "" => "Dockerfile",
            name => name,
        }
    }

    // Whether the context has an address, by which anybody gets the same.
    fn is_remote(&self) -> bool {
        let context = self.text("context");
        !context.is_empty() && !context.starts_with("local:") && !context.starts_with("http://buildkit-session/")
    }

    fn has_arguments(&self) -> bool {
        self.attributes.keys().any(|key| is_argument(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let name: Reference = "busybox:1".parse().unwrap();
        Facts {
            materials: BTreeSet::from([Material::image(&name, "linux/arm/v7", crate::cache::digest(b"base"))]),
            secrets: BTreeSet::from([("key".to_owned(), true)]),
            dockerfile: "FROM busybox:1\n".to_owned(),
            steps: [7, 8, 9].map(step).to_vec(),
            // The second is of another stage.
            stacks: [(7, "one"), (8, "elsewhere"), (9, "two")]
                .map(|(id, name)| (id, crate::cache::digest(name.as_bytes())))
                .into(),
            ..Facts::default()
        }
    }

    fn step(id: u64) -> Vertex {
        let (name, original) = Default::default();
        Vertex { id, name, original, step: 1, steps: 3, inputs: Vec::new(), lines: (1, 1) }
    }

    fn layers() -> Vec<(Digest, Value)> {
        ["one", "two"].map(|name| (crate::cache::digest(name.as_bytes()), json!(name))).to_vec()
    }

    fn asked() -> Asked {
        let attributes = [("build-arg:WORD", "hush"), ("target", "t"), ("hako.why", ""), ("vcs:revision", "1")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Asked { frontend: "dockerfile.v0".to_owned(), attributes: attributes.into(), ..Asked::default() }
    }

    fn made(text: &str) -> Value {
        let wish = Wish::parse(text).unwrap().unwrap();
        let made =
            provenance(&wish, &facts(), &asked(), &[("_".to_owned(), crate::cache::digest(b"image"))], &layers());
        let value: Value = serde_json::from_slice(&made.bytes).unwrap();
        assert_eq!(value["predicateType"], made.predicate);
        value
    }

    #[test]
    fn little_is_told_unless_all_is_asked_for() {
        let min = made("mode=min");
        assert_eq!(min["_type"], "https://in-toto.io/Statement/v0.1");
        assert!(!min.to_string().contains("hush") && !min.to_string().contains("\"key\""), "{min}");
        assert_eq!(min["predicate"]["invocation"]["parameters"]["args"], json!({ "target": "t" }));
        assert_eq!(min["predicate"]["metadata"]["completeness"]["parameters"], false);
        assert_eq!(min["predicate"]["materials"][0]["uri"], "pkg:docker/busybox@1?platform=linux%2Farm%2Fv7");
        let max = made("");
        let asked = &max["predicate"]["invocation"]["parameters"];
        assert_eq!(asked["args"]["build-arg:WORD"], "hush");
        assert_eq!(asked["secrets"][0], json!({ "id": "key", "optional": true }));
        let own = &max["predicate"]["metadata"]["https://mobyproject.org/buildkit@v1#metadata"];
        assert_eq!(own["source"]["infos"][0]["data"], "RlJPTSBidXN5Ym94OjEK");
        assert_eq!(own["vcs"]["revision"], "1");
        assert_eq!(own["layers"], json!({ "step0:0": [["one"]], "step2:0": [["one", "two"]] }));
    }

    #[test]
    fn both_versions_of_slsa_are_written() {
        let one = made("mode=max,version=v1,builder-id=https://me,reproducible=true");
        assert_eq!(one["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(one["predicate"]["runDetails"]["builder"]["id"], "https://me");
        assert_eq!(one["predicate"]["runDetails"]["metadata"]["buildkit_reproducible"], true);
        assert_eq!(one["predicate"]["buildDefinition"]["externalParameters"]["configSource"]["path"], "Dockerfile");
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for (text, expected) in [
            ("mode=most", "invalid mode=most in the attestation provenance"),
            ("filename=a/b", "invalid filename=a/b in the attestation provenance"),
            (
                "inline-only=perhaps",
                "invalid inline-only=perhaps in the attestation provenance: expected true or false",
            ),
        ] {
            assert_eq!(Wish::parse(text).unwrap_err(), expected);
        }
        assert_eq!(Wish::parse("disabled=true"), Ok(None));
    }
}
