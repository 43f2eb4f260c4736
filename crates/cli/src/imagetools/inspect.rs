//! `buildx imagetools inspect`: what a registry has under a name.

use hako_model::Reference;
use hako_registry::Manifest;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        json::{self, Document, KeyOrder},
        template::{looks_into, row_of_known},
    },
    registry::{Descriptor, Place, named},
};

use super::{
    attestation::{self, Kind},
    failed,
    index::{attests, read},
    present,
};

#[derive(Default)]
pub(crate) struct Inspect {
    builder: String,
    format: String,
    raw: bool,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx imagetools inspect"],
        usage: "[OPTIONS] NAME",
        about: "Show what a registry has under a name",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.builder, "--builder", "Accepted: registries are asked from here").hide();
        set.add(
            &mut self.format,
            "--format",
            "A Go template with .Name, .Manifest, .Image, .Provenance and .SBOM (default \"{{.Manifest}}\")",
        );
        set.add(&mut self.raw, "--raw", "Show the manifest as it is there");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        if self.raw && !self.format.is_empty() {
            return Err(failed("format and raw cannot be used together"));
        }
        let name = named(&words[0]).map_err(failed)?;
        let place = Place::of(cx, &name, false)?;
        let manifest = present(&place, &name).await?;
        if self.raw {
            return cx.print_line(String::from_utf8_lossy(&manifest.bytes).trim_end_matches('\n'));
        }
        let entries = if manifest.is_index { read(&manifest).map_err(failed)?.manifests } else { Vec::new() };
        if matches!(self.format.replace(' ', "").as_str(), "" | "{{.Manifest}}") {
            return cx.print(&page(&name, &manifest, &entries));
        }
        let seen = Seen { place, name, manifest, entries };
        cx.print_line(&seen.through(&self.format).await?)
    }
}

/// As people read it.
fn page(name: &Reference, manifest: &Manifest, entries: &[Descriptor]) -> String {
    let mut text = format!("Name:      {name}\nMediaType: {}\nDigest:    {}\n", manifest.media_type, manifest.digest);
    if manifest.is_index {
        text.push_str("\nManifests:\n");
    }
    let width = if entries.iter().any(|entry| !entry.annotations.is_empty()) { 13 } else { 11 };
    for (at, entry) in entries.iter().enumerate() {
        let mut line = |key: &str, value: &str| text.push_str(&format!("  {:width$}{value}\n", format!("{key}:")));
        line("Name", &format!("{}@{}", name, entry.digest));
        line("MediaType", &entry.media_type);
        if let Some(platform) = &entry.platform {
            line("Platform", &platform.to_string());
        }
        if !entry.annotations.is_empty() {
            text.push_str("  Annotations:\n");
            let widest = entry.annotations.keys().map(String::len).max().unwrap_or(0) + 2;
            for (key, value) in &entry.annotations {
                text.push_str(&format!("    {:widest$}{value}\n", format!("{key}:")));
            }
        }
        if at + 1 < entries.len() {
            text.push('\n');
        }
    }
    text
}

/// What templates look into.
struct Seen {
    place: Place,
    name: Reference,
    manifest: Manifest,
    entries: Vec<Descriptor>,
}

impl Seen {
    async fn through(&self, template: &str) -> Result<String, CommandError> {
        // Nothing is asked for that the template does not show.
        let shows_all = template.replace(' ', "").contains("json.}}");
        let image = if shows_all || looks_into(template, "Image") { self.image().await? } else { "null".to_owned() };
        let mut rest = String::new();
        for (kind, field) in [(Kind::Provenance, "Provenance"), (Kind::Sbom, "SBOM")] {
            if looks_into(template, field) {
                rest.push_str(&format!(",\"{field}\":{}", self.attested(kind).await?));
            }
        }
        let text = format!(
            "{{\"name\":\"{}\",\"manifest\":{},\"image\":{image}{rest}}}",
            self.name,
            self.described().map_err(failed)?
        );
        let document: Document = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let learn = || {
            let mut order = KeyOrder::default();
            order.learn(&document);
            order
        };
        let row = row_of_known(template, learn, &document.to_value_called(NAMES), 1, &[]).map_err(failed)?;
        let is_document = row.starts_with(['{', '[']) && json::compact(&row).is_ok();
        Ok(if is_document { json::indent(&row, "  ") } else { row })
    }

