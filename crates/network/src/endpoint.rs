//! A sandbox is plugged into a bridge, and unplugged.
//!
//! Two batches: one on the sandbox's own socket (addresses, routes, the gateway as a permanent
//! neighbour), one on the host's (into the bridge, its forwarding entry, the container as a permanent
//! neighbour). Nothing waits for ARP, learning or duplicate detection.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::BorrowedFd,
    time::Duration,
};

use hako_base::backoff::wait_for;
use hako_sys::netlink::{
    Batch, namespace,
    route::{self, LinkChange, PortFlags, Route, VethEnd},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    Network, Sandbox,
    address::mac,
    bridge::Bridge,
    error::{Context, NetworkError},
    plan::{Endpoint, EndpointPlan},
    sandbox::{FIRST_LINK, Inside, MTU, Prepared, veth_make},
    sysctl,
};

/// Interfaces a container may have by itself (`eth0` …): more than networks anybody connects to one.
const INTERFACES_MAX: usize = 1024;

// Addresses that were taken for an endpoint; given back if it does not come to be.
struct Taken<'a> {
    bridge: &'a Bridge,
    ipv4: Option<Ipv4Net>,
    ipv6: Option<Ipv6Net>,
    keep: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.ipv4.iter().for_each(|net| self.bridge.address_release(net.addr().into()));
            self.ipv6.iter().for_each(|net| self.bridge.address_release(net.addr().into()));
        }
    }
}

impl Network {
    /// Plugs a sandbox into a network.
    pub fn endpoint_attach(&self, sandbox: &Sandbox, plan: &EndpointPlan) -> Result<Endpoint, NetworkError> {
        let bridge = self.bridge(plan.network)?;
        if bridge.is_stacked() {
            return self.stacked_attach(sandbox, &bridge, plan);
        }
        let mut taken = take_addresses(&bridge, plan)?;
        let mut inside = sandbox.inside.lock();
        let name = interface_name(&mut inside, plan, bridge.plan.more.interface_prefix.as_deref())?;
        let mut link = self.link_for(sandbox, &mut inside, &name, &bridge, taken.ipv6.is_some())?;
        let endpoint = endpoint_of(&bridge, plan, &taken, name, &link);
        let result = set_sysctls(sandbox, &endpoint.interface, &plan.sysctls)
            .and_then(|()| self.configure_inside(&mut inside, &mut link, &bridge, &endpoint, plan))
            .and_then(|()| self.configure_host(&link, &bridge, &endpoint))
            .and_then(|()| self.frames_wait(&mut inside, &link, &bridge));
        if let Err(error) = result {
            self.reaper.delete(link.link);
            return Err(error);
        }
        taken.keep = true;
        Ok(endpoint)
    }

    // The same on a link of the host: nothing is to be done there.
    fn stacked_attach(
        &self,
        sandbox: &Sandbox,
        bridge: &Bridge,
        plan: &EndpointPlan,
    ) -> Result<Endpoint, NetworkError> {
        let Some(stacked) = &bridge.plan.more.stacked else { return Err(NetworkError::NotUp { id: plan.network }) };
        let mut taken = take_addresses(bridge, plan)?;
        let mut inside = sandbox.inside.lock();
        if let Some(unused) = inside.prepared.take() {
            self.reaper.delete(unused.link);
            self.reaper.settle();
        }
        let name = interface_name(&mut inside, plan, bridge.plan.more.interface_prefix.as_deref())?;
        let mut link = self.stacked_make(sandbox, &mut inside, &name, stacked, taken.ipv6.is_some())?;
        let mut endpoint = endpoint_of(bridge, plan, &taken, name, &link);
        if stacked.mode.routes_by_link() {
            (endpoint.gateway, endpoint.gateway_ipv6) = (None, None);
        }
        let mut configure = || {
            set_sysctls(sandbox, &endpoint.interface, &plan.sysctls)?;
            self.configure_inside(&mut inside, &mut link, bridge, &endpoint, plan)
        };
        // Until the kernel has seen the end of the last namespace through, its link has the link-layer address that the
        // next container of the same address gets.
        let busy = |error: &NetworkError| matches!(error, NetworkError::Netlink { source, .. } if source.errno() == libc::EADDRINUSE);
        let mut result = configure();
        if result.as_ref().is_err_and(busy) {
            wait_for(ADDRESS_PATIENCE, || {
                result = configure();
                (!result.as_ref().is_err_and(busy)).then_some(())
            });
        }
        if let Err(error) = result {
            if let Err(error) = Self::stacked_remove(&mut inside, link.inner, &endpoint.interface) {
                tracing::warn!(error = %hako_base::error::chain(&error), "a link stays in a namespace that is given up");
            }
            return Err(error);
        }
        if !stacked.mode.has_own_address() {
            let link =
                route::link_named(&mut inside.socket, &endpoint.interface).context("find", &endpoint.interface)?;
            endpoint.mac = link.and_then(|link| link.address).unwrap_or(endpoint.mac);
        }
        taken.keep = true;
        Ok(endpoint)
    }

