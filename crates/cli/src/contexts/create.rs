//! `context create` and `context update`.

use std::{collections::BTreeMap, fs, path::Path};

use hako_client::{Host, Tls, TlsFiles};

use super::store::{self, DEFAULT, DEFAULT_DESCRIPTION, Document, Endpoint, Material, Store, TLS_FILES};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    parse::csv,
};

const DOCKER_HELP: &str = "Address and certificates: host=…,ca=…,cert=…,key=…,skip-tls-verify=…, or from=CONTEXT";

#[derive(Default)]
pub(crate) struct Create {
    description: String,
    docker: String,
    from: String,
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context create"],
        usage: "[OPTIONS] CONTEXT",
        about: "Give a daemon a name",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.description, "--description", "What it is for");
        set.add(&mut self.docker, "--docker", DOCKER_HELP).kind("stringToString");
        set.add(&mut self.from, "--from", "Copy the context of this name");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let name = &words[0];
        store::check_name(name)?;
        let store = Store::new(&cx.directory);
        if store.exists(name) {
            return Err(CommandError::Said(format!("context \"{name}\" already exists")));
        }
        let (mut document, mut tls) = match self.from.as_str() {
            "" if self.docker.is_empty() => source(cx, &store, &cx.context_name)?,
            "" => (Document::new(name, "", Endpoint::default()), Material::new()),
            from => source(cx, &store, from)?,
        };
        name.clone_into(&mut document.name);
        if !self.description.is_empty() {
            document.set_description(&self.description);
        }
        if !self.docker.is_empty() {
            tls = apply(cx, &store, &mut document, &self.docker)?;
        }
        store.put(&document, Some(&tls))?;
        cx.print_line(name)?;
        cx.remark(&format!("Successfully created context \"{name}\""));
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Update {
    description: Option<String>,
    docker: String,
}

impl Command for Update {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context update"],
        usage: "[OPTIONS] CONTEXT",
        about: "Change a context",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.description, "--description", "What it is for");
        set.add(&mut self.docker, "--docker", DOCKER_HELP).kind("stringToString");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let name = &words[0];
        store::check_name(name)?;
        let store = Store::new(&cx.directory);
        let mut document = store.get(name)?;
        if let Some(description) = &self.description {
            document.set_description(description);
        }
        let tls = match self.docker.as_str() {
            "" => None,
            docker => Some(apply(cx, &store, &mut document, docker)?),
        };
        store.put(&document, tls.as_ref())?;
        cx.print_line(name)?;
        cx.remark(&format!("Successfully updated context \"{name}\""));
        Ok(())
    }
}

/// A context to copy; the default one is what flags and variables say now.
pub(super) fn source(cx: &Context, store: &Store, name: &str) -> Result<(Document, Material), CommandError> {
    if name != DEFAULT {
        return Ok((store.get(name)?, store.tls(name)));
    }
    let tls = cx.tls.as_ref();
    let endpoint = Endpoint {
        host: cx.host()?.to_owned(),
        skip_tls_verify: tls.is_some_and(|tls| !tls.verify),
        ..Endpoint::default()
    };
    let material = match tls {
        Some(files) => material([&files.authority, &files.certificate, &files.key].map(|path| path.as_deref()))?,
        None => Material::new(),
    };
    Ok((Document::new(name, DEFAULT_DESCRIPTION, endpoint), material))
}

/// Puts what `--docker` says into the document; gives the certificates.
fn apply(cx: &Context, store: &Store, document: &mut Document, text: &str) -> Result<Material, CommandError> {
    let failed =
        |why: &dyn std::fmt::Display| CommandError::Said(format!("unable to create docker endpoint config: {why}"));
    let keys = pairs(text)?;
    if let Some(unknown) =
        keys.keys().find(|key| !["from", "host", "ca", "cert", "key", "skip-tls-verify"].contains(&key.as_str()))
    {
        return Err(failed(&format_args!("unrecognized config key: {unknown}")));
    }
    let value = |key: &str| keys.get(key).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(from) = value("from") {
        let (other, tls) = source(cx, store, from)?;
        document.endpoints.insert("docker".to_owned(), other.endpoint());
        return Ok(tls);
    }
    let skip = match value("skip-tls-verify") {
        None => false,
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => true,
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => false,
        Some(other) => {
            return Err(failed(&format_args!(
                "skip-tls-verify: strconv.ParseBool: parsing \"{other}\": invalid syntax"
            )));
        }
    };
    let paths = ["ca", "cert", "key"].map(|key| value(key).map(Path::new));
    let tls = material(paths).map_err(|error| failed(&error))?;
    let host = value("host").unwrap_or_default();
    if !host.is_empty() {
        Host::parse(host, !tls.is_empty())
            .map_err(|error| failed(&format_args!("unable to apply docker endpoint options: {error}")))?;
    }
    if !tls.is_empty() {
        let [authority, certificate, key] = paths.map(|path| path.map(Path::to_owned));
        Tls::new(&TlsFiles { authority, certificate, key, verify: !skip })
            .map_err(|error| failed(&format_args!("invalid docker endpoint options: {error}")))?;
    }
    let endpoint = Endpoint { host: host.to_owned(), skip_tls_verify: skip, ..Endpoint::default() };
    document.endpoints.insert("docker".to_owned(), endpoint);
    Ok(tls)
}

fn material(paths: [Option<&Path>; 3]) -> Result<Material, CommandError> {
    let mut files = BTreeMap::new();
    for (path, name) in paths.into_iter().zip(TLS_FILES) {
        if let Some(path) = path {
            let bytes = fs::read(path).map_err(|error| {
                let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
                CommandError::Said(format!("open {}: {why}", path.display()))
            })?;
            files.insert(name.to_owned(), bytes);
        }
    }
    Ok(if files.is_empty() { Material::new() } else { Material::from([("docker".to_owned(), files)]) })
}

fn pairs(text: &str) -> Result<BTreeMap<String, String>, CommandError> {
    let fields = csv::fields(text).map_err(|error| CommandError::Said(error.to_string()))?;
    fields
        .into_iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
            None => Err(CommandError::Said(format!("--docker: {field} must be formatted as key=value"))),
        })
        .collect()
}
