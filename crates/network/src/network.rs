//! [`Network`]: what it holds, how it is opened, and the choices a new bridge network needs.
//!
//! Order at start: [`Network::open`], `bridge_up` for every network, then [`Network::recover`] once,
//! even with nothing to recover: it applies the firewall, sweeps what nobody needs and starts the
//! pool. Before that no port works and sandboxes are made one by one.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use hako_model::{AddressPool, NetworkDriver, NetworkId, NetworkSpec};
use hako_sys::netlink::{NetlinkError, Protocol, Socket, route};
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};

use crate::{
    address,
    bridge::{Bridge, has_address},
    error::{Context, NetworkError},
    firewall::{Firewall, Obstacle, State},
    names::NameTables,
    plan::{BridgeOptions, BridgePlan, GatewayMode},
    publish::Ports,
    reaper::Reaper,
    relay::Relays,
    sandbox::Pool,
    settings::Settings,
    sysctl::{self, SysctlChange},
};

/// The network mechanism of one daemon.
#[derive(Debug)]
pub struct Network {
    pub(crate) settings: Settings,
    pub(crate) host: Arc<Host>,
    pub(crate) bridges: RwLock<HashMap<NetworkId, Arc<Bridge>>>,
    pub(crate) firewall: Firewall,
    pub(crate) pool: Pool,
    pub(crate) ports: Mutex<Ports>,
    pub(crate) relays: Relays,
    pub(crate) reaper: Reaper,
    pub(crate) changes: Mutex<Vec<SysctlChange>>,
    pub(crate) names: Arc<NameTables>,
}

/// The namespace the daemon lives in, by sockets in it.
#[derive(Debug, Default)]
pub(crate) struct Host {
    idle: Mutex<Vec<Socket>>,
}

/// Sockets kept for the next request; more are opened when many threads ask at once, and closed after.
const IDLE_SOCKETS: usize = 8;

impl Host {
    /// An rtnetlink socket that nobody else uses meanwhile. Take it on a thread that is in the host's
    /// namespace: a new one belongs to where its thread is.
    pub(crate) fn socket(&self) -> Result<HostSocket<'_>, NetworkError> {
        let idle = self.idle.lock().pop();
        let socket = match idle {
            Some(socket) => socket,
            None => Socket::open(Protocol::Route).context("open", "an rtnetlink socket")?,
        };
        Ok(HostSocket { host: self, socket: Some(socket) })
    }

    /// Runs `ask` with such a socket, and says what could not be done to what.
    pub(crate) fn rtnetlink<T>(
        &self,
        what: &'static str,
        subject: &str,
        ask: impl FnOnce(&mut Socket) -> Result<T, NetlinkError>,
    ) -> Result<T, NetworkError> {
        ask(self.socket()?.get()).context(what, subject)
    }
}

/// A socket on loan; it goes back when dropped.
pub(crate) struct HostSocket<'a> {
    host: &'a Host,
    socket: Option<Socket>,
}

impl HostSocket<'_> {
    pub(crate) fn get(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("it is taken out by drop only")
    }
}

impl Drop for HostSocket<'_> {
    fn drop(&mut self) {
        let mut idle = self.host.idle.lock();
        if idle.len() < IDLE_SOCKETS {
            idle.extend(self.socket.take());
        }
    }
}

impl Network {
    /// In the network namespace of the calling thread, which all threads that use it must share.
    pub fn open(settings: Settings) -> Result<Self, NetworkError> {
        let host = Arc::new(Host::default());
        let firewall = Firewall::open(settings.instance.table(), settings.firewall, settings.obey_input)?;
        let reaper = Reaper::start(Arc::clone(&host), settings.instance.link_group())?;
        Ok(Self {
            firewall,
            pool: Pool::new(Arc::clone(&host), settings.instance.clone(), settings.pool_size),
            ports: Mutex::new(Ports::default()),
            relays: Relays::new(settings.runtime.clone()),
            reaper,
            bridges: RwLock::new(HashMap::new()),
            changes: Mutex::new(Vec::new()),
            names: Arc::default(),
            host,
            settings,
        })
    }

    /// Whether this host has IPv6 at all; without it no network can.
    pub fn host_has_ipv6() -> bool {
        sysctl::read("net/ipv6/conf/all/forwarding").is_some()
    }

