//! Commands about the daemon itself, and what commands of several subjects share when they talk to
//! it: questions before something is removed, requests that the client has no method for.

pub(crate) mod confirm; // "are you sure"
pub(crate) mod dial; // dial-stdio
pub(crate) mod disk; // df
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod request; // requests that the client has no method for
pub(crate) mod version;
