//! BuildKit's configuration for a builder in a container: the files of registries that it names go along, and are named
//! where they will be there.
//!
//! ```text
//! [registry."host:5000"]              ca = ["/etc/buildkit/certs/host_5000/ca.pem"]
//! ca = ["ca.pem"]             ──►     and the file certs/host_5000/ca.pem
//! ```

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use toml::{Table, Value};

/// The configuration among the files.
pub(super) const CONFIGURATION: &str = "buildkitd.toml";
/// Where the files are in the container.
pub(super) const ROOT: &str = "/etc/buildkit";
/// A certificate or a key; Buildx reads no more either.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files by their names below [`ROOT`].
type Files = BTreeMap<String, Vec<u8>>;

/// The files for a builder, from the text of a configuration.
///
/// # Errors
/// What makes no sense, or cannot be read.
pub(super) fn files(text: &str) -> Result<Files, String> {
    let mut all: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut files = Files::new();
    for (registry, said) in all.get_mut("registry").and_then(Value::as_table_mut).into_iter().flatten() {
        let Some(said) = said.as_table_mut() else { continue };
        let mut moved = |value: &mut Value, what: &str| move_file(&mut files, registry, value, what);
        for authority in said.get_mut("ca").and_then(Value::as_array_mut).into_iter().flatten() {
            moved(authority, "CA file")?;
        }
        for pair in said.get_mut("keypair").and_then(Value::as_array_mut).into_iter().flatten() {
            for (key, what) in [("key", "key file"), ("cert", "cert file")] {
                pair.get_mut(key).map(|value| moved(value, what)).transpose()?;
            }
        }
    }
    // Who names no files has a text that stays as it was written.
    let text =
        if files.is_empty() { text.to_owned() } else { toml::to_string(&all).map_err(|error| error.to_string())? };
    files.insert(CONFIGURATION.to_owned(), text.into_bytes());
    Ok(files)
}

fn move_file(files: &mut Files, registry: &str, value: &mut Value, what: &str) -> Result<(), String> {
    let path = value.as_str().ok_or_else(|| format!("registry {registry}: a {what} is named by text"))?;
    if path.is_empty() {
        return Ok(());
    }
    let failed = |why: &dyn std::fmt::Display| format!("failed to read {what}: {path}: {why}");
    let bytes = read(Path::new(path)).map_err(|error| failed(&error))?;
    let base = Path::new(path).file_name().and_then(|name| name.to_str()).ok_or_else(|| failed(&"it has no name"))?;
    let name = format!("certs/{}/{base}", folder(registry));
    if files.insert(name.clone(), bytes.clone()).is_some_and(|other| other != bytes) {
        return Err(format!("registry {registry}: several files are called {base}: give them different names"));
    }
    *value = Value::String(format!("{ROOT}/{name}"));
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than a certificate can be"));
    }
    Ok(bytes)
}

// Whatever is no part of a host's name becomes one `_`.
fn folder(registry: &str) -> String {
    let mut name = String::new();
    for char in registry.chars() {
        match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => name.push(char),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    // The name of a folder of its own, whatever the registry is called.
    if name.chars().all(|char| char == '.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_registries_go_along() {
        let folder = std::env::temp_dir().join(format!("hako-configuration-{}", hako_base::random::hex(8)));
        std::fs::create_dir_all(folder.join("other")).unwrap();
        for (name, text) in [("ca.pem", "a"), ("key.pem", "k"), ("other/ca.pem", "b")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let at = folder.display();
        let text = |more: &str| {
            format!(
                "debug = true\n[registry.\"h:5000\"]\nhttp = false\nca = [\"{at}/ca.pem\"{more}]\n\
             [[registry.\"h:5000\".keypair]]\nkey = \"{at}/key.pem\"\ncert = \"{at}/ca.pem\"\n"
            )
        };
        let made = files(&text("")).unwrap();
        let names: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(names, ["buildkitd.toml", "certs/h_5000/ca.pem", "certs/h_5000/key.pem"]);
        let written: Table = toml::from_str(std::str::from_utf8(&made[CONFIGURATION]).unwrap()).unwrap();
        let said = written["registry"]["h:5000"].to_string().replace(' ', "");
        assert!(said.contains("ca=[\"/etc/buildkit/certs/h_5000/ca.pem\"]"), "{said}");
        assert!(said.contains("key=\"/etc/buildkit/certs/h_5000/key.pem\""), "{said}");
        assert_eq!(written["debug"], Value::Boolean(true));
        let why = files(&text(&format!(",\"{at}/other/ca.pem\""))).unwrap_err();
        assert_eq!(why, "registry h:5000: several files are called ca.pem: give them different names");
        let why = files("[registry.h]\nca = [\"nosuch.pem\"]\n").unwrap_err();
        assert!(why.starts_with("failed to read CA file: nosuch.pem: "), "{why}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_configuration_without_files_stays_as_it_is_written() {
        let text = "# mine\n[registry.\"h\"]\nhttp = true\n";
        assert_eq!(files(text).unwrap(), Files::from([(CONFIGURATION.to_owned(), text.as_bytes().to_vec())]));
        assert!(files("registry = [").is_err());
    }
}
