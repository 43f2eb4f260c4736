//! `image tag`: a further name for an image.

use hako_api::query::ImageTagQuery;

use crate::{
    command::{Arguments, Command, Shape},
    container::commit::repository_and_tag,
    context::Context,
    error::CommandError,
};

#[derive(Default)]
pub(crate) struct Tag;

impl Command for Tag {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image tag", "tag"],
        usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        about: "Give an image a further name",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let (repo, tag) = repository_and_tag(&words[1]).map_err(|error| {
            CommandError::Said(format!(
                "Error parsing reference: \"{}\" is not a valid repository/tag: {error}",
                words[1]
            ))
        })?;
        Ok(cx.client()?.image_tag(&words[0], &ImageTagQuery { repo, tag }).await?)
    }
}
