//! One canonical tree laid over another: mappings by name, lists behind each other, commands replaced.

use super::{canonical, shape::Shape};
use crate::node::{Map, Node, Tag, Value};

/// Lays `over` upon `base`.
pub fn merge(base: Node, over: Node, shape: &Shape) -> Node {
    match over.tag {
        Tag::Reset => return Node { value: Value::Null, ..over },
        Tag::Override => return Node { tag: Tag::None, ..over },
        Tag::None => {}
    }
    match (base.value, over.value, shape) {
        (value, Value::Null, _) => Node { value, place: base.place, tag: base.tag },
        (_, value, Shape::Command | Shape::Test) => Node { value, place: over.place, tag: Tag::None },
        (Value::Map(below), Value::Map(above), shape) => {
            let map = maps(below, above, shape);
            Node { value: Value::Map(map), place: over.place, tag: Tag::None }
        }
        (Value::List(below), Value::List(above), shape) => {
            let list = lists(below, above, shape);
            Node { value: Value::List(list), place: over.place, tag: Tag::None }
        }
        (_, value, _) => Node { value, place: over.place, tag: Tag::None },
    }
}

fn maps(mut base: Map, over: Map, shape: &Shape) -> Map {
    // Options belong to their driver: with another driver they mean nothing.
    let driver = |map: &Map| map.get("driver").and_then(|node| node.as_str().map(str::to_owned));
    let options = ["options", "driver_opts"].into_iter().find(|key| over.contains(key));
    if let (Some(key), Some(above)) = (options, driver(&over))
        && driver(&base).is_some_and(|below| below != above)
    {
        base.remove(key);
    }
    for (name, node) in over.0 {
        if node.tag == Tag::Reset {
            base.remove(&name);
            continue;
        }
        // What nobody but a person understands is replaced as a whole.
        if name.starts_with("x-") {
            base.set(&name, reset(node));
            continue;
        }
        let inner = canonical::below(shape, &name).unwrap_or(&Shape::Any);
        match base.0.iter().position(|(known, _)| *known == name) {
            Some(at) => {
                let below = std::mem::replace(&mut base.0[at].1, Node::new(Value::Null, &node.place));
                base.0[at].1 = merge(below, node, inner);
            }
            None => base.0.push((name, reset(node))),
        }
    }
    base
}

fn lists(mut base: Vec<Node>, over: Vec<Node>, shape: &Shape) -> Vec<Node> {
    let unique: &[&str] = match shape {
        Shape::List(list) => list.unique,
        _ => &[],
    };
    for node in over {
        let same = |other: &Node| match unique {
            [] => false,
            keys => keys.iter().all(|key| target(other, key) == target(&node, key)),
        };
        let is_text = matches!(node.value, Value::Text(_));
        if is_text && base.contains(&node) {
            continue;
        }
        match base.iter().position(same) {
            Some(at) => {
                let below = base.remove(at);
                let item = match shape {
                    Shape::List(list) => &list.item,
                    _ => &Shape::Any,
                };
                // A mount of another kind has nothing in common with the one it replaces.
                let replaces = below.get("type") != node.get("type");
                base.insert(at, if replaces { node } else { merge(below, node, item) });
            }
            None => base.push(node),
        }
    }
    base
}

// A port without a protocol is one of TCP.
fn target(node: &Node, key: &str) -> Option<Value> {
    let told = node.get(key).map(|node| node.value.clone());
    if key == "protocol" { told.or_else(|| Some(Value::Text("tcp".to_owned()))) } else { told }
}

/// Entries of one list that agree in the keys that tell them apart are one: the last of them, in the place of the first.
pub fn once(items: Vec<Node>, unique: &[&str]) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(items.len());
    for node in items {
        let same = |other: &Node| unique.iter().all(|key| target(other, key) == target(&node, key));
        match out.iter().position(same).filter(|_| !unique.is_empty()) {
            Some(at) => out[at] = node,
            None => out.push(node),
        }
    }
    out
}

/// A tree in which tags have done what they could: with nothing below, `!reset` leaves nothing.
pub fn reset(node: Node) -> Node {
    match node.value {
        _ if node.tag == Tag::Reset => Node { value: Value::Null, place: node.place, tag: Tag::None },
        Value::Map(map) => {
            let kept = map.0.into_iter().filter(|(_, node)| node.tag != Tag::Reset);
            let map = Map(kept.map(|(key, node)| (key, reset(node))).collect());
            Node { value: Value::Map(map), place: node.place, tag: Tag::None }
        }
        value => Node { value, place: node.place, tag: Tag::None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{shape, yaml};

    fn check(base: &str, over: &str, expected: &str) {
        let read = |text: &str| {
            let node = yaml::parse(text, "f").unwrap().remove(0);
            canonical::tree(node, &shape::SERVICE, false).unwrap()
        };
        let merged = merge(reset(read(base)), read(over), &shape::SERVICE);
        assert_eq!(crate::print::compact(&merged), expected, "{base} + {over}");
    }

    #[test]
    fn mappings_merge_lists_append_commands_replace() {
        check("environment: {A: 1, B: 2}", "environment: [B=3, C=4]", r#"{"environment":{"A":"1","B":"3","C":"4"}}"#);
        check("command: a b", "command: c", r#"{"command":["c"]}"#);
        check("dns: 1.1.1.1", "dns: [8.8.8.8, 1.1.1.1]", r#"{"dns":["1.1.1.1","8.8.8.8"]}"#);
        check("image: a", "image:", r#"{"image":"a"}"#);
        check("tty: true", "tty: false", r#"{"tty":false}"#);
    }

    #[test]
    fn mounts_are_one_by_their_target_and_ports_by_everything() {
        check(
            "volumes: ['a:/x', 'b:/y']",
            "volumes: ['c:/x:ro']",
            r#"{"volumes":[{"type":"volume","source":"c","target":"/x","volume":{},"read_only":true},{"type":"volume","source":"b","target":"/y","volume":{}}]}"#,
        );
        check(
            "ports: ['80:80']",
            "ports: ['80:80', '81:80']",
            r#"{"ports":[{"mode":"ingress","target":80,"published":"80","protocol":"tcp"},{"mode":"ingress","target":80,"published":"81","protocol":"tcp"}]}"#,
        );
    }

    #[test]
    fn tags_reset_and_override() {
        check("ports: ['80:80']\nimage: a", "ports: !reset []", r#"{"image":"a"}"#);
        check("environment: {A: 1, B: 2}", "environment: {A: !reset null}", r#"{"environment":{"B":"2"}}"#);
        check("dns: [1.1.1.1]", "dns: !override [8.8.8.8]", r#"{"dns":["8.8.8.8"]}"#);
    }

    #[test]
    fn options_follow_their_driver() {
        check(
            "logging: {driver: a, options: {x: 1}}",
            "logging: {driver: b, options: {y: 2}}",
            r#"{"logging":{"driver":"b","options":{"y":"2"}}}"#,
        );
    }
}
