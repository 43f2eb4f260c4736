//! A transaction: tables, chains, maps and their elements, rules; applied whole or not at all.
//!
//! Messages between `NFNL_MSG_BATCH_BEGIN` and `_END` are one generation for the kernel: packets
//! see the ruleset before or after it, never between. Long element lists are cut into messages
//! whose attributes stay below the 64 KiB that their length fields can say.

use super::{expression::Expression, header, kind};
use crate::netlink::{Attributes, Batch, Encoder, NetlinkError, Socket};

/// Elements in one message: 200 of at most 120 bytes are far below 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 200;

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    Inet,
    Ip,
    Ip6,
}

impl Family {
    /// The kernel's number of it.
    pub fn number(self) -> u8 {
        (match self {
            Self::Inet => libc::NFPROTO_INET,
            Self::Ip => libc::NFPROTO_IPV4,
            Self::Ip6 => libc::NFPROTO_IPV6,
        }) as u8
    }

    /// The family of this number, if it is one of these.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Ip6].into_iter().find(|family| family.number() == number)
    }
}

/// Where packets enter a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// What makes a chain one that packets enter by themselves. Its policy is always accept: a drop
/// would hit packets that are none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base<'a> {
    /// `filter` or `nat`.
    pub kind: &'a str,
    pub hook: Hook,
    pub priority: i32,
}

/// A chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    pub name: &'a str,
    pub base: Option<Base<'a>>,
}

/// The type of a key or value: a number that only `nft` reads, and a length that the kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    number: u32,
    length: u32,
}

impl Type {
    pub const IPV4: Self = Self { number: 7, length: 4 };
    pub const IPV6: Self = Self { number: 8, length: 16 };
    pub const PROTOCOL: Self = Self { number: 12, length: 1 };
    pub const PORT: Self = Self { number: 13, length: 2 };
    pub const LINK_NAME: Self = Self { number: 41, length: 16 };
    pub const VERDICT: Self = Self { number: 0xffff_ff00, length: 16 };

    /// Several one after the other, each padded to four bytes.
    pub fn concat(parts: &[Self]) -> Self {
        Self {
            number: parts.iter().fold(0, |number, part| number << 6 | part.number),
            length: parts.iter().map(|part| part.length.next_multiple_of(4)).sum(),
        }
    }
}

/// A named map (or, without a value, set).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    pub name: &'a str,
    pub key: Type,
    pub value: Option<Type>,
}

/// One element of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: ElementData,
}

/// What an element leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElementData {
    Value(Vec<u8>),
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Jump(String),
    /// As a jump that does not come back.
    Goto(String),
    /// Back to the rule after the jump, or to the base chain's policy.
    Return,
    /// On to the next rule.
    Continue,
}

/// Changes that belong together, all in one table's family.
#[derive(Debug)]
pub struct Transaction {
    family: Family,
    batch: Batch,
    set_id: u32,
}

impl Transaction {
    /// Nothing yet.
    pub fn new(family: Family) -> Self {
        let mut batch = Batch::new();
        batch.message(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, |body| body.fixed(&batch_header()));
        Self { family, batch, set_id: 0 }
    }

    /// Makes a table; one that exists stays as it is.
    pub fn table_add(&mut self, table: &str) {
        self.message(libc::NFT_MSG_NEWTABLE, CREATE, |body| body.text(1, table));
    }

    /// Deletes a table with all that is in it.
    pub fn table_remove(&mut self, table: &str) {
        self.message(libc::NFT_MSG_DELTABLE, 0, |body| body.text(1, table));
    }

    /// Makes a chain.
    pub fn chain_add(&mut self, table: &str, chain: Chain<'_>) {
        self.message(libc::NFT_MSG_NEWCHAIN, CREATE, |body| {
            body.text(1, table);
            body.text(3, chain.name);
            if let Some(base) = chain.base {
                body.nested(4, |hook| {
                    hook.u32_be(1, base.hook as u32);
                    hook.u32_be(2, base.priority.cast_unsigned());
                });
                body.u32_be(5, libc::NF_ACCEPT as u32);
                body.text(7, base.kind);
            }
        });
    }

    /// Deletes a chain with its rules; one that is not there makes the transaction fail.
    pub fn chain_remove(&mut self, table: &str, chain: &str) {
        self.message(libc::NFT_MSG_DELCHAIN, 0, |body| {
            body.text(1, table);
            body.text(3, chain);
        });
    }

