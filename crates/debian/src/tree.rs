//! The tree in which a system installs itself: the files of what it cannot do without, and all its packages as they are.
//!
//! No script of a package runs here. `/bin`, `/sbin` and `/lib*` are links into `/usr` from the start, as Debian has it
//! since bookworm and allows it before.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read, Write},
};

use hako_archive::tar::{Entry, Kind, Time, Writer};

use crate::{DebianError, package};

/// The folder of the packages in the tree; it is not part of the finished system.
pub const FOLDER: &str = ".bootstrap";

/// What moved below `/usr`.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// A tree that is being written as a tar.
pub struct Tree<W> {
    output: Writer<W>,
    time: Time,
    linked: BTreeSet<&'static str>,
    made: BTreeSet<Vec<u8>>,
}

impl<W: Write> Tree<W> {
    /// Begins a tree whose own parts are of this time, in seconds since 1970.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(output: W, seconds: i64) -> Result<Self, DebianError> {
        let mut tree = Self::bare(output, seconds);
        for place in &MERGED[..3] {
            tree.link_merged(place)?;
        }
        for (path, mode) in [("etc", 0o755), ("etc/apt", 0o755), ("var", 0o755), ("var/lib", 0o755), (FOLDER, 0o700)] {
            tree.directory(path, mode)?;
        }
        for path in ["var/lib/dpkg", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
            tree.directory(path, 0o755)?;
        }
        tree.file("var/lib/dpkg/status", 0o644, b"")?;
        Ok(tree)
    }

    /// Begins an archive that has nothing of a system in it.
    pub fn bare(output: W, seconds: i64) -> Self {
        let time = Time { seconds, nanoseconds: 0 };
        Self { output: Writer::new(output), time, linked: BTreeSet::new(), made: BTreeSet::new() }
    }

    /// A folder.
    ///
    /// # Errors
    /// Those of the output.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), DebianError> {
        if !self.made.insert(path.as_bytes().to_vec()) {
            return Ok(());
        }
        let entry = Entry { mode, modified: self.time, ..Entry::new(path, Kind::Directory) };
        self.output.entry(&entry).map_err(written)
    }

    /// A file.
    ///
    /// # Errors
    /// Those of the output.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), DebianError> {
        self.stream(path, mode, content.len() as u64, content)
    }

    /// A file of so many bytes.
    ///
    /// # Errors
    /// Those of the input and the output, and when the input ends too early.
    pub fn stream(&mut self, path: &str, mode: u32, size: u64, content: impl Read) -> Result<(), DebianError> {
        let entry = Entry { mode, size, modified: self.time, ..Entry::new(path, Kind::File) };
        self.output.entry(&entry).map_err(written)?;
        let mut content = content.take(size);
        let mut buffer = vec![0; 64 << 10];
        while self.output.missing() > 0 {
            let count = content.read(&mut buffer).map_err(written)?;
            if count == 0 {
                return Err(written(io::ErrorKind::UnexpectedEof.into()));
            }
            self.output.payload(&buffer[..count]).map_err(written)?;
        }
        Ok(())
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// Those of the output.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), DebianError> {
        let link = target.as_bytes().to_vec();
        let entry = Entry { mode: 0o777, link, modified: self.time, ..Entry::new(path, Kind::Symlink) };
        self.output.entry(&entry).map_err(written)
    }

    /// The files of a package, without installing it.
    ///
    /// # Errors
    /// When it is none, and those of the output.
    pub fn package(&mut self, deb: impl BufRead, name: &str) -> Result<(), DebianError> {
        let mut files = package::files(deb, name)?.0;
        let tar = |source| DebianError::Tar { what: name.to_owned(), source };
        while let Some(mut entry) = files.next_entry().map_err(tar)? {
            let Some(path) = self.place(&entry.path, name)? else { continue };
            entry.path = path;
            match entry.kind {
                Kind::HardLink => match self.place(&entry.link, name)? {
                    Some(link) => entry.link = link,
                    None => continue,
                },
                Kind::Directory if !self.made.insert(entry.path.clone()) => continue,
                _ => {}
            }
            if entry.sparse.is_some() {
                return Err(DebianError::malformed(name, format!("{} is a sparse file", entry.shown())));
            }
            self.output.entry(&entry).map_err(written)?;
            files.copy_payload(|bytes| self.output.payload(bytes).map_err(written))?;
        }
        Ok(())
    }

    /// Ends the tree.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> Result<W, DebianError> {
        self.output.finish().map_err(written)
    }

    /// Where a file of a package goes; nowhere, if it is the root or a link that is here already.
    fn place(&mut self, path: &[u8], name: &str) -> Result<Option<Vec<u8>>, DebianError> {
        let text = String::from_utf8_lossy(path);
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(DebianError::malformed(name, format!("it has a file {text:?}")));
        }
        let Some(merged) = parts.first().and_then(|first| MERGED.iter().find(|merged| *merged == first)) else {
            return Ok((!parts.is_empty()).then(|| parts.join("/").into_bytes()));
        };
        self.link_merged(merged)?;
        Ok((parts.len() > 1).then(|| format!("usr/{}", parts.join("/")).into_bytes()))
    }

    fn link_merged(&mut self, place: &'static str) -> Result<(), DebianError> {
        if !self.linked.insert(place) {
            return Ok(());
        }
        let target = format!("usr/{place}");
        self.directory("usr", 0o755)?;
        self.directory(&target, 0o755)?;
        self.link(place, &target)
    }
}

