//! macvlan and ipvlan networks: containers' links stand on one of the host's, and no bridge or firewall of ours is
//! between them and the outside.
//!
//! The parent is a link that is there, a sub-interface `eth0.10` that is made with the network, or, where nothing is
//! named, a link that leads nowhere. A container's link is made in its namespace at once; the host has no end of it.

use hako_model::{NetworkDriver, NetworkId, NetworkSpec};
use hako_sys::netlink::{
    Batch,
    route::{self, LinkChange},
    stacked::{self, Stacked, StackedKind, stacked_add},
};

use crate::{
    Network, Sandbox,
    bridge::Bridge,
    endpoint::switch_ipv6,
    error::{Context, NetworkError},
    network::{Options, choose_pools},
    plan::{BridgeOptions, BridgePlan, IpvlanFlag, IpvlanMode, MacvlanMode, MadeParent, StackedMode, StackedPlan},
    sandbox::{Inside, Prepared},
};

impl StackedMode {
    fn kind(self) -> StackedKind {
        match self {
            Self::Macvlan(mode) => StackedKind::Macvlan {
                mode: match mode {
                    MacvlanMode::Private => 1,
                    MacvlanMode::Vepa => 2,
                    MacvlanMode::Bridge => 4,
                    MacvlanMode::Passthru => 8,
                },
            },
            Self::Ipvlan(mode, flag) => StackedKind::Ipvlan {
                mode: mode as u16,
                flags: match flag {
                    IpvlanFlag::Bridge => 0,
                    IpvlanFlag::Private => 1,
                    IpvlanFlag::Vepa => 2,
                },
            },
        }
    }

    /// Whether the containers' links have link-layer addresses of their own, which may be chosen.
    pub(crate) fn has_own_address(self) -> bool {
        matches!(self, Self::Macvlan(mode) if mode != MacvlanMode::Passthru)
    }

    /// Whether packets go out by the link alone, without a gateway's link-layer address.
    pub(crate) fn routes_by_link(self) -> bool {
        matches!(self, Self::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s, _))
    }
}

impl Network {
    /// Makes every choice that a new macvlan or ipvlan network leaves open.
    pub(crate) fn plan_stacked(&self, id: NetworkId, spec: &NetworkSpec) -> Result<BridgePlan, NetworkError> {
        let options = Options(&spec.options);
        let mode = mode(spec)?;
        self.kind_wanted(mode.kind().name())?;
        let (parent, made) = self.parent_of(id, spec)?;
        let stacked = StackedPlan { mode, parent: parent.clone(), made, mtu: options.mtu()? };
        self.check_shared(id, &stacked)?;
        Ok(BridgePlan {
            id,
            name: spec.name.clone(),
            bridge: parent,
            pools: choose_pools(spec, &self.settings.pools, &self.ours(id), &self.taken()?)?,
            mtu: stacked.mtu.unwrap_or_default(),
            // A parent that leads nowhere has no way out.
            internal: spec.internal || stacked.made == Some(MadeParent::Dummy),
            icc: true,
            masquerade: false,
            host_binding: None,
            more: BridgeOptions { stacked: Some(stacked), ..options.more(spec.internal)? },
        })
    }

    fn kind_wanted(&self, kind: &'static str) -> Result<(), NetworkError> {
        let known =
            self.host.rtnetlink("ask for links of kind", kind, |socket| stacked::is_kind_known(socket, kind))?;
        if known { Ok(()) } else { Err(NetworkError::NoLinkKind { kind, option: kind.to_uppercase() }) }
    }

    fn parent_of(&self, id: NetworkId, spec: &NetworkSpec) -> Result<(String, Option<MadeParent>), NetworkError> {
        let parent = spec.options.get("parent").map_or("", String::as_str);
        if parent.is_empty() {
            self.kind_wanted("dummy")?;
            return Ok((format!("dm-{}", id.short()), Some(MadeParent::Dummy)));
        }
        if parent == "lo" {
            return Err(NetworkError::LoopbackParent { driver: spec.driver.name() });
        }
        if self.link_on_host(parent)?.is_some() {
            return Ok((parent.to_owned(), None));
        }
        let (master, number) = sub_interface(parent)?;
        if self.link_on_host(&master)?.is_none() {
            return Err(NetworkError::NoParent { parent: master });
        }
        let id = number.filter(|id| (1..=4094).contains(id));
        let Some(id) = id.and_then(|id| u16::try_from(id).ok()) else {
            return Err(NetworkError::VlanId { parent: parent.to_owned() });
        };
        self.kind_wanted("vlan")?;
        Ok((parent.to_owned(), Some(MadeParent::Vlan { master, id })))
    }

