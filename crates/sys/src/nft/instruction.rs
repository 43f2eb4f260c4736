//! Instructions of rules that others made, as far as anybody here asks what they say. What is not known is named.
//!
//! The bytes come from the kernel, which took them from another program: everything missing or too short makes an
//! instruction unknown, never a guess. Layout: `include/uapi/linux/netfilter/nf_tables.h`.

use super::transaction::{Verdict, verdict_of};
use crate::netlink::Attributes;

/// One instruction of a rule. Registers have the kernel's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `to` becomes what is known of the packet by this key (`NFT_META_…`).
    Meta {
        key: u32,
        to: u32,
    },
    Payload {
        /// 0 link layer, 1 network, 2 transport.
        base: u32,
        offset: u32,
        length: u32,
        to: u32,
    },
    /// The rule goes on if the comparison (`NFT_CMP_…`) holds.
    Compare {
        from: u32,
        operator: u32,
        value: Vec<u8>,
    },
    /// `to = from & mask ^ flip`.
    Mask {
        from: u32,
        to: u32,
        mask: Vec<u8>,
        flip: Vec<u8>,
    },
    Range {
        from: u32,
        outside: bool,
        low: Vec<u8>,
        high: Vec<u8>,
    },
    /// What conntrack knows by this key (`NFT_CT_…`).
    Ct {
        key: u32,
        to: u32,
    },
    /// What the routing table knows (`NFT_FIB_RESULT_…`), by these parts of the packet (`NFTA_FIB_F_…`).
    Fib {
        result: u32,
        flags: u32,
        to: u32,
    },
    /// The rule goes on if `from` is (or, `inverted`, is not) in the set; a map of verdicts decides.
    Lookup {
        set: String,
        from: u32,
        inverted: bool,
        decides: bool,
    },
    Verdict(Verdict),
    Reject,
    /// A match of the older iptables.
    Match {
        name: String,
        revision: u32,
        data: Vec<u8>,
    },
    /// Lets the packet pass on to the next instruction in any case: counters, logs, marks that are set.
    Passive,
    /// Anything else, by its name.
    Other(String),
}

/// One element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetElement {
    pub key: Vec<u8>,
    /// The end of the range that begins with `key`, where the set is one of concatenations.
    pub key_end: Option<Vec<u8>>,
    /// This element is no member: it ends the range that the one before it begins.
    pub ends_range: bool,
    pub verdict: Option<Verdict>,
}

/// The list of a rule's instructions.
pub(super) fn instructions_of(list: &[u8]) -> Vec<Instruction> {
    Attributes::new(list)
        .map(|(_, element)| {
            let element = Attributes::new(element);
            let name = element.text_of(1).unwrap_or_default();
            let data = element.get(2).unwrap_or_default();
            decode(name, &Attributes::new(data)).unwrap_or_else(|| Instruction::Other(name.to_owned()))
        })
        .collect()
}

fn decode(name: &str, data: &Attributes<'_>) -> Option<Instruction> {
    let number = |attribute: u16| data.number_be(attribute);
    let value = |attribute: u16| Some(Attributes::new(data.get(attribute)?).get(1)?.to_vec());
    Some(match name {
        // Without a target register it sets something of the packet.
        "meta" | "ct" if data.get(1).is_none() => Instruction::Passive,
        "meta" => Instruction::Meta { key: number(2)?, to: number(1)? },
        "ct" => Instruction::Ct { key: number(2)?, to: number(1)? },
        "payload" => Instruction::Payload { base: number(2)?, offset: number(3)?, length: number(4)?, to: number(1)? },
        "cmp" => Instruction::Compare { from: number(1)?, operator: number(2)?, value: value(3)? },
        // Shifts (attribute 6 says so) are not known.
        "bitwise" if number(6).unwrap_or(0) == 0 => {
            Instruction::Mask { from: number(1)?, to: number(2)?, mask: value(4)?, flip: value(5)? }
        }
        "range" => Instruction::Range { from: number(1)?, outside: number(2)? == 1, low: value(3)?, high: value(4)? },
        "fib" => Instruction::Fib { result: number(2)?, flags: number(3)?, to: number(1)? },
        "lookup" => Instruction::Lookup {
            set: data.text_of(1)?.to_owned(),
            from: number(2)?,
            inverted: number(5).unwrap_or(0) & 1 != 0,
            decides: number(3) == Some(0),
        },
        "immediate" if number(1)? == 0 => Instruction::Verdict(verdict_of(data.get(2)?)?),
        "immediate" | "counter" | "log" | "notrack" => Instruction::Passive,
        "reject" => Instruction::Reject,
        "match" => Instruction::Match {
            name: data.text_of(1)?.to_owned(),
            revision: number(2).unwrap_or(0),
            data: data.get(3)?.to_vec(),
        },
        "target" => match data.text_of(1)? {
            "REJECT" => Instruction::Reject,
            "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TRACE" | "TCPMSS" => Instruction::Passive,
            other => Instruction::Other(other.to_owned()),
        },
        _ => return None,
    })
}

/// The list of a set's elements.
pub(super) fn elements_of(list: &[u8]) -> Vec<SetElement> {
    const INTERVAL_END: u32 = 1;
    let element = |data: &[u8]| {
        let element = Attributes::new(data);
        let bytes = |attribute| Some(Attributes::new(element.get(attribute)?).get(1)?.to_vec());
        Some(SetElement {
            key: bytes(1)?,
            key_end: bytes(10),
            ends_range: element.number_be(3).unwrap_or(0) & INTERVAL_END != 0,
            verdict: element.get(2).and_then(verdict_of),
        })
    };
    Attributes::new(list).filter_map(|(_, data)| element(data)).collect()
}
