//! Images through everything: import, load, save, containers, diff, commit, export, history, remove.
//!
//! These need root and overlayfs; everything happens in a directory of the test's own and in detached mounts.

use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{PermissionsExt, symlink},
    },
    path::PathBuf,
};

use crate::fixture::{Fixture, listing, may_run, tar};
use hako_base::error::chain;
use hako_image::{
    ChangeKind, CommitOptions, ImageError, RemoveOptions, Removed, Use,
    tar::{Entry, Kind, Reader, Time, Writer},
};
use hako_model::{ContainerId, Digest, ImageConfig, Platform, Reference};

const BASE: &str = "
    d bin
    f bin/sh #!
    d etc
    f etc/passwd root
    d old
    f old/a 1
    f old/b 2
    d tmp 1777
";

// A path through which a test looks into a detached mount.
fn path_of(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

fn commit_options(base: Digest, name: &str) -> CommitOptions {
    CommitOptions {
        base: Some(base),
        config: ImageConfig { cmd: Some(vec!["sh".to_owned()]), ..ImageConfig::default() },
        changes: vec!["ENV A=1".to_owned()],
        author: "me".to_owned(),
        comment: "why".to_owned(),
        reference: Some(name.parse().unwrap()),
        created_by: "/bin/sh".to_owned(),
    }
}

#[test]
fn a_container_changes_and_becomes_an_image() {
    if !may_run() {
        return;
    }
    let mut fixture = Fixture::new();
    let base = fixture.import("base", &tar(BASE));
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &base).unwrap();
    assert!(matches!(fixture.store.snapshot_prepare(id, &base), Err(ImageError::SnapshotExists { .. })));

    let mount = fixture.store.snapshot_mount(id, false).unwrap();
    assert!(matches!(fixture.store.snapshot_mount(id, false), Err(ImageError::SnapshotBusy { .. })));
    let root = path_of(&mount);
    assert!(root.join("proc").is_dir() && root.join(".dockerenv").is_file() && root.join("etc/hosts").is_file());
    assert_eq!(fs::read_link(root.join("etc/mtab")).unwrap().to_str(), Some("/proc/mounts"));
    fs::write(root.join("etc/passwd"), "root\nme").unwrap();
    fs::create_dir(root.join("new")).unwrap();
    fs::write(root.join("new/file"), "12345").unwrap();
    fs::hard_link(root.join("new/file"), root.join("new/twin")).unwrap();
    symlink("file", root.join("new/link")).unwrap();
    fs::remove_file(root.join("bin/sh")).unwrap();
    fs::remove_dir_all(root.join("old")).unwrap();
    fs::create_dir(root.join("old")).unwrap();
    fs::write(root.join("old/b"), "3").unwrap();

    let changes = fixture.store.snapshot_changes(id).unwrap();
    let shown: Vec<_> = changes
        .iter()
        .map(|change| {
            let kind = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Changed => 'C',
                ChangeKind::Deleted => 'D',
            };
            format!("{kind} {}", change.path)
        })
        .collect();
    assert_eq!(
        shown.join("\n"),
        "C /bin\nD /bin/sh\nC /etc\nC /etc/passwd\nA /new\nA /new/file\nA /new/link\nA /new/twin\nC /old\nD /old/a\nC /old/b"
    );
    let size = fixture.store.snapshot_size(id).unwrap();
    assert_eq!((size.written, size.root), (7 + 5 + 1, 13 + 2 + 4 + 2));

    let made = fixture.store.commit(id, &commit_options(base, "me/new")).unwrap();
    assert_eq!(
        listing(&fixture.layer(made)),
        "bin/ 755\nbin/sh whiteout\netc/ 755\netc/passwd \"root\\nme\"\nnew/ 755\nnew/file \"12345\"\nnew/link -> file\nnew/twin \"12345\"\nold/ 755 opaque\nold/b \"3\""
    );
    let image = fixture.store.resolve("me/new").unwrap();
    assert_eq!((image.id, image.parent, image.author.as_str()), (made, Some(base), "me"));
    assert_eq!((image.config.env.join(","), image.diff_ids.len()), ("A=1".to_owned(), 2));
    let history = fixture.store.history("me/new").unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].image, history[0].tags.join(",")), (Some(made), "me/new:latest".to_owned()));
    assert_eq!((history[1].image, history[1].comment.as_str()), (Some(base), "Imported from -"));

    // A container of the new image sees the same files; also after a restart.
    fixture.store.snapshot_release(id);
    fixture.reopen();
    let again = ContainerId::random();
    fixture.store.snapshot_prepare(again, &made).unwrap();
    let other = fixture.store.snapshot_mount(again, true).unwrap();
    assert_eq!(listing(&path_of(&other)), listing(&root));
    drop((mount, other));
    fixture.store.snapshot_release(again);
    fixture.store.snapshot_remove(again).unwrap();
    assert!(matches!(fixture.store.snapshot_mount(again, false), Err(ImageError::NoSuchSnapshot { .. })));
}