    // The manifest of one image is shown as what names it, and an index as what it is, with its digest.
    fn described(&self) -> Result<String, String> {
        let Manifest { media_type, digest, bytes, is_index } = &self.manifest;
        let own = format!("\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{}", bytes.len());
        if !is_index {
            return Ok(format!("{{{own}}}"));
        }
        let index = serde_json::to_string(&read(&self.manifest)?).map_err(|error| error.to_string())?;
        let rest = index.find("\"manifests\"").map_or("", |at| &index[at..]);
        Ok(format!("{{\"schemaVersion\":2,{own},{rest}"))
    }

    /// The images of an index, without what is attested of them.
    fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().filter(|entry| attests(entry).is_none())
    }

    /// One thing for each platform, by the platform's name; of one platform just that.
    fn by_platform(mut parts: Vec<(String, String)>) -> String {
        if parts.len() == 1 {
            return parts.remove(0).1;
        }
        let parts: Vec<String> = parts.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
        format!("{{{}}}", parts.join(","))
    }

    async fn image(&self) -> Result<String, CommandError> {
        let mut all = Vec::new();
        if self.entries.is_empty() {
            all.push((String::new(), self.config(&self.manifest).await?));
        }
        for entry in self.images() {
            let digest = entry.digest.parse().map_err(|error| failed(format!("{error}")))?;
            let manifest = present(&self.place, &self.name.with_digest(digest)).await?;
            all.push((platform(entry), self.config(&manifest).await?));
        }
        Ok(Self::by_platform(all))
    }

    async fn config(&self, manifest: &Manifest) -> Result<String, CommandError> {
        let config = self.place.config(&self.name, manifest).await.map_err(failed)?;
        json::compact(&String::from_utf8_lossy(&config)).map_err(|error| failed(error.to_string()))
    }

    async fn attested(&self, kind: Kind) -> Result<String, CommandError> {
        let mut all = Vec::new();
        for entry in self.images() {
            for beside in self.entries.iter().filter(|beside| attests(beside) == Some(&entry.digest)) {
                if let Some(text) = attestation::of(&self.place, &self.name, beside, kind).await? {
                    all.push((platform(entry), text));
                }
            }
        }
        // Of several images each has its name, also when it is alone in being attested.
        if self.images().count() > 1 && all.len() == 1 {
            let (name, text) = all.remove(0);
            return Ok(format!("{{\"{name}\":{text}}}"));
        }
        Ok(Self::by_platform(all))
    }
}

fn platform(entry: &Descriptor) -> String {
    entry.platform.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// What the fields are called in Go, which templates name, where JSON has other names.
const NAMES: &[(&str, &str)] = &[
    ("annotations", "Annotations"),
    ("architecture", "Architecture"),
    ("artifactType", "ArtifactType"),
    ("author", "Author"),
    ("comment", "Comment"),
    ("config", "Config"),
    ("created", "Created"),
    ("created_by", "CreatedBy"),
    ("diff_ids", "DiffIDs"),
    ("digest", "Digest"),
    ("empty_layer", "EmptyLayer"),
    ("history", "History"),
    ("image", "Image"),
    ("manifest", "Manifest"),
    ("manifests", "Manifests"),
    ("mediaType", "MediaType"),
    ("name", "Name"),
    ("os", "OS"),
    ("os.features", "OSFeatures"),
    ("os.version", "OSVersion"),
    ("platform", "Platform"),
    ("rootfs", "RootFS"),
    ("schemaVersion", "SchemaVersion"),
    ("size", "Size"),
    ("type", "Type"),
    ("urls", "URLs"),
    ("variant", "Variant"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::DescriptorPlatform;

    #[test]
    fn a_page_has_every_manifest_of_an_index() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let manifest = |is_index| Manifest {
            media_type: "type".to_owned(),
            digest: digest.parse().unwrap(),
            bytes: Default::default(),
            is_index,
        };
        let name: Reference = "localhost:5000/box:1".parse().unwrap();
        assert_eq!(page(&name, &manifest(false), &[]).lines().count(), 3);
        let platform = DescriptorPlatform {
            os: "linux".to_owned(),
            architecture: "arm".to_owned(),
            variant: "v7".to_owned(),
            ..DescriptorPlatform::default()
        };
        let image = Descriptor {
            media_type: "image".to_owned(),
            digest: "one".to_owned(),
            platform: Some(platform),
            ..Descriptor::default()
        };
        let beside = Descriptor {
            digest: "two".to_owned(),
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            ..Descriptor::default()
        };
        let text = page(&name, &manifest(true), &[image, beside]);
        let shown = text.split_once("Manifests:\n").unwrap().1;
        assert_eq!(
            shown,
            "  Name:        localhost:5000/box:1@one\n  MediaType:   image\n  Platform:    linux/arm/v7\n\n  Name:        localhost:5000/box:1@two\n  MediaType:   \n  Annotations:\n    a: b\n"
        );
    }
}
