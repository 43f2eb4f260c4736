//! `inspect`: everything about objects, as the daemon sent it, or through a template.

use hako_api::{Operation, query::Query};
use hako_base::ErrorKind;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
    flag::FlagSet,
    format::{
        json::{self, Document, KeyOrder},
        template::{Format, FormatError, Missing, asks_for},
    },
};

const FORMAT_HELP: &str = "\"json\", or a Go template for each";

/// A kind of object that can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// As `--type` names it.
    pub name: &'static str,
    operation: Operation,
    has_size: bool,
}

const CONTAINER: Kind = Kind { name: "container", operation: Operation::ContainerInspect, has_size: true };
const IMAGE: Kind = Kind { name: "image", operation: Operation::ImageInspect, has_size: false };
const NETWORK: Kind = Kind { name: "network", operation: Operation::NetworkInspect, has_size: false };
const PLUGIN: Kind = Kind { name: "plugin", operation: Operation::PluginInspect, has_size: false };
const VOLUME: Kind = Kind { name: "volume", operation: Operation::VolumeInspect, has_size: false };
/// In the order in which a name is looked for.
const KINDS: [Kind; 5] = [CONTAINER, IMAGE, NETWORK, VOLUME, PLUGIN];

/// What only a swarm has.
const SWARM_KINDS: [&str; 5] = ["config", "node", "secret", "service", "task"];

#[derive(Default)]
pub(crate) struct Inspect {
    format: String,
    size: bool,
    kind: String,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["inspect"],
        usage: "[OPTIONS] NAME|ID [NAME|ID...]",
        about: "Show everything about containers, images, networks or volumes",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "-f, --format", FORMAT_HELP);
        set.add(&mut self.size, "-s, --size", "Show how much containers have written");
        set.add(&mut self.kind, "--type", "Kind of object: container, image, network, volume or plugin");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let kinds = match self.kind.as_str() {
            "" => KINDS.to_vec(),
            wanted => match KINDS.iter().find(|kind| kind.name == wanted) {
                Some(kind) => vec![*kind],
                None if SWARM_KINDS.contains(&wanted) => {
                    cx.print("[]\n")?;
                    let text = format!("no {wanted} can be looked at: swarms are not built yet");
                    return Err(CommandError::Said(text));
                }
                None => {
                    return Err(CommandError::Said(format!(
                        "unknown type: {}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
                        crate::flag::go_quote(wanted)
                    )));
                }
            },
        };
        inspect(cx, &kinds, &names, &self.format, self.size).await
    }
}

macro_rules! inspect_one_kind {
    ($command:ident, $kind:ident, $path:literal, $usage:literal, $about:literal, $extra:expr) => {
        #[doc = concat!("`", $path, "`")]
        #[derive(Default)]
        pub(crate) struct $command {
            format: String,
            extra: bool,
        }

        impl Command for $command {
            const SHAPE: &'static Shape = &Shape {
                paths: &[$path],
                usage: $usage,
                about: $about,
                arguments: Arguments::AtLeast(1),
                interspersed: true,
            };

            fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
                set.add(&mut self.format, "-f, --format", FORMAT_HELP);
                let extra: ExtraFlag = $extra;
                if let Some((spec, help)) = extra {
                    set.add(&mut self.extra, spec, help);
                }
            }

            async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
                inspect(cx, &[$kind], &names, &self.format, self.extra).await
            }
        }
    };
}

/// Whether this is a template at all.
///
/// # Errors
/// With Docker's words and its code for it.
pub(crate) fn check_template(text: &str) -> Result<(), CommandError> {
    let parsed = Format::parse(text, KeyOrder::default(), Missing::Error);
    parsed.map(drop).map_err(|error| CommandError::Usage {
        message: error.to_string().replace("failed to parse template", "template parsing error"),
        hint: None,
        code: 64,
    })
}

async fn inspect(
    cx: &mut Context,
    kinds: &[Kind],
    names: &[String],
    format: &str,
    size: bool,
) -> Result<(), CommandError> {
    if !matches!(format, "" | "json") {
        // A mistake in the template is told before anything is asked for.
        check_template(format)?;
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match find(cx, kinds, name, size).await? {
            Ok(text) => found.push(text),
            Err(failure) => failures.push(failure),
        }
    }
    show(cx, &found, format)?;
    if found.is_empty() && !matches!(format, "" | "json") {
        // Scripts read a line for each call.
        cx.print("\n")?;
    }
    if failures.is_empty() { Ok(()) } else { Err(CommandError::Several(failures)) }
}

