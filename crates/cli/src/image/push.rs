//! `image push`: sends an image to its registry.

use hako_api::query::ImagePushQuery;
use hako_model::Reference;

use super::save::platforms;
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    credentials::Credentials,
    error::CommandError,
    flag::FlagSet,
    progress::{self, Place},
};

#[derive(Default)]
pub(crate) struct Push {
    all_tags: bool,
    platform: Option<String>,
    quiet: bool,
    untrusted: bool,
}

impl Command for Push {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image push", "push"],
        usage: "[OPTIONS] NAME[:TAG]",
        about: "Send an image to a registry",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.all_tags, "-a, --all-tags", "All tags of the repository");
        set.add(&mut self.platform, "--platform", "Platform of the image (os/architecture)");
        set.add(&mut self.quiet, "-q, --quiet", "Print the image's name alone");
        set.add(&mut self.untrusted, "--disable-content-trust", "Accepted, without effect").hide();
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let reference: Reference = words[0].parse().map_err(|error| CommandError::Said(format!("{error}")))?;
        let is_plain = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !is_plain {
            return Err(CommandError::Said("tag can't be used with --all-tags/-a".to_owned()));
        }
        let reference = if self.all_tags { reference } else { reference.with_default_tag() };
        if is_plain && !self.all_tags && !self.quiet {
            cx.print_line("Using default tag: latest")?;
        }
        let credentials = Credentials::read(&cx.directory)?.of_image(&reference);
        let tag = match reference.digest() {
            Some(digest) => digest.to_string(),
            None => reference.tag().unwrap_or_default().to_owned(),
        };
        let query = ImagePushQuery { tag, platform: platforms(&self.platform)?.pop() };
        let stream = cx.client()?.image_push(&reference.familiar_name(), &query, &credentials).await?;
        progress::show(stream, if self.quiet { Place::Nowhere } else { Place::Stdout }).await?;
        if self.quiet { cx.print_line(&reference.to_string()) } else { Ok(()) }
    }
}
