//! Short forms: a text that stands for a structure, spelled out.

use super::{canonical::Key, paths, shape::Short};
use crate::{
    error::Mistake,
    node::{Map, Node, Place, Value},
};

type Result<T> = std::result::Result<T, Box<Mistake>>;

/// Ranges longer than this are slips of the pen.
const RANGE_MAX: u16 = 10_000;

/// Spells a short form out; what is long already comes back as it is.
///
/// # Errors
/// When the text is no such short form.
pub(super) fn expand(node: Node, form: Short, key: &Key<'_>) -> Result<Node> {
    if matches!(node.value, Value::Map(_)) {
        return Ok(match form {
            Short::External => external(node),
            Short::Mount => with_clean_target(node),
            _ => node,
        });
    }
    if form == Short::Gpus && matches!(node.value, Value::List(_)) {
        return Ok(node);
    }
    let bad = |what: &str| Mistake::new(&node.place, key.to_string(), format!("{what}, found {}", node.kind_name()));
    if form == Short::External {
        let Some(text) = node.scalar_text() else { return Err(bad("expected true or false")) };
        let value = match text.as_str() {
            "true" | "yes" | "y" | "on" | "1" => true,
            "false" | "no" | "n" | "off" | "0" | "" => false,
            _ => {
                return Err(Mistake::new(
                    &node.place,
                    key.to_string(),
                    format!("expected true or false, found {text:?}"),
                ));
            }
        };
        return Ok(Node { value: Value::Bool(value), ..node });
    }
    let Some(text) = node.scalar_text() else {
        return Err(bad("expected a text or a mapping"));
    };
    let place = node.place.clone();
    let one = |name: &str| structure(&place, &[(name, Value::Text(text.clone()))]);
    let said = |message: String| Mistake::new(&place, key.to_string(), message);
    Ok(match form {
        Short::Port => {
            let ports = ports(&text, &place).map_err(said)?;
            Node { value: Value::List(ports), ..node }
        }
        Short::Mount => mount(&text, &place).map_err(said)?,
        Short::Device => device(&text, &place),
        Short::Source => one("source"),
        Short::Build => one("context"),
        Short::Extends => one("service"),
        Short::Include => one("path"),
        Short::EnvFile => structure(&place, &[("path", Value::Text(text)), ("required", Value::Bool(true))]),
        Short::Ulimit => match text.parse() {
            Ok(limit) => Node { value: Value::Int(limit), ..node },
            Err(_) => return Err(said(format!("expected a number, found {text:?}"))),
        },
        Short::Gpus if text == "all" => {
            Node { value: Value::List(vec![structure(&place, &[("count", Value::Int(-1))])]), ..node }
        }
        Short::Gpus => return Err(said(format!("expected \"all\" or a list, found {text:?}"))),
        Short::Dependency | Short::Nothing | Short::External => node,
    })
}

// Version 2's `external: {name: x}`.
fn external(node: Node) -> Node {
    let name = node.str_at("name").map(str::to_owned);
    match name {
        Some(name) => Node { value: Value::Text(name), ..node },
        None => Node { value: Value::Bool(true), ..node },
    }
}

/// A dependency by name alone.
pub(super) fn dependency(place: &Place) -> Node {
    structure(place, &[("condition", Value::Text("service_started".to_owned())), ("required", Value::Bool(true))])
}

fn structure(place: &Place, entries: &[(&str, Value)]) -> Node {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), Node::new(value.clone(), place)));
    Node::new(Value::Map(Map(entries.collect())), place)
}

fn device(text: &str, place: &Place) -> Node {
    let mut parts = text.splitn(3, ':');
    let source = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or(source);
    let permissions = parts.next().unwrap_or("rwm");
    let entry = |text: &str| Value::Text(text.to_owned());
    structure(place, &[("source", entry(source)), ("target", entry(target)), ("permissions", entry(permissions))])
}

// `[[address:]host:]container[/protocol]`, each port perhaps a range.
fn ports(text: &str, place: &Place) -> std::result::Result<Vec<Node>, String> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid protocol {protocol:?} in {text:?}; tcp, udp and sctp are known"));
    }
    let (rest, container) = rest.rsplit_once(':').map_or(("", rest), |(left, right)| (left, right));
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (address.trim_matches(['[', ']']), host),
        None => ("", rest),
    };
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid address {address:?} in port {text:?}"));
    }
    let (first, last) = range(container).ok_or_else(|| format!("invalid container port {container:?} in {text:?}"))?;
    let published = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("invalid host port {host:?} in {text:?}"))?),
    };
    if let Some((from, to)) = published
        && first != last
        && to - from != last - first
    {
        return Err(format!("the ranges of {text:?} have different lengths"));
    }
    let ports = (first..=last).map(|target| {
        let published = published.map(|(from, to)| match first == last && from != to {
            true => format!("{from}-{to}"),
            false => (from + (target - first)).to_string(),
        });
        let mut entries = vec![("mode", Value::Text("ingress".to_owned()))];
        if !address.is_empty() {
            entries.push(("host_ip", Value::Text(address.to_owned())));
        }
        entries.push(("target", Value::Int(target.into())));
        entries.extend(published.map(|published| ("published", Value::Text(published))));
        entries.push(("protocol", Value::Text(protocol.to_ascii_lowercase())));
        structure(place, &entries)
    });
    Ok(ports.collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last - first < RANGE_MAX).then_some((first, last))
}