#[test]
fn a_container_that_changed_nothing_makes_no_layer() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.import("base", &tar(BASE));
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &base).unwrap();
    assert!(fixture.store.snapshot_changes(id).unwrap().is_empty());
    let made = fixture.store.commit(id, &commit_options(base, "same")).unwrap();
    assert_eq!(fixture.store.image(made).unwrap().diff_ids.len(), 1);
    let history = fixture.store.history("same").unwrap();
    assert_eq!((history[0].empty_layer, history[1].empty_layer, history[1].size), (true, false, 8));
    assert_eq!(fixture.leftovers(), "layers 1 blobs 3 staged 0 0 trash 0");
}

#[test]
fn attributes_survive_the_whole_way() {
    if !may_run() {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut writer = Writer::new(Vec::new());
    let modified = Time { seconds: 1_234_567, nanoseconds: 0 };
    let directory = Entry { mode: 0o2775, uid: 5, gid: 6, modified, ..Entry::new("d/", Kind::Directory) };
    writer.entry(&directory).unwrap();
    let file = Entry {
        mode: 0o4755,
        uid: 70_000,
        gid: 3_000_000,
        modified: Time { seconds: -7, nanoseconds: 0 },
        xattrs: vec![
            (b"security.capability".to_vec(), capability.to_vec()),
            (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
            (b"user.note".to_vec(), b"x".to_vec()),
        ],
        ..Entry::new("d/f", Kind::File)
    };
    writer.whole(&file, b"content").unwrap();
    let fixture = Fixture::new();
    let base = fixture.import("base", &writer.finish().unwrap());
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &base).unwrap();
    let mut bytes = Vec::new();
    fixture.store.snapshot_export(id, &hako_archive::Ids::default(), &mut bytes).unwrap();
    let mut reader = Reader::new(&bytes[..]);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        found.extend(entry.path.starts_with(b"d/").then_some(entry));
    }
    let mut expected = Entry { size: 7, ..file };
    expected.xattrs.remove(1);
    assert_eq!(found, [directory, expected]);
}

#[test]
fn a_directory_that_a_layer_does_not_describe_stays_as_it_was() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.import("base", &tar("d data 1770\nf data/a 1"));
    let top = tar("f data/b 2");
    // An archive of two layers, as another builder makes it.
    let image = fixture.store.image(base).unwrap();
    let mut first = Vec::new();
    fixture.store.save(&["base".to_owned()], &mut first).unwrap();
    let layer = layer_of(&first);
    let diff_ids = format!("\"{}\",\"{}\"", image.diff_ids[0], digest(&top));
    let config = format!(
        "{{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{diff_ids}]}}}}"
    );
    let manifest = r#"[{"Config":"c.json","RepoTags":["two:1"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
    let mut writer = Writer::new(Vec::new());
    for (name, bytes) in [
        ("b/layer.tar", &top[..]),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
        ("old/layer.tar", &layer[..]),
    ] {
        writer.whole(&Entry::new(name, Kind::File), bytes).unwrap();
    }
    let link = Entry { link: b"../old/layer.tar".to_vec(), ..Entry::new("a/layer.tar", Kind::Symlink) };
    writer.entry(&link).unwrap();
    let other = Fixture::new();
    let loaded = other.store.load(&writer.finish().unwrap()[..], &[], &mut |_| {}).unwrap();
    assert_eq!(listing(&other.layer(loaded[0].id)), "data/ 1770\ndata/b \"2\"");
}