    /// Makes a map or set.
    pub fn set_add(&mut self, table: &str, set: Set<'_>) {
        self.set_id += 1;
        let id = self.set_id;
        self.message(libc::NFT_MSG_NEWSET, CREATE, |body| {
            body.text(1, table);
            body.text(2, set.name);
            body.u32_be(3, if set.value.is_some() { 0x8 } else { 0 }); // NFT_SET_MAP
            body.u32_be(4, set.key.number);
            body.u32_be(5, set.key.length);
            if let Some(value) = set.value {
                body.u32_be(6, value.number);
                body.u32_be(7, value.length);
            }
            body.u32_be(10, id);
            if set.key == Type::LINK_NAME {
                // What only `nft` reads: names of links are in the host's byte order. Without it they are shown as "".
                let mut note = vec![0, 4]; // NFTNL_UDATA_SET_KEYBYTEORDER, its length
                note.extend(1_u32.to_ne_bytes()); // BYTEORDER_HOST_ENDIAN
                body.attribute(13, &note); // NFTA_SET_USERDATA
            }
        });
    }

    /// Adds elements to a map.
    pub fn elements_add(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(libc::NFT_MSG_NEWSETELEM, CREATE, table, set, elements);
    }

    /// Removes elements from a map; one that is not there makes the transaction fail.
    pub fn elements_remove(&mut self, table: &str, set: &str, elements: &[Element]) {
        self.elements(libc::NFT_MSG_DELSETELEM, 0, table, set, elements);
    }

    fn elements(&mut self, message: libc::c_int, flags: u16, table: &str, set: &str, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(message, flags, |body| {
                body.text(1, table);
                body.text(2, set);
                body.nested(3, |list| {
                    for element in some {
                        list.nested(1, |nest| encode_element(nest, element));
                    }
                });
            });
        }
    }

    /// Appends a rule to a chain.
    pub fn rule_append(&mut self, table: &str, chain: &str, rule: &[Expression]) {
        self.message(libc::NFT_MSG_NEWRULE, CREATE | APPEND, |body| encode_rule(body, table, chain, rule, None));
    }

    /// Puts a rule before the one with the handle `before`, or at the end of the chain; with a comment by which it is
    /// found again.
    pub fn rule_insert(&mut self, table: &str, chain: &str, rule: &[Expression], comment: &str, before: Option<u64>) {
        let flags = if before.is_some() { CREATE } else { CREATE | APPEND };
        self.message(libc::NFT_MSG_NEWRULE, flags, |body| {
            encode_rule(body, table, chain, rule, Some(comment));
            if let Some(handle) = before {
                body.attribute(6, &handle.to_be_bytes()); // NFTA_RULE_POSITION
            }
        });
    }

    /// Deletes the rule with this handle.
    pub fn rule_remove(&mut self, table: &str, chain: &str, handle: u64) {
        self.message(libc::NFT_MSG_DELRULE, 0, |body| {
            body.text(1, table);
            body.text(2, chain);
            body.attribute(3, &handle.to_be_bytes());
        });
    }

    /// The messages so far; for tests that look at the bytes.
    pub fn bytes(&self) -> &[u8] {
        self.batch.bytes()
    }

    /// Hands all of it to the kernel.
    pub fn apply(mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        // One acknowledgement, of the last change, is proof that all were taken: a refusal of any
        // other comes back by itself.
        self.batch.flag_last(libc::NLM_F_ACK as u16);
        self.batch.message(libc::NFNL_MSG_BATCH_END as u16, 0, |body| body.fixed(&batch_header()));
        socket.transact_flagged(&mut self.batch)
    }

    fn message(&mut self, message: libc::c_int, flags: u16, body: impl FnOnce(&mut Encoder<'_>)) {
        let family = self.family.number();
        self.batch.message(kind(message), flags, |encoder| {
            encoder.fixed(&header(family));
            body(encoder);
        });
    }
}

// `struct nfgenmsg` whose resource id names the subsystem the batch is for.
fn batch_header() -> [u8; 4] {
    let [high, low] = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    [0, 0, high, low]
}

fn encode_element(nest: &mut Encoder<'_>, element: &Element) {
    nest.nested(1, |key| key.attribute(1, &element.key));
    match &element.data {
        ElementData::Value(value) => nest.nested(2, |data| data.attribute(1, value)),
        ElementData::Verdict(verdict) => nest.nested(2, |data| verdict_data(data, verdict)),
    }
}

fn encode_rule(body: &mut Encoder<'_>, table: &str, chain: &str, rule: &[Expression], comment: Option<&str>) {
    body.text(1, table);
    body.text(2, chain);
    body.nested(4, |list| {
        for expression in rule {
            expression.encode(list);
        }
    });
    if let Some(comment) = comment {
        // libnftnl's user data: type 0 is a comment; a length byte; the text with its zero.
        let mut data = vec![0, (comment.len() + 1) as u8];
        data.extend_from_slice(comment.as_bytes());
        data.push(0);
        body.attribute(7, &data);
    }
}

