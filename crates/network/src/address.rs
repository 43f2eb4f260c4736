//! Which subnets a network gets, and which addresses its containers.
//!
//! Pure: what the host already uses comes in as a list. Docker's choices are matched: the pools, the
//! first that is free, gateway first, then the lowest free address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use hako_model::AddressPool;
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A range that subnets of one size are cut from (`--default-address-pool base=…,size=…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRange {
    pub base: IpNet,
    pub size: u8,
}

impl FromStr for PoolRange {
    type Err = String;

    /// `base=10.10.0.0/16,size=24`
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut base, mut size) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("base", value)) => {
                    let net: IpNet = value.parse().map_err(|_| format!("invalid base pool {value:?}: not a subnet"))?;
                    base = Some(net.trunc());
                }
                Some(("size", value)) => {
                    size = Some(value.parse().map_err(|_| format!("invalid size {value:?}: not a prefix length"))?);
                }
                _ => return Err(format!("unexpected {field:?}: expected base=SUBNET,size=BITS")),
            }
        }
        let (Some(base), Some(size)) = (base, size) else { return Err("base and size are both needed".to_owned()) };
        // Two addresses of a subnet are its own and IPv4's broadcast: a gateway and a container need two more.
        if size < base.prefix_len() || size > base.max_prefix_len() - 2 {
            return Err(format!("size {size} does not fit {base}"));
        }
        Ok(Self { base, size })
    }
}

/// Docker's local pools, then a thousand small subnets for whoever has used those up, and a /48 of unique local addresses (RFC 4193) that is this daemon's own.
pub fn default_pools(instance: &str) -> Vec<PoolRange> {
    let ipv4 = [
        ("172.17.0.0/16", 16),
        ("172.18.0.0/16", 16),
        ("172.19.0.0/16", 16),
        ("172.20.0.0/14", 16),
        ("172.24.0.0/14", 16),
        ("172.28.0.0/14", 16),
        ("192.168.0.0/16", 20),
        // Docker has no more than these 31.
        ("10.208.0.0/14", 24),
    ];
    let parse = |(base, size): (&str, u8)| PoolRange { base: base.parse().expect("the list above is right"), size };
    let own = PoolRange { base: unique_local(instance).into(), size: 64 };
    ipv4.into_iter().map(parse).chain([own]).collect()
}

/// A /48 below fd00::/8 whose forty random bits come from a text.
pub fn unique_local(seed: &str) -> Ipv6Net {
    let hash = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let forty = (hash ^ (hash >> 24)) & 0xff_ffff_ffff;
    let bits = (0xfd_u128 << 120) | (u128::from(forty) << 80);
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 48)
}

/// Whether two ranges have an address in common.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// The first subnet of one family that overlaps nothing in `taken`.
pub fn choose(pools: &[PoolRange], taken: &[IpNet], ipv6: bool) -> Option<IpNet> {
    pools
        .iter()
        .filter(|pool| matches!(pool.base, IpNet::V6(_)) == ipv6)
        .filter_map(|pool| pool.base.subnets(pool.size).ok())
        .flatten()
        .find(|subnet| !taken.iter().any(|other| overlap(subnet, other)))
}

/// Why an address cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// Every one of them is in use.
    Full,
    /// This one is in use.
    Taken,
    /// It is in none of the subnets.
    Outside,
}

/// The addresses of one subnet that are in use.
#[derive(Debug, Clone)]
pub struct Addresses {
    subnet: IpNet,
    first: u128,
    last: u128,
    used: BTreeSet<u128>,
}

impl Addresses {
    /// Of a pool; its gateway and auxiliary addresses are in use from the beginning.
    pub fn new(pool: &AddressPool) -> Self {
        let range = pool.range.unwrap_or(pool.subnet);
        let (mut first, mut last) = (bits(range.network()), bits(range.broadcast()));
        let wide = pool.subnet.max_prefix_len() - pool.subnet.prefix_len() >= 2;
        // Neither the network's own address (IPv6: that of any router) nor IPv4's broadcast.
        if wide && first == bits(pool.subnet.network()) {
            first += 1;
        }
        if wide && matches!(pool.subnet, IpNet::V4(_)) && last == bits(pool.subnet.broadcast()) {
            last -= 1;
        }
        let mut used: BTreeSet<u128> = pool.auxiliary.values().copied().map(bits).collect();
        used.extend(pool.gateway.map(bits));
        Self { subnet: pool.subnet, first, last, used }
    }

    /// The subnet's address and length.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Takes the wanted address, or the lowest free one.
    pub fn take(&mut self, wanted: Option<IpAddr>) -> Result<IpAddr, Unavailable> {
        let number = match wanted {
            Some(address) if !self.subnet.contains(&address) => return Err(Unavailable::Outside),
            Some(address) => bits(address),
            None => self.lowest_free().ok_or(Unavailable::Full)?,
        };
        if !self.used.insert(number) {
            return Err(Unavailable::Taken);
        }
        Ok(self.address(number))
    }

    /// Gives an address back.
    pub fn release(&mut self, address: IpAddr) {
        if self.subnet.contains(&address) {
            self.used.remove(&bits(address));
        }
    }

    fn lowest_free(&self) -> Option<u128> {
        let mut candidate = self.first;
        for &number in self.used.range(self.first..=self.last) {
            if number != candidate {
                break;
            }
            candidate += 1;
        }
        (candidate <= self.last).then_some(candidate)
    }

    /// Whether an address is the subnet's own or IPv4's broadcast, which nobody can have.
    pub fn is_reserved(&self, address: IpAddr) -> bool {
        let wide = self.subnet.max_prefix_len() - self.subnet.prefix_len() >= 2;
        let broadcast = address.is_ipv4() && address == self.subnet.broadcast();
        wide && (address == self.subnet.network() || broadcast)
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.subnet {
            IpNet::V4(_) => std::net::Ipv4Addr::from_bits(number as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A pool of a chosen subnet: its gateway is the first address.
pub fn pool(subnet: IpNet) -> AddressPool {
    let mut pool = AddressPool { subnet, range: None, gateway: None, auxiliary: BTreeMap::new() };
    pool.gateway = Addresses::new(&pool).take(None).ok();
    pool
}

/// The MAC address that Docker derived from an IPv4 address: an address that is used again keeps its
/// MAC, so that no neighbour's memory goes stale. Without one it is random, locally administered.
pub fn mac(ipv4: Option<std::net::Ipv4Addr>) -> [u8; 6] {
    if let Some([a, b, c, d]) = ipv4.map(|address| address.octets()) {
        return [0x02, 0x42, a, b, c, d];
    }
    let mut mac: [u8; 6] = hako_base::random::bytes();
    mac[0] = mac[0] & !0x01 | 0x02;
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &str) -> Vec<IpNet> {
        list.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    fn chosen(taken: &str) -> String {
        choose(&default_pools("x"), &nets(taken), false).map_or("none".into(), |net| net.to_string())
    }

    #[test]
    fn the_first_subnet_that_no_route_covers_is_chosen() {
        assert_eq!(chosen(""), "172.17.0.0/16");
        assert_eq!(chosen("172.17.0.0/16"), "172.18.0.0/16");
        // A route inside, and one around.
        assert_eq!(chosen("172.17.200.0/30 172.18.0.0/15"), "172.20.0.0/16");
        assert_eq!(chosen("172.16.0.0/12"), "192.168.0.0/20");
        assert_eq!(chosen("172.16.0.0/12 192.168.0.0/19"), "192.168.32.0/20");
        assert_eq!(chosen("172.16.0.0/12 192.168.0.0/16"), "10.208.0.0/24");
        assert_eq!(chosen("172.16.0.0/12 192.168.0.0/16 10.0.0.0/8"), "none");
    }

    #[test]
    fn hundreds_of_networks_fit() {
        // All of Docker's, and five hundred more.
        assert_eq!(chosen("172.16.0.0/12 192.168.0.0/16 10.208.0.0/15"), "10.210.0.0/24");
    }

    #[test]
    fn pools_are_read_as_the_daemons_flag_spells_them() {
        let parse = |text: &str| text.parse::<PoolRange>().map(|pool| format!("{} {}", pool.base, pool.size));
        assert_eq!(parse("base=10.10.0.0/16,size=24").unwrap(), "10.10.0.0/16 24");
        assert_eq!(parse("size=64,base=fd00::/48").unwrap(), "fd00::/48 64");
        assert_eq!(parse("base=10.10.0.0/16").unwrap_err(), "base and size are both needed");
        assert_eq!(parse("base=10.10.0.0/16,size=8").unwrap_err(), "size 8 does not fit 10.10.0.0/16");
        assert_eq!(parse("base=10.10.0.0/16,size=31").unwrap_err(), "size 31 does not fit 10.10.0.0/16");
        assert_eq!(parse("base=x,size=24").unwrap_err(), "invalid base pool \"x\": not a subnet");
    }

    #[test]
    fn every_daemon_has_ipv6_subnets_of_its_own() {
        let one = choose(&default_pools("a"), &[], true).unwrap();
        assert!(one.to_string().starts_with("fd") && one.prefix_len() == 64, "{one}");
        assert_ne!(one, choose(&default_pools("b"), &[], true).unwrap());
    }

    #[test]
    fn the_lowest_free_address_is_taken_and_used_again() {
        let mut addresses = Addresses::new(&pool("172.17.0.0/16".parse().unwrap()));
        let mut take = |wanted: Option<&str>| addresses.take(wanted.map(|text| text.parse().unwrap()));
        assert_eq!(take(None).unwrap().to_string(), "172.17.0.2");
        assert_eq!(take(None).unwrap().to_string(), "172.17.0.3");
        assert_eq!(take(Some("172.17.0.3")), Err(Unavailable::Taken));
        assert_eq!(take(Some("172.17.0.1")), Err(Unavailable::Taken));
        assert_eq!(take(Some("10.0.0.1")), Err(Unavailable::Outside));
        assert_eq!(take(Some("172.17.0.4")).unwrap().to_string(), "172.17.0.4");
        addresses.release("172.17.0.2".parse().unwrap());
        assert_eq!(addresses.take(None).unwrap().to_string(), "172.17.0.2");
        assert_eq!(addresses.take(None).unwrap().to_string(), "172.17.0.5");
    }

    #[test]
    fn a_small_subnet_is_full_before_its_broadcast_address() {
        let mut addresses = Addresses::new(&pool("10.0.0.0/29".parse().unwrap()));
        let got: Vec<_> = std::iter::from_fn(|| addresses.take(None).ok()).map(|ip| ip.to_string()).collect();
        assert_eq!(got, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        assert_eq!(addresses.take(None), Err(Unavailable::Full));
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_is_asked_for() {
        let mut pool = pool("10.1.0.0/16".parse().unwrap());
        pool.range = Some("10.1.5.0/30".parse().unwrap());
        pool.auxiliary.insert("printer".into(), "10.1.5.1".parse().unwrap());
        let mut addresses = Addresses::new(&pool);
        let got: Vec<_> = std::iter::from_fn(|| addresses.take(None).ok()).map(|ip| ip.to_string()).collect();
        assert_eq!(got, ["10.1.5.0", "10.1.5.2", "10.1.5.3"]);
        assert!(addresses.take(Some("10.1.99.7".parse().unwrap())).is_ok());
    }

    #[test]
    fn ipv6_gives_addresses_after_the_gateway() {
        let mut addresses = Addresses::new(&pool("fd00:1::/64".parse().unwrap()));
        assert_eq!(addresses.take(None).unwrap().to_string(), "fd00:1::2");
    }

    #[test]
    fn a_mac_follows_the_address() {
        assert_eq!(mac(Some([172, 17, 0, 2].into())), [0x02, 0x42, 172, 17, 0, 2]);
        assert_eq!(mac(None)[0] & 3, 2);
    }
}
