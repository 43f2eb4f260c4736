//! `image load`: images from a tar archive that `save` wrote.

use hako_api::query::ImageLoadQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    progress::{self, Place},
    terminal,
};

use super::{
    import::{from_file, from_stdin},
    save::platforms,
};

#[derive(Default)]
pub(crate) struct Load {
    input: String,
    platform: Vec<String>,
    quiet: bool,
}

impl Command for Load {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image load", "load"],
        usage: "[OPTIONS]",
        about: "Read images from a tar archive",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.input, "-i, --input", "File to read, instead of standard input");
        set.add(&mut self.platform, "--platform", "Read these platforms alone").kind("strings");
        set.add(&mut self.quiet, "-q, --quiet", "Print the images' names alone");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let body = if self.input.is_empty() {
            if terminal::stdin_is_terminal() {
                return Err(CommandError::Said("requested load from stdin, but stdin is empty".to_owned()));
            }
            from_stdin()
        } else {
            from_file(&self.input)?
        };
        let quiet = self.quiet || !terminal::stdout_is_terminal();
        let query = ImageLoadQuery { quiet, platform: platforms(&self.platform)? };
        let stream = cx.client()?.image_load(&query, body).await?;
        progress::show(stream, Place::Stdout).await
    }
}