// An OCI layout with an index of two platforms under one name.
fn layout_of_two() -> Vec<u8> {
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    let mut keep = |bytes: Vec<u8>| {
        let described = format!("\"digest\":\"{}\",\"size\":{}", digest(&bytes), bytes.len());
        blobs.push(bytes);
        described
    };
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut layer = Writer::new(Vec::new());
        layer.whole(&Entry { mode: 0o644, ..Entry::new("arch", Kind::File) }, architecture.as_bytes()).unwrap();
        let layer = layer.finish().unwrap();
        let config = format!(
            "{{\"os\":\"linux\",\"architecture\":\"{architecture}\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{}\"]}}}}",
            digest(&layer)
        );
        let (layer, config) = (keep(layer), keep(config.into_bytes()));
        let manifest = format!(
            "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{config}}},\
             \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",{layer}}}]}}"
        );
        let manifest = keep(manifest.into_bytes());
        manifests.push(format!(
            "{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",{manifest},\
             \"platform\":{{\"os\":\"linux\",\"architecture\":\"{architecture}\"}}}}"
        ));
    }
    let inner = keep(format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}", manifests.join(",")).into_bytes());
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",{inner},\
         \"annotations\":{{\"io.containerd.image.name\":\"docker.io/library/two:1\"}}}}]}}"
    );
    let mut writer = Writer::new(Vec::new());
    for blob in &blobs {
        let name = format!("blobs/sha256/{}", digest(blob).trim_start_matches("sha256:"));
        writer.whole(&Entry::new(name.as_str(), Kind::File), blob).unwrap();
    }
    writer.whole(&Entry::new("index.json", Kind::File), index.as_bytes()).unwrap();
    writer.finish().unwrap()
}

#[test]
fn of_several_platforms_those_are_loaded_that_are_wanted() {
    if !may_run() {
        return;
    }
    let archive = layout_of_two();
    let loaded = |platforms: &[&str]| {
        let fixture = Fixture::new();
        let wanted: Vec<Platform> = platforms
            .iter()
            .map(|text| Platform { os: "linux".to_owned(), architecture: (*text).to_owned(), ..Platform::host() })
            .map(|platform| Platform { variant: None, ..platform })
            .collect();
        let loaded = fixture.store.load(&archive[..], &wanted, &mut |_| {});
        loaded.map_err(|error| error.to_string()).map(|loaded| {
            let mut lines: Vec<String> = Vec::new();
            for image in loaded {
                let names: Vec<String> = image.references.iter().map(Reference::familiar).collect();
                let platform = fixture.store.resolve(&image.id.to_string()).unwrap().platform.architecture.clone();
                lines.push(format!("{platform} [{}] {}", names.join(" "), listing(&fixture.layer(image.id))));
            }
            // What was not wanted is not kept.
            assert_eq!(fixture.store.list().len(), lines.len());
            lines.join("; ")
        })
    };
    let (host, other) = match Platform::host().architecture.as_str() {
        "arm64" => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    let shown = |arch: &str, name: &str| format!("{arch} [{name}] arch {arch:?}");
    assert_eq!(loaded(&[]), Ok(shown(host, "two:1")));
    assert_eq!(loaded(&[other]), Ok(shown(other, "two:1")));
    // The name is this host's, whichever stands first.
    let both = Ok(format!("{}; {}", shown(host, "two:1"), shown(other, "")));
    assert_eq!((loaded(&[other, host]), loaded(&[host, other])), (both.clone(), both));
    let error = loaded(&[host, "s390x"]).unwrap_err();
    assert!(error.ends_with("it has no image for linux/s390x"), "{error}");
}

fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("sha256:{}", hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

// The largest member of an archive.
fn layer_of(archive: &[u8]) -> Vec<u8> {
    let mut largest = Vec::new();
    rewrite(archive, |_, bytes| {
        if bytes.len() > largest.len() {
            largest.clone_from(&bytes);
        }
        Some(bytes)
    });
    largest
}

#[test]
fn an_export_is_the_whole_tree() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.import("base", &tar(BASE));
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &base).unwrap();
    let mut bytes = Vec::new();
    fixture.store.snapshot_export(id, &hako_archive::Ids::default(), &mut bytes).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut names: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
    names.retain(|name| !name.starts_with("dev") && !name.starts_with("etc"));
    assert_eq!(names.join(" "), ".dockerenv bin/ bin/sh old/ old/a old/b proc/ sys/ tmp/");
    // The view has gone: the container can start, and be removed.
    drop(fixture.store.snapshot_mount(id, false).unwrap());
    fixture.store.snapshot_release(id);
    fixture.store.snapshot_remove(id).unwrap();
}

