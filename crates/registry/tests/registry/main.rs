//! Both ends of the protocol against each other, and against peers that do not keep to it.

mod client; // the client, with honest and other servers
mod hosts; // what a hosts.toml says of a registry
mod keeping; // caches and garbage
mod large; // large blobs
mod place; // a server in a folder of its own, and a client that sends anything
mod server; // the server as its clients see it
mod specification; // the server, sentence by sentence of the distribution specification
mod token; // whose tokens are believed
