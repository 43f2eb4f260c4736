//! What the daemon tells the network once, and the names that follow from its instance.

use std::fmt;

use tokio::runtime::Handle;

use crate::address::PoolRange;

/// Names one daemon among those of a host: six letters and digits, the same for the same root.
///
/// Links (`hk<instance><random>`), the table (`hako-<instance>`) and aliases of bridges carry it, so
/// that no daemon ever sweeps what is another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance(String);

impl Instance {
    /// Derives the name from what is unique to the daemon: the path of its root.
    pub fn of(root: &str) -> Self {
        // FNV-1a: stable across versions of Rust, which `DefaultHasher` does not promise.
        let hash = root
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(base32(hash, 6))
    }

    /// The name of its nftables table.
    pub fn table(&self) -> String {
        format!("hako-{}", self.0)
    }

    /// What the names of its links start with.
    pub fn link_prefix(&self) -> String {
        format!("hk{}", self.0)
    }

    /// A name for a link that is not in use: prefix and 35 random bits, 15 characters, the most a link may have.
    pub(crate) fn link_name(&self) -> String {
        let random = u64::from_ne_bytes(hako_base::random::bytes());
        format!("hk{}{}", self.0, base32(random, 7))
    }

    /// The group of links that it is about to delete; a number that nobody else has picked.
    pub(crate) fn link_group(&self) -> u32 {
        let digits = self.0.bytes().fold(0_u32, |number, byte| number.wrapping_mul(37).wrapping_add(u32::from(byte)));
        0x6800_0000 | digits & 0x00ff_ffff
    }

    /// What its bridges carry as alias.
    pub(crate) fn alias(&self) -> String {
        format!("hako {}", self.0)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn base32(mut number: u64, digits: usize) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut text = String::with_capacity(digits);
    for _ in 0..digits {
        text.push(DIGITS[(number & 31) as usize] as char);
        number >>= 5;
    }
    text
}

/// What the daemon says once.
#[derive(Debug, Clone)]
pub struct Settings {
    pub instance: Instance,
    /// Network namespaces kept ready.
    pub pool_size: usize,
    /// Where subnets come from that nobody named; [`crate::address::default_pools`] as Docker's.
    pub pools: Vec<PoolRange>,
    /// Whether to keep a firewall table at all (Docker's `--iptables`). Without it published ports
    /// are relayed by the daemon, and nothing is masqueraded.
    pub firewall: bool,
    /// Whether published ports obey the host's input rules; without it they are open to everyone, as Docker's are.
    pub obey_input: bool,
    /// Whether forwarding is switched on where it is off (Docker's `--ip-forward`).
    pub ip_forward: bool,
    /// Where relays run.
    pub runtime: Handle,
}

impl Settings {
    /// Docker's defaults.
    pub fn new(instance: Instance, runtime: Handle) -> Self {
        let pools = crate::address::default_pools(&instance.0);
        Self { instance, pool_size: 16, pools, firewall: true, obey_input: true, ip_forward: true, runtime }
    }

    /// Takes subnets from these ranges instead; a family that none of them is of keeps its default.
    pub fn pools_set(&mut self, pools: &[PoolRange]) {
        for ipv6 in [false, true] {
            let of_family = |pool: &&PoolRange| pool.base.addr().is_ipv6() == ipv6;
            if pools.iter().any(|pool| of_family(&pool)) {
                self.pools.retain(|pool| !of_family(&pool));
                self.pools.extend(pools.iter().filter(of_family));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_link_name_and_carry_the_instance() {
        let instance = Instance::of("/var/lib/hako");
        assert_eq!(instance, Instance::of("/var/lib/hako"));
        assert_ne!(instance, Instance::of("/var/lib/hako2"));
        let name = instance.link_name();
        assert_eq!(name.len(), 15);
        assert!(name.starts_with(&instance.link_prefix()));
    }
}
