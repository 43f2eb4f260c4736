//! `image pull`: brings an image from its registry.

use hako_model::Reference;

use crate::{
    command::{Arguments, Command, Shape},
    config::default_platform,
    container::create,
    context::Context,
    error::CommandError,
    flag::FlagSet,
    progress::Place,
};

#[derive(Default)]
pub(crate) struct Pull {
    all_tags: bool,
    platform: Option<String>,
    quiet: bool,
    untrusted: bool,
}

impl Command for Pull {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image pull", "pull"],
        usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
        about: "Bring an image from a registry",
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
        let plain = reference.tag().is_none() && reference.digest().is_none();
        if self.all_tags && !plain {
            return Err(CommandError::Said("tag can't be used with --all-tags/-a".to_owned()));
        }
        let whole = if self.all_tags { reference } else { reference.with_default_tag() };
        if plain && !self.quiet && !self.all_tags {
            cx.print_line("Using default tag: latest")?;
        }
        let place = if self.quiet { Place::Nowhere } else { Place::Stdout };
        let platform = self.platform.or_else(default_platform);
        if self.all_tags {
            create::pull_all(cx, &whole, platform, place).await?;
        } else {
            create::pull(cx, &words[0], platform, place).await?;
        }
        cx.print_line(&whole.to_string())
    }
}
