//! What comes in is understood or refused, whatever it is; what goes out is what a client can read.

use hickory_proto::op::Query;
use proptest::prelude::*;

use super::*;

fn asked(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    message.add_query(Query::query(Name::from_labels(labels).unwrap(), kind));
    if let Some(payload) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Question {
    read(&asked(name, kind, edns), Transport::Datagram).unwrap()
}

fn refusal(bytes: &[u8]) -> ResponseCode {
    let answer = read(bytes, Transport::Datagram).unwrap_err();
    Message::from_vec(&answer).unwrap().metadata.response_code
}

fn addresses(count: u8) -> Answer {
    Answer::Addresses((0..count).map(|number| IpAddr::from([10, 0, 0, number])).collect())
}

#[test]
fn an_answer_repeats_the_question_as_it_was_written() {
    let question = question("WeB.", RecordType::A, None);
    assert_eq!(question.host_name().unwrap(), "WeB");
    let reply = Message::from_vec(&question.reply(&addresses(2))).unwrap();
    assert_eq!((reply.metadata.id, reply.metadata.message_type), (0x1234, MessageType::Response));
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
    assert_eq!(reply.queries[0].name.to_ascii(), "WeB.");
    let shown: Vec<String> = reply.answers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["WeB. 600 IN A 10.0.0.0", "WeB. 600 IN A 10.0.0.1"]);
    assert!(reply.edns.is_none(), "the asker did not say that it knows EDNS");
}

#[test]
fn what_does_not_fit_is_cut_off_and_said_to_be() {
    let cut = |edns, transport| {
        let question = read(&asked("many.", RecordType::A, edns), transport).unwrap();
        let bytes = question.reply(&addresses(200));
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= question.room());
        (reply.answers.len(), reply.metadata.truncation)
    };
    // 12 bytes of header, 10 of question, 16 an address, 11 of EDNS.
    assert_eq!(cut(None, Transport::Datagram), ((512 - 22) / 16, true));
    assert_eq!(cut(Some(1232), Transport::Datagram), ((1232 - 33) / 16, true));
    assert_eq!(cut(Some(4096), Transport::Datagram), (200, false));
    assert_eq!(cut(None, Transport::Stream), (200, false));
    // Whoever says 10 gets 512: less is none (RFC 6891, 6.2.3).
    assert_eq!(cut(Some(10), Transport::Datagram).0, 29);
}

#[test]
fn what_is_no_question_is_refused_or_not_answered() {
    let plain = asked("web.", RecordType::A, None);
    let changed = |at: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[at] = value;
        bytes
    };
    for silent in [&plain[..11], &changed(2, 0x81), &[]] {
        assert!(read(silent, Transport::Datagram).unwrap_err().is_empty());
    }
    assert_eq!(refusal(&changed(2, 5 << 3)), ResponseCode::NotImp, "an update");
    assert_eq!(refusal(&changed(5, 0)), ResponseCode::FormErr, "no question");
    assert_eq!(refusal(&changed(5, 2)), ResponseCode::FormErr, "fewer than it says");
    assert_eq!(refusal(&plain[..plain.len() - 1]), ResponseCode::FormErr);
    assert_eq!(refusal(&changed(12, 0xc0)), ResponseCode::FormErr, "a name that points nowhere");
    assert_eq!(refusal(&asked("web.", RecordType::AXFR, None)), ResponseCode::Refused);
    let mut later = asked("web.", RecordType::A, Some(1232));
    let version = later.len() - 5;
    later[version] = 1;
    let answer = Message::from_vec(&read(&later, Transport::Datagram).unwrap_err()).unwrap();
    // 16, whose other meaning is a bad signature.
    assert_eq!((u16::from(answer.metadata.response_code), answer.edns.unwrap().version()), (16, 0));
}

#[test]
fn names_that_no_container_can_have_are_none() {
    let host_name = |bytes: &[u8]| {
        let mut message = asked("xxxx.", RecordType::A, None);
        message[13..13 + bytes.len()].copy_from_slice(bytes);
        read(&message, Transport::Datagram).unwrap().host_name()
    };
    assert_eq!(host_name(b"a-_9").as_deref(), Some("a-_9"));
    // A dot inside a label is not the dot between two.
    for bad in [b"a.b ", b"a\0bc", b"\xc3\xbc.."] {
        assert_eq!(host_name(bad), None, "{bad:?}");
    }
    assert_eq!(question(".", RecordType::NS, None).host_name(), None);
}

#[test]
fn reverse_questions_ask_for_an_address() {
    let address = |name: &str| question(name, RecordType::PTR, None).reverse_address().map(|it| it.to_string());
    assert_eq!(address("2.0.18.172.in-addr.arpa.").as_deref(), Some("172.18.0.2"));
    assert_eq!(
        address("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.").as_deref(),
        Some("2001:db8::2")
    );
    for part in ["18.172.in-addr.arpa.", "in-addr.arpa.", "web.", "x.0.18.172.in-addr.arpa."] {
        assert_eq!(address(part), None, "{part}");
    }
}

#[test]
fn an_answer_is_one_to_the_question_that_was_sent() {
    let sent = asked("Web.example.", RecordType::A, Some(1232));
    let good = question("web.EXAMPLE.", RecordType::A, None).reply(&addresses(1));
    assert!(is_answer_to(&good, &sent));
    let mut other_id = good.clone();
    other_id[0] ^= 1;
    let other_name = question("web.example2.", RecordType::A, None).reply(&addresses(1));
    let other_kind = question("web.example.", RecordType::AAAA, None).reply(&Answer::NoData);
    for bad in [&other_id, &other_name, &other_kind, &sent, &good[..11].to_vec(), &Vec::new()] {
        assert!(!is_answer_to(bad, &sent));
    }
    // Without the question only a failure can be one.
    let mut bare = vec![0x12, 0x34, 0x81, 0x84, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(is_answer_to(&bare, &sent));
    bare[3] = 0x80;
    assert!(!is_answer_to(&bare, &sent));
}

proptest! {
    // Nothing a container sends ends the daemon, and what is answered fits and is an answer.
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes)?;
    }

    #[test]
    fn damaged_questions_are_read(
        labels in proptest::collection::vec("[a-zA-Z0-9_-]{1,20}", 1..5),
        kind in any::<u16>(),
        edns in proptest::option::of(any::<u16>()),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = asked(&format!("{}.", labels.join(".")), RecordType::from(kind), edns);
        if damage.is_empty() && whole && kind != 251 && kind != 252 && kind != 41 {
            let question = read(&bytes, Transport::Datagram).unwrap();
            prop_assert_eq!(question.host_name(), Some(labels.join(".")));
        }
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&bytes)?;
    }

    #[test]
    fn any_bytes_may_claim_to_be_an_answer(
        answer in proptest::collection::vec(any::<u8>(), 0..100),
        question in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = is_answer_to(&answer, &question);
    }
}

fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    for transport in [Transport::Datagram, Transport::Stream] {
        let reply = match read(bytes, transport) {
            Ok(question) => {
                let _ = (question.host_name(), question.reverse_address());
                let reply = question.reply(&addresses(100));
                prop_assert!(reply.len() <= question.room(), "{} bytes", reply.len());
                reply
            }
            Err(refusal) => refusal,
        };
        prop_assert!(reply.is_empty() || reply[2] & 0x80 != 0, "an answer, not a question");
    }
    Ok(())
}