    // Networks may share a parent, but for one that has it to itself.
    fn check_shared(&self, id: NetworkId, wanted: &StackedPlan) -> Result<(), NetworkError> {
        let alone = |plan: &StackedPlan| plan.mode == StackedMode::Macvlan(MacvlanMode::Passthru);
        let bridges = self.bridges.read();
        let others = bridges.values().map(|other| &other.plan).filter(|other| other.id != id);
        for other in others {
            let Some(stacked) = other.more.stacked.as_ref().filter(|it| it.parent == wanted.parent) else { continue };
            let mixed = stacked.mode.kind().name() != wanted.mode.kind().name();
            if alone(stacked) || alone(wanted) || mixed {
                return Err(NetworkError::ParentTaken { parent: wanted.parent.clone(), other: other.name.clone() });
            }
        }
        Ok(())
    }

    fn link_on_host(&self, name: &str) -> Result<Option<route::Link>, NetworkError> {
        self.host.rtnetlink("find", name, |socket| route::link_named(socket, name))
    }

    /// Sees that the parent is there, and answers its index. May be repeated.
    pub(crate) fn parent_up(&self, plan: &StackedPlan) -> Result<u32, NetworkError> {
        if let Some(link) = self.link_on_host(&plan.parent)? {
            return Ok(link.index);
        }
        let master = match &plan.made {
            None => return Err(NetworkError::NoParent { parent: plan.parent.clone() }),
            Some(MadeParent::Dummy) => None,
            Some(MadeParent::Vlan { master, id }) => {
                let found = self.link_on_host(master)?;
                let link = found.ok_or_else(|| NetworkError::NoParent { parent: master.clone() })?;
                Some((link.index, StackedKind::Vlan { id: *id }))
            }
        };
        let alias = self.settings.instance.alias();
        self.host.rtnetlink("make", &plan.parent, |socket| {
            let mut batch = Batch::new();
            match master {
                None => route::link_add(&mut batch, &plan.parent, "dummy"),
                Some((parent, kind)) => {
                    let name = plan.parent.as_str();
                    stacked_add(&mut batch, &Stacked { name, parent, kind, mtu: None, address: None, namespace: None });
                }
            }
            socket.transact(&mut batch)?;
            let Some(link) = route::link_named(socket, &plan.parent)? else { return Ok(0) };
            let mut batch = Batch::new();
            let change = LinkChange { up: Some(true), alias: Some(&alias), ..LinkChange::default() };
            route::link_change(&mut batch, link.index, change);
            socket.transact(&mut batch)?;
            Ok(link.index)
        })
    }

    /// A network is gone: so is a parent that was made for it, unless another stands on it.
    pub(crate) fn parent_down(&self, plan: &StackedPlan) -> Result<(), NetworkError> {
        let shared = self
            .bridges
            .read()
            .values()
            .any(|other| other.plan.more.stacked.as_ref().is_some_and(|stacked| stacked.parent == plan.parent));
        match self.link_on_host(&plan.parent)? {
            Some(link) if plan.made.is_some() && !shared && link.alias == self.settings.instance.alias() => {
                self.link_delete(link.index, &link.name)
            }
            _ => Ok(()),
        }
    }

