//! Compose: files become a project, a project and what is there become a plan, a plan becomes calls of the API.
//!
//! Start reading at [`project::read`]: it is the way from options to a project; then [`plan::plan`].
#![forbid(unsafe_code)]

pub mod project; // which services take part
pub mod service; // a service with types

pub mod apply; // plans carried out
pub mod labels; // by which things are found again
pub mod observe; // what is there
pub mod plan; // what has to be done
pub mod request; // a service as the body of a request
pub mod watch; // changes of sources, and what follows from them

mod check; // whether the parts fit together
pub mod file; // text → tree
pub mod hash; // by which containers are recognised
pub mod node; // a tree that knows where its values stand
pub mod print; // YAML and JSON
mod remark; // what has no effect

pub mod error; // everything that can go wrong
pub mod suggest; // "did you mean"
