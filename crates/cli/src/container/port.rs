//! `container port`: where on the host a container's ports are.

use hako_api::{
    container::{PortBinding, PortMap},
    query::ContainerInspectQuery,
};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::parse_number,
};

#[derive(Default)]
pub(crate) struct Port;

impl Command for Port {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container port", "port"],
        usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
        about: "Show where a container's ports are on the host",
        arguments: Arguments::Between(1, 2),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
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
