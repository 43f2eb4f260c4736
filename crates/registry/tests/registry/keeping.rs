//! What a server fetches from another one, and what it throws away.

use std::time::Duration;

use hako_registry::server::{CollectOptions, Collected, ProxySettings, collect};

use crate::place::{Folder, Place, digest, manifest};

fn cache(folder: &Folder, of: &str) -> Place {
    let proxy = ProxySettings { url: of.to_owned(), username: String::new(), password: String::new(), keep: None };
    Place::start(folder.path(), |settings| settings.proxy = Some(proxy))
}

// BuildKit's caches are indexes of layers and of a configuration, none of them a manifest.
#[test]
fn an_index_may_name_blobs_and_a_collection_leaves_them() {
    let folder = Folder::new();
    let place = Place::start(folder.path(), |_| ());
    let (layer, stray) = (place.blob("a", b"a layer"), place.blob("a", b"of nobody"));
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = |digest: &str| {
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{kind}\",\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"{digest}\",\"size\":7}}]}}"
        )
    };
    let put = |text: &str| place.send("PUT", "/v2/a/manifests/cache", &[("Content-Type", kind)], text.as_bytes());
    assert_eq!(put(&index(&digest(b"nowhere"))).code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(put(&index(&layer)).status, 201);
    let options = CollectOptions { grace: Duration::ZERO, untagged: false, dry_run: false };
    assert_eq!(collect(folder.path(), options).unwrap().blobs, 1);
    assert_eq!(place.get(&format!("/v2/a/blobs/{layer}")).status, 200);
    assert_eq!(place.get(&format!("/v2/a/blobs/{stray}")).status, 404);
}

#[test]
fn a_cache_brings_what_it_lacks_and_serves_it_when_the_other_is_gone() {
    let (origin_folder, cache_folder) = (Folder::new(), Folder::new());
    let origin = Place::start(origin_folder.path(), |_| ());
    let layer: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (config, blob) = (origin.blob("a/b", b"{}"), origin.blob("a/b", &layer));
    let text = manifest(&config, &[(&blob, layer.len())], "");
    assert_eq!(origin.manifest("a/b", "1", &text).status, 201);
    let place = cache(&cache_folder, &format!("http://{}", origin.address));
    let path = format!("/v2/a/b/blobs/{blob}");
    assert_eq!(place.send("HEAD", &path, &[], b"").header("Content-Length"), layer.len().to_string());
    // Several at once, one of them for a part.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(place.get(&path).body == layer));
        }
        scope.spawn(|| {
            let part = place.send("GET", &path, &[("Range", "bytes=3000000-3999999")], b"");
            assert!(part.status == 206 && part.body == layer[3_000_000..]);
        });
    });
    assert_eq!(place.get("/v2/a/b/manifests/1").text(), text);
    assert_eq!(place.get("/v2/a/b/tags/list").text(), "{\"name\":\"a/b\",\"tags\":[\"1\"]}");
    assert_eq!(place.get(&format!("/v2/a/b/blobs/{config}")).text(), "{}");
    assert_eq!(place.get("/v2/a/b/manifests/nosuch").status, 404);
    assert_eq!(place.get(&format!("/v2/a/b/blobs/{}", digest(b"x"))).status, 404);
    assert_eq!(place.send("POST", "/v2/a/b/blobs/uploads/", &[], b"").status, 405);
    // A tag that moves is seen.
    let moved = manifest(&config, &[], "");
    assert_eq!(origin.manifest("a/b", "1", &moved).status, 201);
    assert_eq!(place.get("/v2/a/b/manifests/1").text(), moved);
    drop(origin);
    assert_eq!(place.get("/v2/a/b/manifests/1").text(), moved);
    assert_eq!(place.get(&format!("/v2/a/b/manifests/{}", digest(text.as_bytes()))).text(), text);
    assert!(place.get(&path).body == layer);
    assert_eq!(place.get("/v2/a/b/manifests/other").status, 502);
}

#[test]
fn a_cache_does_not_keep_what_is_not_what_it_should_be() {
    let (origin_folder, cache_folder) = (Folder::new(), Folder::new());
    let origin = Place::start(origin_folder.path(), |_| ());
    let blob = origin.blob("a", b"what it should be");
    let hex = blob.trim_start_matches("sha256:").to_owned();
    let data = origin_folder.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    std::fs::write(&data, b"something else").unwrap();
    let place = cache(&cache_folder, &format!("http://{}", origin.address));
    // The last byte never comes.
    let answer = place.get(&format!("/v2/a/blobs/{blob}"));
    assert!(answer.body.len() < b"something else".len(), "{answer:?}");
    std::fs::write(&data, b"what it should be").unwrap();
    assert_eq!(place.get(&format!("/v2/a/blobs/{blob}")).text(), "what it should be");
}

#[test]
fn garbage_goes_while_pushes_go_on() {
    let folder = Folder::new();
    let place = Place::start(folder.path(), |settings| settings.delete = true);
    let options = CollectOptions { grace: Duration::ZERO, untagged: false, dry_run: false };
    let (config, garbage) = (place.blob("a", b"{}"), place.blob("a", b"garbage"));
    let text = manifest(&config, &[], "");
    place.manifest("a", "1", &text);
    place.manifest("a", "1", &manifest(&config, &[], ",\"x\":1"));
    // Young things stay.
    let young = CollectOptions { grace: Duration::from_secs(3600), untagged: true, dry_run: false };
    assert_eq!(collect(folder.path(), young).unwrap(), Collected::default());
    let dry = collect(folder.path(), CollectOptions { dry_run: true, ..options }).unwrap();
    assert_eq!(dry, Collected { manifests: 0, blobs: 1, bytes: 7 });
    assert_eq!(place.get(&format!("/v2/a/blobs/{garbage}")).text(), "garbage");
    assert_eq!(collect(folder.path(), options).unwrap(), dry);
    assert_eq!(place.get(&format!("/v2/a/blobs/{garbage}")).status, 404);
    // The manifest that lost its tag, on demand; the configuration is still the other's.
    let untagged = collect(folder.path(), CollectOptions { untagged: true, ..options }).unwrap();
    assert_eq!(untagged, Collected { manifests: 1, blobs: 1, bytes: text.len() as u64 });
    assert_eq!(place.get("/v2/a/manifests/1").status, 200);
    assert_eq!(place.get(&format!("/v2/a/blobs/{config}")).text(), "{}");
    // Each push is whole or refused, however often somebody collects meanwhile.
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            for number in 0..60 {
                let layer = format!("layer {number}");
                let layer_digest = place.blob("b", layer.as_bytes());
                let config = place.blob("b", b"{}");
                let put =
                    place.manifest("b", &number.to_string(), &manifest(&config, &[(&layer_digest, layer.len())], ""));
                match put.status {
                    201 => assert_eq!(place.get(&format!("/v2/b/blobs/{layer_digest}")).text(), layer),
                    _ => assert_eq!(put.code(), "MANIFEST_BLOB_UNKNOWN"),
                }
            }
        });
        while !pushing.is_finished() {
            collect(folder.path(), options).unwrap();
        }
    });
}
