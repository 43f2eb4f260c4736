//! Networks, and containers' places in them: who is plugged in where, which ports lead to whom.
//!
//! The three networks that every host has (`bridge`, `host`, `none`) are made at the first start and keep
//! their ids. A container joins before its process is made: it gets a namespace that is ready.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use hako_base::{
    clock,
    file::{Durability, write_atomic},
};
use hako_model::{
    AddressPool, ContainerId, EventKind, Filters, NetworkDriver, NetworkId, NetworkMode, NetworkSpec, PortBinding,
};
use hako_network::{BridgePlan, Endpoint, EndpointPlan, NetworkError, PortRequest, PublishedPort, Sandbox};
use jiff::Timestamp;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineConfig, EngineError, container::list::endpoints, record::Record, view::NetworkView};

const KNOWN_FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// One network, as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) id: NetworkId,
    pub(crate) created: Timestamp,
    pub(crate) spec: NetworkSpec,
    /// For bridges: every choice made.
    pub(crate) plan: Option<BridgePlan>,
}

/// All networks, by name.
pub(crate) struct Networks {
    directory: PathBuf,
    all: RwLock<BTreeMap<String, Arc<NetworkRecord>>>,
}

impl Networks {
    /// Reads the networks of this data root.
    ///
    /// # Errors
    /// An unreadable or damaged record.
    pub(crate) fn open(data_root: &Path) -> Result<Self, EngineError> {
        let directory = data_root.join("networks");
        let failed = |error: &std::io::Error| EngineError::io(directory.display(), error);
        hako_base::file::make_dir(&directory, 0o700).map_err(|error| failed(&error))?;
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).map_err(|error| failed(&error))? {
            let path = entry.map_err(|error| failed(&error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|error| EngineError::io(path.display(), &error))?;
            let record: NetworkRecord = serde_json::from_slice(&bytes)
                .map_err(|error| EngineError::invalid(format!("{} is damaged: {error}", path.display())))?;
            all.insert(record.spec.name.clone(), Arc::new(record));
        }
        Ok(Self { directory, all: RwLock::new(all) })
    }

    pub(crate) fn all(&self) -> Vec<Arc<NetworkRecord>> {
        self.all.read().values().cloned().collect()
    }

    /// By name, full id or unique prefix of the id.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<NetworkRecord>, EngineError> {
        let all = self.all.read();
        let name = if name == "default" { "bridge" } else { name };
        if let Some(record) = all.get(name) {
            return Ok(record.clone());
        }
        let mut found = all.values().filter(|record| !name.is_empty() && record.id.to_string().starts_with(name));
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(record.clone()),
            (Some(_), Some(_)) => Err(EngineError::Ambiguous { name: name.to_owned() }),
            (None, _) => Err(EngineError::NoNetwork { name: name.to_owned() }),
        }
    }

    fn put(&self, record: NetworkRecord) -> Result<Arc<NetworkRecord>, EngineError> {
        let path = self.directory.join(format!("{}.json", record.id));
        let bytes = serde_json::to_vec(&record)
            .map_err(|error| EngineError::invalid(format!("cannot encode the network: {error}")))?;
        write_atomic(&path, &bytes, 0o600, Durability::Power)
            .map_err(|error| EngineError::io(format_args!("cannot write {}", path.display()), &error))?;
        let record = Arc::new(record);
        self.all.write().insert(record.spec.name.clone(), record.clone());
        Ok(record)
    }
}

/// Makes what is missing of the three networks that every host has, and brings the bridges up.
///
/// # Errors
/// No free subnet, or a kernel that has no bridges.
pub(crate) fn prepare(
    config: &EngineConfig,
    networks: &Networks,
    mechanism: &hako_network::Network,
) -> Result<(), EngineError> {
    for (name, driver) in [("host", NetworkDriver::Host), ("none", NetworkDriver::Null)] {
        if networks.find(name).is_err() {
            let spec = predefined(name, driver);
            networks.put(NetworkRecord { id: NetworkId::random(), created: clock::now(), spec, plan: None })?;
        }
    }
    if !config.bridge_disabled {
        let wanted = bridge_spec(config);
        let known = networks.find("bridge").ok();
        let fits = known.as_ref().is_some_and(|known| same_wish(&known.spec, &wanted));
        if !fits {
            let id = known.map_or_else(NetworkId::random, |known| known.id);
            let plan = mechanism.plan(id, &wanted, Some(&bridge_name(config))).map_err(error)?;
            let mut spec = wanted;
            spec.pools.clone_from(&plan.pools);
            networks.put(NetworkRecord { id, created: clock::now(), spec, plan: Some(plan) })?;
        }
    }
    for record in networks.all() {
        if let Some(plan) = &record.plan {
            mechanism.bridge_up(plan).map_err(error)?;
        }
    }
    Ok(())
}

