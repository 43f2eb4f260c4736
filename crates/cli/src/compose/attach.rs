//! `compose attach`: this program's streams joined to a service's container.

use super::{one_container, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    container,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

pub(crate) struct Attach {
    detach_keys: String,
    index: i64,
    no_stdin: bool,
    sig_proxy: bool,
}

impl Default for Attach {
    fn default() -> Self {
        Self { detach_keys: String::new(), index: 0, no_stdin: false, sig_proxy: true }
    }
}

impl Command for Attach {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose attach"],
        usage: "[OPTIONS] SERVICE",
        about: "Join a service's input and output",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.detach_keys, "--detach-keys", "Keys that leave it (default ctrl-p,ctrl-q)");
        set.add(&mut self.index, "--index", "Number of the container");
        set.add(&mut self.no_stdin, "--no-stdin", "Do not pass input on");
        set.add(&mut self.sig_proxy, "--sig-proxy", "Pass signals on to it (default true)");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        super::refuse_dry_run(cx, "attach")?;
        let project = project_or_name(cx, &words)?;
        let seen = one_container(&cx.client()?, &project, &words[0], self.index, false).await?;
        let attach = container::attach::Attach::of(self.detach_keys, self.no_stdin, self.sig_proxy);
        attach.run(cx, vec![seen.id]).await
    }
}