/// Prints objects, each as JSON, in the form that `--format` asks for.
///
/// # Errors
/// A template that does not fit them; what it has printed before is printed, and a line end if that is nothing.
pub(crate) fn show(cx: &mut Context, found: &[String], format: &str) -> Result<(), CommandError> {
    let list = || format!("[{}]", found.join(","));
    match format {
        "" => cx.print(&format!("{}\n", json::indent(&list(), "    "))),
        "json" => cx.print(&format!("{}\n", json::compact(&list()).unwrap_or_else(|_| list()))),
        _ => {
            let documents: Vec<Document> = found
                .iter()
                .map(|text| serde_json::from_str(text))
                .collect::<Result<_, _>>()
                .map_err(|error| CommandError::Said(format!("cannot read the daemon's answer: {error}")))?;
            match through_template(&documents, format) {
                Ok(text) => cx.print(&text),
                Err(Partly { text, error }) => {
                    cx.print(if text.is_empty() { "\n" } else { &text })?;
                    Err(error.into())
                }
            }
        }
    }
}

// The object's JSON, or the sentence that says why there is none.
async fn find(
    cx: &mut Context,
    kinds: &[Kind],
    name: &str,
    size: bool,
) -> Result<Result<String, String>, CommandError> {
    let client = cx.client()?;
    for kind in kinds {
        let mut query = Query::default();
        if size && kind.has_size {
            query.push("size", "1");
        }
        match client.bytes(kind.operation, &[name], &query).await {
            Ok(bytes) => {
                if size && !kind.has_size && kinds.len() > 1 {
                    cx.remark(&format!("WARNING: --size ignored for {}", kind.name));
                }
                return Ok(Ok(String::from_utf8_lossy(&bytes).trim().to_owned()));
            }
            // An ambiguous prefix or a daemon in trouble is told at once; only absence is searched on.
            Err(error) if error.is_from_daemon() && error.kind() == ErrorKind::NotFound => {
                if kinds.len() == 1 {
                    return Ok(Err(client_message(&error)));
                }
            }
            Err(error) if error.is_from_daemon() => return Ok(Err(client_message(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Err(format!("Error: No such object: {name}")))
}

/// Fields that Go's structs have and their JSON leaves out when empty: `if .State.Health` is a
/// question, not a mistake.
const OMITTED: [&str; 26] = [
    "Annotations",
    "ArgsEscaped",
    "ConfigFrom",
    "Container",
    "Created",
    "CreatedAt",
    "DefaultRuntime",
    "Driver",
    "ExposedPorts",
    "Health",
    "Healthcheck",
    "Init",
    "LastTagTime",
    "MacAddress",
    "Mounts",
    "Name",
    "OnBuild",
    "OsVersion",
    "Shell",
    "SizeRootFs",
    "SizeRw",
    "StopSignal",
    "StopTimeout",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
];

/// Those of them that are text: empty where they are left out.
const OMITTED_TEXT: [&str; 9] =
    ["Container", "Created", "CreatedAt", "DefaultRuntime", "Driver", "MacAddress", "Name", "OsVersion", "StopSignal"];

/// What a template has printed before it failed.
struct Partly {
    text: String,
    error: FormatError,
}

fn through_template(documents: &[Document], template: &str) -> Result<String, Partly> {
    let learn = || {
        let mut order = KeyOrder::default();
        documents.iter().for_each(|document| order.learn(document));
        order
    };
    let parsed =
        |missing| Format::parse(template, learn(), missing).map_err(|error| Partly { text: String::new(), error });
    let (strict, lenient) = (parsed(Missing::Error)?, parsed(Missing::NoValue)?);
    let mut text = String::new();
    for document in documents {
        let value = document.to_value();
        let row = match strict.row(&value) {
            Ok(row) => Ok(row.replace(NO_VALUE, NIL)),
            Err(FormatError::Missing { key, .. }) if is_field(&key) && may_be_missing(&key, template) => {
                let empty = if OMITTED_TEXT.contains(&key.as_str()) { "" } else { NIL };
                lenient.row(&value).map(|row| row.replace(NO_VALUE, empty))
            }
            Err(FormatError::Missing { key, .. }) if !is_field(&key) => lenient.row(&value),
            other => other,
        };
        match row {
            Ok(row) => text.push_str(&row),
            Err(error) => return Err(Partly { text, error }),
        }
        text.push('\n');
    }
    Ok(text)
}

/// What Go prints for a pointer to nothing, and the engine of templates for everything that is not there.
const NIL: &str = "<nil>";
const NO_VALUE: &str = "<no value>";

/// Fields of structs begin with a capital letter; everything else is a key of a map.
fn is_field(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Whether a field that is not there is an empty one: asking for it is no mistake, asking what is in it is.
fn may_be_missing(key: &str, template: &str) -> bool {
    OMITTED.contains(&key) && asks_for(template, key)
}

type ExtraFlag = Option<(&'static str, &'static str)>;
const WITH_SIZE: ExtraFlag = Some(("-s, --size", "Show how much they have written"));
const VERBOSE: ExtraFlag = Some(("-v, --verbose", "Show more of a network of several hosts"));

inspect_one_kind!(
    InspectContainer,
    CONTAINER,
    "container inspect",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Show everything about containers",
    WITH_SIZE
);
inspect_one_kind!(
    InspectImage,
    IMAGE,
    "image inspect",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Show everything about images",
    None
);
inspect_one_kind!(
    InspectNetwork,
    NETWORK,
    "network inspect",
    "[OPTIONS] NETWORK [NETWORK...]",
    "Show everything about networks",
    VERBOSE
);
inspect_one_kind!(
    InspectVolume,
    VOLUME,
    "volume inspect",
    "[OPTIONS] VOLUME [VOLUME...]",
    "Show everything about volumes",
    None
);

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str, template: &str) -> String {
        let documents = [serde_json::from_str(json).unwrap()];
        through_template(&documents, template).unwrap_or_else(|Partly { error, .. }| error.to_string())
    }

    fn check(template: &str, expected: &str) {
        let json = r#"{"Name":"/web","State":{"Running":true},"Config":{"Labels":{"a":"1"}},"Ids":["x","y"]}"#;
        assert_eq!(shown(json, template), expected, "{template}");
    }

    #[test]
    fn templates_reach_into_the_daemons_answer() {
        check("{{.Name}} {{.State.Running}}", "/web true\n");
        check("{{json .State}}{{index .Ids 1}}", "{\"Running\":true}y\n");
    }

    #[test]
    fn nothing_is_an_empty_list_or_map_where_gos_struct_has_one() {
        let json = r#"{"Config":{"Labels":{"a":"1"},"Volumes":null,"Entrypoint":null}}"#;
        let check = |template: &str, expected: &str| assert_eq!(shown(json, template), expected);
        check("{{index .Config.Labels \"missing\"}}|", "|\n");
        check("{{.Config.Entrypoint}} {{.Config.Volumes}}", "[] map[]\n");
        check("{{json .Config.Entrypoint}} {{json .Config.Volumes}}", "null null\n");
        check("{{if .Config.Entrypoint}}y{{else}}n{{end}} {{len .Config.Volumes}}", "n 0\n");
    }

    #[test]
    fn what_may_be_empty_is_no_mistake_but_a_wrong_name_is() {
        check("{{if .State.Health}}ill{{else}}none{{end}}", "none\n");
        check("{{.State.Health}}", "<nil>\n");
        check("[{{.Config.MacAddress}}{{.Config.StopSignal}}]", "[]\n");
        check("{{.Config.Labels.b}}", "<no value>\n");
        check(
            "{{.State.Health.Status}}",
            "template parsing error: template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
        );
        check(
            "{{.Foo}}",
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
        );
    }

    #[test]
    fn structs_print_as_gos_and_stay_what_they_are_as_json() {
        let json =
            r#"{"HostConfig":{"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"PidsLimit":null},"Mounts":[]}"#;
        let check = |template: &str, expected: &str| assert_eq!(shown(json, template), expected, "{template}");
        check("{{.HostConfig.RestartPolicy}} {{.HostConfig.RestartPolicy.Name}}", "{no 0} no\n");
        check("{{.HostConfig.PidsLimit}} {{.HostConfig.Init}} {{.HostConfig.Sysctls}}", "<nil> <nil> map[]\n");
        check(
            "{{json .HostConfig}}",
            "{\"RestartPolicy\":{\"Name\":\"no\",\"MaximumRetryCount\":0},\"PidsLimit\":null}\n",
        );
        check("{{json .}}", &format!("{json}\n"));
    }
}
