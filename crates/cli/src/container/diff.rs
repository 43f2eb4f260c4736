//! `container diff`: what changed in a container's file system.

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
};

#[derive(Default)]
pub(crate) struct Diff;

impl Command for Diff {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container diff", "diff"],
        usage: "CONTAINER",
        about: "Show what changed in a container's file system",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let changes = cx.client()?.container_changes(&names[0]).await?;
        let lines: String = changes
            .iter()
            .map(|change| {
                let kind = match change.kind {
                    1 => 'A',
                    2 => 'D',
                    _ => 'C',
                };
                format!("{kind} {}\n", change.path)
            })
            .collect();
        cx.print(&lines)
    }
}