#[test]
fn a_view_shares_the_one_overlay() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.import("base", &tar(BASE));
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &base).unwrap();
    let view = fixture.store.snapshot_view(id).unwrap();
    let mount = fixture.store.snapshot_mount(id, false).unwrap();
    fs::write(path_of(&mount).join("x"), "y").unwrap();
    let flags = rustix::fs::OFlags::RDONLY;
    assert!(rustix::fs::openat(&view, "x", flags, rustix::fs::Mode::empty()).is_ok());
    assert!(matches!(fixture.store.snapshot_remove(id), Err(ImageError::SnapshotBusy { .. })));
    fixture.store.snapshot_release(id);
    // The next life gets the same overlay, although somebody still looks at it.
    drop(mount);
    let mount = fixture.store.snapshot_mount(id, false).unwrap();
    assert!(path_of(&mount).join("x").exists());
    drop(mount);
    fixture.store.snapshot_release(id);
    // Removed under somebody's eyes, the files go with the last look.
    let directory = fixture.root.join(format!("snapshots/containers/{id}"));
    fixture.store.snapshot_remove(id).unwrap();
    assert!(directory.exists());
    drop(view);
    assert!(!directory.exists());
}

#[test]
fn a_stack_of_126_layers_is_mounted() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let mut top = fixture.import("base", &tar(BASE));
    for layer in 1..126 {
        let id = ContainerId::random();
        fixture.store.snapshot_prepare(id, &top).unwrap();
        let directory = fixture.root.join(format!("snapshots/containers/{id}/fs"));
        fs::write(directory.join(format!("layer{layer}")), "").unwrap();
        top = fixture.store.commit(id, &commit_options(top, "tall")).unwrap();
        fixture.store.snapshot_remove(id).unwrap();
    }
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &top).unwrap();
    let mount = fixture.store.snapshot_mount(id, false).unwrap();
    let names = fs::read_dir(path_of(&mount))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("layer"));
    assert_eq!(names.count(), 125);
}

#[test]
fn what_is_saved_is_loaded() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.import("base", &tar(BASE));
    let id = ContainerId::random();
    fixture.store.snapshot_prepare(id, &base).unwrap();
    fs::write(fixture.root.join(format!("snapshots/containers/{id}/fs/x")), "y").unwrap();
    let made = fixture.store.commit(id, &commit_options(base, "reg.example:5000/me/new:1")).unwrap();
    fixture.store.tag("base", &"other:2".parse().unwrap()).unwrap();

    let names: Vec<String> = ["base", "other:2", "reg.example:5000/me/new:1"].map(str::to_owned).into();
    let mut first = Vec::new();
    fixture.store.save(&names, &mut first).unwrap();
    let mut second = Vec::new();
    fixture.store.save(&names, &mut second).unwrap();
    assert!(first == second, "the same images give the same bytes");

    let gzip = {
        let mut bytes = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(&first[..], flate2::Compression::fast());
        std::io::Read::read_to_end(&mut encoder, &mut bytes).unwrap();
        bytes
    };
    for archive in [first.clone(), gzip, zstd::encode_all(&first[..], 1).unwrap(), without(&first, "manifest.json")] {
        let mut other = Fixture::new();
        let loaded = other.store.load(&archive[..], &[], &mut |_| {}).unwrap();
        let mut ids: Vec<_> = loaded.iter().map(|loaded| loaded.id).collect();
        ids.sort();
        let mut expected = vec![base, made];
        expected.sort();
        assert_eq!(ids, expected);
        assert_eq!(listing(&other.layer(made)), listing(&fixture.layer(made)));
        assert_eq!(other.leftovers(), "layers 2 blobs 4 staged 0 0 trash 0");
        other.reopen();
        assert_eq!(other.store.resolve("base").unwrap().references.len(), 2);
        assert_eq!(other.store.resolve("reg.example:5000/me/new:1").unwrap().id, made);
        let mut again = Vec::new();
        other.store.save(&names, &mut again).unwrap();
        assert!(again == first, "a loaded image is saved as it was");
        // Loading it once more changes nothing.
        other.store.load(&archive[..], &[], &mut |_| {}).unwrap();
        assert_eq!(other.leftovers(), "layers 2 blobs 4 staged 0 0 trash 0");
    }
}

