//! `buildx ls`, `inspect`, `version`: the builder is the daemon, and there is no other.
//!
//! What makes, chooses or stops builders in Buildx has nothing to act on here and says so.

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::table,
};

/// The platforms that the daemon builds for, its own first, and its version.
async fn builder(cx: &Context) -> Result<(String, String), CommandError> {
    let client = cx.client()?;
    let platforms = client.build_platforms().await?;
    Ok((platforms.join(", "), client.system_info().await?.server_version))
}

#[derive(Default)]
pub(crate) struct List {
    no_trunc: bool,
}

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx ls"],
        usage: "",
        about: "List builders: the daemon of each context is one",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.no_trunc, "--no-trunc", "Accepted, without effect").hide();
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let (platforms, version) = builder(cx).await?;
        let name = cx.context_name.clone();
        cx.print(&table::align(&format!(
            "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS\n{name}*\tdocker\t\t\t\n \\_ {name}\t \\_ {name}\trunning\tv{version}\t{platforms}\n"
        )))
    }
}

#[derive(Default)]
pub(crate) struct Inspect {
    bootstrap: bool,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx inspect"],
        usage: "[NAME]",
        about: "Show the builder",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.bootstrap, "--bootstrap", "Accepted: the daemon runs").hide();
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let name = cx.context_name.clone();
        if let Some(asked) = words.first().filter(|asked| **asked != name) {
            return Err(CommandError::Said(format!(
                "ERROR: no builder {asked:?} found: the daemon is the builder, {name:?}"
            )));
        }
        let (platforms, version) = builder(cx).await?;
        cx.print(&format!(
            "Name:   {name}\nDriver: docker\n\nNodes:\nName:             {name}\nEndpoint:         {name}\nStatus:           running\nBuildKit version: v{version}\nPlatforms:        {platforms}\n"
        ))
    }
}

#[derive(Default)]
pub(crate) struct Version;

impl Command for Version {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx version"],
        usage: "",
        about: "Show the version",
        arguments: Arguments::None,
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        cx.print_line(&format!("hako v{}", env!("CARGO_PKG_VERSION")))
    }
}
