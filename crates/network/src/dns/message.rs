//! Questions as bytes, and answers as bytes. The bytes come from containers and from servers outside: everything
//! that is not a plain question is told so or thrown away. The wire format itself is `hickory-proto`'s.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};

use super::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_PLAIN, EDNS_PAYLOAD, STREAM_BYTES_MAX, TTL_S};

/// Of every message.
const HEADER_BYTES: usize = 12;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Datagram,
    Stream,
}

/// A question that was understood.
#[derive(Debug, Clone)]
pub(super) struct Question {
    message: Message,
    transport: Transport,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    Pointer(Name),
    /// The name is there, but has nothing of this kind.
    NoData,
    Failure(ResponseCode),
}

/// Reads a question. The error is what to answer instead; empty: nothing.
pub(super) fn read(bytes: &[u8], transport: Transport) -> Result<Question, Vec<u8>> {
    // Answering an answer could go on for ever.
    if bytes.len() < HEADER_BYTES || bytes[2] & 0x80 != 0 {
        return Err(Vec::new());
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let op_code = OpCode::from_u8(bytes[2] >> 3 & 0xf);
    let refusal = |code| {
        let mut message = Message::error_msg(id, op_code, code);
        message.metadata.recursion_desired = bytes[2] & 1 != 0;
        message.metadata.recursion_available = true;
        Err(message.to_vec().unwrap_or_default())
    };
    if op_code != OpCode::Query {
        return refusal(ResponseCode::NotImp);
    }
    let Ok(message) = Message::from_vec(bytes) else { return refusal(ResponseCode::FormErr) };
    if message.queries.len() != 1 || message.metadata.message_type != MessageType::Query {
        return refusal(ResponseCode::FormErr);
    }
    let question = Question { message, transport };
    if question.message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(question.reply(&Answer::Failure(ResponseCode::BADVERS)));
    }
    // Whole zones are not for stub resolvers.
    if matches!(question.kind(), RecordType::AXFR | RecordType::IXFR) {
        return Err(question.reply(&Answer::Failure(ResponseCode::Refused)));
    }
    Ok(question)
}

impl Question {
    pub(super) fn kind(&self) -> RecordType {
        self.message.queries[0].query_type
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) fn is_internet(&self) -> bool {
        self.message.queries[0].query_class == DNSClass::IN
    }

    fn name(&self) -> &Name {
        &self.message.queries[0].name
    }

    /// The name as names of containers are written: without the last dot. `None`: it has other bytes than those
    /// have, or none.
    pub(super) fn host_name(&self) -> Option<String> {
        let mut text = String::new();
        for label in self.name() {
            if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(std::str::from_utf8(label).ok()?);
        }
        (!text.is_empty()).then_some(text)
    }

    /// The address that a reverse question asks for.
    pub(super) fn reverse_address(&self) -> Option<IpAddr> {
        if self.kind() != RecordType::PTR {
            return None;
        }
        let net = self.name().parse_arpa_name().ok()?;
        (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
    }

    /// The most that the asker takes.
    fn room(&self) -> usize {
        match (self.transport, &self.message.edns) {
            (Transport::Stream, _) => STREAM_BYTES_MAX,
            (Transport::Datagram, None) => DATAGRAM_BYTES_PLAIN,
            (Transport::Datagram, Some(edns)) => {
                usize::from(edns.max_payload()).clamp(DATAGRAM_BYTES_PLAIN, DATAGRAM_BYTES_MAX)
            }
        }
    }

    /// The answer as bytes; what does not fit is cut off, and said to be.
    pub(super) fn reply(&self, answer: &Answer) -> Vec<u8> {
        let asked = &self.message.metadata;
        let mut reply = Message::response(asked.id, asked.op_code);
        reply.metadata.recursion_desired = asked.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.checking_disabled = asked.checking_disabled;
        reply.add_query(self.message.queries[0].clone());
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_PAYLOAD);
            reply.set_edns(edns);
        }
        let record = |data| Record::from_rdata(self.name().clone(), TTL_S, data);
        match answer {
            Answer::Addresses(addresses) => {
                reply.insert_answers(addresses.iter().map(|address| record(address_data(*address))).collect());
            }
            Answer::Pointer(name) => reply.insert_answers(vec![record(RData::PTR(PTR(name.clone())))]),
            Answer::NoData => {}
            Answer::Failure(code) => {
                if let Some(edns) = reply.edns.as_mut() {
                    edns.set_rcode_high(code.high());
                }
                reply.metadata.response_code = *code;
            }
        }
        fit(reply, self.room())
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn fit(mut reply: Message, room: usize) -> Vec<u8> {
    let bytes = reply.to_vec().unwrap_or_default();
    if bytes.len() <= room {
        return bytes;
    }
    reply.metadata.truncation = true;
    let answers = std::mem::take(&mut reply.answers);
    // Answers are not of one size: both families may have been asked for, and names are compressed.
    let (mut fitting, mut best, mut beyond) = (0, reply.to_vec().unwrap_or_default(), answers.len());
    while fitting + 1 < beyond {
        let middle = usize::midpoint(fitting, beyond);
        reply.answers = answers[..middle].to_vec();
        let bytes = reply.to_vec().unwrap_or_default();
        if bytes.len() <= room {
            (fitting, best) = (middle, bytes);
        } else {
            beyond = middle;
        }
    }
    best
}

/// Whether `answer` answers `question`, both as bytes: same id, an answer, and the same words asked.
pub(super) fn is_answer_to(answer: &[u8], question: &[u8]) -> bool {
    let (Some(head), Some(asked)) = (answer.get(..HEADER_BYTES), question.get(..HEADER_BYTES)) else { return false };
    if head[..2] != asked[..2] || head[2] & 0x80 == 0 {
        return false;
    }
    // Servers that understand nothing may leave the question out.
    if head[4..6] == [0, 0] {
        return head[3] & 0xf != 0;
    }
    let Some(words) = question_end(question).map(|end| &question[HEADER_BYTES..end]) else { return false };
    answer[HEADER_BYTES..].get(..words.len()).is_some_and(|same| same.eq_ignore_ascii_case(words))
}

// Where the first question ends. Its name is not compressed: nothing stands before it.
fn question_end(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER_BYTES;
    loop {
        match *bytes.get(at)? {
            0 => return (at + 5 <= bytes.len()).then_some(at + 5),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
