//! `container top`: the processes of a container, as `ps` on the host shows them.

use hako_api::query::ContainerTopQuery;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    format::table,
};

const COLUMN_WIDTH_MIN: usize = 20;

#[derive(Default)]
pub(crate) struct Top;

impl Command for Top {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container top", "top"],
        usage: "CONTAINER [ps OPTIONS]",
        about: "List the processes of a container",
        arguments: Arguments::AtLeast(1),
        interspersed: false,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let ps_args = words[1..].join(" ");
        let query = ContainerTopQuery { ps_args: (!ps_args.is_empty()).then_some(ps_args) };
        let answer = cx.client()?.container_top(&words[0], &query).await?;
        let mut text = answer.titles.join("\t");
        text.push('\n');
        for process in &answer.processes {
            text.push_str(&process.join("\t"));
            text.push('\n');
        }
        cx.print(&table::align_with(&text, COLUMN_WIDTH_MIN, 3))
    }
}
