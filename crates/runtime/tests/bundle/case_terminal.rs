//! Terminals: sent to the caller's socket, with a console inside.

use std::{io::Read, os::fd::OwnedFd};

use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const CASES: &[crate::Case] = &[
    ("a_terminal_is_sent_to_the_socket", a_terminal_is_sent_to_the_socket),
    ("a_terminal_without_a_place_is_an_error", a_terminal_without_a_place_is_an_error),
];

fn receive(listener: &std::os::unix::net::UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); 64];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0_u8; 256];
    let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
    rustix::net::recvmsg(&stream, &mut buffers, &mut control, rustix::net::RecvFlags::CMSG_CLOEXEC).unwrap();
    let found = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    found.expect("a descriptor came along")
}

fn a_terminal_is_sent_to_the_socket() {
    let bundle = Bundle::new("tty; stty size; test -c /dev/console && echo console")
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({ "height": 31, "width": 99 }));
    bundle.write();
    let path = bundle.directory.join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.call("create", &[&format!("--console-socket={}", path.display())]).succeeds();
    let master = receive(&listener);
    bundle.call("start", &[]).succeeds();
    let mut text = Vec::new();
    // A terminal whose programs are gone answers EIO, after all that they wrote.
    let _ = std::fs::File::from(master).read_to_end(&mut text);
    assert_eq!(String::from_utf8_lossy(&text).replace('\r', ""), "/dev/pts/0\n31 99\nconsole\n");
    bundle.wait_for_status("stopped");
}

fn a_terminal_without_a_place_is_an_error() {
    let bundle = Bundle::new("true").set("/process/terminal", json!(true));
    bundle.write();
    bundle.call("create", &[]).fails_with("cannot allocate tty");
    let bundle = Bundle::new("true");
    bundle.write();
    bundle.call("create", &["--console-socket=/nosuch"]).fails_with("cannot use console socket");
}
