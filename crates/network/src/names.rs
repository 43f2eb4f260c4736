//! Who is called what in which network: the table that name servers answer from.
//!
//! Pure bookkeeping: the engine writes it when a container joins or leaves a network, the name service reads it for
//! one asking container at a time. Which of several answers comes first is the server's choice; what is not in the
//! table is not ours, and goes to the servers outside.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use hako_model::{ContainerId, NetworkId};
use parking_lot::RwLock;

/// The names and addresses of one container in one network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointNames {
    /// The container's name first: reverse look-ups answer with it. Then its short id and its aliases.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

/// What one container may ask, beside the names of its networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Names that only this container has for others (`--link db:mydb`), and what those are called; whoever is
    /// called so when it is asked for.
    pub names: Vec<(String, String)>,
}

/// One network's names.
#[derive(Debug, Default)]
struct Names {
    /// The network's own name: `web.front` means `web` in `front`.
    name: String,
    /// Whether its containers may reach the outside by it.
    way_out: bool,
    endpoints: BTreeMap<ContainerId, EndpointNames>,
    /// Lower-case name → who has it, in the order they came.
    by_name: HashMap<String, Vec<ContainerId>>,
    by_address: HashMap<IpAddr, ContainerId>,
}

impl Names {
    fn insert(&mut self, id: ContainerId, names: EndpointNames) {
        self.remove(id);
        for name in &names.names {
            let owners = self.by_name.entry(name.to_ascii_lowercase()).or_default();
            if !owners.contains(&id) {
                owners.push(id);
            }
        }
        self.by_address.extend(names.addresses.iter().map(|address| (*address, id)));
        self.endpoints.insert(id, names);
    }

    fn remove(&mut self, id: ContainerId) -> bool {
        let Some(names) = self.endpoints.remove(&id) else { return false };
        for name in names.names.iter().map(|name| name.to_ascii_lowercase()) {
            if let Some(owners) = self.by_name.get_mut(&name) {
                owners.retain(|owner| *owner != id);
                if owners.is_empty() {
                    self.by_name.remove(&name);
                }
            }
        }
        self.by_address.retain(|_, owner| *owner != id);
        true
    }

    /// The addresses behind a lower-case name; `None`: nobody is called so here.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let owners = self.by_name.get(name)?;
        Some(owners.iter().filter_map(|owner| self.endpoints.get(owner)).flat_map(|it| it.addresses.clone()).collect())
    }
}

/// All networks' tables, for changes by the engine and look-ups by name servers, from any thread.
#[derive(Debug, Default)]
pub struct NameTables {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    networks: HashMap<NetworkId, Names>,
    /// The networks a container is in, in the order it joined them, and its links.
    members: HashMap<ContainerId, (Vec<NetworkId>, Links)>,
}

impl NameTables {
    /// A network whose names are served is there. `way_out`: not internal.
    pub fn network_set(&self, network: NetworkId, name: &str, way_out: bool) {
        let mut inner = self.inner.write();
        let names = inner.networks.entry(network).or_default();
        name.clone_into(&mut names.name);
        names.way_out = way_out;
    }

    /// A network is gone.
    pub fn network_remove(&self, network: NetworkId) {
        self.inner.write().networks.remove(&network);
    }

    /// A container is in a network, under these names; replaces what was known of it there. Nothing happens where the
    /// network's names are not served (the default bridge).
    pub fn insert(&self, network: NetworkId, id: ContainerId, names: EndpointNames) {
        let mut inner = self.inner.write();
        let Some(table) = inner.networks.get_mut(&network) else { return };
        table.insert(id, names);
        let (networks, _) = inner.members.entry(id).or_default();
        if !networks.contains(&network) {
            networks.push(network);
        }
    }

    /// A container has left a network.
    pub fn remove(&self, network: NetworkId, id: ContainerId) {
        let mut inner = self.inner.write();
        if let Some(table) = inner.networks.get_mut(&network) {
            table.remove(id);
        }
        if let Some((networks, _)) = inner.members.get_mut(&id) {
            networks.retain(|known| *known != network);
            if networks.is_empty() {
                inner.members.remove(&id);
            }
        }
    }

    /// The names that this container alone has for others; nothing happens while it is in no network.
    pub fn links_set(&self, id: ContainerId, links: Links) {
        if let Some((_, known)) = self.inner.write().members.get_mut(&id) {
            *known = links;
        }
    }

