//! Where `hako runtime` says what went wrong: standard error, and a file in the form that callers read.
//!
//! containerd takes the last line of the file whose level is `error`; Podman's monitor reads standard error.

use std::{fs::File, io::Write};

use serde_json::json;

use super::flags::Flags;

pub(super) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    pub(super) fn open(flags: &Flags) -> std::io::Result<Self> {
        let open = |path| File::options().append(true).create(true).open(path);
        Ok(Self {
            file: flags.log.as_ref().map(open).transpose()?,
            json: flags.log_format == "json",
            debug: flags.debug,
        })
    }

    /// The error that the command ends with.
    pub(super) fn fatal(&self, text: &str) {
        if self.file.is_some() {
            self.write("error", text);
            eprintln!("{text}");
        } else {
            eprint!("{}", self.line("error", text));
        }
    }

    /// Something worth a word that stops nothing.
    pub(super) fn warn(&self, text: &str) {
        match &self.file {
            Some(_) => self.write("warning", text),
            None => eprint!("{}", self.line("warning", text)),
        }
    }

    /// What only somebody who looks for a mistake wants to read (`--debug`).
    pub(super) fn debug(&self, text: &str) {
        match &self.file {
            _ if !self.debug => {}
            Some(_) => self.write("debug", text),
            None => eprint!("{}", self.line("debug", text)),
        }
    }

    fn write(&self, level: &str, text: &str) {
        if let Some(mut file) = self.file.as_ref() {
            // Without a place to say so there is nobody to tell that it cannot be said.
            let _ = file.write_all(self.line(level, text).as_bytes());
        }
    }

    fn line(&self, level: &str, text: &str) -> String {
        let time = hako_base::clock::rfc3339_nano(hako_base::clock::now());
        match self.json {
            true => format!("{}\n", json!({ "level": level, "msg": text, "time": time })),
            false => format!("time={time:?} level={level} msg={text:?}\n"),
        }
    }
}
