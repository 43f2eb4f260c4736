//! `context export` and `context import`: one context as a tar archive, certificates included.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::store::{self, DEFAULT, Document, Material, Store};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
};

/// Docker's limit for an archive that is imported.
const ARCHIVE_BYTES_MAX: u64 = 10 << 20;

#[derive(Default)]
pub(crate) struct Export;

impl Command for Export {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context export"],
        usage: "CONTEXT [FILE|-]",
        about: "Write a context to a tar archive",
        arguments: Arguments::Between(1, 2),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let name = &words[0];
        if name != DEFAULT {
            store::check_name(name)?;
        }
        let store = Store::new(&cx.directory);
        let (document, tls) = super::create::source(cx, &store, name)?;
        let archive = pack(&document, &tls).map_err(CommandError::local("make the archive"))?;
        let target = words.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
        if target == "-" {
            if crate::terminal::stdout_is_terminal() {
                return Err(CommandError::Said(
                    "cowardly refusing to export to a terminal, specify a file path".to_owned(),
                ));
            }
            return io::stdout().write_all(&archive).map_err(CommandError::Output);
        }
        // There are keys in it, and what is there already is somebody's.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
        file.and_then(|mut file| file.write_all(&archive)).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
            CommandError::Said(format!("open {target}: {why}"))
        })?;
        cx.remark(&format!("Written file \"{target}\""));
        Ok(())
    }
}

fn pack(document: &Document, tls: &Material) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8], mode: u32, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes)
    };
    add("meta.json", &serde_json::to_vec(document)?, 0o644, tar::EntryType::Regular)?;
    add("tls", &[], 0o700, tar::EntryType::Directory)?;
    for (endpoint, files) in tls {
        add(&format!("tls/{endpoint}"), &[], 0o700, tar::EntryType::Directory)?;
        for (name, bytes) in files {
            add(&format!("tls/{endpoint}/{name}"), bytes, 0o600, tar::EntryType::Regular)?;
        }
    }
    archive.into_inner()
}

#[derive(Default)]
pub(crate) struct Import;

impl Command for Import {
    const SHAPE: &'static Shape = &Shape {
        paths: &["context import"],
        usage: "CONTEXT FILE|-",
        about: "Read a context from a tar archive",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let (name, from) = (&words[0], &words[1]);
        store::check_name(name)?;
        let store = Store::new(&cx.directory);
        if store.exists(name) {
            return Err(CommandError::Said(format!("context \"{name}\" already exists")));
        }
        let bytes = read(from).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
            CommandError::Said(format!("open {from}: {why}"))
        })?;
        let (mut document, tls) = unpack(&bytes)
            .map_err(|error| CommandError::Said(format!("{from} is not an exported context: {error}")))?;
        name.clone_into(&mut document.name);
        store.put(&document, Some(&tls))?;
        cx.print_line(name)?;
        cx.remark(&format!("Successfully imported context \"{name}\""));
        Ok(())
    }
}

fn read(from: &str) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> = if from == "-" { Box::new(io::stdin()) } else { Box::new(File::open(from)?) };
    let mut bytes = Vec::new();
    source.take(ARCHIVE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ARCHIVE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {ARCHIVE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn unpack(bytes: &[u8]) -> io::Result<(Document, Material)> {
    let (mut document, mut tls) = (None, Material::new());
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = entry.path()?.into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if path == Path::new("meta.json") {
            document = Some(serde_json::from_slice(&content)?);
            continue;
        }
        let (endpoint, file) =
            tls_path(&path).ok_or_else(|| io::Error::other(format!("unexpected context file: {}", path.display())))?;
        let files: &mut BTreeMap<_, _> = tls.entry(endpoint).or_default();
        files.insert(file, content);
    }
    Ok((document.ok_or_else(|| io::Error::other("there is no meta.json in it"))?, tls))
}

/// `tls/ENDPOINT/FILE`, and nothing that leads elsewhere.
fn tls_path(path: &Path) -> Option<(String, String)> {
    let words: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            std::path::Component::Normal(word) => word.to_str(),
            _ => None,
        })
        .collect();
    match words?.as_slice() {
        ["tls", endpoint, file] => Some(((*endpoint).to_owned(), (*file).to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_can_be_imported_and_nothing_climbs_out() {
        let tls = Material::from([("docker".to_owned(), BTreeMap::from([("key.pem".to_owned(), b"k".to_vec())]))]);
        let document =
            Document::new("aa", "words", store::Endpoint { host: "tcp://h:1".to_owned(), ..Default::default() });
        let (read, certificates) = unpack(&pack(&document, &tls).unwrap()).unwrap();
        assert_eq!((read.description(), certificates), ("words", tls));
        for path in ["tls/../x", "/tls/a/b", "tls/a", "tls/a/b/c", "x/a/b"] {
            assert_eq!(tls_path(Path::new(path)), None, "{path}");
        }
    }
}
