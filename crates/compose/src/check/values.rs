//! Values that have the right shape and still mean nothing: names, addresses, ports, modes and ranges that a daemon
//! would refuse later, without knowing the line.

use std::net::IpAddr;

use crate::{
    error::Mistake,
    file::paths,
    node::{Map, Node, Value},
};

type Result = std::result::Result<(), Box<Mistake>>;

/// What `restart` may say; `on-failure` may also have a number of attempts.
const RESTART: [&str; 4] = ["no", "always", "unless-stopped", "on-failure"];
const MODES: [&str; 4] = ["replicated", "global", "replicated-job", "global-job"];
/// `deploy.restart_policy.condition`: a swarm's words, and those of `restart`.
const CONDITIONS: [&str; 6] = ["none", "no", "on-failure", "any", "always", "unless-stopped"];
/// `oom_score_adj`, proc(5).
const OOM_SCORES: std::ops::RangeInclusive<i64> = -1000..=1000;

/// Checks one service.
///
/// # Errors
/// At the first value that means nothing.
pub(super) fn service(service: &Node, key: &str) -> Result {
    restart(service, key)?;
    choice(service.at(&["deploy", "mode"]), &format!("{key}.deploy.mode"), &MODES)?;
    let condition = service.at(&["deploy", "restart_policy", "condition"]);
    choice(condition, &format!("{key}.deploy.restart_policy.condition"), &CONDITIONS)?;
    container_name(service, key)?;
    mac_address(service, key)?;
    for (name, endpoint) in entries(service.get("networks")) {
        endpoint_addresses(endpoint, &format!("{key}.networks.{name}"))?;
    }
    for count in [&["scale"][..], &["deploy", "replicas"]] {
        let is_negative = |node: &&Node| matches!(node.value, Value::Int(..=-1));
        if let Some(node) = service.at(count).filter(is_negative) {
            let message = "expected how many containers there shall be, found less than none";
            return Err(Mistake::new(&node.place, format!("{key}.{}", count.join(".")), message));
        }
    }
    if let Some(Node { value: Value::Int(score), place, .. }) = service.get("oom_score_adj")
        && !OOM_SCORES.contains(score)
    {
        let message = format!("expected a number from -1000 to 1000, found {score}");
        return Err(Mistake::new(place, format!("{key}.oom_score_adj"), message));
    }
    for (name, limit) in entries(service.get("ulimits")) {
        if limit.as_map().is_some_and(|map| !map.contains("soft") || !map.contains("hard")) {
            return Err(Mistake::new(&limit.place, format!("{key}.ulimits.{name}"), "soft and hard are both required"));
        }
    }
    lists(service, key)
}

/// Checks the addresses of the networks.
///
/// # Errors
/// At the first that is none.
pub(super) fn network(network: &Node, key: &str) -> Result {
    let subnets = network.at(&["ipam", "config"]).and_then(Node::as_list).unwrap_or_default();
    for (at, subnet) in subnets.iter().enumerate() {
        for field in ["subnet", "ip_range"] {
            let key = format!("{key}.ipam.config[{at}].{field}");
            text(subnet.get(field), &key, "an address range like 172.28.0.0/16", is_range)?;
        }
        text(subnet.get("gateway"), &format!("{key}.ipam.config[{at}].gateway"), "an address", is_address)?;
    }
    Ok(())
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    node.and_then(Node::as_map).into_iter().flat_map(Map::iter)
}

// A text that is there and not empty has to be as wanted.
fn text(node: Option<&Node>, key: &str, wanted: &str, is_right: impl Fn(&str) -> bool) -> Result {
    let Some(node) = node else { return Ok(()) };
    match node.as_str() {
        Some(text) if !text.is_empty() && !is_right(text) => {
            Err(Mistake::new(&node.place, key, format!("expected {wanted}, found {text:?}")))
        }
        _ => Ok(()),
    }
}

