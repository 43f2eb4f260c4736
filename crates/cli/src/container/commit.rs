//! `container commit`: a new image from a container's changes.

use hako_api::query::ImageCommitQuery;
use hako_model::Reference;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

pub(crate) struct Commit {
    author: String,
    changes: Vec<String>,
    message: String,
    pause: bool,
}

impl Default for Commit {
    fn default() -> Self {
        Self { author: String::new(), changes: Vec::new(), message: String::new(), pause: true }
    }
}

impl Command for Commit {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container commit", "commit"],
        usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        about: "Make an image from a container's changes",
        arguments: Arguments::Between(1, 2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.author, "-a, --author", "Author of the image");
        set.add(&mut self.changes, "-c, --change", "Dockerfile instruction to apply to it");
        set.add(&mut self.message, "-m, --message", "What was done");
        set.add(&mut self.pause, "-p, --pause", "Freeze the container meanwhile (default true)");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let (repo, tag) = match words.get(1).filter(|name| !name.is_empty()) {
            Some(name) => repository_and_tag(name)?,
            None => (String::new(), String::new()),
        };
        let query = ImageCommitQuery {
            container: words[0].clone(),
            repo,
            tag,
            comment: self.message,
            author: self.author,
            pause: (!self.pause).then_some(false),
            changes: self.changes,
        };
        let id = cx.client()?.image_commit(&query, None).await?;
        cx.print_line(&id)
    }
}

/// A name as the API takes it, in two parts; the tag is `latest` where none is said.
///
/// # Errors
/// When it is not a name, or names a digest.
pub(crate) fn repository_and_tag(name: &str) -> Result<(String, String), CommandError> {
    let reference: Reference = name.parse().map_err(|error| CommandError::Said(format!("{error}")))?;
    if reference.digest().is_some() {
        return Err(CommandError::Said("refusing to create a tag with a digest reference".to_owned()));
    }
    let tag = reference.tag().unwrap_or("latest").to_owned();
    Ok((format!("{}/{}", reference.domain(), reference.path()), tag))
}