    /// The addresses that a name has for the container that asks: in its networks, by its links, or as
    /// `NAME.NETWORK`. `None`: the name is none of ours. An empty list never comes; one without an address of the
    /// family that was asked for means that there is none of it.
    pub fn look_up(&self, asking: ContainerId, name: &str) -> Option<Vec<IpAddr>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let inner = self.inner.read();
        let (networks, links) = inner.members.get(&asking)?;
        let tables = || networks.iter().filter_map(|network| inner.networks.get(network));
        let link = links.names.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(&name));
        let name = link.map_or(name, |(_, target)| target.to_ascii_lowercase());
        let whole = || tables().find_map(|table| table.addresses(&name));
        let in_network = || {
            let (name, network) = name.rsplit_once('.')?;
            tables().find(|table| table.name.eq_ignore_ascii_case(network))?.addresses(name)
        };
        whole().or_else(in_network).filter(|found| !found.is_empty())
    }

    /// The name behind an address, for the container that asks: `NAME.NETWORK`.
    pub fn reverse(&self, asking: ContainerId, address: IpAddr) -> Option<String> {
        let inner = self.inner.read();
        let (networks, _) = inner.members.get(&asking)?;
        networks.iter().filter_map(|network| inner.networks.get(network)).find_map(|table| {
            let owner = table.by_address.get(&address)?;
            let name = table.endpoints.get(owner)?.names.first()?;
            Some(format!("{name}.{}", table.name))
        })
    }

    /// Whether queries of this container may leave the host: one of its networks has a way out.
    pub fn has_way_out(&self, asking: ContainerId) -> bool {
        let inner = self.inner.read();
        let Some((networks, _)) = inner.members.get(&asking) else { return false };
        networks.iter().filter_map(|network| inner.networks.get(network)).any(|table| table.way_out)
    }

    /// The networks with served names that a container is in, in the order it joined them.
    pub fn networks_of(&self, id: ContainerId) -> Vec<NetworkId> {
        self.inner.read().members.get(&id).map(|(networks, _)| networks.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> ContainerId {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn net(digit: char) -> NetworkId {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn names(names: &str, addresses: &str) -> EndpointNames {
        EndpointNames {
            names: names.split_whitespace().map(str::to_owned).collect(),
            addresses: addresses.split_whitespace().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn tables() -> NameTables {
        let tables = NameTables::default();
        tables.network_set(net('1'), "front", true);
        tables.network_set(net('2'), "back", false);
        tables.insert(net('1'), id('a'), names("web aaaaaaaaaaaa www", "10.1.0.2"));
        tables.insert(net('1'), id('b'), names("web2 www", "10.1.0.3 fd00::3"));
        tables.insert(net('2'), id('c'), names("db", "10.2.0.2"));
        tables
    }

    fn found(tables: &NameTables, asking: char, name: &str) -> String {
        let found = tables.look_up(id(asking), name);
        found.map_or("-".into(), |found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_are_those_of_the_askers_networks() {
        let tables = tables();
        for (asking, name, expected) in [
            ('b', "web", "10.1.0.2"),
            ('b', "WEB.", "10.1.0.2"),
            ('b', "aaaaaaaaaaaa", "10.1.0.2"),
            ('b', "www", "10.1.0.2 10.1.0.3 fd00::3"),
            ('b', "web.front", "10.1.0.2"),
            ('b', "web.back", "-"),
            ('b', "db", "-"),
            ('c', "db", "10.2.0.2"),
            ('c', "web", "-"),
            ('d', "web", "-"),
        ] {
            assert_eq!(found(&tables, asking, name), expected, "{asking} {name}");
        }
        assert_eq!(tables.reverse(id('b'), "10.1.0.2".parse().unwrap()).unwrap(), "web.front");
        assert_eq!(tables.reverse(id('c'), "10.1.0.2".parse().unwrap()), None);
        assert!(tables.has_way_out(id('a')) && !tables.has_way_out(id('c')));
    }

    #[test]
    fn whoever_leaves_is_forgotten() {
        let tables = tables();
        tables.insert(net('2'), id('b'), names("web2", "10.2.0.9"));
        assert_eq!(tables.networks_of(id('b')), [net('1'), net('2')]);
        assert_eq!(found(&tables, 'c', "web2"), "10.2.0.9");
        tables.remove(net('1'), id('a'));
        assert_eq!(found(&tables, 'b', "www"), "10.1.0.3 fd00::3");
        assert_eq!(found(&tables, 'b', "web"), "-");
        assert_eq!(tables.reverse(id('b'), "10.1.0.2".parse().unwrap()), None);
        tables.remove(net('1'), id('b'));
        assert_eq!(found(&tables, 'b', "db"), "10.2.0.2");
        // Joining again under another name replaces the first.
        tables.insert(net('2'), id('b'), names("other", "10.2.0.9"));
        assert_eq!(found(&tables, 'c', "web2"), "-");
    }

    #[test]
    fn a_link_is_a_name_for_one_container_alone() {
        let tables = tables();
        tables.links_set(id('b'), Links { names: vec![("mysite".into(), "Web".into()), ("gone".into(), "x".into())] });
        assert_eq!(found(&tables, 'b', "mysite"), "10.1.0.2");
        assert_eq!(found(&tables, 'a', "mysite"), "-");
        assert_eq!(found(&tables, 'b', "gone"), "-");
    }

    #[test]
    fn the_default_bridge_serves_no_names() {
        let tables = tables();
        tables.insert(net('9'), id('d'), names("lonely", "172.17.0.2"));
        assert_eq!(found(&tables, 'd', "lonely"), "-");
        assert!(tables.networks_of(id('d')).is_empty());
    }
}
