//! `container port`: where on the host a container's ports are.

use hako_api::{
    container::{ContainerExposure, PortBinding, PortMap},
    query::ContainerInspectQuery,
};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::{FlagSet, parse_number},
    format::table,
};

#[derive(Default)]
pub(crate) struct Port {
    exposure: bool,
}

impl Command for Port {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container port", "port"],
        usage: "[OPTIONS] CONTAINER [PRIVATE_PORT[/PROTO]]",
        about: "Show where a container's ports are on the host",
        arguments: Arguments::Between(1, 2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.exposure, "--exposure", "Show who can reach each port, and which rule decides");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        if self.exposure {
            let mut ports = cx.client()?.container_exposure(&words[0]).await?;
            if let Some(wanted) = words.get(1) {
                let wanted = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
                ports.retain(|port| port.port == wanted);
            }
            return cx.print(&table::align(&exposure(&ports)));
        }
        let container = cx.client()?.container_inspect(&words[0], &ContainerInspectQuery::default()).await?;
        let ports = &container.network_settings.ports;
        let lines = match words.get(1) {
            Some(wanted) => one(ports, wanted, &words[0])?,
            None => all(ports),
        };
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        cx.print(&text)
    }
}

// A line for each port, and one more for each further reason.
fn exposure(ports: &[ContainerExposure]) -> String {
    let mut text = "PORT\tHOST\tREACHABLE BY\tWAY\tDECIDED BY\n".to_owned();
    for port in ports {
        let host = PortBinding { host_ip: port.host_ip.clone(), host_port: port.host_port.to_string() };
        let way = if port.translated { "translated" } else { "relayed" };
        let mut reasons = port.reasons.iter().map(String::as_str);
        let first = reasons.next().unwrap_or_default();
        text.push_str(&format!("{}\t{}\t{}\t{way}\t{first}\n", port.port, address(&host), port.reach));
        reasons.for_each(|reason| text.push_str(&format!("\t\t\t\t{reason}\n")));
    }
    text
}

fn one(ports: &PortMap, wanted: &str, container: &str) -> Result<Vec<String>, CommandError> {
    let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    if let Err(reason) = parse_number::<u16>("ParseUint", port) {
        return Err(CommandError::Said(format!("Error: invalid port ({port}): {reason}")));
    }
    match ports.get(&format!("{port}/{protocol}")) {
        Some(Some(bindings)) if !bindings.is_empty() => Ok(bindings.iter().map(address).collect()),
        _ => Err(CommandError::Said(format!("Error: No public port '{wanted}' published for {container}"))),
    }
}

fn all(ports: &PortMap) -> Vec<String> {
    let mut lines: Vec<((u16, &str), String)> = Vec::new();
    for (key, bindings) in ports {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        for binding in bindings.iter().flatten() {
            lines.push(((port.parse().unwrap_or(0), protocol), format!("{key} -> {}", address(binding))));
        }
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn address(binding: &PortBinding) -> String {
    if binding.host_ip.contains(':') {
        return format!("[{}]:{}", binding.host_ip, binding.host_port);
    }
    format!("{}:{}", binding.host_ip, binding.host_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_line() {
        let port = ContainerExposure {
            port: "80/tcp".to_owned(),
            host_ip: "::".to_owned(),
            host_port: 8080,
            reach: "some".to_owned(),
            reasons: vec!["one: accept".to_owned(), "other: policy drop".to_owned()],
            translated: false,
        };
        assert_eq!(
            table::align(&exposure(&[port])),
            "PORT      HOST        REACHABLE BY   WAY       DECIDED BY\n\
             80/tcp    [::]:8080   some           relayed   one: accept\n\
             \x20                                              other: policy drop\n"
        );
    }

    #[test]
    fn ports_are_sorted_by_number() {
        let binding = |ip: &str, port: &str| PortBinding { host_ip: ip.to_owned(), host_port: port.to_owned() };
        let ports = PortMap::from([
            ("443/tcp".to_owned(), Some(vec![binding("::", "443")])),
            ("80/tcp".to_owned(), Some(vec![binding("0.0.0.0", "8080"), binding("::", "8080")])),
            ("9/udp".to_owned(), None),
        ]);
        assert_eq!(all(&ports), ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "443/tcp -> [::]:443"]);
        assert_eq!(one(&ports, "80", "web").unwrap(), ["0.0.0.0:8080", "[::]:8080"]);
        assert_eq!(
            one(&ports, "9/udp", "web").unwrap_err().to_string(),
            "Error: No public port '9/udp' published for web"
        );
    }
}