fn with_clean_target(mut node: Node) -> Node {
    if let Some(Node { value: Value::Text(target), .. }) = node.get_mut("target") {
        *target = paths::cleaned(target);
    }
    node
}

// `[source:]target[:option,…]`
fn mount(text: &str, place: &Place) -> std::result::Result<Node, String> {
    // The colon of `C:\dir` ends nothing.
    let drive = if paths::is_windows(text) { 2 } else { 0 };
    let mut parts: Vec<&str> = text[drive..].split(':').collect();
    parts[0] = &text[..drive + parts[0].len()];
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(format!("{text:?} has too many colons; use the long form")),
    };
    if target.is_empty() || (source.is_empty() && parts.len() > 1) {
        return Err(format!("{text:?} lacks a {}", if target.is_empty() { "target" } else { "source" }));
    }
    let is_bind = source.starts_with(['/', '.', '~']) || paths::is_windows(source);
    let kind = if is_bind { "bind" } else { "volume" };
    let mut entries = vec![("type", Value::Text(kind.to_owned()))];
    if !source.is_empty() {
        entries.push(("source", Value::Text(source.to_owned())));
    }
    entries.push(("target", Value::Text(paths::cleaned(target))));
    let (mut bind, mut volume) = (Map::default(), Map::default());
    let yes = || Node::new(Value::Bool(true), place);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => entries.push(("read_only", Value::Bool(true))),
            "z" | "Z" => bind.set("selinux", Node::text(option, place)),
            "nocopy" => volume.set("nocopy", yes()),
            "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" => {
                bind.set("propagation", Node::text(option, place));
            }
            // `rw` is the default; `cached` and others are passed over as Compose does.
            _ => {}
        }
    }
    if is_bind {
        bind.set("create_host_path", yes());
        entries.push(("bind", Value::Map(bind)));
    } else if text.len() > 2 {
        // Compose reads so short a text as nothing but a target, and its hash shows it.
        entries.push(("volume", Value::Map(volume)));
    }
    Ok(structure(place, &entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Short, text: &str, expected: &str) {
        let place = Place::start_of("f");
        let got = match expand(Node::text(text, &place), form, &Key::Root) {
            Ok(node) => crate::print::compact(&node),
            Err(mistake) => mistake.message.clone(),
        };
        let got = got.replace(r#""mode":"ingress","#, "").replace(r#","protocol":"tcp""#, "");
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn ports_are_pairs_ranges_and_addresses() {
        check(Short::Port, "80", r#"[{"target":80}]"#);
        check(Short::Port, "8080:80/udp", r#"[{"target":80,"published":"8080","protocol":"udp"}]"#);
        check(Short::Port, "127.0.0.1::80", r#"[{"host_ip":"127.0.0.1","target":80}]"#);
        check(Short::Port, "[::1]:80:81", r#"[{"host_ip":"::1","target":81,"published":"80"}]"#);
        check(Short::Port, "90-91:80-81", r#"[{"target":80,"published":"90"},{"target":81,"published":"91"}]"#);
        check(Short::Port, "90-95:80", r#"[{"target":80,"published":"90-95"}]"#);
        check(Short::Port, "90-95:80-81", r#"the ranges of "90-95:80-81" have different lengths"#);
        check(Short::Port, "a:b", r#"invalid container port "b" in "a:b""#);
        check(Short::Port, "x:1:2", r#"invalid address "x" in port "x:1:2""#);
    }

    #[test]
    fn mounts_are_binds_when_they_look_like_paths() {
        check(Short::Mount, "/anon", r#"{"type":"volume","target":"/anon","volume":{}}"#);
        check(Short::Mount, "d:/d:nocopy", r#"{"type":"volume","source":"d","target":"/d","volume":{"nocopy":true}}"#);
        check(
            Short::Mount,
            "./c:/c:ro,z",
            r#"{"type":"bind","source":"./c","target":"/c","read_only":true,"bind":{"selinux":"z","create_host_path":true}}"#,
        );
        check(Short::Mount, ":/c", r#"":/c" lacks a source"#);
        check(Short::Mount, "d:/d//e/:cached", r#"{"type":"volume","source":"d","target":"/d/e","volume":{}}"#);
        check(Short::Mount, "/a", r#"{"type":"volume","target":"/a"}"#);
        check(
            Short::Mount,
            r"C:\x:/y:ro",
            r#"{"type":"bind","source":"C:\\x","target":"/y","read_only":true,"bind":{"create_host_path":true}}"#,
        );
    }
}
