//! `--link`: names and variables of another container, on the default bridge and in user-defined networks.
//!
//! On the default bridge a link is what Docker made of it: a line in the hosts file and variables that say where the
//! other's ports are. In a user-defined network it is a further name that only the asking container has.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use hako_base::ErrorKind;
use hako_model::{ContainerId, EndpointSpec, NetworkMode, PortKey};

use crate::{Engine, EngineError, record::Record};

/// A container that another is linked to.
struct Linked {
    alias: String,
    record: std::sync::Arc<Record>,
    address: Ipv4Addr,
}

/// `db:mydb`, or `db` alone, which is its own alias. What `inspect` shows (`/db:/web/mydb`) is taken too.
fn parse(text: &str) -> Option<(&str, &str)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    let name = name.trim_start_matches('/');
    (!name.is_empty() && !alias.is_empty()).then_some((name, alias))
}

impl Engine {
    /// Whether every link is one, to a container that is there.
    pub(crate) fn check_links(&self, links: &[String]) -> Result<(), EngineError> {
        for text in links {
            let (name, _) = parse(text).ok_or_else(|| EngineError::invalid(format!("bad format for links: {text}")))?;
            let missing = |error| EngineError::invalid(format!("could not get container for {name}: {error}"));
            let other = self.containers.find(name).map_err(missing)?;
            if other.record().spec.host.network_mode == NetworkMode::Host {
                return Err(EngineError::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
                ));
            }
        }
        Ok(())
    }

    /// The links of a container on the default bridge; elsewhere they are names only.
    fn linked(&self, record: &Record) -> Result<Vec<Linked>, EngineError> {
        let on_bridge = matches!(record.spec.host.network_mode, NetworkMode::Default | NetworkMode::Bridge);
        let links = record.spec.host.links.iter().filter(|_| on_bridge).filter_map(|text| parse(text));
        links
            .map(|(name, alias)| {
                let other = self.containers.find(name)?.record();
                let plugged = other.endpoints.get("bridge").and_then(|place| place.plugged.as_ref()?.ipv4);
                if other.is_running() && !other.endpoints.contains_key("bridge") {
                    return Err(EngineError::invalid(format!(
                        "Cannot link to /{}, as it does not belong to the default network",
                        other.name
                    )));
                }
                match plugged.filter(|_| other.is_running()) {
                    Some(net) => Ok(Linked { alias: alias.to_owned(), record: other, address: net.addr() }),
                    None => Err(EngineError::Mechanism {
                        kind: ErrorKind::Internal,
                        text: format!(
                            "Cannot link to a non running container: /{} AS /{}/{alias}",
                            other.name, record.name
                        ),
                    }),
                }
            })
            .collect()
    }

    /// The variables that a container's links give it.
    pub(crate) fn link_variables(&self, record: &Record) -> Result<Vec<String>, EngineError> {
        let linked = self.linked(record)?;
        Ok(linked
            .iter()
            .flat_map(|link| {
                let ports = link.record.config.exposed_ports.to_vec();
                variables(&record.name, &link.alias, link.address, &ports, &link.record.config.env)
            })
            .collect())
    }

    /// Lines of the hosts file for them: an address, and the names behind it.
    pub(crate) fn link_hosts(&self, record: &Record) -> Vec<(String, IpAddr)> {
        let linked = self.linked(record).unwrap_or_default();
        linked.iter().map(hosts_line).collect()
    }

    /// The names that the container alone has for others in its user-defined networks: (alias, name or id).
    pub(super) fn link_names(record: &Record) -> Vec<(String, String)> {
        record.endpoints.values().flat_map(|place| Self::link_pairs(&place.spec)).collect()
    }

    /// The same of one network.
    pub(super) fn link_pairs(asked: &EndpointSpec) -> Vec<(String, String)> {
        let links = asked.links.iter().filter_map(|text| parse(text));
        links.map(|(name, alias)| (alias.to_owned(), name.to_owned())).collect()
    }

    /// A container that others are linked to has started: their hosts files follow its address.
    pub(crate) fn links_follow(&self, record: &Record) {
        for other in self.containers.all().iter().map(|container| container.record()) {
            if other.is_running() && !other.spec.host.links.is_empty() {
                let linked = self.linked_to(&other, record);
                self.hosts_readdress(&other, &linked);
            }
        }
    }

    // The lines of `from`'s hosts file that are about `to`.
    fn linked_to(&self, from: &Record, to: &Record) -> Vec<(String, IpAddr)> {
        let links = self.linked(from).unwrap_or_default();
        links.iter().filter(|link| link.record.id == to.id).map(hosts_line).collect()
    }

    /// Takes the link `web/db` from the container `web`: the name is no longer in its hosts file, nor after a restart.
    ///
    /// # Errors
    /// No such container, or none of its links has this name.
    pub async fn container_unlink(&self, path: &str) -> Result<(), EngineError> {
        let Some((name, alias)) = path.trim_matches('/').rsplit_once('/') else {
            self.containers.find(path.trim_matches('/'))?;
            return Err(EngineError::conflict(
                "Conflict, cannot remove the default link name of the container".to_owned(),
            ));
        };
        let missing = || EngineError::NoContainer { name: path.trim_matches('/').to_owned() };
        let container = self.containers.find(name).map_err(|_| missing())?;
        let _turn = container.operation.lock().await;
        let before = container.record();
        let mut spec = (*before.spec).clone();
        spec.host.links.retain(|text| parse(text).is_none_or(|(_, known)| known != alias));
        if spec.host.links.len() == before.spec.host.links.len() {
            return Err(missing());
        }
        let linked = self.linked(&before).unwrap_or_default();
        let gone: Vec<_> = linked.iter().filter(|link| link.alias == alias).map(hosts_line).collect();
        let record = container.change(|record| record.spec = std::sync::Arc::new(spec));
        self.settle(&record).await;
        if record.is_running() {
            self.hosts_forget(&record, gone);
        }
        Ok(())
    }

    /// What containers are called by those that are linked to them: `web/db`, by the container that is meant.
    pub(crate) fn link_names_of_all<'r>(
        &self,
        records: impl Iterator<Item = &'r Record>,
    ) -> BTreeMap<ContainerId, Vec<String>> {
        let mut names: BTreeMap<ContainerId, Vec<String>> = BTreeMap::new();
        for record in records {
            for (name, alias) in record.spec.host.links.iter().filter_map(|text| parse(text)) {
                if let Ok(other) = self.containers.find(name) {
                    names.entry(other.id).or_default().push(format!("{}/{alias}", record.name));
                }
            }
        }
        names
    }

    /// Links as `inspect` shows them.
    pub(crate) fn links_shown(&self, record: &Record) -> Vec<String> {
        let links = record.spec.host.links.iter().filter_map(|text| parse(text));
        links
            .map(|(name, alias)| {
                let name = self.containers.find(name).map_or_else(|_| name.to_owned(), |it| it.record().name.clone());
                format!("/{name}:/{}/{alias}", record.name)
            })
            .collect()
    }
}

