//! `image history`: the steps that an image was made by.

use hako_api::{image::ImageHistoryItem, query::ImagePlatformQuery};
use jiff::Timestamp;

use super::save::platforms;
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        duration,
        listing::{self, Row},
        size, text,
    },
};

pub(crate) struct History {
    format: String,
    human: bool,
    no_trunc: bool,
    quiet: bool,
    platform: Option<String>,
}

impl Default for History {
    fn default() -> Self {
        Self { format: String::new(), human: true, no_trunc: false, quiet: false, platform: None }
    }
}

const COLUMNS: &[listing::Column] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];
const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_EXACT: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

impl Command for History {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image history", "history"],
        usage: "[OPTIONS] IMAGE",
        about: "Show the steps that an image was made by",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.human, "-H, --human", "Print rounded sizes and spans (default true)");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
        set.add(&mut self.quiet, "-q, --quiet", "Ids alone");
        set.add(&mut self.platform, "--platform", "Platform of the image (os/architecture)");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let query = ImagePlatformQuery { platform: platforms(&self.platform)?.pop() };
        let steps = cx.client()?.image_history(&words[0], &query).await?;
        let now = hako_base::clock::now();
        let rows: Vec<StepRow> =
            steps.into_iter().map(|step| StepRow { step, now, human: self.human, whole: self.no_trunc }).collect();
        let text = if self.quiet && matches!(self.format.as_str(), "" | "table") {
            rows.iter().map(|row| format!("{}\n", row.column("ID"))).collect()
        } else {
            let table = if self.human { TABLE } else { TABLE_EXACT };
            listing::render(&listing::Shape { columns: COLUMNS, table }, &self.format, &rows)?
        };
        cx.print(&text)
    }
}

struct StepRow {
    step: ImageHistoryItem,
    now: Timestamp,
    human: bool,
    whole: bool,
}

impl Row for StepRow {
    fn column(&self, name: &str) -> String {
        let it = &self.step;
        match name {
            "ID" if self.whole => it.id.clone(),
            "ID" => text::short_id(&it.id).to_owned(),
            "CreatedSince" if it.created <= 0 => "N/A".to_owned(),
            "CreatedSince" => duration::ago(it.created, self.now),
            "CreatedAt" => text::local_rfc3339(it.created),
            "CreatedBy" => {
                let command = it.created_by.replace('\t', " ");
                if self.whole { command } else { text::ellipsis(&command, 45) }
            }
            "Size" if self.human => size::human(it.size, 3),
            "Size" => it.size.to_string(),
            "Comment" => it.comment.clone(),
            _ => String::new(),
        }
    }
}
