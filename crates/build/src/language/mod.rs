//! The Dockerfile as a language: text in, instructions out. Nothing here touches a file or a container.

mod error; // what is wrong, and where
mod flag; // flags of instructions, `RUN --mount`
mod instruction; // what the instructions say
mod lint; // what is legal and likely not meant
mod scan; // lines, comments, here-documents
mod word; // variables, quotes, escapes

#[cfg(test)]
mod fixtures;

pub use error::SyntaxError;
pub use flag::{CopyFlags, Device, Mount, MountKind, Network, RunFlags, Sharing};
pub use hako_archive::{Ignore, IgnoreError};
pub use instruction::{Command, Copy, Dockerfile, Instruction, Kind, parse_one};
pub use lint::{Around, CheckWish, Environments, Finding, lint};
pub use scan::{Directives, Heredoc};
pub use word::WordError;

pub(crate) use error::suggest;
pub(crate) use hako_archive::path_matches;
pub(crate) use instruction::with_documents;
pub(crate) use scan::announced;
pub(crate) use word::{expand, expand_text, expand_words};
