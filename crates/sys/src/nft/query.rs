//! Questions about what is there: foreign chains, rules of a chain, and whether news concern us.

use super::{
    header,
    instruction::{Instruction, SetElement, elements_of, instructions_of},
    kind,
    transaction::{Family, Hook},
};
use crate::netlink::{Attributes, Batch, NetlinkError, Received, Socket};

/// A chain that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    pub family: Family,
    pub table: String,
    pub name: String,
    /// The hook of a base chain.
    pub hook: Option<u32>,
    /// Among the chains of one hook, the lowest comes first.
    pub priority: i32,
    /// Whether a packet that no rule decides on is dropped.
    pub drops: bool,
}

impl ChainInfo {
    /// Whether packets enter it here.
    pub fn is_at(&self, hook: Hook) -> bool {
        self.hook == Some(hook as u32)
    }
}

/// A rule that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    pub handle: u64,
    pub comment: Option<String>,
    pub instructions: Vec<Instruction>,
}

/// All chains of `inet`, `ip` and `ip6` tables.
pub fn chains(socket: &mut Socket) -> Result<Vec<ChainInfo>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(kind(libc::NFT_MSG_GETCHAIN), 0, |body| body.fixed(&header(0)));
    let mut chains = Vec::new();
    socket.dump(&mut batch, |message| chains.extend(chain_of(message.payload)))?;
    Ok(chains)
}

fn chain_of(payload: &[u8]) -> Option<ChainInfo> {
    let attributes = Attributes::after(payload, 4);
    Some(ChainInfo {
        family: Family::from_number(*payload.first()?)?,
        table: attributes.text_of(1)?.to_owned(),
        name: attributes.text_of(3)?.to_owned(),
        hook: attributes.get(4).and_then(|hook| Attributes::new(hook).number_be(1)),
        priority: attributes.get(4).and_then(|hook| Attributes::new(hook).number_be(2)).unwrap_or(0).cast_signed(),
        drops: attributes.number_be(5) == Some(libc::NF_DROP as u32),
    })
}

/// The rules of one chain, in their order.
pub fn rules(socket: &mut Socket, family: Family, table: &str, chain: &str) -> Result<Vec<RuleInfo>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(kind(libc::NFT_MSG_GETRULE), 0, |body| {
        body.fixed(&header(family.number()));
        body.text(1, table);
        body.text(2, chain);
    });
    let mut rules = Vec::new();
    socket.dump(&mut batch, |message| {
        let attributes = Attributes::after(message.payload, 4);
        let handle = attributes.get(3).and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        rules.extend(handle.map(|handle| RuleInfo {
            handle,
            comment: attributes.get(7).and_then(comment_of),
            instructions: attributes.get(4).map(instructions_of).unwrap_or_default(),
        }));
    })?;
    Ok(rules)
}

/// The elements of a set or map, named or not.
pub fn elements(socket: &mut Socket, family: Family, table: &str, set: &str) -> Result<Vec<SetElement>, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(kind(libc::NFT_MSG_GETSETELEM), 0, |body| {
        body.fixed(&header(family.number()));
        body.text(1, table);
        body.text(2, set);
    });
    let mut elements = Vec::new();
    socket.dump(&mut batch, |message| {
        let attributes = Attributes::after(message.payload, 4);
        elements.extend(attributes.get(3).map(elements_of).unwrap_or_default());
    })?;
    Ok(elements)
}

// libnftnl's user data: type, length, value, again and again; type 0 is a comment.
fn comment_of(mut data: &[u8]) -> Option<String> {
    loop {
        let (kind, length) = (*data.first()?, usize::from(*data.get(1)?));
        let value = data.get(2..2 + length)?;
        if kind == 0 {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        data = &data[2 + length..];
    }
}

/// Whether a table exists.
pub fn table_exists(socket: &mut Socket, family: Family, table: &str) -> Result<bool, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(kind(libc::NFT_MSG_GETTABLE), 0, |body| {
        body.fixed(&header(family.number()));
        body.text(1, table);
    });
    match socket.query(&mut batch, |_| {}) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == libc::ENOENT => Ok(false),
        Err(error) => Err(error),
    }
}

/// The table that a piece of news is about, if it is about one.
pub fn news_of_table<'a>(message: &Received<'a>) -> Option<(Family, &'a str)> {
    let (subsystem, event) = (message.kind >> 8, libc::c_int::from(message.kind & 0xff));
    // A new generation names no table; attribute 1 of everything else is the table's name.
    if subsystem != libc::NFNL_SUBSYS_NFTABLES as u16 || event == libc::NFT_MSG_NEWGEN {
        return None;
    }
    let family = Family::from_number(*message.payload.first()?)?;
    Some((family, Attributes::after(message.payload, 4).text_of(1)?))
}
