//! The hash by which a container is recognised as made from this very configuration.
//!
//! It is docker compose's: SHA-256 of the service as JSON without what concerns images and numbers of containers.

use crate::{
    file::shape,
    node::{Node, Value},
    print::{self, Notation},
};

/// The hash of a service's canonical tree.
pub fn service(node: &Node) -> String {
    let mut node = print::arranged(node, &shape::SERVICE, Notation::Json);
    if let Some(map) = node.as_map_mut() {
        for key in ["build", "pull_policy", "scale"] {
            map.remove(key);
        }
        if let Some(Value::Map(deploy)) = map.get_mut("deploy").map(|node| &mut node.value) {
            deploy.remove("replicas");
        }
    }
    text(&print::compact(&node))
}

/// The SHA-256 of a text, in hexadecimal.
pub fn text(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