/// The container, as it was named, that `record` knows as `alias` by a link.
pub(crate) fn target(record: &Record, alias: &str) -> Option<String> {
    let mut links = record.spec.host.links.iter().filter_map(|text| parse(text));
    links.find(|(name, known)| *known == alias && !name.contains('/')).map(|(name, _)| name.to_owned())
}

/// Alias, host name and name, each once, and the address.
fn hosts_line(link: &Linked) -> (String, IpAddr) {
    let mut names = vec![link.alias.clone()];
    for name in [&link.record.hostname, &link.record.name] {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    (names.join(" "), IpAddr::V4(link.address))
}

/// The variables of one link, in Docker's form.
fn variables(me: &str, alias: &str, address: Ipv4Addr, ports: &[PortKey], env: &[String]) -> Vec<String> {
    let prefix = alias.replace('-', "_").to_ascii_uppercase();
    let mut ports = ports.to_vec();
    ports.sort_by_key(|port| (port.port, port.protocol.name() != "tcp"));
    let url = |port: &PortKey| format!("{}://{address}:{}", port.protocol.name(), port.port);
    let mut out = vec![format!("{prefix}_NAME=/{me}/{alias}")];
    if let Some(first) = ports.first() {
        out.push(format!("{prefix}_PORT={}", url(first)));
    }
    for (first, last) in runs(&ports) {
        let name = format!("{prefix}_PORT_{}_{}", first.port, first.protocol.name().to_ascii_uppercase());
        out.push(format!("{name}_START={}", url(&first)));
        out.push(format!("{name}_PORT_START={}", first.port));
        out.push(format!("{name}_END={}", url(&last)));
        out.push(format!("{name}_PORT_END={}", last.port));
    }
    for port in &ports {
        let name = format!("{prefix}_PORT_{}_{}", port.port, port.protocol.name().to_ascii_uppercase());
        out.push(format!("{name}={}", url(port)));
        out.push(format!("{name}_ADDR={address}"));
        out.push(format!("{name}_PORT={}", port.port));
        out.push(format!("{name}_PROTO={}", port.protocol.name()));
    }
    let own = |variable: &&String| !variable.starts_with("PATH=") && !variable.starts_with("HOME=");
    out.extend(env.iter().filter(own).map(|variable| format!("{prefix}_ENV_{variable}")));
    out
}

/// Ports of one protocol that follow each other, two at least: the first and the last.
fn runs(ports: &[PortKey]) -> Vec<(PortKey, PortKey)> {
    let mut runs: Vec<(PortKey, PortKey)> = Vec::new();
    for port in ports {
        let previous = runs.iter_mut().find(|(_, last)| last.protocol == port.protocol && last.port + 1 == port.port);
        match previous {
            Some((_, last)) => *last = *port,
            None => runs.push((*port, *port)),
        }
    }
    runs.retain(|(first, last)| first != last);
    runs
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_link_says_where_the_ports_are() {
        let ports: Vec<PortKey> = ["91/tcp", "80/tcp", "90/tcp", "81/udp"].map(|text| text.parse().unwrap()).into();
        let env = ["PATH=/bin".to_owned(), "FOO=bar".to_owned()];
        let text = variables("web", "my-db", [172, 17, 0, 2].into(), &ports, &env).join("\n");
        expect![[r#"
            MY_DB_NAME=/web/my-db
            MY_DB_PORT=tcp://172.17.0.2:80
            MY_DB_PORT_90_TCP_START=tcp://172.17.0.2:90
            MY_DB_PORT_90_TCP_PORT_START=90
            MY_DB_PORT_90_TCP_END=tcp://172.17.0.2:91
            MY_DB_PORT_90_TCP_PORT_END=91
            MY_DB_PORT_80_TCP=tcp://172.17.0.2:80
            MY_DB_PORT_80_TCP_ADDR=172.17.0.2
            MY_DB_PORT_80_TCP_PORT=80
            MY_DB_PORT_80_TCP_PROTO=tcp
            MY_DB_PORT_81_UDP=udp://172.17.0.2:81
            MY_DB_PORT_81_UDP_ADDR=172.17.0.2
            MY_DB_PORT_81_UDP_PORT=81
            MY_DB_PORT_81_UDP_PROTO=udp
            MY_DB_PORT_90_TCP=tcp://172.17.0.2:90
            MY_DB_PORT_90_TCP_ADDR=172.17.0.2
            MY_DB_PORT_90_TCP_PORT=90
            MY_DB_PORT_90_TCP_PROTO=tcp
            MY_DB_PORT_91_TCP=tcp://172.17.0.2:91
            MY_DB_PORT_91_TCP_ADDR=172.17.0.2
            MY_DB_PORT_91_TCP_PORT=91
            MY_DB_PORT_91_TCP_PROTO=tcp
            MY_DB_ENV_FOO=bar"#]]
        .assert_eq(&text);
    }

    #[test]
    fn links_are_read_in_every_form() {
        assert_eq!(parse("db:mydb"), Some(("db", "mydb")));
        assert_eq!(parse("db"), Some(("db", "db")));
        assert_eq!(parse("/db:/web/mydb"), Some(("db", "mydb")));
        assert_eq!(parse(":x"), None);
        assert_eq!(parse("db:"), None);
    }
}