fn written(source: io::Error) -> DebianError {
    DebianError::Io { what: "write the tree".to_owned(), source }
}

impl From<hako_archive::tar::TarError> for DebianError {
    fn from(source: hako_archive::tar::TarError) -> Self {
        Self::Tar { what: "a package".to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hako_archive::tar::Reader;

    use super::*;
    use crate::package::tests::deb;

    pub(crate) fn shown(tar: &[u8]) -> String {
        let mut reader = Reader::new(tar);
        let mut text = String::new();
        while let Some(entry) = reader.next_entry().expect("a tar") {
            let link = String::from_utf8_lossy(&entry.link).into_owned();
            let mark = match entry.kind {
                Kind::Directory => "/".to_owned(),
                Kind::Symlink => format!(" -> {link}"),
                Kind::HardLink => format!(" = {link}"),
                _ => format!(" {}", entry.size),
            };
            text.push_str(&format!("{}{mark} {}\n", entry.shown(), entry.modified.seconds));
        }
        text
    }

    #[test]
    fn packages_meet_in_a_merged_tree() {
        let mut tree = Tree::new(Vec::new(), 9).expect("memory");
        let one = deb(&[
            ("./", Kind::Directory, ""),
            ("./bin/", Kind::Directory, ""),
            ("./bin/sh", Kind::File, "#!"),
            ("./bin/dash", Kind::HardLink, "./bin/sh"),
            ("./lib64/", Kind::Directory, ""),
            ("./lib64/ld.so", Kind::Symlink, "/lib/ld.so"),
        ]);
        let two = deb(&[("./bin", Kind::Symlink, "usr/bin"), ("./usr/bin/awk", Kind::File, "x")]);
        tree.package(&one[..], "one").expect("a package");
        tree.package(&two[..], "two").expect("a package");
        expect![[r#"
            usr/ 9
            usr/bin/ 9
            bin -> usr/bin 9
            usr/sbin/ 9
            sbin -> usr/sbin 9
            usr/lib/ 9
            lib -> usr/lib 9
            etc/ 9
            etc/apt/ 9
            var/ 9
            var/lib/ 9
            .bootstrap/ 9
            var/lib/dpkg/ 9
            var/lib/dpkg/info/ 9
            var/lib/dpkg/updates/ 9
            var/lib/dpkg/status 0 9
            usr/bin/sh 2 5
            usr/bin/dash = usr/bin/sh 5
            usr/lib64/ 9
            lib64 -> usr/lib64 9
            usr/lib64/ld.so -> /lib/ld.so 5
            usr/bin/awk 1 5
        "#]]
        .assert_eq(&shown(&tree.finish().expect("memory")));
    }

    #[test]
    fn a_package_does_not_climb_out() {
        let mut tree = Tree::new(Vec::new(), 9).expect("memory");
        let error = tree.package(&deb(&[("./x/../../y", Kind::File, "")])[..], "bad").expect_err("it climbs");
        assert_eq!(error.to_string(), "bad is malformed: it has a file \"./x/../../y\"");
    }
}
