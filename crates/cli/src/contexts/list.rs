//! `context ls`, `context show` and `context inspect`.

use std::collections::BTreeMap;

use super::{
    create::source,
    store::{DEFAULT, DEFAULT_DESCRIPTION, Document, Endpoint, Store},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        listing::{self, Row},
        text,
    },
    inspect,
};

#[derive(Default)]
pub(crate) struct List {
    format: String,
    quiet: bool,
}

const SHAPE: listing::Shape = listing::Shape {
    columns: &[
        // Without a title, so that the table's own template finds nothing to mark in the head.
        ("Current", ""),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
        ("Name", "NAME"),
    ],
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
};

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context ls", "context list"],
        usage: "[OPTIONS]",
        about: "List contexts",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.quiet, "-q, --quiet", "Names alone");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let store = Store::new(&cx.directory);
        let mut documents = store.all();
        documents.push(default_document(cx));
        documents.sort_by(|left, right| text::natural(&left.name, &right.name));
        let current = cx.context_name.clone();
        let row = |document: Document| ContextRow { current: document.name == current, document };
        let rows: Vec<ContextRow> = documents.into_iter().map(row).collect();
        let text = if self.quiet {
            rows.iter().map(|row| format!("{}\n", row.document.name)).collect()
        } else {
            listing::render(&SHAPE, &self.format, &rows)?
        };
        cx.print(&text)?;
        if std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
            cx.remark(
                "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set \
                 the global --context flag, or unset DOCKER_HOST environment variable.",
            );
        }
        Ok(())
    }
}

/// The context that flags and variables make, with no address where those make none.
fn default_document(cx: &Context) -> Document {
    let store = Store::new(&cx.directory);
    match source(cx, &store, DEFAULT) {
        Ok((document, _)) if cx.context_name == DEFAULT => document,
        _ => {
            let endpoint = Endpoint { host: cx.default_host().to_owned(), ..Endpoint::default() };
            Document::new(DEFAULT, DEFAULT_DESCRIPTION, endpoint)
        }
    }
}

struct ContextRow {
    document: Document,
    current: bool,
}

impl Row for ContextRow {
    fn column(&self, name: &str) -> String {
        match name {
            "Name" => self.document.name.clone(),
            "Description" => self.document.description().to_owned(),
            "DockerEndpoint" => self.document.endpoint().host,
            _ => String::new(),
        }
    }

    fn value(&self, name: &str) -> gotmpl::Value {
        match name {
            "Current" => gotmpl::Value::Bool(self.current),
            name => gotmpl::Value::String(self.column(name).into()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Show;

impl Command for Show {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context show"],
        usage: "",
        about: "Print the name of the current context",
        arguments: Arguments::None,
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        cx.print_line(&cx.context_name.clone())
    }
}

#[derive(Default)]
pub(crate) struct Inspect {
    format: String,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context inspect"],
        usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
        about: "Show everything about contexts",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "-f, --format", "\"json\", or a Go template for each");
    }

    async fn run(self, cx: &mut Context, mut words: Vec<String>) -> Result<(), CommandError> {
        if words.is_empty() {
            words.push(cx.context_name.clone());
        }
        let store = Store::new(&cx.directory);
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &words {
            let document = if name == DEFAULT { Ok(default_document(cx)) } else { store.get(name) };
            match document {
                Ok(document) => found.push(shown(&store, &document)),
                Err(error) => failures.extend(error.message()),
            }
        }
        inspect::show(cx, &found, &self.format)?;
        if failures.is_empty() { Ok(()) } else { Err(CommandError::Several(failures)) }
    }
}

/// What `inspect` shows of one context, as JSON.
fn shown(store: &Store, document: &Document) -> String {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Shown<'a> {
        #[serde(flatten)]
        document: &'a Document,
        #[serde(rename = "TLSMaterial")]
        tls_material: BTreeMap<String, Vec<String>>,
        storage: Storage,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Storage {
        metadata_path: String,
        #[serde(rename = "TLSPath")]
        tls_path: String,
    }
    let name = document.name.as_str();
    // Docker's words for what is in no file.
    let [metadata_path, tls_path] = if name == DEFAULT {
        ["<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned()]
    } else {
        [store.meta_directory(name), store.tls_directory(name)].map(|path| path.display().to_string())
    };
    let shown = Shown { document, tls_material: store.tls_names(name), storage: Storage { metadata_path, tls_path } };
    let text = serde_json::to_string(&shown).unwrap_or_default();
    text.replace('<', "\\u003c").replace('>', "\\u003e")
}
