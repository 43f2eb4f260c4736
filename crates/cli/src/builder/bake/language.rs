//! The language of bake files: HCL and its JSON form, read into one tree and evaluated by one evaluator.
//!
//! It knows expressions, variables, functions and blocks; what a target is, `definition.rs` says. A file may come from a
//! stranger's repository: its size, its depth, the steps of its evaluation and what it makes are bounded. Pure, but for
//! the clock and the environment that it is given.

mod evaluate; // expressions to values
mod function; // the standard library
mod hcl; // HCL to the tree
mod json; // JSON to the tree
mod kind; // types, and values made to be of them
mod mistake; // what is wrong, and where it is written
mod module; // variables, functions and blocks of all files
mod number; // whole numbers are exact
#[cfg(test)]
mod tests;
mod tree; // what both are read into
mod value; // what expressions come to

pub(super) use evaluate::Evaluator;
pub(super) use kind::Kind;
pub(super) use mistake::{Mistake, Source};
pub(super) use module::{Instance, Module, Shown, unsupported};

pub(super) use value::{Value, escaped};

use tree::Body;

/// One bake file. Buildx takes 2 MiB of what comes from elsewhere; the largest honest ones have some 100 KiB.
pub(super) const FILE_BYTES_MAX: usize = 2 << 20;
/// Names that may be given values in one file: the parser looks at each before it adds another.
const PAIRS_MAX: usize = 20_000;
/// Elements and bytes (by eights) that are made while a file is evaluated: some seconds of work.
const STEPS_MAX: u64 = 8_000_000;
/// One text that an expression makes.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// Expressions within each other, through variables and functions as well. The parser allows 64 in one expression and
/// chains of 128 operators.
const DEPTH_MAX: usize = 1000;
/// The stack on which `DEPTH_MAX` fits, also without optimisation.
pub(super) const STACK_BYTES: usize = 64 << 20;
/// Targets that one matrix makes.
const MATRIX_MAX: usize = 4096;

/// Whether a file is in this language.
pub(super) fn is_read(name: &str, text: &str) -> bool {
    read(&Source { name: name.to_owned(), text: text.to_owned() }, 0).is_ok()
}

/// Reads one file. Files that are called neither `.json` nor `.hcl` may be either.
///
/// # Errors
/// With the place.
fn read(source: &Source, file: usize) -> Result<Body, Mistake> {
    if source.text.len() > FILE_BYTES_MAX {
        let detail = format!("{} is larger than {} MiB", source.name, FILE_BYTES_MAX >> 20);
        return Err(Mistake::new("Large file", detail));
    }
    if source.name.ends_with(".json") {
        return json::body(&source.text, file);
    }
    if source.text.bytes().filter(|byte| matches!(byte, b'=' | b':')).count() > PAIRS_MAX {
        let detail = format!("{} has more than {PAIRS_MAX} signs = and :, write it as JSON", source.name);
        return Err(Mistake::new("Large file", detail));
    }
    match hcl::body(&source.text, file) {
        Err(_) if !source.name.ends_with(".hcl") && source.text.trim_start().starts_with('{') => {
            json::body(&source.text, file)
        }
        read => read,
    }
}
