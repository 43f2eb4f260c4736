//! `container export`: a container's file system as a tar archive.

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    image::save::write_archive,
};

#[derive(Default)]
pub(crate) struct Export {
    output: String,
}

impl Command for Export {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container export", "export"],
        usage: "[OPTIONS] CONTAINER",
        about: "Write a container's file system as a tar archive",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.output, "-o, --output", "File to write to, instead of standard output");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        crate::image::save::refuse_terminal(&self.output, "failed to export container")?;
        let archive = cx.client()?.container_export(&names[0]).await?;
        write_archive(archive, &self.output).await
    }
}
