//! `build`: an image from a Dockerfile, by BuildKit's protocol.
//!
//! The flags become what `Builder::build` takes (`request.rs`, `output.rs`, `source.rs`); what the daemon tells is
//! shown (`progress.rs`) from one board. Compose's builds use [`build`] as well.

mod actions; // what GitHub's runner says of its cache
mod board; // what a build has told so far
mod commit; // when what is built was committed
mod flags; // the flags of every command that builds
mod output; // `--output`
mod plain; // progress as lines
mod progress; // which way a build is shown
mod request; // from flags to what the client takes
mod s3; // what Amazon's tools know of a bucket
mod screen; // progress on a terminal
mod source; // where the context and the Dockerfile are
mod spread; // one build on several nodes
mod step; // what is done here, as a step
mod token; // tokens of registries for builders

use std::{collections::HashMap, fs, path::Path};

use hako_api::build::BuildNews;
use hako_client::{ClientError, build::ImageBuild};
use serde_json::Value;
use tokio::sync::mpsc;

pub(crate) use board::Board;
pub(crate) use flags::BuildFlags;
pub(crate) use progress::{Mode, show};
pub(crate) use request::wanted;
pub(crate) use source::is_remote;
pub(crate) use step::Step;

use crate::{
    builder::site::{Part, Site},
    command::{Arguments, Command, Shape},
    config::default_platform,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

/// News that wait for a slow terminal.
const NEWS_QUEUED: usize = 64;

#[derive(Default)]
pub(crate) struct Build(BuildFlags);

impl Command for Build {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image build", "build", "builder build", "buildx build", "buildx b"],
        usage: "[OPTIONS] PATH | URL | -",
        about: "Build an image from a Dockerfile",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        self.0.bind(set);
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let mut flags = self.0;
        if flags.platforms.is_empty() {
            flags.platforms.extend(default_platform());
        }
        flags.ignored().iter().for_each(|warning| cx.remark(warning));
        let site = Site::find(cx, flags.builder.as_deref(), &flags.platforms).await?;
        let wanted = wanted(cx, &site, &flags, &words[0])?;
        let mode = if flags.quiet { Mode::Quiet } else { Mode::parse(&flags.progress())? };
        let built = build(cx, &site, wanted, mode).await?;
        if let Some(said) = built.said(&flags) {
            cx.print(&said.text)?;
            return if said.is_well { Ok(()) } else { Err(CommandError::Exit(1)) };
        }
        for warning in &built.board.warnings {
            if mode != Mode::Quiet && mode != Mode::Json {
                cx.remark(&format!(" - {}", warning.short));
            }
        }
        if flags.why {
            cx.print(&built.board.reasons())?;
        }
        let id = built.id();
        if let Some(path) = &flags.iid_file {
            write(path, id.unwrap_or_default())?;
        }
        if let Some(path) = &flags.metadata_file {
            write(path, &built.metadata())?;
        }
        match id {
            Some(id) if mode == Mode::Quiet => cx.print_line(id),
            _ => Ok(()),
        }
    }
}

fn write(path: &str, text: &str) -> Result<(), CommandError> {
    fs::write(Path::new(path), text).map_err(CommandError::local(format!("write {path}")))
}

/// What a build came to.
pub(crate) struct Built {
    pub board: Board,
    answer: HashMap<String, String>,
}

impl Built {
    /// The image's id; nothing when the result went elsewhere.
    pub(crate) fn id(&self) -> Option<&str> {
        let found =
            self.answer.get("containerimage.config.digest").or_else(|| self.answer.get("containerimage.digest"));
        found.map(String::as_str)
    }

    /// What is answered to a question about the Dockerfile.
    pub(crate) fn said(&self, flags: &BuildFlags) -> Option<Said> {
        let text = self.answer.get("result.txt")?;
        let wants_json = flags.call.as_deref().is_some_and(|call| call.ends_with(",format=json"));
        let json = self.answer.get("result.json");
        let text = match json.filter(|_| wants_json) {
            Some(json) => json.clone(),
            None => format!("{}{text}", json.and_then(|json| counted(text, json)).unwrap_or_default()),
        };
        Some(Said { text, is_well: self.answer.get("result.statuscode").is_none_or(|code| code == "0") })
    }

    // Everything the daemon said.
    fn metadata(&self) -> String {
        serde_json::to_string_pretty(&self.metadata_value()).unwrap_or_default()
    }

    /// Everything the daemon said, values that are JSON in base64 written out.
    pub(crate) fn metadata_value(&self) -> Value {
        let value = |text: &String| {
            let decoded = hako_api::text::base64_url_decode(text).and_then(|bytes| serde_json::from_slice(&bytes).ok());
            decoded.filter(Value::is_object).unwrap_or_else(|| Value::String(text.clone()))
        };
        let all: serde_json::Map<String, Value> =
            self.answer.iter().map(|(key, text)| (key.clone(), value(text))).collect();
        Value::Object(all)
    }
}

/// An answer to a question about a Dockerfile.
pub(crate) struct Said {
    pub text: String,
    /// Nothing was found that is likely not meant.
    pub is_well: bool,
}

// How many warnings there are, which BuildKit leaves for its clients to say.
fn counted(text: &str, json: &str) -> Option<String> {
    let found: Value = serde_json::from_str(json).ok().filter(|_| !text.starts_with("Check complete"))?;
    Some(match found.get("warnings")?.as_array().map_or(0, Vec::len) {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        several => format!("Check complete, {several} warnings have been found!\n"),
    })
}

/// How a build ended that did not end well.
enum Failure {
    /// Nothing was asked of the builder.
    Before(CommandError),
    Within(ClientError),
}

async fn on_one(
    cx: &Context,
    site: &Site,
    node: &Part,
    wanted: ImageBuild,
    news: mpsc::Sender<BuildNews>,
) -> Result<HashMap<String, String>, Failure> {
    let (builder, wanted) = site.ready(cx, node, wanted, &news).await.map_err(Failure::Before)?;
    builder.build(wanted, news).await.map_err(Failure::Within)
}

/// Builds, and shows how it goes.
///
/// # Errors
/// Whatever made the build fail; the step that did and its last lines have been shown by then.
pub(crate) async fn build(cx: &Context, site: &Site, wanted: ImageBuild, mode: Mode) -> Result<Built, CommandError> {
    let (send, news) = mpsc::channel(NEWS_QUEUED);
    let building = async {
        let news = send;
        // What a Dockerfile takes and offers is the same everywhere.
        let is_question = wanted.attributes.contains_key("requestid");
        match site.parts() {
            [node] => on_one(cx, site, node, wanted, news).await,
            [node, ..] if is_question => on_one(cx, site, node, wanted, news).await,
            _ => Box::pin(spread::build(cx, site, wanted, news)).await,
        }
    };
    let (done, board) = tokio::join!(building, progress::show(news, mode));
    let error = match done {
        Ok(answer) => return Ok(Built { board, answer }),
        Err(error) => error,
    };
    let failure = board.failure();
    if mode != Mode::Json && !failure.is_empty() {
        cx.remark(failure.trim_end_matches('\n'));
    }
    Err(match error {
        Failure::Before(error) => error,
        Failure::Within(ClientError::Build { message, excerpt, .. }) => {
            if mode != Mode::Json && !excerpt.is_empty() {
                cx.remark(excerpt.trim_end_matches('\n'));
            }
            CommandError::Said(format!("ERROR: failed to build: failed to solve: {message}"))
        }
        Failure::Within(other) => other.into(),
    })
}
