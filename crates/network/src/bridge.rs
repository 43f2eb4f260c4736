//! Bridges go up and down.
//!
//! A bridge carries the daemon's name as its alias. One that carries another's is not touched; one
//! that carries none was made by a person: it is used, and never deleted.

use std::sync::Arc;

use hako_model::NetworkId;
use hako_sys::netlink::{
    Batch,
    route::{self, Link, LinkChange, Mac},
};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::{
    Network,
    address::{Addresses, Unavailable},
    endpoint::wait_until,
    error::NetworkError,
    firewall::NetworkRules,
    plan::{BridgeOptions, BridgePlan, GatewayMode},
    sysctl,
};

/// A bridge that is up.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) plan: BridgePlan,
    pub(crate) index: u32,
    pub(crate) mac: Mac,
    addresses: Mutex<Vec<Addresses>>,
}

impl Bridge {
    /// Takes an address of one family: the wanted one or the lowest free one, with its subnet.
    /// `None`: the network has no such family and none was wanted.
    pub(crate) fn address_take(
        &self,
        wanted: Option<std::net::IpAddr>,
        ipv6: bool,
    ) -> Result<Option<IpNet>, NetworkError> {
        let mut pools = self.addresses.lock();
        let mut last = None;
        for pool in pools.iter_mut().filter(|pool| matches!(pool.subnet(), IpNet::V6(_)) == ipv6) {
            match pool.take(wanted) {
                Ok(address) => return Ok(Some(IpNet::new_assert(address, pool.subnet().prefix_len()))),
                Err(Unavailable::Outside) => last = last.or(Some(Unavailable::Outside)),
                Err(other) => last = Some(other),
            }
        }
        match (last, wanted) {
            (None, None) => Ok(None),
            (Some(Unavailable::Taken), Some(address)) => Err(NetworkError::AddressTaken { address }),
            (_, Some(address)) => Err(NetworkError::AddressOutside { address }),
            (Some(_), None) => Err(NetworkError::AddressesExhausted {
                family: if ipv6 { "IPv6" } else { "IPv4" },
                name: self.plan.name.clone(),
                id: self.plan.id,
            }),
        }
    }

    /// Gives an address back.
    pub(crate) fn address_release(&self, address: std::net::IpAddr) {
        for pool in self.addresses.lock().iter_mut() {
            pool.release(address);
        }
    }

    fn rules(&self) -> NetworkRules {
        let open = |net: &IpNet| self.plan.gateway_mode(net.addr().is_ipv6()) == GatewayMode::NatUnprotected;
        let routed = |net: &IpNet| self.plan.gateway_mode(net.addr().is_ipv6()) == GatewayMode::Routed;
        NetworkRules {
            subnets: self.plan.subnets().collect(),
            unprotected: self.plan.subnets().filter(open).collect(),
            trusted: self.plan.more.trusted_interfaces.clone(),
            masquerade: self.plan.masquerade,
            routed: self.plan.subnets().filter(routed).collect(),
            internal: self.plan.internal,
            icc: self.plan.icc,
        }
    }
}

/// Whether the bridge itself has an address of a family.
pub(crate) fn has_address(options: &BridgeOptions, ipv6: bool) -> bool {
    options.gateway_mode_of(ipv6) != GatewayMode::Isolated && (ipv6 || !options.inhibit_ipv4)
}

/// A bridge that a person made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignBridge {
    /// With the lengths of their subnets.
    pub addresses: Vec<IpNet>,
}

impl Network {
    /// Makes the bridge, or makes the one that is there what the plan says. May be repeated.
    pub fn bridge_up(&self, plan: &BridgePlan) -> Result<(), NetworkError> {
        if let Some(stacked) = &plan.more.stacked {
            let index = self.parent_up(stacked)?;
            let bridge = self.bridge_of(plan, index, Mac::default());
            self.bridges.write().insert(plan.id, Arc::new(bridge));
            return Ok(());
        }
        if self.settings.ip_forward {
            self.remember(sysctl::ensure_forwarding(false)?);
            if plan.has_ipv6() {
                self.remember(sysctl::ensure_forwarding(true)?);
            }
        }
        let link = match self.bridge_link(&plan.bridge)? {
            Some(link) => link,
            None => self.bridge_make(plan)?,
        };
        self.bridge_sysctls(plan)?;
        self.bridge_addresses(plan, &link)?;
        let bridge = self.bridge_of(plan, link.index, link.address.unwrap_or_default());
        self.firewall.network_set(&plan.bridge, bridge.rules())?;
        self.bridges.write().insert(plan.id, Arc::new(bridge));
        Ok(())
    }

    /// The bridge of this name, if there is one that is not this daemon's own.
    ///
    /// # Errors
    /// A link of this name that is none, or another daemon's bridge.
    pub fn bridge_foreign(&self, name: &str) -> Result<Option<ForeignBridge>, NetworkError> {
        let Some(link) = self.bridge_link(name)?.filter(|link| link.alias != self.settings.instance.alias()) else {
            return Ok(None);
        };
        let addresses = self.host.rtnetlink("ask for the addresses of", name, route::addresses)?;
        let own = addresses.into_iter().filter(|address| address.link == link.index);
        let addresses = own.filter_map(|address| IpNet::new(address.address, address.prefix).ok()).collect();
        Ok(Some(ForeignBridge { addresses }))
    }

