//! Whose question it is, and the answer if it is ours. Pure.

use std::net::IpAddr;

use hako_model::ContainerId;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use super::message::{Answer, Question};
use crate::names::NameTables;

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Answer(Answer),
    /// It is for the servers outside.
    Forward,
}

/// Decides on a question of `asking`. `turn` grows from question to question: of several answers another one comes
/// first each time.
pub(super) fn decide(question: &Question, names: &NameTables, asking: ContainerId, turn: usize) -> Decision {
    if let Some(answer) = own(question, names, asking, turn) {
        return Decision::Answer(answer);
    }
    // A network without a way out is none for questions either, not even by the host's servers (CVE-2024-29018).
    if !names.has_way_out(asking) {
        return Decision::Answer(Answer::Failure(ResponseCode::ServFail));
    }
    Decision::Forward
}

fn own(question: &Question, names: &NameTables, asking: ContainerId, turn: usize) -> Option<Answer> {
    if !question.is_internet() {
        return None;
    }
    if let Some(address) = question.reverse_address() {
        let mut name = Name::from_labels(names.reverse(asking, address)?.split('.').map(str::as_bytes)).ok()?;
        name.set_fqdn(true);
        return Some(Answer::Pointer(name));
    }
    let addresses = names.look_up(asking, &question.host_name()?)?;
    let kind = question.kind();
    let mut fitting: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|address| match kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            RecordType::ANY => true,
            // The name is ours: nobody outside has to hear of it, whatever is asked about it.
            _ => false,
        })
        .collect();
    if fitting.is_empty() {
        return Some(Answer::NoData);
    }
    let first = turn % fitting.len();
    fitting.rotate_left(first);
    Some(Answer::Addresses(fitting))
}

#[cfg(test)]
mod tests;
