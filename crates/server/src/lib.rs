//! The Engine API over HTTP/1.1: parse, call the engine, render.
//!
//! Nothing is decided here: the route table is `api`'s, the truth is `engine`'s. What lives here
//! is what clients of Docker rely on around it: versions, error shapes, content types, hijacked
//! connections, headers that go out before there is an answer.
//!
//! Start reading at [`serve`], then `dispatch`, then any file of `route`.
#![forbid(unsafe_code)]

mod call; // a request as handlers see it
mod convert; // Docker's words to the engine's and back
mod detach; // the keys that leave a terminal
mod dispatch; // from a request to its row's handler
mod error; // an error becomes a status and a sentence
mod first_line; // what people type into curl
mod hijack; // connections that become streams in both directions
mod limits; // every limit, with its reason
mod listen; // sockets that main hands in
mod metrics; // figures for Prometheus
mod reply; // answers: whole, streamed or upgraded
mod route; // one handler for each built row, by family
mod serve; // connections: accepted, served, ended
mod tls; // which certificate is shown, which clients are let in
mod websocket; // attach, for browsers

pub use listen::Listener;
pub use serve::{Listeners, Settings, serve};
pub use tls::Tls;