fn choice(node: Option<&Node>, key: &str, known: &[&str]) -> Result {
    text(node, key, &format!("one of {}", known.join(", ")), |text| known.contains(&text))
}

fn restart(service: &Node, key: &str) -> Result {
    let is_right = |text: &str| match text.strip_prefix("on-failure:") {
        Some(count) => count.parse::<u32>().is_ok(),
        None => RESTART.contains(&text),
    };
    let wanted = "one of no, always, unless-stopped, on-failure, on-failure:<attempts>";
    text(service.get("restart"), &format!("{key}.restart"), wanted, is_right)
}

// Docker's rule for names.
fn container_name(service: &Node, key: &str) -> Result {
    let is_right = |name: &str| {
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(rest)
    };
    let wanted = "a name of letters, digits, '_', '.' and '-' that begins with a letter or digit";
    text(service.get("container_name"), &format!("{key}.container_name"), wanted, is_right)
}

fn mac_address(node: &Node, key: &str) -> Result {
    let is_right = |text: &str| {
        let parts: Vec<&str> = text.split([':', '-']).collect();
        parts.len() == 6 && parts.iter().all(|it| it.len() == 2 && u8::from_str_radix(it, 16).is_ok())
    };
    text(node.get("mac_address"), &format!("{key}.mac_address"), "an address like 02:42:ac:11:00:02", is_right)
}

