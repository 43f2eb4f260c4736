//! Commands for contexts: named daemons, kept beside `config.json` in docker's layout, so that both command lines
//! share them. What a command is told about its surroundings is in `context`; this folder changes what is stored.

pub(crate) mod create; // create, update
pub(crate) mod list; // ls, show, inspect
pub(crate) mod select; // use, rm
pub(crate) mod store; // the files
pub(crate) mod transfer; // export, import