fn bridge_name(config: &EngineConfig) -> String {
    match (config.bridge.as_str(), config.is_default_instance()) {
        ("", true) => "hako0".to_owned(),
        ("", false) => format!("hako-{}", config.instance()),
        (name, _) => name.to_owned(),
    }
}

fn predefined(name: &str, driver: NetworkDriver) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        driver,
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        pools: Vec::new(),
        ipam_driver: "default".to_owned(),
        ipam_options: BTreeMap::new(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// The default bridge, as the daemon's flags want it.
fn bridge_spec(config: &EngineConfig) -> NetworkSpec {
    let mut spec = predefined("bridge", NetworkDriver::Bridge);
    spec.ipv6 = config.ipv6;
    if let Some(address) = config.bridge_address {
        spec.pools.push(AddressPool {
            subnet: address.trunc(),
            range: None,
            gateway: Some(address.addr()),
            auxiliary: BTreeMap::new(),
        });
    }
    let binding = config.publish_address.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
    for (key, value) in [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", config.masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", binding),
        ("com.docker.network.bridge.name", bridge_name(config)),
        ("com.docker.network.driver.mtu", config.mtu.to_string()),
    ] {
        spec.options.insert(key.to_owned(), value);
    }
    spec
}

/// Whether the network that is there is what the flags want; subnets that were chosen stay chosen.
fn same_wish(known: &NetworkSpec, wanted: &NetworkSpec) -> bool {
    let pools = wanted.pools.is_empty()
        || known.pools.first().map(|pool| (pool.subnet, pool.gateway))
            == wanted.pools.first().map(|pool| (pool.subnet, pool.gateway));
    known.options == wanted.options && known.ipv6 == wanted.ipv6 && pools
}

fn error(error: NetworkError) -> EngineError {
    EngineError::mechanism(error.kind(), &error)
}

/// What a container got when it joined its networks.
pub(crate) struct Joined {
    sandbox: Option<Arc<Sandbox>>,
    endpoints: Vec<(String, NetworkId, Option<Endpoint>)>,
    published: Vec<PublishedPort>,
}

impl Joined {
    /// The container's addresses, in the order of its networks.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.endpoints.iter().filter_map(|(_, _, endpoint)| endpoint.as_ref()).flat_map(Endpoint::addresses).collect()
    }

    /// A copy of the namespace, for the plan; `None` when the container has none of its own.
    pub(crate) fn namespace(&self) -> Result<Option<OwnedFd>, EngineError> {
        let copy = self.sandbox.as_ref().map(|sandbox| sandbox.netns().try_clone_to_owned());
        copy.transpose().map_err(|error| EngineError::io("cannot duplicate the network namespace", &error))
    }

    /// What the keeper is to keep with the container.
    pub(crate) fn kept(&self) -> Result<Vec<OwnedFd>, EngineError> {
        Ok(self.namespace()?.into_iter().collect())
    }

    /// Writes the places into the record.
    pub(crate) fn note(&self, record: &mut Record) {
        for (name, network, endpoint) in &self.endpoints {
            let place = record.endpoints.entry(name.clone()).or_default();
            place.network = Some(*network);
            place.endpoint_id = NetworkId::random().to_string();
            place.plugged.clone_from(endpoint);
        }
        record.published.clone_from(&self.published);
    }

    pub(crate) fn sandbox(&self) -> Option<Arc<Sandbox>> {
        self.sandbox.clone()
    }
}

impl Engine {
    pub(crate) fn network_record(&self, name: &str) -> Result<Arc<NetworkRecord>, EngineError> {
        self.networks.find(name)
    }

    /// The address by which containers reach their host (`host-gateway`).
    pub(crate) fn host_gateway(&self) -> Option<IpAddr> {
        self.networks.find("bridge").ok()?.plan.as_ref()?.gateway(false)
    }

