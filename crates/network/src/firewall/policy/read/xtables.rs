//! Matches of the older iptables, which iptables-nft still uses inside nf_tables rules: those that ufw and Docker
//! write. Layouts: `include/uapi/linux/netfilter/xt_*.h`, in the host's byte order unless said otherwise.

use super::{Asks, Condition};

/// What a match asks; of an unknown one it is only known that it asks something.
pub(super) fn conditions(name: &str, revision: u32, data: &[u8]) -> Vec<Condition> {
    let known = match (name, revision) {
        ("comment", _) => Some(Vec::new()),
        ("conntrack", 2 | 3) => conntrack(data),
        ("state", _) => u32_at(data, 0).map(|bits| vec![Condition { asks: Asks::State(bits), negated: false }]),
        ("addrtype", 1) => addrtype(data),
        ("tcp", 0) => ports(data, 11),
        ("udp", 0) => ports(data, 8),
        ("multiport", 1) => multiport(data),
        _ => None,
    };
    known.unwrap_or_else(|| vec![Condition { asks: Asks::Other(name.to_owned()), negated: false }])
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

// `struct xt_conntrack_mtinfo2` and 3 begin alike: eight addresses, two times, then small fields.
fn conntrack(data: &[u8]) -> Option<Vec<Condition>> {
    const STATE: u16 = 1;
    let (flags, inverted, states) = (u16_at(data, 146)?, u16_at(data, 148)?, u16_at(data, 150)?);
    let mut all = Vec::new();
    if flags & STATE != 0 {
        all.push(Condition { asks: Asks::State(states.into()), negated: inverted & STATE != 0 });
    }
    if flags & !STATE != 0 {
        all.push(Condition { asks: Asks::Other("conntrack".to_owned()), negated: false });
    }
    Some(all)
}

// `struct xt_addrtype_info_v1`: types of source and destination as bits of RTN_…, then flags.
fn addrtype(data: &[u8]) -> Option<Vec<Condition>> {
    const LOCAL: u16 = 1 << 2;
    const INVERT_DESTINATION: u32 = 2;
    let (source, destination, flags) = (u16_at(data, 0)?, u16_at(data, 2)?, u32_at(data, 4)?);
    let inverted = flags & INVERT_DESTINATION != 0;
    match (source, destination) {
        (0, LOCAL) if flags & !INVERT_DESTINATION == 0 => {
            Some(vec![Condition { asks: Asks::LocalDestination, negated: inverted }])
        }
        _ => None,
    }
}

// `struct xt_tcp` and `struct xt_udp`: source ports, destination ports; the flags that invert are at `flags`.
fn ports(data: &[u8], flags: usize) -> Option<Vec<Condition>> {
    const INVERT_DESTINATION: u8 = 2;
    const INVERT_OTHERS: u8 = !INVERT_DESTINATION;
    let inverted = *data.get(flags)?;
    let mut all = Vec::new();
    let (first, last) = (u16_at(data, 4)?, u16_at(data, 6)?);
    if (first, last) != (0, u16::MAX) {
        all.push(Condition { asks: Asks::Port(vec![(first, last)]), negated: inverted & INVERT_DESTINATION != 0 });
    }
    let source_is_any = (u16_at(data, 0)?, u16_at(data, 2)?) == (0, u16::MAX);
    // For TCP a mask of header flags stands between ports and these flags.
    let flags_are_any = flags == 8 || data.get(9..11)? == [0, 0];
    if !source_is_any || !flags_are_any || inverted & INVERT_OTHERS != 0 {
        all.push(Condition { asks: Asks::Other("tcp".to_owned()), negated: false });
    }
    Some(all)
}

// `struct xt_multiport_v1`: which side, how many, the ports, which of them begin a range, whether inverted.
fn multiport(data: &[u8]) -> Option<Vec<Condition>> {
    const DESTINATION: u8 = 1;
    let (side, count) = (*data.first()?, usize::from(*data.get(1)?));
    if side != DESTINATION || count > 15 {
        return None;
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count {
        let first = u16_at(data, 2 + 2 * at)?;
        let begins_range = *data.get(32 + at)? != 0;
        let last = if begins_range { u16_at(data, 4 + 2 * at)? } else { first };
        ranges.push((first, last));
        at += if begins_range { 2 } else { 1 };
    }
    let negated = *data.get(47)? != 0;
    Some(vec![Condition { asks: Asks::Port(ranges), negated }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, revision: u32, data: &[u8]) -> String {
        conditions(name, revision, data).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_ufw_asks_is_understood() {
        let mut conntrack = vec![0; 164];
        conntrack[146..152].copy_from_slice(&[1, 0, 0, 0, 6, 0]);
        assert_eq!(shown("conntrack", 3, &conntrack), "ct state established,related");
        conntrack[146] = 3;
        assert_eq!(shown("conntrack", 3, &conntrack), "ct state established,related [conntrack]");
        assert_eq!(shown("addrtype", 1, &[0, 0, 4, 0, 0, 0, 0, 0]), "fib daddr type local");
        assert_eq!(shown("addrtype", 1, &[0, 0, 4, 0, 2, 0, 0, 0]), "fib daddr type != local");
        let tcp = [0, 0, 255, 255, 80, 0, 90, 0, 0, 0, 0, 0];
        assert_eq!(shown("tcp", 0, &tcp), "dport 80-90");
        let mut multiport = vec![0; 48];
        multiport[..8].copy_from_slice(&[1, 3, 22, 0, 80, 0, 90, 0]);
        multiport[33] = 1;
        assert_eq!(shown("multiport", 1, &multiport), "dport { 22, 80-90 }");
        assert_eq!(shown("comment", 0, b"hello"), "");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(shown("limit", 0, &[]), "[limit]");
        assert_eq!(shown("conntrack", 3, &[1; 10]), "[conntrack]");
        assert_eq!(shown("addrtype", 1, &[4, 0, 4, 0, 0, 0, 0, 0]), "[addrtype]");
    }
}
