//! `image ls`, `images`: the images of this host.

use std::collections::BTreeMap;

use hako_api::{image::ImageSummary, query::ImageListQuery};
use hako_model::Reference;
use jiff::Timestamp;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::{
        duration,
        listing::{self, Row},
        size, text,
    },
};

const NONE: &str = "<none>";

#[derive(Default)]
pub(crate) struct List {
    all: bool,
    digests: bool,
    filter: FilterFlag,
    format: Option<String>,
    no_trunc: bool,
    quiet: bool,
    tree: bool,
}

pub(crate) const COLUMNS: &[listing::Column] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];
const TABLE: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const TABLE_WITH_DIGEST: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image ls", "image list", "images"],
        usage: "[OPTIONS] [REPOSITORY[:TAG]]",
        about: "List images",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all, "-a, --all", "Also those that only others are built upon");
        set.add(&mut self.digests, "--digests", "Show digests");
        set.add(&mut self.filter, "-f, --filter", "Only those that match (\"dangling=true\")");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
        set.add(&mut self.quiet, "-q, --quiet", "Ids alone");
        set.add(&mut self.tree, "--tree", "Each image once, with all its names");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        if self.tree {
            super::tree::refuse(&[
                ("quiet", self.quiet),
                ("no-trunc", self.no_trunc),
                ("show-digest", self.digests),
                ("format", self.format.is_some()),
            ])?;
        }
        let mut filters = self.filter.0.clone();
        if let Some(name) = words.first() {
            filters.add("reference", name.as_str());
        }
        let query = ImageListQuery { all: self.all, filters, ..ImageListQuery::default() };
        let images = cx.client()?.image_list(&query).await?;
        if self.tree {
            return super::tree::show(cx, &images);
        }
        let format = match &self.format {
            Some(format) => format.as_str(),
            None if self.quiet => "",
            None => cx.config.images_format.as_str(),
        };
        let digests = self.digests || format.contains(".Digest");
        let now = hako_base::clock::now();
        let rows: Vec<ImageRow> =
            images.into_iter().flat_map(|image| rows(image, now, self.no_trunc, digests)).collect();
        let text = if self.quiet && matches!(format, "" | "table") {
            rows.iter().map(|row| format!("{}\n", row.column("ID"))).collect()
        } else {
            let format = if format == "raw" { RAW } else { format };
            let table = if self.digests { TABLE_WITH_DIGEST } else { TABLE };
            listing::render(&listing::Shape { columns: COLUMNS, table }, format, &rows)?
        };
        cx.print(&text)
    }
}

pub(crate) struct ImageRow {
    image: ImageSummary,
    repository: String,
    tag: String,
    digest: String,
    now: Timestamp,
    whole: bool,
}

// An image has a row for each of its names, or one without a name.
pub(crate) fn rows(image: ImageSummary, now: Timestamp, whole: bool, digests: bool) -> Vec<ImageRow> {
    let mut names: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    let mut entry = |repository: String| -> usize {
        names.iter().position(|(known, _, _)| *known == repository).unwrap_or_else(|| {
            names.push((repository, Vec::new(), Vec::new()));
            names.len() - 1
        })
    };
    let parse = |text: &String| text.parse::<Reference>().ok();
    let mut tagged = Vec::new();
    for reference in image.repo_tags.iter().filter_map(parse) {
        tagged.push((entry(reference.familiar_name()), reference.tag().unwrap_or("latest").to_owned()));
    }
    let mut digested = Vec::new();
    for reference in image.repo_digests.iter().filter_map(parse) {
        let digest = reference.digest().map(|digest| digest.to_string()).unwrap_or_default();
        digested.push((entry(reference.familiar_name()), digest));
    }
    tagged.into_iter().for_each(|(at, tag)| names[at].1.push(tag));
    digested.into_iter().for_each(|(at, digest)| names[at].2.push(digest));
    let row = |repository: &str, tag: &str, digest: &str| ImageRow {
        image: image.clone(),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.to_owned(),
        now,
        whole,
    };
    let mut rows = Vec::new();
    for (repository, tags, known_digests) in &names {
        let shown: &[String] = if digests { known_digests } else { &[] };
        let tags: Vec<&str> = if tags.is_empty() { vec![NONE] } else { tags.iter().map(String::as_str).collect() };
        for tag in tags {
            match shown {
                [] => rows.push(row(repository, tag, NONE)),
                _ => rows.extend(shown.iter().map(|digest| row(repository, tag, digest))),
            }
        }
    }
    if rows.is_empty() {
        rows.push(row(NONE, NONE, NONE));
    }
    rows
}

impl Row for ImageRow {
    fn column(&self, name: &str) -> String {
        let it = &self.image;
        let counted = |count: i64| if count < 0 { "N/A".to_owned() } else { size::human(count, 3) };
        match name {
            "ID" if self.whole => it.id.clone(),
            "ID" => text::short_id(&it.id).to_owned(),
            "Repository" => self.repository.clone(),
            "Tag" => self.tag.clone(),
            "Digest" => self.digest.clone(),
            "CreatedSince" => duration::ago(it.created, self.now),
            "CreatedAt" => text::go_time(it.created),
            "Size" => size::human(it.size, 3),
            "VirtualSize" => size::human(it.size, 4),
            "Containers" if it.containers < 0 => "N/A".to_owned(),
            "Containers" => it.containers.to_string(),
            "SharedSize" => counted(it.shared_size),
            "UniqueSize" if it.shared_size < 0 => "N/A".to_owned(),
            "UniqueSize" => size::human(it.size - it.shared_size, 4),
            _ => String::new(),
        }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.image.labels.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_row() {
        let image = ImageSummary {
            id: "sha256:0123456789abcdef".to_owned(),
            repo_tags: vec!["debian:bookworm".to_owned(), "me/debian:latest".to_owned()],
            ..ImageSummary::default()
        };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let names = |image: ImageSummary| -> Vec<String> {
            rows(image, now, false, false).iter().map(|row| format!("{}:{}", row.repository, row.tag)).collect()
        };
        assert_eq!(names(image.clone()), ["debian:bookworm", "me/debian:latest"]);
        assert_eq!(names(ImageSummary { repo_tags: Vec::new(), ..image }), ["<none>:<none>"]);
    }
}