    /// Makes every choice that a new bridge network leaves open. `bridge`: its name on the host;
    /// `None`: `br-` and twelve digits of the id, as Docker names them.
    pub fn plan(&self, id: NetworkId, spec: &NetworkSpec, bridge: Option<&str>) -> Result<BridgePlan, NetworkError> {
        if matches!(spec.driver, NetworkDriver::Macvlan | NetworkDriver::Ipvlan) {
            return self.plan_stacked(id, spec);
        }
        let taken = self.taken()?;
        let options = Options(&spec.options);
        let own_name = spec.options.get("com.docker.network.bridge.name").map(String::as_str);
        let bridge = bridge.or(own_name).map_or_else(|| format!("br-{}", id.short()), str::to_owned);
        if bridge.is_empty() || bridge.len() > 15 || bridge.contains(['/', ' ', '"']) {
            return Err(options.bad("com.docker.network.bridge.name", &bridge));
        }
        if let Some(other) = self
            .bridges
            .read()
            .values()
            .map(|it| &it.plan)
            .find(|it| it.bridge == bridge && it.id != id && it.more.stacked.is_none())
        {
            return Err(NetworkError::BridgeTaken { id, bridge, other: other.id });
        }
        let more = options.more(spec.internal)?;
        let mut pools = choose_pools(spec, &self.settings.pools, &self.ours(id), &taken)?;
        if !has_address(&more, false) && spec.internal {
            pools.iter_mut().for_each(leave_both_addresses);
        }
        let mtu = options.mtu()?.unwrap_or(1500);
        // The least that every IPv6 link carries (RFC 8200); on less the kernel has no IPv6.
        if spec.ipv6 && mtu < 1280 {
            return Err(NetworkError::SmallMtu { mtu });
        }
        Ok(BridgePlan {
            id,
            name: spec.name.clone(),
            bridge,
            pools,
            mtu,
            internal: spec.internal,
            icc: options.flag("com.docker.network.bridge.enable_icc", true)?,
            masquerade: options.flag("com.docker.network.bridge.enable_ip_masquerade", true)?,
            host_binding: options.address("com.docker.network.bridge.host_binding_ipv4")?,
            more,
        })
    }

    // Our networks' subnets, which no other may overlap.
    pub(crate) fn ours(&self, but: NetworkId) -> Vec<IpNet> {
        let bridges = self.bridges.read();
        let others = bridges.values().filter(|bridge| bridge.plan.id != but);
        others.flat_map(|bridge| bridge.plan.subnets().collect::<Vec<_>>()).collect()
    }

    // Every subnet that one we choose must not overlap: the host's routes and addresses, our networks'.
    pub(crate) fn taken(&self) -> Result<Vec<IpNet>, NetworkError> {
        let (routes, addresses) = self.host.rtnetlink("list routes of", "the host", |socket| {
            Ok((route::routes(socket)?, route::addresses(socket)?))
        })?;
        let routes = routes.into_iter().map(|route| (route.destination, route.prefix));
        let addresses = addresses.into_iter().map(|address| (address.address, address.prefix));
        let mut taken: Vec<IpNet> = routes
            .chain(addresses)
            // A default route covers everything and says nothing.
            .filter(|(_, prefix)| *prefix > 0)
            .filter_map(|(address, prefix)| IpNet::new(address, prefix).ok())
            .map(|net| net.trunc())
            .collect();
        taken.extend(self.bridges.read().values().flat_map(|bridge| bridge.plan.subnets().collect::<Vec<_>>()));
        Ok(taken)
    }

    /// Who is called what in which network.
    pub fn names(&self) -> &Arc<NameTables> {
        &self.names
    }

    /// Remembers what was changed of the host.
    pub(crate) fn remember(&self, changes: Vec<SysctlChange>) {
        self.changes.lock().extend(changes);
    }

    /// Switches of the host that were changed since the start; for `info`, and to be written down by
    /// whoever wants to restore them after a crash.
    pub fn sysctl_changes(&self) -> Vec<SysctlChange> {
        self.changes.lock().clone()
    }

    /// Puts back switches of the host (those of [`Self::sysctl_changes`], of this run or an earlier one).
    pub fn sysctl_restore(changes: &[SysctlChange]) -> Result<(), NetworkError> {
        changes.iter().rev().try_for_each(sysctl::restore)
    }

    /// What other firewalls on this host may stop.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        self.firewall.obstacles()
    }

    /// What the firewall table is made from; printed by [`crate::firewall::ruleset`].
    pub fn firewall_state(&self) -> State {
        self.firewall.state()
    }

    /// Removes the firewall table and the tagged rules in others; bridges go with `bridge_down`.
    /// For a daemon that leaves the host for good, not for one that restarts.
    pub fn firewall_remove(&self) -> Result<(), NetworkError> {
        self.firewall.remove()
    }

    pub(crate) fn bridge(&self, id: NetworkId) -> Result<Arc<Bridge>, NetworkError> {
        self.bridges.read().get(&id).cloned().ok_or(NetworkError::NotUp { id })
    }
}

pub(crate) fn choose_pools(
    spec: &NetworkSpec,
    ranges: &[address::PoolRange],
    ours: &[IpNet],
    taken: &[IpNet],
) -> Result<Vec<AddressPool>, NetworkError> {
    let mut pools = Vec::new();
    // Of a family that is not wanted the subnet is remembered, as Docker does, and not used.
    let wanted = |pool: &&AddressPool| if matches!(pool.subnet, IpNet::V6(_)) { spec.ipv6 } else { spec.ipv4 };
    for asked in spec.pools.iter().filter(wanted) {
        let pool = complete(asked, ours)?;
        if pools.iter().any(|other: &AddressPool| other.subnet.addr().is_ipv4() == pool.subnet.addr().is_ipv4()) {
            return Err(NetworkError::SeveralSubnets);
        }
        pools.push(pool);
    }
    for (wanted, ipv6) in [(spec.ipv4, false), (spec.ipv6, true)] {
        let has = pools.iter().any(|pool| matches!(pool.subnet, IpNet::V6(_)) == ipv6);
        if wanted && !has {
            pools.push(address::pool(address::choose(ranges, taken, ipv6).ok_or(NetworkError::PoolsExhausted)?));
        }
    }
    Ok(pools)
}