/// A verdict as `NFTA_DATA_VERDICT`.
pub(super) fn verdict_data(nest: &mut Encoder<'_>, verdict: &Verdict) {
    nest.nested(2, |data| match verdict {
        Verdict::Accept => data.u32_be(1, libc::NF_ACCEPT as u32),
        Verdict::Drop => data.u32_be(1, libc::NF_DROP as u32),
        Verdict::Jump(chain) => {
            data.u32_be(1, JUMP.cast_unsigned());
            data.text(2, chain);
        }
        Verdict::Goto(chain) => {
            data.u32_be(1, GOTO.cast_unsigned());
            data.text(2, chain);
        }
        Verdict::Return => data.u32_be(1, RETURN.cast_unsigned()),
        Verdict::Continue => data.u32_be(1, CONTINUE.cast_unsigned()),
    });
}

// `enum nft_verdicts`.
const CONTINUE: i32 = -1;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;

/// A verdict from `NFTA_DATA_VERDICT`; `None`: one that decides elsewhere (a queue), or none.
pub(super) fn verdict_of(data: &[u8]) -> Option<Verdict> {
    let verdict = Attributes::new(Attributes::new(data).get(2)?);
    let chain = || verdict.text_of(2).map(str::to_owned);
    match verdict.number_be(1)?.cast_signed() {
        code if code == libc::NF_ACCEPT => Some(Verdict::Accept),
        code if code == libc::NF_DROP => Some(Verdict::Drop),
        JUMP => Some(Verdict::Jump(chain()?)),
        GOTO => Some(Verdict::Goto(chain()?)),
        RETURN => Some(Verdict::Return),
        CONTINUE => Some(Verdict::Continue),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concatenations_pad_each_part() {
        let key = Type::concat(&[Type::IPV4, Type::PROTOCOL, Type::PORT]);
        assert_eq!((key.number, key.length), (7 << 12 | 12 << 6 | 13, 12));
    }

    #[test]
    fn long_lists_become_several_messages() {
        let element = Element { key: vec![0; 24], data: ElementData::Value(vec![0; 20]) };
        let mut transaction = Transaction::new(Family::Inet);
        transaction.elements_add("t", "m", &vec![element; 1000]);
        assert_eq!(transaction.batch.len(), 1 + 5);
    }

    // Attributes as `type:value`, nested ones in brackets; what is not nested in hexadecimal.
    fn outline(bytes: &[u8], nested: &[u32], path: u32) -> String {
        let one = |(kind, value): (u16, &[u8])| {
            let here = path * 16 + u32::from(kind);
            if nested.contains(&here) {
                format!("{kind}[{}]", outline(value, nested, here))
            } else {
                format!("{kind}:{}", hako_base::random::encode_hex(value))
            }
        };
        crate::netlink::Attributes::new(bytes).map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_published_port_as_bytes() {
        let mut transaction = Transaction::new(Family::Inet);
        // tcp . 8080 : 172.17.0.2 . 80
        let key = vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0];
        let data = ElementData::Value(vec![172, 17, 0, 2, 0, 80, 0, 0]);
        transaction.elements_add("t", "m", &[Element { key, data }]);
        let message = crate::netlink::Messages(transaction.bytes()).nth(1).unwrap();
        // Subsystem 10, NFT_MSG_NEWSETELEM; request and create.
        assert_eq!((message.kind, message.flags), (0x0a0c, 0x401));
        assert_eq!(message.payload[..4], [1, 0, 0, 0]);
        // NFTA_SET_ELEM_LIST_{TABLE, SET, ELEMENTS}; in it LIST_ELEM, KEY and DATA, DATA_VALUE.
        let nested = [0x3, 0x31, 0x311, 0x312];
        assert_eq!(
            outline(&message.payload[4..], &nested, 0),
            "1:7400 2:6d00 3[1[1[1:060000001f900000] 2[1:ac11000200500000]]]"
        );
    }

    #[test]
    fn a_rule_as_bytes() {
        let mut transaction = Transaction::new(Family::Inet);
        let rule = [Expression::Counter, Expression::Verdict(Verdict::Jump("c".into()))];
        transaction.rule_append("t", "b", &rule);
        let message = crate::netlink::Messages(transaction.bytes()).nth(1).unwrap();
        assert_eq!((message.kind, message.flags), (0x0a06, 0xc01));
        // Expressions, list element, its data; an immediate's data holds a verdict: code -3 and chain.
        let nested = [0x4, 0x41, 0x412, 0x4122, 0x41222];
        assert_eq!(
            outline(&message.payload[4..], &nested, 0),
            "1:7400 2:6200 4[1[1:636f756e74657200 2[]] \
             1[1:696d6d65646961746500 2[1:00000000 2[2[1:fffffffd 2:6300]]]]]"
        );
    }
}
