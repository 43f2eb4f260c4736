//! A `.deb`: an `ar` archive of which the member `data.tar` holds the files. What the package wants to be told and done
//! when it is installed is `dpkg`'s business.

use std::io::{self, BufRead, Read};

use hako_archive::tar::Reader;

use crate::DebianError;

const MAGIC: &[u8] = b"!<arch>\n";

/// The files of a package, as a tar that is being unpacked.
pub struct Files<'r>(pub Reader<Box<dyn BufRead + 'r>>);

/// Finds the files in a package.
///
/// # Errors
/// When it is none, or is compressed in a way that hako does not know.
pub fn files<'r>(mut deb: impl BufRead + 'r, what: &str) -> Result<Files<'r>, DebianError> {
    let io = |source| DebianError::Io { what: format!("read {what}"), source };
    let mut magic = [0; MAGIC.len()];
    deb.read_exact(&mut magic).map_err(io)?;
    if magic != MAGIC {
        return Err(DebianError::malformed(what, "it is no ar archive"));
    }
    loop {
        let mut head = [0; 60];
        deb.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DebianError::malformed(what, "it has no member data.tar"),
            _ => io(error),
        })?;
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&head[range]).unwrap_or("").trim().to_owned();
        let (name, size) = (text(0..16), text(48..58).parse::<u64>());
        let (Ok(size), b"`\n") = (size, &head[58..]) else {
            return Err(DebianError::malformed(what, "a member's header is none"));
        };
        let name = name.trim_end_matches('/');
        if name == "data.tar" || name.starts_with("data.tar.") {
            return Ok(Files(Reader::new(Box::new(hako_archive::plain(deb.take(size)).map_err(io)?))));
        }
        // Members begin at even places.
        let skipped = io::copy(&mut deb.by_ref().take(size + size % 2), &mut io::sink()).map_err(io)?;
        if skipped != size + size % 2 {
            return Err(DebianError::malformed(what, format!("it ends in its member {name}")));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use hako_archive::tar::{Entry, Kind, Writer};

    use super::*;

    /// A package with these files, uncompressed.
    pub(crate) fn deb(files: &[(&str, Kind, &str)]) -> Vec<u8> {
        let mut tar = Writer::new(Vec::new());
        for (path, kind, content) in files {
            let mut entry = Entry::new(*path, *kind);
            entry.mode = 0o755;
            entry.modified.seconds = 5;
            if matches!(kind, Kind::Symlink | Kind::HardLink) {
                entry.link = content.as_bytes().to_vec();
                tar.whole(&entry, b"").expect("memory");
            } else {
                tar.whole(&entry, content.as_bytes()).expect("memory");
            }
        }
        let data = tar.finish().expect("memory");
        let mut bytes = MAGIC.to_vec();
        for (name, body) in [("debian-binary", b"2.0\n".as_slice()), ("control.tar", b"odd"), ("data.tar", &data)] {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, body.len()).bytes());
            bytes.extend(body);
            bytes.extend(&b"\n"[..body.len() % 2]);
        }
        bytes
    }

    #[test]
    fn a_package_has_files() {
        let bytes = deb(&[("./etc/x", Kind::File, "content")]);
        let mut reader = files(&bytes[..], "x").expect("it is a package").0;
        let entry = reader.next_entry().expect("a tar").expect("an entry");
        assert_eq!((entry.shown().as_str(), entry.size), ("./etc/x", 7));
    }

    #[test]
    fn what_is_no_package_is_said_to_be_none() {
        let say = |bytes: &[u8]| match files(bytes, "x.deb") {
            Ok(_) => "a package".to_owned(),
            Err(error) => error.to_string(),
        };
        let whole = deb(&[]);
        assert_eq!(say(b"!<arch>?and more"), "x.deb is malformed: it is no ar archive");
        assert_eq!(say(&whole[..90]), "x.deb is malformed: it has no member data.tar");
        assert_eq!(say(&whole[..134]), "x.deb is malformed: it ends in its member control.tar");
        let mut wrong = whole.clone();
        wrong[8 + 48] = b'x';
        assert_eq!(say(&wrong), "x.deb is malformed: a member's header is none");
    }
}
