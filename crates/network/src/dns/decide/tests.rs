//! Who is told what.

use hako_model::NetworkId;
use hickory_proto::op::{Message, Query};

use super::*;
use crate::{
    dns::message::{Transport, read},
    names::EndpointNames,
};

fn id(digit: char) -> ContainerId {
    digit.to_string().repeat(64).parse().unwrap()
}

fn net(digit: char) -> NetworkId {
    digit.to_string().repeat(64).parse().unwrap()
}

fn names() -> NameTables {
    let tables = NameTables::default();
    tables.network_set(net('1'), "front", true);
    tables.network_set(net('2'), "back", false);
    let join = |network, container, names: &str, addresses: &str| {
        let names = EndpointNames {
            names: names.split_whitespace().map(str::to_owned).collect(),
            addresses: addresses.split_whitespace().map(|text| text.parse().unwrap()).collect(),
        };
        tables.insert(net(network), id(container), names);
    };
    join('1', 'a', "web www", "10.1.0.2");
    join('1', 'b', "web2 www", "10.1.0.3 fd00::3");
    join('2', 'c', "db", "10.2.0.2");
    tables
}

// What container `asking` is told, in its `turn`-th question.
fn told(asking: char, kind: &str, name: &str, turn: usize) -> String {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind.parse().unwrap()));
    let question = read(&message.to_vec().unwrap(), Transport::Datagram).unwrap();
    match decide(&question, &names(), id(asking), turn) {
        Decision::Forward => "forward".to_owned(),
        Decision::Answer(Answer::Addresses(addresses)) => {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        Decision::Answer(Answer::Pointer(name)) => name.to_ascii(),
        Decision::Answer(Answer::NoData) => "nothing of that kind".to_owned(),
        Decision::Answer(Answer::Failure(code)) => code.to_str().to_owned(),
    }
}

#[test]
fn names_of_the_askers_networks_are_answered() {
    assert_eq!(told('b', "A", "web.", 0), "10.1.0.2");
    assert_eq!(told('b', "A", "WEB.front.", 0), "10.1.0.2");
    assert_eq!(told('a', "AAAA", "web2.", 0), "fd00::3");
    assert_eq!(told('a', "ANY", "web2.", 0), "10.1.0.3 fd00::3");
    assert_eq!(told('b', "PTR", "2.0.1.10.in-addr.arpa.", 0), "web.front.");
}

#[test]
fn a_name_of_ours_is_nobody_elses_business() {
    for kind in ["AAAA", "MX", "TXT", "SRV", "HTTPS"] {
        assert_eq!(told('b', kind, "web.", 0), "nothing of that kind", "{kind}");
    }
}

#[test]
fn each_of_several_answers_comes_first_in_turn() {
    assert_eq!(told('b', "A", "www.", 0), "10.1.0.2 10.1.0.3");
    assert_eq!(told('b', "A", "www.", 1), "10.1.0.3 10.1.0.2");
    assert_eq!(told('b', "A", "www.", usize::MAX), "10.1.0.3 10.1.0.2");
}

#[test]
fn other_names_are_asked_outside_where_there_is_a_way_out() {
    for (kind, name) in [("A", "example.org."), ("A", "db."), ("PTR", "2.0.2.10.in-addr.arpa."), ("NS", ".")] {
        assert_eq!(told('b', kind, name, 0), "forward", "{name}");
    }
    assert_eq!(told('c', "A", "db.", 0), "10.2.0.2");
    assert_eq!(told('c', "A", "example.org.", 0), "Server Failure");
    assert_eq!(told('c', "A", "web.", 0), "Server Failure");
    // Whoever is in no such network has no service, and gets nothing from it.
    assert_eq!(told('d', "A", "web.", 0), "Server Failure");
}
