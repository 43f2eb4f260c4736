//! `hosts.toml`: which servers are asked for a registry's content, and how.

use std::{fs, io::Write, sync::Arc};

use hako_image::ImportOptions;

use crate::{
    client::{Image, Side, answer, hostile, serve, tar},
    place::{Folder, Place},
};

/// A side with a `hosts.toml` for the registry of this name, which nobody can reach.
fn with_hosts(registry: &str, text: &str) -> (Folder, Side) {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join(registry)).unwrap();
    fs::write(folder.path().join(registry).join("hosts.toml"), text).unwrap();
    let side = Side::with(vec![folder.path().to_owned()]);
    (folder, side)
}

#[test]
fn a_mirror_of_any_registry_is_asked_first() {
    let storage = Folder::new();
    let place = Place::start(storage.path(), |_| ());
    let one = Side::new();
    let there = format!("{}/a/image:1", place.address);
    let options = ImportOptions { reference: Some(there.parse().unwrap()), ..ImportOptions::default() };
    one.store.import(&tar("file", b"content")[..], &options, &mut |_| {}).unwrap();
    let pushed = one.push(&there);
    let text = format!(
        "server = 'http://127.0.0.1:1'\n[host.'http://{}']\ncapabilities = ['pull', 'resolve']\n",
        place.address
    );
    let (_folder, two) = with_hosts("registry.test", &text);
    assert_eq!(two.pull("registry.test/a/image:1").unwrap().digest.to_string(), pushed);
    // It may not be pushed to, so a push goes to the registry itself; which nobody reaches.
    let refused = two.try_push("registry.test/a/image:1").unwrap_err().to_string();
    assert!(refused.contains("127.0.0.1:1"), "{refused}");
    let text = format!("[host.'http://{}']\n", place.address);
    let (_folder, three) = with_hosts("_default", &text);
    three.pull("any.test:5000/a/image:1").unwrap();
    three.store.tag("any.test:5000/a/image:1", &"any.test:5000/b:2".parse().unwrap()).unwrap();
    three.push("any.test:5000/b:2");
    assert_eq!(place.get("/v2/b/manifests/2").status, 200);
}

#[test]
fn a_server_that_fails_is_followed_by_the_next_and_each_hears_what_is_for_it() {
    let image = Arc::new(Image::new());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let first = hostile(|_, socket| drop(socket.write_all(&answer("404 Not Found", "", b"{}"))));
    let (heads, shown) = (seen.clone(), image.clone());
    let second = hostile(move |head, socket| {
        heads.lock().push(head.to_ascii_lowercase());
        serve(&shown, head, socket, |_, _| false);
    });
    let text = format!(
        "[host.'http://{first}']\n[host.'http://{second}/v2/proxy']\noverride_path = true\n[host.'http://{second}/v2/proxy'.header]\nx-own = ['one', 'two']\n"
    );
    let (_folder, side) = with_hosts("registry.test_5000_", &text);
    side.pull("registry.test:5000/a:1").unwrap();
    let seen = seen.lock();
    assert!(seen[0].starts_with("get /v2/proxy/a/manifests/1?ns=registry.test:5000 http/1.1\r\n"), "{}", seen[0]);
    assert!(seen.iter().all(|head| head.contains("x-own: one\r\nx-own: two\r\n")), "{seen:?}");
}

#[test]
fn headers_for_one_server_do_not_follow_a_redirect_to_another() {
    let image = Arc::new(Image::new());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (heads, shown) = (seen.clone(), image.clone());
    let elsewhere = hostile(move |head, socket| {
        heads.lock().push(head.to_ascii_lowercase());
        serve(&shown, head, socket, |_, _| false);
    });
    let first = hostile(move |head, socket| {
        serve(&image, head, socket, |head, socket| {
            let path = head.split(' ').nth(1).unwrap();
            let location = format!("Location: http://{elsewhere}{path}\r\n");
            path.contains("/blobs/") && socket.write_all(&answer("307 Temporary Redirect", &location, b"")).is_ok()
        });
    });
    let text = format!(
        "[host.'http://{first}']\n[host.'http://{first}'.header]\nauthorization = 'Bearer secret'\nx-key = 'k'\n"
    );
    let (_folder, side) = with_hosts("registry.test", &text);
    side.pull("registry.test/a:1").unwrap();
    let seen = seen.lock();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|head| !head.contains("secret") && !head.contains("x-key")), "{seen:?}");
}

#[test]
fn a_file_that_makes_no_sense_is_named() {
    let (_folder, side) = with_hosts("registry.test", "sever = 'x'\n");
    let error = side.pull("registry.test/a:1").unwrap_err().to_string();
    assert!(error.contains("registry.test/hosts.toml: ") && error.contains("sever"), "{error}");
    let (_folder, side) = with_hosts("registry.test", "capabilities = ['push']\n");
    let error = side.pull("registry.test/a:1").unwrap_err().to_string();
    assert_eq!(error, "hosts.toml allows no pulling from registry.test");
}