// The archive without one member.
fn without(archive: &[u8], name: &str) -> Vec<u8> {
    rewrite(archive, |path, bytes| (path != name).then_some(bytes))
}

fn rewrite(archive: &[u8], mut change: impl FnMut(&str, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if let Some(bytes) = change(&path, bytes) {
            let mut header = entry.header().clone();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, &bytes[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_damaged_archive_is_refused_whole() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    fixture.import("base", &tar(BASE));
    let mut archive = Vec::new();
    fixture.store.save(&["base".to_owned()], &mut archive).unwrap();
    let layer = fixture.store.resolve("base").unwrap().diff_ids[0].hex();
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let other = Fixture::new();
        let error = other.store.load(bytes, &[], &mut |_| {}).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(expected), "{name}: {text}");
        assert_eq!(error.kind(), hako_base::ErrorKind::InvalidInput, "{name}: {text}");
        assert_eq!(other.leftovers(), Fixture::new().leftovers(), "{name}");
    };
    check("cut", &archive[..archive.len() / 2], "the archive ends in the middle of");
    check("empty", b"", "neither manifest.json nor index.json");
    check(
        "no layer",
        &rewrite(&archive, |path, bytes| (!path.contains(&layer)).then_some(bytes)),
        "it has no blobs/sha256/",
    );
    let bent = rewrite(&archive, |path, mut bytes| {
        if path.contains(&layer) {
            // A changed content leaves the headers whole: only the digest can tell.
            let at = bytes.windows(4).position(|window| window == b"root").unwrap();
            bytes[at] = b'R';
        }
        Some(bytes)
    });
    check("bent layer", &bent, "has digest sha256:");
    let renamed = rewrite(&bent, |path, bytes| {
        let text = String::from_utf8_lossy(&bytes).replace(&format!("blobs/sha256/{layer}"), "layer.tar");
        Some(if path == "manifest.json" { text.into_bytes() } else { bytes })
    });
    let legacy = {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(&renamed[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let is_layer = entry.path().unwrap().display().to_string().contains(&layer);
            let mut header = entry.header().clone();
            if is_layer {
                header.set_path("layer.tar").unwrap();
                header.set_cksum();
            }
            builder.append(&header, &mut entry).unwrap();
        }
        builder.into_inner().unwrap()
    };
    check("legacy with a bent layer", &legacy, "invalid diffID for layer 0: expected");
}

#[test]
fn removal_follows_dockers_rules() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let base = fixture.import("base", &tar(BASE));
    let store = &fixture.store;
    let container = ContainerId::random();
    let unused = |_: &Digest| None;
    let stopped = |_: &Digest| Some(Use { container, running: false });
    let running = |_: &Digest| Some(Use { container, running: true });
    let plain = RemoveOptions::default();
    let force = RemoveOptions { force: true, ..plain };
    let (short, user) = (base.short(), container.short());
    let error = |name: &str, options, used: &dyn Fn(&Digest) -> Option<Use>| {
        store.remove(name, options, used).unwrap_err().to_string()
    };

    assert_eq!(error("nosuch", plain, &unused), "No such image: nosuch:latest");
    assert_eq!(
        error("Bad", plain, &unused),
        "invalid reference format: repository name (library/Bad) must be lowercase"
    );
    assert_eq!(
        error("base", plain, &stopped),
        format!(
            "conflict: unable to remove repository reference \"base\" (must force) - container {user} is using its referenced image {short}"
        )
    );
    assert_eq!(
        error(&short, plain, &stopped),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
        )
    );
    assert_eq!(
        error(&short, force, &running),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
        )
    );
    store.tag("base", &"other".parse().unwrap()).unwrap();
    assert_eq!(
        error(&short, plain, &unused),
        format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")
    );
    // One of two names goes without ado, even while a container runs.
    let removed = store.remove("other", plain, &running).unwrap();
    assert_eq!(removed, [Removed::Untagged { reference: "other:latest".parse().unwrap(), image: base }]);

    // A container keeps the layers after its image has been forced away.
    store.snapshot_prepare(container, &base).unwrap();
    let removed = store.remove("base", force, &stopped).unwrap();
    assert_eq!(
        removed,
        [Removed::Untagged { reference: "base:latest".parse().unwrap(), image: base }, Removed::Image(base)]
    );
    assert_eq!(fixture.leftovers(), "layers 1 blobs 1 staged 0 0 trash 0");
    drop(store.snapshot_mount(container, false).unwrap());
    store.snapshot_release(container);
    store.snapshot_remove(container).unwrap();
    assert_eq!(fixture.leftovers(), "layers 0 blobs 0 staged 0 0 trash 0");
}

