//! `manifest`: images of several platforms under one name, put together here and pushed by hand.
//!
//! docker's CLI does this by itself, without a daemon, and so do we: the registry is asked from here, and what is put
//! together waits in docker's own files.

pub(crate) mod change; // create, annotate, rm
pub(crate) mod inspect;
pub(crate) mod push;

mod store; // lists that are being put together