    /// Unplugs; its addresses are free at once, its links are deleted off the path.
    pub fn endpoint_detach(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        self.firewall.close(&endpoint.addresses().collect::<Vec<_>>())?;
        if endpoint.link.is_empty() {
            // Its link goes with the namespace.
            if let Ok(bridge) = self.bridge(endpoint.network) {
                endpoint.addresses().for_each(|address| bridge.address_release(address));
            }
            return Ok(());
        }
        if let Ok(bridge) = self.bridge(endpoint.network) {
            let closed = self.host.rtnetlink("unplug", &endpoint.link, |socket| {
                let mut batch = Batch::new();
                // Whatever is left of the container must not answer for its successor.
                route::port_close(&mut batch, &endpoint.link);
                for address in endpoint.addresses() {
                    route::neighbour_remove(&mut batch, bridge.index, address);
                }
                socket.transact(&mut batch)
            });
            // What is gone already was refused; the rest was done.
            if let Err(error) = closed {
                tracing::debug!(error = %hako_base::error::chain(&error), "a part of it was gone");
            }
            endpoint.addresses().for_each(|address| bridge.address_release(address));
        }
        self.reaper.delete(endpoint.link.clone());
        Ok(())
    }

    /// Unplugs from a sandbox that goes on: when this returns its addresses, routes and name are free inside too.
    ///
    /// Deleting a link takes the kernel's grace period. It is given a name that nobody asks for and deleted off the
    /// path; where a link that is up cannot be renamed (before Linux 6.2) the deletion is waited for.
    pub fn endpoint_pull(&self, sandbox: &Sandbox, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let mut inside = sandbox.inside.lock();
        if endpoint.link.is_empty() {
            let found =
                route::link_named(&mut inside.socket, &endpoint.interface).context("find", &endpoint.interface)?;
            if let Some(link) = found {
                Self::stacked_remove(&mut inside, link.index, &endpoint.interface)?;
            }
            return self.endpoint_detach(endpoint);
        }
        let aside = self.lay_aside(&mut inside, endpoint);
        self.endpoint_detach(endpoint)?;
        if let Err(error) = aside {
            tracing::debug!(error = %hako_base::error::chain(&error), "waiting until the link is gone");
            self.reaper.settle();
        }
        Ok(())
    }

    fn lay_aside(&self, inside: &mut Inside, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let link = route::link_named(&mut inside.socket, &endpoint.interface).context("find", &endpoint.interface)?;
        let Some(link) = link else { return Ok(()) };
        let name = format!("gone{}", &endpoint.link[endpoint.link.len().saturating_sub(7)..]);
        let mut batch = Batch::new();
        route::link_change(&mut batch, link.index, LinkChange { name: Some(&name), ..LinkChange::default() });
        for net in nets(endpoint) {
            route::address_remove(&mut batch, link.index, net.addr(), net.prefix_len());
        }
        inside.socket.transact(&mut batch).context("lay aside", &endpoint.interface)
    }

    /// The default routes of a sandbox lead through these endpoints of it; where there is none, nowhere.
    pub fn default_routes(
        &self,
        sandbox: &Sandbox,
        ipv4: Option<&Endpoint>,
        ipv6: Option<&Endpoint>,
    ) -> Result<(), NetworkError> {
        let mut inside = sandbox.inside.lock();
        let links = route::links(&mut inside.socket).context("list links of", "a container")?;
        let index = |endpoint: &Endpoint| {
            links.iter().find(|link| link.name == endpoint.interface).map(|link| link.index).unwrap_or_default()
        };
        let v4 = ipv4.and_then(|endpoint| Some((IpAddr::from(endpoint.gateway?), index(endpoint))));
        let v6 = ipv6.and_then(|endpoint| Some((IpAddr::from(endpoint.gateway_ipv6?), index(endpoint))));
        let present = route::routes(&mut inside.socket).context("list routes of", "a container")?;
        let mut batch = Batch::new();
        for old in present.into_iter().filter(|route| route.prefix == 0 && route.gateway.is_some()) {
            let wanted = if old.destination.is_ipv4() { v4 } else { v6 };
            if wanted.is_none_or(|(via, link)| (old.gateway, old.link) != (Some(via), Some(link))) {
                route::route_remove(&mut batch, old);
            }
        }
        for (via, link) in v4.into_iter().chain(v6) {
            route::route_add(&mut batch, default_route(via, link));
        }
        if batch.is_empty() { Ok(()) } else { inside.socket.transact(&mut batch).context("lead", "default routes") }
    }

