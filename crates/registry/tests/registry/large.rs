//! Large blobs: in parts over several connections, and taken up again where they broke off.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hako_image::ImportOptions;

use crate::{
    client::{Side, tar},
    place::{Folder, Place},
};

/// Bytes that no compression makes less of.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Passes connections on; `cut` says after how many bytes from the client one is cut, given its first bytes.
fn relay(to: SocketAddr, cut: impl Fn(&str) -> Option<u64> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(cut);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, server, cut) = (client.unwrap(), TcpStream::connect(to).unwrap(), cut.clone());
            let (mut back, mut out) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || drop(std::io::copy(&mut back, &mut out)));
            std::thread::spawn(move || forward(&mut client, server, &*cut));
        }
    });
    address
}

fn forward(client: &mut TcpStream, mut server: TcpStream, cut: &dyn Fn(&str) -> Option<u64>) {
    let mut buffer = vec![0; 64 << 10];
    let (mut left, mut passed) = (None, 0_u64);
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        if let Some(limit) = cut(&String::from_utf8_lossy(&buffer[..count.min(1000)])) {
            left = Some(passed + limit);
        }
        passed += count as u64;
        if left.is_some_and(|left| passed > left) {
            // The server keeps what has come.
            let _ = server.shutdown(Shutdown::Write);
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        if server.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

#[test]
fn an_upload_that_breaks_off_goes_on_where_it_broke() {
    let folder = Folder::new();
    let place = Place::start(folder.path(), |_| ());
    let (patches, resumed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (patches.clone(), resumed.clone());
    let address = relay(place.address, move |head| {
        if !head.starts_with("PATCH ") {
            return None;
        }
        seen.fetch_add(usize::from(head.to_ascii_lowercase().contains("content-range: ")), Ordering::Relaxed);
        (counted.fetch_add(1, Ordering::Relaxed) < 2).then_some(5_000_000)
    });
    let side = Side::new();
    let name = format!("{address}/a:1");
    let options = ImportOptions { reference: Some(name.parse().unwrap()), ..ImportOptions::default() };
    side.store.import(&tar("noise", &noise(30_000_000))[..], &options, &mut |_| {}).unwrap();
    let digest = side.push(&name);
    assert!(patches.load(Ordering::Relaxed) >= 3);
    assert!(resumed.load(Ordering::Relaxed) >= 2, "the pieces say where they belong");
    let pulled = Side::new().pull(&format!("{}/a:1", place.address)).unwrap();
    assert_eq!(pulled.digest.to_string(), digest);
}

#[test]
fn a_large_layer_comes_in_parts_and_is_whole() {
    let folder = Folder::new();
    let place = Place::start(folder.path(), |_| ());
    let ranges = Arc::new(AtomicUsize::new(0));
    let counted = ranges.clone();
    let address = relay(place.address, move |head| {
        let is_part = head.starts_with("GET ") && head.contains("/blobs/");
        // One of them is lost on the way.
        (is_part && counted.fetch_add(1, Ordering::Relaxed) == 7).then_some(0)
    });
    let side = Side::new();
    let name = format!("{}/a:1", place.address);
    let options = ImportOptions { reference: Some(name.parse().unwrap()), ..ImportOptions::default() };
    side.store.import(&tar("noise", &noise(70_000_000))[..], &options, &mut |_| {}).unwrap();
    let digest = side.push(&name);
    let pulled = Side::new().pull(&format!("{address}/a:1")).unwrap();
    assert_eq!(pulled.digest.to_string(), digest);
    assert!(ranges.load(Ordering::Relaxed) > 7);
}
