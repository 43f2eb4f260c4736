//! Layers that came plain, which are stored by their files and a recipe: what is saved is what came, and a file that has
//! changed is named.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use hako_base::error::chain;
use hako_image::{ImportOptions, LayerCheck, RemoveOptions};

use crate::fixture::{Fixture, may_run, tar};

// What a check says, without the digests.
fn told(checks: &[LayerCheck]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.extend(check.blob_damage.as_ref().map(|_| "recipe".to_owned()));
        lines.extend(check.files.iter().map(|(path, why)| format!("{path} {why}")));
    }
    lines.join("\n")
}

#[test]
fn what_an_archive_has_twice_comes_back_twice() {
    if !may_run() {
        return;
    }
    let long = "l".repeat(3000).as_bytes().chunks(200).map(String::from_utf8_lossy).collect::<Vec<_>>().join("/");
    for lines in [
        "f a first\nf a second\nf a third",
        // What lay below a directory, by another name of it and by its own.
        "d d\nf d/x 1\nl e d\nf e/y 2\nf e/x 3\nf d now-a-file\nf after 4",
        // A link that led somewhere leads elsewhere.
        "d one\nd two\nl to one\nf to/x 1\nl to two\nf to/x 2\nf one/x 3",
        "d d\nf d/a 1\nl d nowhere\nd d\nf d/a 2\np d/a\nf d/a 3",
        "f a 1\nh b a\nf a 2\nf b 3",
        // Whiteouts have no file, and may carry bytes all the same.
        "f .wh.gone bytes\nd o\nf o/.wh..wh..opq more\nf o/.wh..wh.plnk aufs\nf o/real 1",
        &format!("f {long} deep\nl s {}\nf s/{} shallow", &long[..200], &long[201..]),
    ] {
        let (fixture, bytes) = (Fixture::new(), tar(lines));
        let id = fixture.import("x", &bytes);
        assert!(fixture.saved_layer(id) == bytes, "{lines}");
        assert_eq!(told(&fixture.store.verify("x").unwrap()), "", "{lines}");
        fixture.store.remove("x", RemoveOptions::default(), &|_| None).unwrap();
        assert_eq!(fixture.leftovers(), "layers 0 blobs 0 staged 0 0 trash 0");
    }
}

#[test]
fn what_stands_behind_an_archive_belongs_to_it() {
    if !may_run() {
        return;
    }
    for behind in [&[0; 10240 - 2048][..], b"text", &[]] {
        let (fixture, bytes) = (Fixture::new(), [&tar("f a 1")[..], behind].concat());
        let id = fixture.import("x", &bytes);
        assert!(fixture.saved_layer(id) == bytes);
    }
}

#[test]
fn a_recipe_is_small_and_its_files_are_not_stored_again() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let content = hako_base::random::hex(100_000);
    fixture.import("x", &tar(&format!("f a {content}")));
    let sizes = fs::read_dir(fixture.root.join("content/sha256")).unwrap();
    let all: u64 = sizes.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(all < 2000, "{all} bytes are stored beside the files");
}

#[test]
fn files_that_changed_are_named_and_never_travel() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let id = fixture.import("x", &tar("f a 1\nf b 2\nf c 3\nf d 4\nf e 5\nl l a"));
    let files = fixture.layer(id);
    fs::write(files.join("a"), "9").unwrap();
    fs::write(files.join("b"), "longer").unwrap();
    fs::remove_file(files.join("c")).unwrap();
    fs::remove_file(files.join("d")).unwrap();
    fs::create_dir(files.join("d")).unwrap();
    fs::set_permissions(files.join("e"), Permissions::from_mode(0o600)).unwrap();
    fs::write(files.join("more"), "").unwrap();
    let checks = fixture.store.verify("x").unwrap();
    let expected = "/a has other content\n/b has other content\n/c is missing\n/d is of another kind\n\
                    /e has other permissions\n/more is not in the layer";
    assert_eq!(told(&checks), expected);
    let error = fixture.store.save(&["x".to_owned()], &mut std::io::sink()).unwrap_err();
    assert!(chain(&error).ends_with("the file /a has other content"), "{}", chain(&error));
    let shipment = fixture.store.ship("x").unwrap();
    assert!(shipment.layers[0].should_be_gzip() && shipment.layers[0].is_recipe);
    assert!(shipment.recompression(0).make_gzip().is_err());
    let error = fixture.store.layer_repair(&checks[0], None::<std::io::Empty>).unwrap_err();
    assert!(error.to_string().starts_with("/a has other content, and nothing else here has layer"), "{error}");
}

#[test]
fn what_the_recipe_itself_has_is_put_in_order() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let id = fixture.import("x", &tar("f a 1\nf a 2\nl l a\nd empty"));
    let files = fixture.layer(id);
    fs::set_permissions(files.join("a"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(files.join("l")).unwrap();
    fs::remove_dir(files.join("empty")).unwrap();
    let checks = fixture.store.verify("x").unwrap();
    assert_eq!(told(&checks), "/a has other permissions\n/empty is missing\n/l is missing");
    fixture.store.layer_repair(&checks[0], None::<std::io::Empty>).unwrap();
    assert_eq!(told(&fixture.store.verify("x").unwrap()), "");
    assert_eq!(fixture.saved_layer(id), tar("f a 1\nf a 2\nl l a\nd empty"));
}

#[test]
fn a_damaged_recipe_is_damage() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    fixture.import("x", &tar("f a 1"));
    let recipe = fixture.store.ship("x").unwrap().layers[0].blob;
    let path = fixture.root.join("content/sha256").join(recipe.hex());
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert_eq!(told(&fixture.store.verify("x").unwrap()), "recipe", "byte {at}");
        // Not every bit of a compressed stream means something; what comes out must be right or refused.
        let _ = fixture.store.save(&["x".to_owned()], &mut std::io::sink());
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(told(&fixture.store.verify("x").unwrap()), "recipe");
}

#[test]
fn the_same_layer_on_another_one_is_made_from_its_files() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let (below, top) = (fixture.import("below", &tar("f a 1")), tar("f b 2"));
    fixture.import("top", &top);
    let options = ImportOptions::default();
    let diff_ids = [below, fixture.store.import(&top[..], &options, &mut |_| {}).unwrap()]
        .map(|id| fixture.store.image(id).unwrap().diff_ids[0]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
        diff_ids[0], diff_ids[1]
    );
    let manifest = format!(
        r#"[{{"Config":"c.json","RepoTags":["both:1"],"Layers":["blobs/sha256/{}","blobs/sha256/{}"]}}]"#,
        diff_ids[0].hex(),
        diff_ids[1].hex()
    );
    let archive = tar(&format!("f c.json {config}\nf manifest.json {manifest}"));
    let both = fixture.store.load(&archive[..], &[], &mut |_| {}).unwrap()[0].id;
    assert!(fixture.saved_layer(both) == top);
    assert_eq!(told(&fixture.store.verify("both:1").unwrap()), "");
    fixture.store.remove("top", RemoveOptions { force: true, keep_parents: false }, &|_| None).unwrap();
    assert!(fixture.saved_layer(both) == top);
    let shipment = fixture.store.ship("both:1").unwrap();
    assert!(shipment.recompression(1).make_gzip().unwrap().is_gzip);
    shipment.settle().unwrap();
    drop(shipment);
    assert!(fixture.saved_layer(both) == top);
    assert_eq!(told(&fixture.store.verify("both:1").unwrap()), "");
}