fn endpoint_addresses(endpoint: &Node, key: &str) -> Result {
    let is_four = |text: &str| text.parse().is_ok_and(|it: IpAddr| it.is_ipv4());
    let is_six = |text: &str| text.parse().is_ok_and(|it: IpAddr| it.is_ipv6());
    text(endpoint.get("ipv4_address"), &format!("{key}.ipv4_address"), "an IPv4 address", is_four)?;
    text(endpoint.get("ipv6_address"), &format!("{key}.ipv6_address"), "an IPv6 address", is_six)?;
    for (at, node) in endpoint.get("link_local_ips").and_then(Node::as_list).unwrap_or_default().iter().enumerate() {
        text(Some(node), &format!("{key}.link_local_ips[{at}]"), "an address", is_address)?;
    }
    mac_address(endpoint, key)
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    match (address.parse(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

fn lists(service: &Node, key: &str) -> Result {
    let listed = |field: &str| service.get(field).and_then(Node::as_list).unwrap_or_default().iter().enumerate();
    for (at, node) in listed("expose") {
        text(Some(node), &format!("{key}.expose[{at}]"), "a port like 80, 80-82 or 53/udp", is_exposed)?;
    }
    for (at, node) in listed("ports") {
        if !matches!(node.get("target"), Some(Node { value: Value::Int(1..=65535), .. })) {
            let message = "target is required: the container's port, from 1 to 65535";
            return Err(Mistake::new(&node.place, format!("{key}.ports[{at}]"), message));
        }
        let wanted = "a port, or a range like 8000-8010";
        text(node.get("published"), &format!("{key}.ports[{at}].published"), wanted, is_ports)?;
        text(node.get("host_ip"), &format!("{key}.ports[{at}].host_ip"), "an address", is_address)?;
    }
    for (at, node) in listed("devices") {
        let is_right = |text: &str| text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
        let wanted = "permissions of r (read), w (write) and m (mknod), as in /dev/a:/dev/b:rw";
        text(node.get("permissions"), &format!("{key}.devices[{at}]"), wanted, is_right)?;
    }
    for (at, node) in listed("volumes") {
        mount(node, &format!("{key}.volumes[{at}]"))?;
    }
    Ok(())
}

fn mount(node: &Node, key: &str) -> Result {
    let says = |field: &str| node.str_at(field).is_some_and(|text| !text.is_empty());
    if !says("target") {
        return Err(Mistake::new(&node.place, key, "target is required: where it is in the container"));
    }
    if matches!(node.str_at("type"), Some("bind" | "image")) && !says("source") {
        return Err(Mistake::new(&node.place, key, "source is required: what is mounted"));
    }
    let is_absolute = |text: &str| text.starts_with('/') || paths::is_windows(text) || text.starts_with('\\');
    text(node.get("target"), &format!("{key}.target"), "an absolute path in the container", is_absolute)
}

fn is_ports(text: &str) -> bool {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if first <= last)
}

fn is_exposed(text: &str) -> bool {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    is_ports(ports) && matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp" | "sctp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{canonical, shape, yaml};

    fn check(text: &str, expected: &str) {
        let node = yaml::parse(&format!("services: {{a: {{image: i, {text}}}}}"), "f").unwrap().remove(0);
        let tree = canonical::tree(node, &shape::PROJECT, false).unwrap();
        let told = match service(tree.at(&["services", "a"]).unwrap(), "a") {
            Ok(()) => String::new(),
            Err(mistake) => format!("{}: {}", mistake.key, mistake.message),
        };
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn what_a_daemon_would_refuse_is_told_with_its_place() {
        check("restart: always, container_name: a.b, mac_address: '02:42:ac:11:00:02', oom_score_adj: -5", "");
        check("restart: 'on-failure:3', expose: [80, 81-82/udp], devices: ['/dev/a:/dev/b:r'], scale: 0", "");
        check(
            "restart: sometimes",
            "a.restart: expected one of no, always, unless-stopped, on-failure, on-failure:<attempts>, found \"sometimes\"",
        );
        check(
            "deploy: {mode: nope}",
            "a.deploy.mode: expected one of replicated, global, replicated-job, global-job, found \"nope\"",
        );
        check(
            "container_name: a b",
            "a.container_name: expected a name of letters, digits, '_', '.' and '-' that begins with a letter or digit, found \"a b\"",
        );
        check("mac_address: xx", "a.mac_address: expected an address like 02:42:ac:11:00:02, found \"xx\"");
        check(
            "networks: {n: {ipv4_address: 1.2.3}}",
            "a.networks.n.ipv4_address: expected an IPv4 address, found \"1.2.3\"",
        );
        check("scale: -1", "a.scale: expected how many containers there shall be, found less than none");
        check("oom_score_adj: 5000", "a.oom_score_adj: expected a number from -1000 to 1000, found 5000");
        check("ulimits: {nofile: {soft: 1}}", "a.ulimits.nofile: soft and hard are both required");
    }

    #[test]
    fn ports_devices_and_mounts_are_whole() {
        check("expose: [x]", "a.expose[0]: expected a port like 80, 80-82 or 53/udp, found \"x\"");
        check("expose: [70000]", "a.expose[0]: expected a port like 80, 80-82 or 53/udp, found \"70000\"");
        check("ports: [{published: 80}]", "a.ports[0]: target is required: the container's port, from 1 to 65535");
        check(
            "ports: [{target: 80, published: 9-8}]",
            "a.ports[0].published: expected a port, or a range like 8000-8010, found \"9-8\"",
        );
        check(
            "devices: ['a:b:c:d']",
            "a.devices[0]: expected permissions of r (read), w (write) and m (mknod), as in /dev/a:/dev/b:rw, found \"c:d\"",
        );
        check("volumes: [{type: bind, target: /y}]", "a.volumes[0]: source is required: what is mounted");
        check("volumes: [{type: bind, source: /x}]", "a.volumes[0]: target is required: where it is in the container");
        check(
            "volumes: ['/a:relative']",
            "a.volumes[0].target: expected an absolute path in the container, found \"relative\"",
        );
    }

    #[test]
    fn address_ranges_have_a_length() {
        assert!(is_range("10.0.0.0/8") && is_range("fd00::/64"));
        assert!(!is_range("10.0.0.0") && !is_range("10.0.0.0/33") && !is_range("x/8"));
    }
}
