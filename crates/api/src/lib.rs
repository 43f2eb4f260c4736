//! Docker's Engine API as it looks on the wire: JSON types, query strings, frames and **one route
//! table**. No behaviour.
//!
//! Types take whatever Docker takes (unknown fields, `null` for any field, a string where a list
//! may stand) and print what Docker 28 prints (`null`, `[]` and `{}` where Go has them, fields that
//! come and go with the version). The engine's own words are `model`'s; `server` converts.
//!
//! Start reading at [`route`]: every endpoint is one line there.
#![forbid(unsafe_code)]

pub mod route; // every endpoint: method, path, operation, state
pub mod version; // API versions, what is supported, how they compare
#[macro_use]
mod wire; // how every type below reads and prints JSON
pub mod build; // `/build`
pub mod container; // create, inspect, list, wait, exec and the rest of `/containers`
mod fold; // field names in whatever case
pub mod image; // `/images`, `/commit`
pub mod network;
pub mod stats; // what a container uses
pub mod system; // info, version, disk usage, events
pub mod volume;

pub mod archive; // what a path of a container is, as a header
pub mod auth; // credentials, as a header
pub mod error; // `{"message": …}`
pub mod filter; // the JSON inside `filters=`
pub mod multiplex; // stdout and stderr on one connection
pub mod progress; // what pull, load and build report line by line
pub mod query; // query strings, one type for each endpoint that has one
pub mod text; // times, durations and base64 as the wire spells them

pub use filter::Filters;
pub use fold::Folded;
pub use route::{Operation, Route};
pub use version::ApiVersion;
pub use wire::{Empty, Map, StringList};