    /// Waits until links and namespaces that were let go are gone from the host.
    pub fn settle(&self) {
        self.reaper.settle();
    }

    // The prepared pair for eth0, or a pair made now: a second network, another name, a namespace
    // that was not prepared here.
    fn link_for(
        &self,
        sandbox: &Sandbox,
        inside: &mut Inside,
        name: &str,
        bridge: &Bridge,
        ipv6: bool,
    ) -> Result<Prepared, NetworkError> {
        let mut link = match inside.prepared.take() {
            Some(prepared) if name == FIRST_LINK => prepared,
            unused => {
                if let Some(unused) = unused {
                    self.reaper.delete(unused.link);
                }
                return self.link_make(sandbox, inside, name, bridge, ipv6);
            }
        };
        if ipv6 {
            link.switch_ipv6_on().context("switch IPv6 on for", name)?;
        }
        Ok(link)
    }

    fn link_make(
        &self,
        sandbox: &Sandbox,
        inside: &mut Inside,
        name: &str,
        bridge: &Bridge,
        ipv6: bool,
    ) -> Result<Prepared, NetworkError> {
        let link = self.settings.instance.link_name();
        let netns = sandbox.netns();
        let index = self.host.rtnetlink("make veth pair", &link, |socket| {
            let near = VethEnd { name: &link, namespace: None, address: None };
            let far = VethEnd { name, namespace: Some(netns), address: None };
            veth_make(socket, near, far, bridge.plan.mtu)
        })?;
        switch_ipv6(netns, name, ipv6)?;
        let inner = route::link_named(&mut inside.socket, name).context("find", name)?;
        Ok(Prepared {
            link,
            index,
            inner: inner.map(|link| link.index).unwrap_or_default(),
            settled: false,
            ipv6: None,
        })
    }

