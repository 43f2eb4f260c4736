//! A base image from Debian's own archive, by the network that this machine has; nothing of it comes from a registry.

use std::{fs, path::Path};

use expect_test::expect;
use hako_testkit::{Host, Options, needs, require, way_out};

use crate::target_folder;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

fn requirements() -> Result<(), String> {
    require::root()?;
    require::own_daemon()?;
    if !Path::new(KEYRING).exists() {
        return Err(format!("needs {KEYRING} (the package debian-archive-keyring)"));
    }
    way_out::reachable("deb.debian.org")
}

#[test]
fn a_base_image_is_what_debian_signed_and_the_same_each_time() {
    needs!(requirements());
    let disk = target_folder().join("clients/disk/bootstrap");
    let _ = fs::remove_dir_all(&disk);
    fs::create_dir_all(&disk).unwrap_or_else(|error| panic!("cannot make {}: {error}", disk.display()));
    let options = Options { images: Some(Vec::new()), disk: Some(disk.clone()), ..Options::default() };
    let host = Host::with(&options);
    let proxy = host.way_out(&target_folder().join("clients/archive"));
    let make = |rest: &str| host.run(&format!("http_proxy={proxy} hako image bootstrap {rest}"));

    make("debian:bookworm 2>told | grep Loaded; grep -c 'signed by [0-9A-F]\\{40\\} Debian ' told; tail -1 told")
        .shows(expect![[r#"
            Loaded image: debian:bookworm
            3
            bookworm: installing
        "#]]);
    host.run("docker run --rm debian:bookworm sh -c '. /etc/os-release; echo $VERSION_CODENAME; readlink /bin; dpkg --audit; dpkg-query -W -f \"\\${Status}\\n\" | sort -u; apt-get check -q 2>&1 | tail -1; ls -A /.bootstrap /var/log /etc/passwd- 2>&1; getent passwd root; awk \"BEGIN { print 6 * 7 }\"'")
        .shows(expect![[r#"
            bookworm
            usr/bin
            install ok installed
            Building dependency tree...
            ls: cannot access '/.bootstrap': No such file or directory
            ls: cannot access '/etc/passwd-': No such file or directory
            /var/log:
            root:x:0:0:root:/root:/bin/bash
            42
        "#]]);
    // Nothing of the work stays, and the same archive gives the same image.
    host.run("docker ps -aq | wc -l; docker images -aq | wc -l").shows(expect![[r#"
        0
        1
    "#]]);
    make("-q -t again:1 debian:bookworm").shows(expect![[r#"
        again:1
    "#]]);
    host.run("docker image inspect --format '{{.Id}}' debian:bookworm again:1 | uniq | wc -l").says("1");
    // What is not signed by somebody who may is not taken.
    host.write("none.gpg", b"");
    make("--keyring none.gpg debian:bookworm").shows(expect![[r#"
        ! cannot read the keyring none.gpg: the keyring has no key that may sign
        exit 1
    "#]]);
    make("debian:no/such; hako image bootstrap fedora:40").shows(expect![[r#"
        ! "no/such" is not the name of a suite
        ! cannot make "fedora:40": "registry" and "debian:SUITE" are what can be made
        exit 1
    "#]]);
    drop(host);
    let _ = fs::remove_dir_all(&disk);
}