    /// A namespace for the container, plugged into its networks, its ports published. All or nothing.
    pub(crate) fn join_networks(&self, record: &Record) -> Result<Joined, EngineError> {
        let mut joined = Joined { sandbox: None, endpoints: Vec::new(), published: Vec::new() };
        let mode = &record.spec.host.network_mode;
        if matches!(mode, NetworkMode::Host | NetworkMode::Container(_)) {
            if *mode == NetworkMode::Host {
                joined.endpoints.push(("host".to_owned(), self.networks.find("host")?.id, None));
            }
            return Ok(joined);
        }
        let isolated = *mode == NetworkMode::None || record.spec.network_disabled;
        let sandbox = if isolated { self.network.sandbox_take_isolated() } else { self.network.sandbox_take() };
        let sandbox = Arc::new(sandbox.map_err(error)?);
        joined.sandbox = Some(sandbox.clone());
        if isolated {
            joined.endpoints.push(("none".to_owned(), self.networks.find("none")?.id, None));
            return Ok(joined);
        }
        let plugged =
            self.plug_in(record, &sandbox, &mut joined).and_then(|()| self.publish_ports(record, &mut joined));
        if let Err(error) = plugged {
            self.unplug(&joined.endpoints);
            return Err(error);
        }
        Ok(joined)
    }

    fn plug_in(&self, record: &Record, sandbox: &Sandbox, joined: &mut Joined) -> Result<(), EngineError> {
        let main = record.spec.host.network_mode.network_name();
        // The network of `--network` first: it is `eth0` and the way out.
        let mut names: Vec<&String> = record.endpoints.keys().collect();
        names.sort_by_key(|name| Some(name.as_str()) != main);
        for name in names {
            let network = self.networks.find(name)?;
            let asked = &record.endpoints[name].spec;
            let plan = EndpointPlan {
                ipv4: asked.ipv4,
                ipv6: asked.ipv6,
                mac: asked.mac.or_else(|| record.spec.mac_address.as_deref().and_then(parse_mac)),
                default_route: joined.endpoints.is_empty(),
                ..EndpointPlan::new(network.id)
            };
            let endpoint = self.network.endpoint_attach(sandbox, &plan).map_err(error)?;
            joined.endpoints.push((name.clone(), network.id, Some(endpoint)));
        }
        Ok(())
    }

    fn publish_ports(&self, record: &Record, joined: &mut Joined) -> Result<(), EngineError> {
        let requests = port_requests(record, self.config.publish_address);
        let Some((_, _, Some(endpoint))) = joined.endpoints.first() else { return Ok(()) };
        if requests.is_empty() {
            return Ok(());
        }
        let publication = self.network.publish(endpoint, &requests).map_err(|error| EngineError::Mechanism {
            kind: error.kind(),
            text: format!(
                "driver failed programming external connectivity on endpoint {} ({}): {}",
                record.name,
                record.id,
                hako_base::error::chain(&error)
            ),
        })?;
        joined.published = publication.ports;
        let kept = self.keeper.keep(&ports_key(record.id), publication.listeners);
        kept.map_err(|error| {
            if let Err(error) = self.network.unpublish(&joined.published) {
                tracing::warn!(%error, "cannot take published ports back");
            }
            EngineError::mechanism(error.kind(), &error)
        })
    }

    /// Undoes [`Engine::join_networks`] for a start that failed later.
    pub(crate) fn leave_networks(&self, id: ContainerId, joined: &Joined) {
        self.free_ports(id, &joined.published);
        self.unplug(&joined.endpoints);
    }

    fn unplug(&self, endpoints: &[(String, NetworkId, Option<Endpoint>)]) {
        for endpoint in endpoints.iter().filter_map(|(_, _, endpoint)| endpoint.as_ref()) {
            if let Err(error) = self.network.endpoint_detach(endpoint) {
                tracing::warn!(link = %endpoint.link, %error, "cannot unplug");
            }
        }
    }

    /// The ports of a container that has ended are free again.
    pub(crate) async fn release_ports(&self, record: &Arc<Record>) {
        if record.published.is_empty() {
            return;
        }
        let (engine, record) = (self.clone(), record.clone());
        crate::blocking(move || engine.free_ports(record.id, &record.published)).await;
    }

    fn free_ports(&self, id: ContainerId, published: &[PublishedPort]) {
        if published.is_empty() {
            return;
        }
        if let Err(error) = self.network.unpublish(published) {
            tracing::warn!(container = %id.short(), %error, "cannot take published ports back");
        }
        if let Err(error) = self.keeper.discard(&ports_key(id)) {
            tracing::warn!(container = %id.short(), %error, "the keeper still holds published ports");
        }
    }