// A pool that a person named: checked, and its gateway chosen where none was. It may be part of what the host has
// a route for, as with Docker: who names a subnet knows the host.
fn complete(asked: &AddressPool, taken: &[IpNet]) -> Result<AddressPool, NetworkError> {
    let mut pool = asked.clone();
    pool.subnet = pool.subnet.trunc();
    if taken.iter().any(|other| address::overlap(other, &pool.subnet)) {
        return Err(NetworkError::Overlap { subnet: pool.subnet });
    }
    if let Some(range) = pool.range.filter(|range| !pool.subnet.contains(range)) {
        return Err(NetworkError::RangeOutside { range });
    }
    if let Some(gateway) = pool.gateway.filter(|gateway| !pool.subnet.contains(gateway)) {
        return Err(NetworkError::GatewayOutside { gateway });
    }
    if let Some(gateway) = pool.gateway.filter(|gateway| address::Addresses::new(&pool).is_reserved(*gateway)) {
        return Err(NetworkError::GatewayTaken { gateway });
    }
    if pool.gateway.is_none() {
        pool.gateway = address::Addresses::new(&pool).take(None).ok();
    }
    Ok(pool)
}

// A /31 has two addresses (RFC 3021). Where the bridge has none, both are for containers.
fn leave_both_addresses(pool: &mut AddressPool) {
    if matches!(pool.subnet, IpNet::V4(net) if net.prefix_len() == 31) {
        pool.gateway = None;
    }
}

// Driver options, as texts.
pub(crate) struct Options<'a>(pub(crate) &'a BTreeMap<String, String>);

impl Options<'_> {
    fn bad(&self, option: &str, value: &str) -> NetworkError {
        NetworkError::Option { option: option.to_owned(), value: value.to_owned() }
    }

    fn flag(&self, option: &str, default: bool) -> Result<bool, NetworkError> {
        match self.0.get(option).map(String::as_str) {
            None => Ok(default),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(self.bad(option, other)),
        }
    }

    pub(crate) fn more(&self, internal: bool) -> Result<BridgeOptions, NetworkError> {
        let text = |option: &str| self.0.get(option).map(String::as_str).filter(|text| !text.is_empty());
        let trusted = text("com.docker.network.bridge.trusted_host_interfaces").unwrap_or_default();
        let prefix = text("com.docker.network.container_iface_prefix");
        // The number behind it is to fit into the fifteen characters of a link's name.
        if let Some(bad) = prefix.filter(|prefix| prefix.len() > 11 || prefix.contains(['/', ' ', ':'])) {
            return Err(self.bad("com.docker.network.container_iface_prefix", bad));
        }
        Ok(BridgeOptions {
            gateway_mode: self.gateway_mode("com.docker.network.bridge.gateway_mode_ipv4", internal)?,
            gateway_mode_ipv6: self.gateway_mode("com.docker.network.bridge.gateway_mode_ipv6", internal)?,
            interface_prefix: prefix.map(str::to_owned),
            inhibit_ipv4: self.flag("com.docker.network.bridge.inhibit_ipv4", false)?,
            trusted_interfaces: trusted.split(':').filter(|link| !link.is_empty()).map(str::to_owned).collect(),
            stacked: None,
        })
    }

    fn gateway_mode(&self, option: &str, internal: bool) -> Result<GatewayMode, NetworkError> {
        match self.0.get(option).map_or("", String::as_str) {
            "" | "nat" => Ok(GatewayMode::Nat),
            "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
            "isolated" if internal => Ok(GatewayMode::Isolated),
            "isolated" => Err(NetworkError::IsolatedOutside),
            "routed" => Ok(GatewayMode::Routed),
            other => Err(self.bad(option, other)),
        }
    }

    pub(crate) fn mtu(&self) -> Result<Option<u32>, NetworkError> {
        const OPTION: &str = "com.docker.network.driver.mtu";
        let Some(text) = self.0.get(OPTION) else { return Ok(None) };
        // 68 is the least that IPv4 allows (RFC 791).
        let mtu = text.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
        mtu.map(Some).ok_or_else(|| self.bad(OPTION, text))
    }

    fn address(&self, option: &str) -> Result<Option<IpAddr>, NetworkError> {
        let Some(text) = self.0.get(option).filter(|text| !text.is_empty()) else { return Ok(None) };
        let address: IpAddr = text.parse().map_err(|_| self.bad(option, text))?;
        // Docker shows 0.0.0.0 where nothing was said, and publishes on both families then.
        Ok(Some(address).filter(|address| !address.is_unspecified()))
    }
}
