//! Relative paths of a file become absolute ones; `~` is the person's home.

use std::path::{Component, Path, PathBuf};

use crate::node::{Node, Value};

/// `path` as seen from `directory`, without `.` and `..`.
pub fn join(directory: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut out = PathBuf::new();
    for part in directory.join(path).components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// A path in a container without `.`, `..` and doubled slashes.
pub fn cleaned(path: &str) -> String {
    match path {
        "" => String::new(),
        path if path.starts_with('/') => join(Path::new("/"), path).to_string_lossy().into_owned(),
        path => match join(Path::new(""), path).to_string_lossy().into_owned() {
            nothing if nothing.is_empty() => ".".to_owned(),
            path => path,
        },
    }
}

/// `C:\dir`: an absolute path of a machine that is not this one.
pub fn is_windows(path: &str) -> bool {
    matches!(path.as_bytes(), [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic())
}

/// Makes all paths of a canonical file absolute.
pub fn resolve(tree: &mut Node, directory: &Path, home: Option<&Path>) {
    let at = Base { directory, home };
    each(tree, "services", |service| at.service(service));
    for section in ["secrets", "configs"] {
        each(tree, section, |node| at.file(node.get_mut("file")));
    }
    each(tree, "volumes", |volume| {
        let is_bind =
            volume.at(&["driver_opts", "o"]).and_then(Node::as_str).is_some_and(|o| o.split(',').any(|o| o == "bind"));
        if is_bind {
            at.file(volume.get_mut("driver_opts").and_then(|options| options.get_mut("device")));
        }
    });
}

/// Makes the paths of one service absolute.
pub fn resolve_service(service: &mut Node, directory: &Path, home: Option<&Path>) {
    Base { directory, home }.service(service);
}

fn each(tree: &mut Node, section: &str, mut change: impl FnMut(&mut Node)) {
    if let Some(map) = tree.get_mut(section).and_then(Node::as_map_mut) {
        map.0.iter_mut().for_each(|(_, node)| change(node));
    }
}

struct Base<'b> {
    directory: &'b Path,
    home: Option<&'b Path>,
}

impl Base<'_> {
    fn absolute(&self, text: &str) -> String {
        // What is absolute is left as it is written, as Compose leaves it: the hash is made of it.
        if text.starts_with('/') || is_windows(text) {
            return text.to_owned();
        }
        let path = match (text.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                join(home, rest.trim_start_matches('/'))
            }
            _ => join(self.directory, text),
        };
        path.to_string_lossy().into_owned()
    }

    fn file(&self, node: Option<&mut Node>) {
        if let Some(Node { value: Value::Text(text), .. }) = node
            && !text.is_empty()
        {
            *text = self.absolute(text);
        }
    }

    fn context(&self, node: Option<&mut Node>) {
        if let Some(node) = node
            && node.as_str().is_some_and(|text| !is_elsewhere(text))
        {
            let text = node.as_str().filter(|text| !text.is_empty()).unwrap_or(".").to_owned();
            node.value = Value::Text(self.absolute(&text));
        }
    }

    fn service(&self, service: &mut Node) {
        if let Some(build) = service.get_mut("build") {
            self.context(build.get_mut("context"));
            if let Some(keys) = build.get_mut("ssh").and_then(Node::as_map_mut) {
                keys.0.iter_mut().for_each(|(_, node)| self.file(Some(node)));
            }
            if let Some(contexts) = build.get_mut("additional_contexts").and_then(Node::as_map_mut) {
                contexts.0.iter_mut().for_each(|(_, node)| self.context(Some(node)));
            }
        }
        for (section, key) in [("env_file", "path"), ("volumes", "source")] {
            let Some(Value::List(items)) = service.get_mut(section).map(|node| &mut node.value) else { continue };
            for item in items {
                if section == "env_file" || item.str_at("type") == Some("bind") {
                    self.file(item.get_mut(key));
                }
            }
        }
        if let Some(Value::List(items)) = service.get_mut("label_file").map(|node| &mut node.value) {
            items.iter_mut().for_each(|item| self.file(Some(item)));
        }
        let watch = service.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
        if let Some(Value::List(items)) = watch.map(|node| &mut node.value) {
            items.iter_mut().for_each(|item| self.file(item.get_mut("path")));
        }
    }
}

// A context that is no directory of this machine.
fn is_elsewhere(text: &str) -> bool {
    text.contains("://")
        || ["git@", "github.com/", "service:", "docker-image:", "oci-layout:", "target:"]
            .iter()
            .any(|it| text.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_walked() {
        assert_eq!(join(Path::new("/a/b"), "../c/./d"), Path::new("/a/c/d"));
        assert_eq!(join(Path::new("/a"), "/x"), Path::new("/x"));
        assert_eq!(join(Path::new("/a"), "."), Path::new("/a"));
        assert_eq!(["/a//b/", "a/../b", "./", "/"].map(cleaned), ["/a/b", "b", ".", "/"]);
        assert_eq!([r"C:\x", "c:/x", "cc:x"].map(is_windows), [true, false, false]);
    }
}