    /// Addresses are free, links and namespace go.
    pub(crate) fn leave_after_exit(&self, record: &Record, sandbox: Option<Arc<Sandbox>>) {
        for endpoint in record.endpoints.values().filter_map(|place| place.plugged.as_ref()) {
            if let Err(error) = self.network.endpoint_detach(endpoint) {
                tracing::warn!(link = %endpoint.link, %error, "cannot unplug");
            }
        }
        if let Some(sandbox) = sandbox {
            // Somebody who still looks at it lets go of it by dropping.
            if let Some(sandbox) = Arc::into_inner(sandbox) {
                self.network.sandbox_release(sandbox);
            }
        }
    }

    /// The networks that `filters` chooses, by name.
    ///
    /// # Errors
    /// A filter that there is none of.
    pub fn network_list(&self, filters: &Filters) -> Result<Vec<NetworkView>, EngineError> {
        if let Some(key) = filters.unknown_key(KNOWN_FILTERS) {
            return Err(EngineError::invalid(format!("invalid filter '{key}'")));
        }
        let views = self.networks.all().into_iter().filter(|record| {
            let builtin = matches!(record.spec.name.as_str(), "bridge" | "host" | "none");
            filters.any("name", |part| record.spec.name.contains(part))
                && filters.any("id", |part| record.id.to_string().starts_with(part))
                && filters.any("driver", |driver| driver == record.spec.driver.name())
                && filters.any("scope", |scope| scope == "local")
                && filters.any("type", |kind| (kind == "builtin") == builtin)
                && filters.labels("label", &record.spec.labels)
        });
        Ok(views.map(|record| self.network_view(&record)).collect())
    }

    /// Everything about one network.
    ///
    /// # Errors
    /// No such network.
    pub fn network_inspect(&self, name: &str) -> Result<NetworkView, EngineError> {
        Ok(self.network_view(&*self.networks.find(name)?))
    }

    fn network_view(&self, network: &NetworkRecord) -> NetworkView {
        let mut containers = BTreeMap::new();
        for record in
            self.containers.all().iter().map(|container| container.record()).filter(|record| record.is_running())
        {
            if let Some(view) = endpoints(&record).remove(&network.spec.name) {
                containers.insert(record.id.to_string(), (record.name.clone(), view));
            }
        }
        NetworkView { id: network.id, created: network.created, spec: network.spec.clone(), containers }
    }

    /// Tells watchers who joined or left which network.
    pub(crate) fn publish_network(&self, action: &str, record: &Record) {
        for (name, place) in &record.endpoints {
            let Some(network) = place.network else { continue };
            let driver = self.networks.find(name).map_or("bridge", |network| network.spec.driver.name());
            self.events.publish(
                EventKind::Network,
                action,
                &network.to_string(),
                [("container", record.id.to_string().as_str()), ("name", name.as_str()), ("type", driver)],
            );
        }
    }
}

/// The name under which the keeper holds a container's ports.
pub(crate) fn ports_key(id: ContainerId) -> String {
    format!("ports {id}")
}

/// Which container's ports these are.
pub(crate) fn ports_owner(key: &str) -> Option<ContainerId> {
    key.strip_prefix("ports ")?.parse().ok()
}

/// `-p` and `-P` of a container.
fn port_requests(record: &Record, default: Option<IpAddr>) -> Vec<PortRequest> {
    let host = &record.spec.host;
    let mut requests = Vec::new();
    for (port, bindings) in &host.port_bindings {
        for binding in bindings {
            let binding = PortBinding { address: binding.address.or(default), ..binding.clone() };
            requests.push(PortRequest { container: *port, host: binding });
        }
    }
    if host.publish_all {
        let exposed = record.config.exposed_ports.iter().filter(|port| !host.port_bindings.contains_key(port));
        requests.extend(exposed.map(|port| PortRequest {
            container: *port,
            host: PortBinding { address: default, port: 0, port_end: 0 },
        }));
    }
    requests
}

/// `92:d0:c6:0a:29:33`
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0_u8; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_links_are_read() {
        assert_eq!(parse_mac("92:d0:c6:0a:29:33"), Some([0x92, 0xd0, 0xc6, 0x0a, 0x29, 0x33]));
        for bad in ["", "92:d0", "92:d0:c6:0a:29:33:44", "xx:d0:c6:0a:29:33"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
