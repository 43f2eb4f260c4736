//! `search`: repositories of Docker Hub, or of the registry that the term begins with.

use hako_api::{image::SearchItem, query::ImageSearchQuery};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    credentials::{self, Credentials},
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::listing::{self, Row},
};

#[derive(Default)]
pub(crate) struct Search {
    filter: FilterFlag,
    format: String,
    limit: Option<i64>,
    no_trunc: bool,
}

const COLUMNS: &[listing::Column] = &[
    ("Description", "DESCRIPTION"),
    ("IsAutomated", "AUTOMATED"),
    ("IsOfficial", "OFFICIAL"),
    ("Name", "NAME"),
    ("StarCount", "STARS"),
];
const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

/// What a description is cut to.
const DESCRIPTION_WIDTH: usize = 45;

impl Command for Search {
    const SHAPE: &'static Shape = &Shape {
        paths: &["search"],
        usage: "[OPTIONS] TERM",
        about: "Look for images on Docker Hub, or on the registry that the term begins with",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.filter, "-f, --filter", "Only those that match (\"is-official=true\", \"stars=3\")");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.limit, "--limit", "How many at most");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let term = words[0].clone();
        if term.contains("://") {
            let why = format!("invalid repository name: repository name ({term}) should not have a scheme");
            return Err(CommandError::Said(why));
        }
        let host = term.split_once('/').map_or("", |(host, _)| host);
        let is_host = host.contains(['.', ':']) || host == "localhost";
        let key = credentials::key_of(if is_host { host } else { "" });
        let credentials = Credentials::read(&cx.directory)?.find(&key);
        let limit = self.limit.map(|limit| limit.to_string());
        let query = ImageSearchQuery { term, limit, filters: self.filter.0.clone() };
        let mut found = cx.client()?.image_search(&query, &credentials).await?;
        found.sort_by_key(|one| std::cmp::Reverse(one.star_count));
        let rows: Vec<SearchRow> = found.into_iter().map(|item| SearchRow { item, whole: self.no_trunc }).collect();
        cx.print(&listing::render(&listing::Shape { columns: COLUMNS, table: TABLE }, &self.format, &rows)?)
    }
}

struct SearchRow {
    item: SearchItem,
    whole: bool,
}

impl Row for SearchRow {
    fn column(&self, name: &str) -> String {
        let mark = |is: bool| if is { "[OK]".to_owned() } else { String::new() };
        match name {
            "Name" => self.item.name.clone(),
            "Description" => {
                let line = self.item.description.replace(['\n', '\r'], " ");
                if self.whole { line } else { shortened(&line) }
            }
            "StarCount" => self.item.star_count.to_string(),
            "IsOfficial" => mark(self.item.is_official),
            "IsAutomated" => mark(self.item.is_automated),
            _ => String::new(),
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= DESCRIPTION_WIDTH {
        return text.to_owned();
    }
    let start: String = text.chars().take(DESCRIPTION_WIDTH - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_cut_to_their_column() {
        assert_eq!(shortened("short"), "short");
        let long = "ü".repeat(50);
        assert_eq!(shortened(&long), format!("{}…", "ü".repeat(44)));
    }
}
