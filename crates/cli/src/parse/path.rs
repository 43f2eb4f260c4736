//! Paths as text: made absolute and tidied, without looking at the disk.

use std::path::{Component, Path, PathBuf};

/// Whether a source like `./data` or `..` is meant relative to the working directory.
pub(crate) fn is_relative_source(text: &str) -> bool {
    matches!(text, "." | "..") || text.starts_with("./") || text.starts_with("../")
}

/// `text` below the working directory if it is relative, tidied.
pub(crate) fn absolute(text: &str) -> String {
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    clean(&base.join(text).to_string_lossy())
}

/// A path as it is called from `base`, if it is there or below; else as it is.
pub(crate) fn relative(text: &str, base: &Path) -> String {
    let below = Path::new(text).strip_prefix(base);
    below.map_or_else(|_| text.to_owned(), |below| clean(&below.to_string_lossy()))
}

/// Resolves `.`, `..` and doubled slashes by text alone.
pub(crate) fn clean(text: &str) -> String {
    let mut tidy = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if tidy.file_name().is_some_and(|name| name != "..") => {
                tidy.pop();
            }
            Component::ParentDir if tidy.has_root() => {}
            other => tidy.push(other),
        }
    }
    match tidy.to_string_lossy() {
        text if text.is_empty() => ".".to_owned(),
        text => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_doubled_slashes_go_away() {
        for (text, expected) in
            [("/a/../b//c/.", "/b/c"), ("/..", "/"), ("a/..", "."), ("../a", "../a"), ("/dev/x/../y", "/dev/y")]
        {
            assert_eq!(clean(text), expected, "{text}");
        }
    }
}