    fn configure_inside(
        &self,
        inside: &mut Inside,
        link: &mut Prepared,
        bridge: &Bridge,
        endpoint: &Endpoint,
        plan: &EndpointPlan,
    ) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        let stacked = bridge.plan.more.stacked.as_ref();
        let change = LinkChange {
            address: stacked.is_none_or(|stacked| stacked.mode.has_own_address()).then_some(endpoint.mac),
            mtu: (stacked.is_none() && bridge.plan.mtu != MTU).then_some(bridge.plan.mtu),
            up: Some(true),
            ..LinkChange::default()
        };
        route::link_change(&mut batch, link.inner, change);
        for net in nets(endpoint) {
            route::address_add(&mut batch, link.inner, net.addr(), net.prefix_len());
        }
        for address in &plan.link_local {
            route::address_add(&mut batch, link.inner, *address, if address.is_ipv4() { 16 } else { 64 });
        }
        // Containers may ask the bridge's address even on a network without a way out.
        for gateway in [bridge.plan.gateway(false), bridge.plan.gateway(true)].into_iter().flatten() {
            if stacked.is_none() && nets(endpoint).any(|net| net.contains(&gateway)) {
                route::neighbour_set(&mut batch, link.inner, gateway, bridge.mac);
            }
        }
        for via in [
            endpoint.gateway.filter(|_| plan.default_route).map(IpAddr::from),
            endpoint.gateway_ipv6.filter(|_| plan.default_route_ipv6).map(IpAddr::from),
        ] {
            via.into_iter().for_each(|via| route::route_add(&mut batch, default_route(via, link.inner)));
        }
        if stacked.is_some_and(|stacked| stacked.mode.routes_by_link()) && !bridge.plan.internal {
            for net in nets(endpoint) {
                let wanted = if net.addr().is_ipv4() { plan.default_route } else { plan.default_route_ipv6 };
                let any =
                    if net.addr().is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                if wanted {
                    let route = Route { destination: any, prefix: 0, gateway: None, link: Some(link.inner) };
                    route::route_add(&mut batch, route);
                }
            }
        }
        inside.socket.transact(&mut batch).context("configure", endpoint.interface.as_str())
    }

    // Frames must pass when this returns: a lost first one costs a client a second. A prepared pair and
    // a bridge in use are so already. IPv6 addresses are a matter of a worker of the kernel, which may
    // have its turn while the container is being launched: nobody listens there before.
    fn frames_wait(&self, inside: &mut Inside, link: &Prepared, bridge: &Bridge) -> Result<(), NetworkError> {
        wait_until("frames pass", &link.link, || {
            let inner = link.settled
                || route::links_operating(&mut inside.socket, &[link.inner]).context("ask for", FIRST_LINK)?;
            Ok(inner && self.frames_pass(&[link.index, bridge.index])?)
        })
    }

    /// Whether these links of the host pass frames.
    pub(crate) fn frames_pass(&self, links: &[u32]) -> Result<bool, NetworkError> {
        self.host.rtnetlink("ask for", "links", |socket| route::links_operating(socket, links))
    }

    fn configure_host(&self, link: &Prepared, bridge: &Bridge, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        let change = LinkChange {
            master: Some(bridge.index),
            mtu: (bridge.plan.mtu != MTU).then_some(bridge.plan.mtu),
            ..LinkChange::default()
        };
        route::link_change(&mut batch, link.index, change);
        // Hairpin matters where br_netfilter translates on the bridge itself.
        route::port_flags(&mut batch, link.index, PortFlags { hairpin: true, isolated: !bridge.plan.icc });
        route::forwarding_set(&mut batch, link.index, endpoint.mac);
        for address in endpoint.addresses() {
            route::neighbour_set(&mut batch, bridge.index, address, endpoint.mac);
        }
        let result = self.host.rtnetlink("enslave", &link.link, |socket| socket.transact(&mut batch));
        result.map_err(|error| match error {
            // `br_add_if` finds no free port number.
            NetworkError::Netlink { source, .. } if source.errno() == libc::EXFULL => {
                NetworkError::BridgeFull { name: bridge.plan.name.clone() }
            }
            other => other,
        })
    }
}

/// Switches IPv6 of one link on or off, inside its namespace. Nothing to do where the kernel has none.
pub(crate) fn switch_ipv6(netns: BorrowedFd<'_>, link: &str, on: bool) -> Result<(), NetworkError> {
    let switch = format!("net/ipv6/conf/{link}/disable_ipv6");
    let set = namespace::within(netns, || match sysctl::read(&switch) {
        Some(_) => sysctl::write(&switch, if on { "0" } else { "1" }),
        None => Ok(()),
    });
    set.context("set sysctl", switch.replace('/', "."))
}

// `com.docker.network.endpoint.sysctls`: switches of the container's new link. The names were checked.
fn set_sysctls(sandbox: &Sandbox, interface: &str, sysctls: &[(String, String)]) -> Result<(), NetworkError> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let set = namespace::within(sandbox.netns(), || {
        sysctls.iter().try_for_each(|(name, value)| sysctl::write(&name.replace("IFNAME", interface), value))
    });
    set.context("set sysctls of", interface)
}

/// Reads `net.ipv4.conf.IFNAME.log_martians=1,…`: paths below /proc/sys and values.
pub fn endpoint_sysctls(text: &str) -> Result<Vec<(String, String)>, NetworkError> {
    let settings = text.split(',').filter(|setting| !setting.trim().is_empty());
    settings
        .map(|setting| {
            let (name, value) = setting.trim().split_once('=').unwrap_or((setting, ""));
            // The docker command line makes driver options lower case.
            let as_meant = |part: &str| if part == "ifname" { "IFNAME".to_owned() } else { part.to_owned() };
            let parts: Vec<String> = name.split('.').map(as_meant).collect();
            let word =
                |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let known = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["net", "ipv4" | "ipv6" | "mpls", group, "IFNAME", last] => word(group) && word(last),
                _ => false,
            };
            if !known || value.is_empty() {
                return Err(NetworkError::EndpointSysctl { name: name.to_owned() });
            }
            Ok((parts.join("/"), value.to_owned()))
        })
        .collect()
}

fn default_route(via: IpAddr, link: u32) -> Route {
    let destination = if via.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Route { destination, prefix: 0, gateway: Some(via), link: Some(link) }
}

