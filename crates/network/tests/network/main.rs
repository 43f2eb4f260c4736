//! The network mechanism on a real kernel: one host per test, in a network namespace of its own.
//!
//! Needs root; says so and passes where it has none.

mod bridge; // containers reach each other, the host and the outside
mod exposure; // the host's firewall and published ports
mod firewall; // what may pass, and that it stays so
mod lab;
mod names; // the name service // hosts, containers, neighbours
mod publish; // ports at the host
mod recover; // after the daemon was away
