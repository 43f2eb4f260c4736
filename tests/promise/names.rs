//! How many questions a second the name service of a network answers one container.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use hako_testkit::namespace;

/// Where containers ask (Docker's embedded DNS server).
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);
/// How many questions are under way at once, so that a lost one or a slow one does not stop the others.
const AT_ONCE: u16 = 32;
const SECONDS: u32 = 3;

/// Asks for the address of `name` from the network namespace of a process. Answers a second; a question without an
/// address in its answer does not count.
pub(crate) fn answers(process: u32, name: &str) -> f64 {
    let socket = namespace::in_network_of(process, || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(SERVER)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(socket)
    });
    let socket = socket.expect("a socket can be made in the container's network");
    let begin = Instant::now();
    let mut count = 0_u32;
    for id in 0..AT_ONCE {
        socket.send(&question(id, name)).expect("the name service listens");
    }
    let mut bytes = [0; 512];
    while begin.elapsed() < Duration::from_secs(SECONDS.into()) {
        match socket.recv(&mut bytes) {
            Ok(length) => {
                count += u32::from(has_answer(&bytes[..length]));
                let id = u16::from_be_bytes([bytes[0], bytes[1]]);
                socket.send(&question(id, name)).expect("the name service listens");
            }
            // Everything under way was lost: begin again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (0..AT_ONCE).for_each(|id| drop(socket.send(&question(id, name))));
            }
            Err(error) => panic!("the name service does not answer: {error}"),
        }
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// A question for an IPv4 address (RFC 1035, section 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label is short"));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Whether the answer is one: no error, and at least one record.
fn has_answer(bytes: &[u8]) -> bool {
    bytes.len() > 12 && bytes[3] & 0x0f == 0 && bytes[6..8] != [0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_a_head_a_name_a_type_and_a_class() {
        let bytes = question(0x0102, "db.example");
        assert_eq!(bytes, b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x07example\x00\x00\x01\x00\x01");
        assert!(!has_answer(&bytes));
    }
}