/// How long the kernel may take to act on what was asked; longer means that somebody undid it.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long the end of a namespace may take on a busy machine.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);

/// Questions before the first pause; each takes some microseconds.
const ASK_AT_ONCE: usize = 16;

/// Waits until the kernel has acted; if it does not, that is said and no failure.
pub(crate) fn wait_until(
    what: &'static str,
    subject: &str,
    mut ready: impl FnMut() -> Result<bool, NetworkError>,
) -> Result<(), NetworkError> {
    // It is a matter of microseconds as a rule, and the shortest pause is a millisecond.
    for _ in 0..ASK_AT_ONCE {
        if ready()? {
            return Ok(());
        }
        std::thread::yield_now();
    }
    let answer = wait_for(PATIENCE, || ready().map(|yes| yes.then_some(())).transpose());
    if answer.is_none() {
        tracing::warn!(what, subject, "the kernel does not get ready");
    }
    answer.unwrap_or(Ok(()))
}

fn take_addresses<'a>(bridge: &'a Bridge, plan: &EndpointPlan) -> Result<Taken<'a>, NetworkError> {
    let mut taken = Taken { bridge, ipv4: None, ipv6: None, keep: false };
    if let Some(IpNet::V4(net)) = bridge.address_take(plan.ipv4.map(IpAddr::V4), false)? {
        taken.ipv4 = Some(net);
    }
    if let Some(IpNet::V6(net)) = bridge.address_take(plan.ipv6.map(IpAddr::V6), true)? {
        taken.ipv6 = Some(net);
    }
    Ok(taken)
}

fn interface_name(inside: &mut Inside, plan: &EndpointPlan, prefix: Option<&str>) -> Result<String, NetworkError> {
    if let Some(name) = &plan.interface {
        let taken = route::link_named(&mut inside.socket, name).context("find", name)?.is_some();
        return if taken { Err(NetworkError::InterfaceTaken { name: name.clone() }) } else { Ok(name.clone()) };
    }
    if inside.prepared.is_some() && prefix.is_none() {
        return Ok(FIRST_LINK.to_owned());
    }
    let links = route::links(&mut inside.socket).context("list links of", "a container")?;
    let free = (0..INTERFACES_MAX)
        .map(|number| format!("{}{number}", prefix.unwrap_or("eth")))
        .find(|name| links.iter().all(|link| link.name != *name));
    Ok(free.unwrap_or_else(|| FIRST_LINK.to_owned()))
}

fn endpoint_of(bridge: &Bridge, plan: &EndpointPlan, taken: &Taken<'_>, name: String, link: &Prepared) -> Endpoint {
    let gateway = |ipv6| bridge.plan.way_out(ipv6).filter(|_| !bridge.plan.internal);
    Endpoint {
        network: plan.network,
        interface: name,
        link: link.link.clone(),
        mac: plan.mac.unwrap_or_else(|| mac(taken.ipv4.map(|net| net.addr()))),
        ipv4: taken.ipv4,
        ipv6: taken.ipv6,
        gateway: gateway(false).and_then(|address| if let IpAddr::V4(ip) = address { Some(ip) } else { None }),
        gateway_ipv6: gateway(true).and_then(|address| if let IpAddr::V6(ip) = address { Some(ip) } else { None }),
    }
}

fn nets(endpoint: &Endpoint) -> impl Iterator<Item = IpNet> + '_ {
    endpoint.ipv4.map(IpNet::V4).into_iter().chain(endpoint.ipv6.map(IpNet::V6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_an_endpoint_are_those_of_its_link() {
        let read = |text: &str| match endpoint_sysctls(text) {
            Ok(list) => list.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(read("net.ipv4.conf.IFNAME.log_martians=1"), "net/ipv4/conf/IFNAME/log_martians=1");
        assert_eq!(read("net.ipv6.conf.ifname.accept_ra=2,"), "net/ipv6/conf/IFNAME/accept_ra=2");
        assert_eq!(read(""), "");
        for bad in ["kernel.shmmax", "net.ipv4.ip_forward", "net.ipv4.conf.eth0.forwarding", "net.ipv4...IFNAME.x"] {
            let expected = format!("cannot set sysctl {bad} for an endpoint: it has to be net.*.*.IFNAME.*");
            assert_eq!(read(&format!("{bad}=1")), expected);
        }
    }
}