    /// Makes a container's link on the network's parent. The namespace must have no link of that name.
    pub(crate) fn stacked_make(
        &self,
        sandbox: &Sandbox,
        inside: &mut Inside,
        name: &str,
        plan: &StackedPlan,
        ipv6: bool,
    ) -> Result<Prepared, NetworkError> {
        let parent = self.parent_up(plan)?;
        let netns = sandbox.netns();
        self.host.rtnetlink("make a link on", &plan.parent, |socket| {
            let mut batch = Batch::new();
            let kind = plan.mode.kind();
            let link = Stacked { name, parent, kind, mtu: plan.mtu, address: None, namespace: Some(netns) };
            stacked_add(&mut batch, &link);
            socket.transact(&mut batch)
        })?;
        switch_ipv6(netns, name, ipv6)?;
        let inner = route::link_named(&mut inside.socket, name).context("find", name)?;
        Ok(Prepared {
            link: String::new(),
            index: 0,
            inner: inner.map(|link| link.index).unwrap_or_default(),
            settled: true,
            ipv6: None,
        })
    }

    /// Takes such a link away, at once.
    pub(crate) fn stacked_remove(inside: &mut Inside, index: u32, name: &str) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        route::link_remove(&mut batch, index);
        inside.socket.transact(&mut batch).context("delete", name)
    }

    /// Whether published ports can be led to an endpoint in a network while they stay what they are. They cannot where
    /// nothing of ours is in between, nor where a family is not translated.
    pub fn translates(&self, id: NetworkId) -> bool {
        self.bridge(id).is_ok_and(|bridge| !bridge.is_stacked() && !bridge.has_routed_family())
    }
}

impl Bridge {
    /// Whether it is none: containers' links stand on one of the host's.
    pub(crate) fn is_stacked(&self) -> bool {
        self.plan.more.stacked.is_some()
    }

    /// Whether the family of this address is not translated.
    pub(crate) fn is_routed(&self, address: std::net::IpAddr) -> bool {
        self.plan.gateway_mode(address.is_ipv6()) == crate::GatewayMode::Routed
    }

    /// Whether published ports have to be published again where they move to or from here.
    pub(crate) fn has_routed_family(&self) -> bool {
        [false, true].into_iter().any(|ipv6| self.plan.gateway_mode(ipv6) == crate::GatewayMode::Routed)
    }
}

fn mode(spec: &NetworkSpec) -> Result<StackedMode, NetworkError> {
    let text = |option: &str| spec.options.get(option).map_or("", String::as_str);
    let bad = |what: &'static str, asked: &str| NetworkError::StackedMode { what, asked: asked.to_owned() };
    if spec.driver == NetworkDriver::Macvlan {
        let asked = text("macvlan_mode");
        return Ok(StackedMode::Macvlan(match asked {
            "" | "bridge" => MacvlanMode::Bridge,
            "private" => MacvlanMode::Private,
            "vepa" => MacvlanMode::Vepa,
            "passthru" => MacvlanMode::Passthru,
            _ => return Err(bad("macvlan mode", asked)),
        }));
    }
    let asked = text("ipvlan_mode");
    let mode = match asked {
        "" | "l2" => IpvlanMode::L2,
        "l3" => IpvlanMode::L3,
        "l3s" => IpvlanMode::L3s,
        _ => return Err(bad("ipvlan mode", asked)),
    };
    let asked = text("ipvlan_flag");
    let flag = match asked {
        "" | "bridge" => IpvlanFlag::Bridge,
        "private" => IpvlanFlag::Private,
        "vepa" => IpvlanFlag::Vepa,
        _ => return Err(bad("ipvlan flag", asked)),
    };
    Ok(StackedMode::Ipvlan(mode, flag))
}

/// `eth0.10`: the link and the number behind its last dot, if it is one.
fn sub_interface(name: &str) -> Result<(String, Option<u32>), NetworkError> {
    let parts = name.rsplit_once('.').filter(|(master, _)| !master.is_empty() && name.len() <= 15);
    let (master, id) = parts.ok_or_else(|| NetworkError::SubInterface { name: name.to_owned() })?;
    Ok((master.to_owned(), id.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sub_interfaces_are_read() {
        let read = |name: &str| match sub_interface(name) {
            Ok((master, id)) => format!("{master} {id:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(read("eth0.10"), "eth0 Some(10)");
        assert_eq!(read("bond0.7.9"), "bond0.7 Some(9)");
        assert_eq!(read("eth0.x"), "eth0 None");
        assert_eq!(read("eth9"), "invalid subinterface vlan name eth9, example formatting is eth0.10");
    }
}