    /// Whether there is a link of this name.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn link_exists(&self, name: &str) -> Result<bool, NetworkError> {
        Ok(self.host.rtnetlink("find", name, |socket| route::link_named(socket, name))?.is_some())
    }

    fn bridge_of(&self, plan: &BridgePlan, index: u32, mac: Mac) -> Bridge {
        // A subnet's addresses in use survive a repeated `bridge_up` of a running network.
        let known = self.bridges.read().get(&plan.id).map(|bridge| bridge.addresses.lock().clone());
        let addresses = known
            .filter(|known| known.iter().map(Addresses::subnet).eq(plan.subnets()))
            .unwrap_or_else(|| plan.pools.iter().map(Addresses::new).collect());
        Bridge { plan: plan.clone(), index, mac, addresses: Mutex::new(addresses) }
    }

    /// Takes a network away. A bridge that this daemon did not make stays.
    pub fn bridge_down(&self, id: NetworkId) -> Result<(), NetworkError> {
        let Some(bridge) = self.bridges.write().remove(&id) else { return Ok(()) };
        if let Some(stacked) = &bridge.plan.more.stacked {
            return self.parent_down(stacked);
        }
        self.firewall.network_remove(&bridge.plan.bridge)?;
        match self.bridge_link(&bridge.plan.bridge)? {
            Some(link) if link.alias == self.settings.instance.alias() => self.link_delete(link.index, &link.name),
            _ => Ok(()),
        }
    }

    pub(crate) fn link_delete(&self, index: u32, name: &str) -> Result<(), NetworkError> {
        self.host.rtnetlink("delete", name, |socket| {
            let mut batch = Batch::new();
            route::link_remove(&mut batch, index);
            socket.transact(&mut batch)
        })
    }

    // The link of this name if it may be used as this daemon's bridge.
    fn bridge_link(&self, name: &str) -> Result<Option<Link>, NetworkError> {
        let Some(link) = self.host.rtnetlink("find", name, |socket| route::link_named(socket, name))? else {
            return Ok(None);
        };
        if link.kind != "bridge" {
            return Err(NetworkError::NotABridge { bridge: name.to_owned() });
        }
        if link.alias.starts_with("hako ") && link.alias != self.settings.instance.alias() {
            return Err(NetworkError::BridgeForeign { bridge: name.to_owned(), alias: link.alias });
        }
        Ok(Some(link))
    }

    fn bridge_make(&self, plan: &BridgePlan) -> Result<Link, NetworkError> {
        let alias = self.settings.instance.alias();
        let made = self.host.rtnetlink("make bridge", &plan.bridge, |socket| {
            let mut batch = Batch::new();
            route::bridge_add(&mut batch, &plan.bridge, plan.mac(), plan.mtu);
            socket.transact(&mut batch)?;
            let link = route::link_named(socket, &plan.bridge)?;
            if let Some(link) = &link {
                let mut batch = Batch::new();
                route::link_change(&mut batch, link.index, LinkChange { alias: Some(&alias), ..LinkChange::default() });
                socket.transact(&mut batch)?;
            }
            Ok(link)
        })?;
        made.ok_or_else(|| NetworkError::NotABridge { bridge: plan.bridge.clone() })
    }

    // A bridge never takes addresses from whoever announces some on it (CVE-2020-13401), and has no
    // IPv6 at all where its network has none (CVE-2024-32473).
    fn bridge_sysctls(&self, plan: &BridgePlan) -> Result<(), NetworkError> {
        let switch = |name: &str| format!("net/ipv6/conf/{}/{name}", plan.bridge);
        sysctl::ensure(&switch("accept_ra"), "0")?;
        sysctl::ensure(&switch("disable_ipv6"), if plan.has_ipv6() { "0" } else { "1" })?;
        sysctl::ensure(&format!("net/ipv4/conf/{}/route_localnet", plan.bridge), "0")?;
        Ok(())
    }

    // The gateways are its addresses; others in its subnets' families are those of an earlier plan.
    fn bridge_addresses(&self, plan: &BridgePlan, link: &Link) -> Result<(), NetworkError> {
        let own = link.alias == self.settings.instance.alias() || link.alias.is_empty();
        let wanted: Vec<IpNet> = plan
            .pools
            .iter()
            .filter(|pool| {
                let ipv6 = pool.subnet.addr().is_ipv6();
                has_address(&plan.more, ipv6)
            })
            .filter_map(|pool| Some(IpNet::new_assert(pool.gateway?, pool.subnet.prefix_len())))
            .collect();
        self.host.rtnetlink("configure bridge", &plan.bridge, |socket| {
            let present = route::addresses(socket)?;
            let mut batch = Batch::new();
            for old in present.iter().filter(|address| address.link == link.index && own) {
                let link_local = matches!(old.address, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local());
                let kept = wanted.iter().any(|net| net.addr() == old.address && net.prefix_len() == old.prefix);
                if !kept && !link_local && !link.alias.is_empty() {
                    route::address_remove(&mut batch, link.index, old.address, old.prefix);
                }
            }
            for net in &wanted {
                route::address_add(&mut batch, link.index, net.addr(), net.prefix_len());
            }
            route::link_change(&mut batch, link.index, LinkChange { up: Some(true), ..LinkChange::default() });
            socket.transact(&mut batch)
        })?;
        wait_until("addresses are its own", &plan.bridge, || {
            self.host.rtnetlink("ask for", &plan.bridge, |socket| {
                wanted.iter().try_fold(true, |all, net| Ok(all && route::is_local(socket, net.addr())?))
            })
        })
    }
}