#[test]
fn parents_stay_while_children_need_them() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let store = &fixture.store;
    let base = fixture.import("base", &tar(BASE));
    let id = ContainerId::random();
    store.snapshot_prepare(id, &base).unwrap();
    fs::write(fixture.root.join(format!("snapshots/containers/{id}/fs/x")), "y").unwrap();
    let made = store.commit(id, &commit_options(base, "child")).unwrap();
    store.snapshot_remove(id).unwrap();
    let unused = |_: &Digest| None;
    let short = base.short();
    assert_eq!(
        store
            .remove(&short, RemoveOptions { force: true, ..RemoveOptions::default() }, &unused)
            .unwrap_err()
            .to_string(),
        format!("conflict: unable to delete {short} (cannot be forced) - image has dependent child images")
    );
    assert_eq!(store.children(base), [made]);
    store.tag("child", &"base".parse().unwrap()).unwrap();
    assert!(store.image(base).unwrap().is_dangling());
    // The child takes its nameless parent with it.
    store.remove("base", RemoveOptions::default(), &unused).unwrap();
    let removed = store.remove("child", RemoveOptions::default(), &unused).unwrap();
    assert_eq!(removed.iter().filter(|removed| matches!(removed, Removed::Image(_))).count(), 2);
    assert_eq!(fixture.leftovers(), "layers 0 blobs 0 staged 0 0 trash 0");
}

#[test]
fn a_prune_takes_what_is_nameless_and_unused() {
    if !may_run() {
        return;
    }
    let fixture = Fixture::new();
    let store = &fixture.store;
    fixture.import("x", &tar("f a 1"));
    fixture.import("x", &tar("f a 22"));
    fixture.import("y", &tar("f a 333"));
    let unused = |_: &Digest| None;
    let pruned = store.prune(false, &|_| false, &unused).unwrap();
    assert_eq!((pruned.reclaimed, store.list().len()), (1, 2));
    let pruned = store.prune(true, &|image| image.size == 3, &unused).unwrap();
    assert_eq!((pruned.reclaimed, store.list().len()), (2, 1));
}

#[test]
fn an_interrupted_operation_is_swept_at_the_next_start() {
    if !may_run() {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.import("x", &tar("f a 1"));
    let before = fixture.leftovers();
    for path in ["snapshots/staging/x/fs", &format!("snapshots/{}/fs", "ab".repeat(32)), "snapshots/trash/y"] {
        fs::create_dir_all(fixture.root.join(path)).unwrap();
    }
    fs::write(fixture.root.join("content/sha256").join("cd".repeat(32)), "x").unwrap();
    fs::write(fixture.root.join("content/staging/z"), "x").unwrap();
    assert_ne!(fixture.leftovers_now(), before);
    fixture.reopen();
    assert_eq!(fixture.leftovers(), before);
}

#[test]
fn the_data_root_is_closed_to_others() {
    let fixture = Fixture::new();
    for path in ["content", "snapshots", "snapshots/containers", "content/sha256"] {
        let mode = fs::metadata(fixture.root.join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
}
