//! `image verify`, `image explain` and `image diff`, which docker does not have: layers looked at closely.

use hako_api::{
    image::{ImageFileNote, ImageLayerCheck, ImageLayerCost, ImageLayerSize},
    query::{ImageDiffQuery, ImageVerifyQuery},
};
use hako_model::Reference;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    credentials::Credentials,
    error::CommandError,
    flag::FlagSet,
    format::{
        listing::{self, Row},
        size, text,
    },
};

#[derive(Default)]
pub(crate) struct Verify {
    repair: bool,
}

impl Command for Verify {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image verify"],
        usage: "[OPTIONS] IMAGE [IMAGE...]",
        about: "Find stored layers that are not what they were",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.repair, "--repair", "Make them what they were, from here or from the registry");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let known = Credentials::read(&cx.directory)?;
        let mut damaged = 0;
        for word in &words {
            let credentials = word.parse::<Reference>().map(|name| known.of_image(&name)).unwrap_or_default();
            let query = ImageVerifyQuery { repair: self.repair };
            let checks = cx.client()?.image_verify(word, &query, &credentials).await?;
            damaged += checks.iter().filter(|check| is_bad(check) && !check.repaired).count();
            cx.print(&verdict(word, &checks))?;
        }
        match damaged {
            0 => Ok(()),
            1 => Err(CommandError::Said("1 layer is damaged".to_owned())),
            count => Err(CommandError::Said(format!("{count} layers are damaged"))),
        }
    }
}

fn is_bad(check: &ImageLayerCheck) -> bool {
    !check.blob_damage.is_empty() || check.files_damaged > 0
}

fn verdict(name: &str, checks: &[ImageLayerCheck]) -> String {
    let mut lines = Vec::new();
    for check in checks.iter().filter(|check| is_bad(check)) {
        let state = if check.repaired { "was damaged and is repaired" } else { "is damaged" };
        lines.push(format!("{name}: layer {} {state}", text::short_id(&check.diff_id)));
        if !check.blob_damage.is_empty() {
            lines.push(format!("  blob: {}", check.blob_damage));
        }
        lines.extend(check.files.iter().map(|file| format!("  {} {}", file.path, file.note)));
        let more = check.files_damaged.saturating_sub(check.files.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} files more"));
        }
        if !check.failure.is_empty() {
            lines.push(format!("  cannot be repaired: {}", check.failure));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{name}: {} layers are good", checks.len()));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[derive(Default)]
pub(crate) struct Explain {
    format: String,
    no_trunc: bool,
}

const COSTS: listing::Shape = listing::Shape {
    columns: &[
        ("ID", "LAYER"),
        ("Size", "SIZE"),
        ("Stored", "STORED"),
        ("Files", "FILES"),
        ("Wasted", "WASTED"),
        ("CreatedBy", "CREATED BY"),
    ],
    table: "{{.ID}}\t{{.Size}}\t{{.Stored}}\t{{.Files}}\t{{.Wasted}}\t{{.CreatedBy}}",
};

/// How much of a history line fits into the table.
const CREATED_BY_WIDTH: usize = 60;

impl Command for Explain {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image explain"],
        usage: "[OPTIONS] IMAGE",
        about: "Say what each layer of an image costs, and what of it nobody sees",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each layer");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let costs = cx.client()?.image_explain(&words[0]).await?;
        let (whole, wasted): (u64, u64) = costs.iter().fold((0, 0), |sum, it| (sum.0 + it.size, sum.1 + it.wasted));
        let mut hidden: Vec<ImageFileNote> = costs.iter().flat_map(|cost| cost.hidden.clone()).collect();
        hidden.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let rows: Vec<CostRow> = costs.into_iter().map(|cost| CostRow { cost, whole: self.no_trunc }).collect();
        let mut shown = listing::render(&COSTS, &self.format, &rows)?;
        if matches!(self.format.as_str(), "" | "table") {
            shown.push_str(&format!("\n{} in all, {} of it nobody sees\n", bytes(whole), bytes(wasted)));
            for file in hidden.iter().take(10) {
                shown.push_str(&format!("  {}  {}\n", size::human(file.bytes, 3), file.path));
            }
        }
        cx.print(&shown)
    }
}

fn bytes(count: u64) -> String {
    size::human(i64::try_from(count).unwrap_or(i64::MAX), 3)
}

struct CostRow {
    cost: ImageLayerCost,
    whole: bool,
}

impl Row for CostRow {
    fn column(&self, name: &str) -> String {
        let it = &self.cost;
        match name {
            "ID" if self.whole => it.diff_id.clone(),
            "ID" => text::short_id(&it.diff_id).to_owned(),
            "Size" => bytes(it.size),
            "Stored" => bytes(it.blob_size),
            "Files" => it.files.to_string(),
            "Wasted" => bytes(it.wasted),
            "CreatedBy" if self.whole => it.created_by.clone(),
            "CreatedBy" => it.created_by.chars().take(CREATED_BY_WIDTH).collect(),
            _ => String::new(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Diff {
    layers: bool,
}

impl Command for Diff {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image diff"],
        usage: "[OPTIONS] IMAGE OTHER",
        about: "Say what is other in another image: files that came (A), changed (C) and went (D), and their bytes",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.layers, "--layers", "The layers alone");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let found = cx.client()?.image_diff(&words[0], &ImageDiffQuery { with: words[1].clone() }).await?;
        let mut shown = String::new();
        if !self.layers {
            for file in &found.files {
                let gained = if file.bytes == 0 { String::new() } else { format!(" {:+}", file.bytes) };
                shown.push_str(&format!("{} {}{gained}\n", file.note, file.path));
            }
        }
        let lines = |mark: &str, layers: &[ImageLayerSize]| -> String {
            layers
                .iter()
                .map(|it| format!("{mark} layer {} {}\n", text::short_id(&it.diff_id), bytes(it.size)))
                .collect()
        };
        for (mark, layers) in [("=", &found.shared), ("-", &found.removed), ("+", &found.added)] {
            shown.push_str(&lines(mark, layers));
        }
        cx.print(&shown)
    }
}
