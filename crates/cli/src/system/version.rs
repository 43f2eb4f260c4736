//! `version`: what this program and the daemon are.

use hako_api::{ApiVersion, Operation, query::Query, system::SystemVersion};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        json::{Document, KeyOrder, quote},
        table,
        template::row_of_known,
        text,
    },
};

/// The Docker that this command line behaves as; programs decide by it what they may ask for.
pub(crate) const DOCKER_VERSION: &str = "28.2.2";

/// What one of the two leaves out, or has nothing in.
const OMITTED: [&str; 5] = ["BuildTime", "Components", "Experimental", "KernelVersion", "Platform"];

#[derive(Default)]
pub(crate) struct Version {
    format: String,
}

impl Command for Version {
    const SHAPE: &'static Shape = &Shape {
        paths: &["version"],
        usage: "[OPTIONS]",
        about: "Show the versions of this program and of the daemon",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "-f, --format", "\"json\", or a Go template");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        let negotiated = client.version().await;
        let api = negotiated.as_ref().map_or_else(|_| ApiVersion::MAX.to_string(), ToString::to_string);
        let own = own_json(&api, &cx.context_name);
        let answer = match negotiated {
            Ok(_) => client.bytes(Operation::SystemVersion, &[], &Query::default()).await,
            Err(error) => Err(error),
        };
        let server = answer.as_ref().ok().map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let text = match self.format.as_str() {
            "" => plain(cx, &api, server.as_deref())?,
            format => through_template(format, &own, server.as_deref())?,
        };
        cx.print(&text)?;
        answer.map(drop).map_err(CommandError::from)
    }
}

fn own_json(api: &str, context: &str) -> String {
    let mut context_text = String::new();
    quote(context, &mut context_text);
    format!(
        r#"{{"Version":"{DOCKER_VERSION}","ApiVersion":"{api}","DefaultAPIVersion":"{}","GitCommit":"hako-{}","GoVersion":"","Os":"linux","Arch":"{}","Context":{context_text}}}"#,
        ApiVersion::MAX,
        env!("CARGO_PKG_VERSION"),
        architecture(),
    )
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn through_template(format: &str, own: &str, server: Option<&str>) -> Result<String, CommandError> {
    // Go's field is called APIVersion, its JSON ApiVersion; templates are written with the former.
    let template =
        if format == "json" { "{{json .}}".to_owned() } else { format.replace(".APIVersion", ".ApiVersion") };
    let whole = format!(r#"{{"Client":{own},"Server":{}}}"#, server.unwrap_or("null"));
    let document: Document = serde_json::from_str(&whole)
        .map_err(|error| CommandError::Said(format!("cannot read the daemon's answer: {error}")))?;
    let order = || {
        let mut order = KeyOrder::default();
        order.learn(&document);
        order
    };
    Ok(format!("{}\n", row_of_known(&template, order, &document.to_value(), 2, &OMITTED)?))
}

/// What follows `Client:`, and the version of this program as the caller knows it.
pub(crate) fn own_version(program: &str) -> (&'static str, &'static str) {
    match program {
        "docker" => ("", DOCKER_VERSION),
        _ => (" hako", env!("CARGO_PKG_VERSION")),
    }
}

/// Where values stand, as in Docker's output.
const VALUE_COLUMN: usize = 20;

fn plain(cx: &Context, api: &str, server: Option<&str>) -> Result<String, CommandError> {
    let (title, version) = own_version(cx.program);
    let mut lines = format!(
        "Client:{title}\n Version:\t{version}\n API version:\t{api}\n Git commit:\thako-{}\n OS/Arch:\tlinux/{}\n Context:\t{}\n",
        env!("CARGO_PKG_VERSION"),
        architecture(),
        cx.context_name,
    );
    if let Some(server) = server {
        let server: SystemVersion = serde_json::from_str(server)
            .map_err(|error| CommandError::Said(format!("cannot read the daemon's answer: {error}")))?;
        lines.push_str(&server_lines(&server));
    }
    Ok(table::align_with(&lines, VALUE_COLUMN, 1))
}

fn server_lines(server: &SystemVersion) -> String {
    let name = if server.platform.name.is_empty() { String::new() } else { format!(" {}", server.platform.name) };
    let mut lines = format!("\nServer:{name}\n");
    if server.components.is_empty() {
        lines.push_str(&format!(
            " Version:\t{}\n API version:\t{} (minimum version {})\n OS/Arch:\t{}/{}\n",
            server.version, server.api_version, server.min_api_version, server.os, server.arch
        ));
    }
    for component in &server.components {
        lines.push_str(&format!(" {}:\n  Version:\t{}\n", component.name, component.version));
        let detail = |key: &str| component.details.get(key).filter(|value| !value.is_empty());
        if let (Some(api), Some(min)) = (detail("ApiVersion"), detail("MinAPIVersion")) {
            lines.push_str(&format!("  API version:\t{api} (minimum version {min})\n"));
        }
        for (key, title) in [("GoVersion", "Go version"), ("GitCommit", "Git commit")] {
            if let Some(value) = detail(key) {
                lines.push_str(&format!("  {title}:\t{value}\n"));
            }
        }
        if let Some(built) = detail("BuildTime") {
            lines.push_str(&format!("  Built:\t{}\n", text::c_time(built)));
        }
        if let (Some(os), Some(arch)) = (detail("Os"), detail("Arch")) {
            lines.push_str(&format!("  OS/Arch:\t{os}/{arch}\n"));
        }
        if let Some(experimental) = detail("Experimental") {
            lines.push_str(&format!("  Experimental:\t{experimental}\n"));
        }
    }
    lines
}
