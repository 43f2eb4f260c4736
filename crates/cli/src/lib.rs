//! The docker-compatible command line: one file per command, one table that lists them.
//!
//! [`main`] reads the words, finds the command and runs it on a single-threaded runtime. Commands
//! talk to the daemon through `client` alone and never look at its data; flags, help, tables and
//! templates are made here so that what scripts match stays as Docker prints it.
//!
//! Start reading at `container/stop.rs`: it shows the shape of every command.
#![forbid(unsafe_code)]

mod command; // what a command is
mod commands; // the table of all commands
mod context; // what every command gets
mod error; // messages, hints, exit codes
mod program; // from words to a command that runs

mod build; // images from Dockerfiles
mod builder; // the build cache, the builder
mod compose; // Compose files: up, down and the rest
mod container; // one file per command, by subject
mod contexts; // named daemons
mod image;
mod imagetools; // images in registries, without a daemon
mod inspect; // what `inspect` does for every kind of object
mod login; // login and logout
mod manifest; // images of several platforms, put together by hand
mod network;
mod system;
mod volume;
mod volume_copy;

mod completion; // scripts for shells
mod config; // config.json
mod credentials; // what is known of us at registries
mod detach; // the keys that leave a container
mod filter; // --filter
mod flag; // reading flags
mod follow; // a log through the death of its daemon
mod format; // tables, templates, JSON, sizes, durations
mod help; // --help
mod manual; // pages for man(1)
mod parse; // the small languages within flags
mod plugin; // commands that other programs add
mod progress; // bars for what takes long
mod registry; // registries, asked from here
mod signals; // signals passed on to a container
mod stream; // a container's input and output
mod suggest; // "did you mean"
mod terminal; // raw mode and its undoing

pub use program::main;
