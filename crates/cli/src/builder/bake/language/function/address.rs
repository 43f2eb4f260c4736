//! Addresses of networks: `cidrhost` and its kin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ANY, Arguments, Row, are_few, texts};
use crate::builder::bake::language::value::Value;

pub(super) const FUNCTIONS: &[Row] = &[
    ("cidrhost", 2, 2, host),
    ("cidrnetmask", 1, 1, mask),
    ("cidrsubnet", 3, 3, subnet),
    ("cidrsubnets", 1, ANY, subnets),
];

// A network as a number, with how long its prefix is and an address.
#[derive(Clone, Copy)]
struct Network {
    base: u128,
    prefix: u32,
    bits: u32,
}

impl Network {
    fn read(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid CIDR expression: invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let prefix: u32 = prefix.parse().map_err(|_| invalid())?;
        let (base, bits) = match address.parse().map_err(|_| invalid())? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        if prefix > bits {
            return Err(invalid());
        }
        let network = Self { base, prefix, bits };
        Ok(Self { base: base & !network.hosts(), ..network })
    }

    // All bits after the prefix.
    fn hosts(self) -> u128 {
        ones(self.bits - self.prefix)
    }

    fn address(self, number: u128) -> String {
        if self.bits == 32 {
            Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).to_string()
        } else {
            Ipv6Addr::from(number).to_string()
        }
    }

    fn shown(self) -> String {
        format!("{}/{}", self.address(self.base), self.prefix)
    }
}

fn ones(count: u32) -> u128 {
    if count >= 128 { u128::MAX } else { (1 << count) - 1 }
}

fn host(it: &Arguments) -> Result<Value, String> {
    let (network, number) = (Network::read(&it.text(0)?)?, it.whole(1)?);
    let too_many = || format!("prefix of {} does not accommodate a host numbered {number}", network.prefix);
    let hosts = network.hosts();
    // Negative ones count from the end.
    let offset = if number < 0 { hosts.checked_sub(number.unsigned_abs() - 1) } else { Some(number.unsigned_abs()) };
    let offset = offset.filter(|offset| *offset <= hosts).ok_or_else(too_many)?;
    Ok(Value::text(network.address(network.base | offset)))
}

fn mask(it: &Arguments) -> Result<Value, String> {
    let network = Network::read(&it.text(0)?)?;
    if network.bits != 32 {
        return Err("IPv6 addresses cannot have a netmask: only the prefix is written".to_owned());
    }
    Ok(Value::text(network.address(ones(32) & !network.hosts())))
}

fn extended(network: Network, bits: i128) -> Result<Network, String> {
    let prefix = u32::try_from(bits).ok().and_then(|bits| network.prefix.checked_add(bits));
    let prefix = prefix.filter(|prefix| *prefix <= network.bits);
    let prefix =
        prefix.ok_or_else(|| format!("insufficient address space to extend prefix of {} by {bits}", network.prefix))?;
    Ok(Network { prefix, ..network })
}

fn subnet(it: &Arguments) -> Result<Value, String> {
    let (network, bits, number) = (Network::read(&it.text(0)?)?, it.whole(1)?, it.whole(2)?);
    let extended = extended(network, bits)?;
    let too_large = || format!("prefix extension of {bits} does not accommodate a subnet numbered {number}");
    let number = u128::try_from(number).ok().filter(|number| *number <= ones(extended.prefix - network.prefix));
    let number = number.ok_or_else(too_large)?;
    let shift = extended.bits - extended.prefix;
    let base = if shift >= 128 { extended.base } else { extended.base | (number << shift) };
    Ok(Value::text(Network { base, ..extended }.shown()))
}

// One after the other, each at the next place where it can begin.
fn subnets(it: &Arguments) -> Result<Value, String> {
    let network = Network::read(&it.text(0)?)?;
    are_few(it.0.len())?;
    let mut made = Vec::new();
    let mut next = Some(network.base);
    for at in 1..it.0.len() {
        let bits = it.whole(at)?;
        if bits < 1 {
            return Err("must extend prefix by at least one bit".to_owned());
        }
        let extended = extended(network, bits)?;
        let hosts = extended.hosts();
        let full =
            || format!("not enough remaining address space for a subnet with a prefix of {} bits", extended.prefix);
        let base = next.and_then(|next| next.checked_add(hosts)).ok_or_else(full)? & !hosts;
        if base & !network.hosts() != network.base {
            return Err(full());
        }
        made.push(Network { base, ..extended }.shown());
        next = (base | hosts).checked_add(1);
    }
    Ok(texts(made))
}
