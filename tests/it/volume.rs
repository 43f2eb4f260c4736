//! Volumes beyond their first use: options, drivers, sharing, memory, subpaths, pruning, events.

use expect_test::expect;
use hako_testkit::{needs, require};

#[test]
fn a_volume_in_memory_is_shared_and_goes_with_its_last_user() {
    let mut host = own_host!("busybox");
    host.run("docker volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=7 mem").success();
    host.run("docker run -d --name one -v mem:/data busybox sh -c 'echo x > /data/f; sleep 1000'").success();
    host.run("docker run --rm -v mem:/data busybox sh -c 'cat /data/f; stat -f -c %T /data; stat -c %u /data; dd if=/dev/zero of=/data/big bs=1k count=2000 2>/dev/null || echo full; rm /data/big'")
        .shows(expect![[r#"
            x
            tmpfs
            7
            full
        "#]]);
    // Nor is it lost, or no longer shared, when the daemon dies.
    host.daemon_kill();
    host.daemon_start();
    host.run("docker run --rm -v mem:/data:ro busybox cat /data/f").shows(expect![[r#"
        x
    "#]]);
    host.run("docker kill one && docker wait one && docker run --rm -v mem:/data busybox ls /data").shows(expect![[
        r#"
        one
        137
    "#
    ]]);
}

#[test]
fn options_of_the_local_driver_describe_a_mount() {
    let host = own_host!("busybox");
    host.write("srv/file", "bound\n");
    host.run("docker volume create -o type=none -o o=bind -o device=$PWD/srv bound && docker run --rm -v bound:/x busybox cat /x/file && docker volume inspect -f '{{json .Options}}' bound | sed s,$PWD,PWD,")
        .shows(expect![[r#"
            bound
            bound
            {"device":"PWD/srv","o":"bind","type":"none"}
        "#]]);
    host.run("docker volume create -o type=nosuchfs -o device=none odd && docker run --rm -v odd:/x busybox true")
        .code(125)
        .says("no file system nosuchfs");
    // Names of servers are looked up when a container needs the volume; here the kernel may have no NFS at all.
    host.run("docker volume create -o type=nfs -o device=:/export -o o=addr=localhost far && docker run --rm -v far:/x busybox true")
        .code(125)
        .says("volume far");
    host.run("docker volume create -o colour=red bad").code(1).says("invalid option: \"colour\"");
    host.run("docker volume create -d nosuch bad").code(1).says("plugin \"nosuch\" not found");
    host.run("docker run --rm --volume-driver nosuch -v fresh:/x busybox true")
        .code(125)
        .says("plugin \"nosuch\" not found");
    host.run("docker run --rm --mount type=volume,src=fresh,dst=/x,volume-driver=nosuch busybox true")
        .code(125)
        .says("plugin \"nosuch\" not found");
    host.run("docker volume ls -q -f name=bad -f name=fresh").shows(expect![[""]]);
}

#[test]
fn a_subpath_is_mounted_and_cannot_leave() {
    let host = host!();
    host.run("docker run --rm -v store:/x busybox sh -c 'mkdir -p /x/a/b; echo deep > /x/a/b/f; ln -s /etc /x/out; ln -s ../../.. /x/up; ln -s a/b /x/in'")
        .success();
    host.run("docker run --rm --mount type=volume,src=store,dst=/x,volume-subpath=a/b busybox cat /x/f").shows(
        expect![[r#"
        deep
    "#]],
    );
    host.run("docker run --rm --mount type=volume,src=store,dst=/x,volume-subpath=nosuch busybox true").code(127);
    for way in ["out", "up"] {
        host.run(&format!("docker run --rm --mount type=volume,src=store,dst=/x,volume-subpath={way} busybox true"))
            .says("path concatenation escapes the base directory");
    }
    host.run("docker run --rm --mount type=volume,src=store,dst=/x,volume-subpath=in busybox cat /x/f").says("deep");
    host.run("docker run --rm --mount type=volume,src=store,dst=/x,volume-subpath=../.. busybox true")
        .code(125)
        .says("must be a relative path within the volume");
}

#[test]
fn an_empty_subpath_is_filled_like_an_empty_volume() {
    let host = host!();
    host.run("docker run --name made busybox sh -c 'mkdir /srv; echo x > /srv/f' && docker commit made withdata")
        .success();
    host.run("docker run --rm -v store:/x busybox sh -c 'mkdir /x/empty /x/full; echo mine > /x/full/f'").success();
    let cat = |subpath: &str| {
        format!("docker run --rm --mount type=volume,src=store,dst=/srv,volume-subpath={subpath} withdata cat /srv/f")
    };
    host.run(&cat("empty")).shows(expect![[r#"
        x
    "#]]);
    host.run(&cat("full")).shows(expect![[r#"
        mine
    "#]]);
}

#[test]
fn owners_links_and_attributes_are_copied_up() {
    let host = host!();
    host.run("docker run --name made busybox sh -c 'mkdir -p /srv/app; echo x > /srv/app/f; ln -s f /srv/app/l; chown -R 33:34 /srv/app; chmod 2750 /srv/app' && docker commit made withdata")
        .success();
    host.run("docker run --rm -v app:/srv/app withdata sh -c 'stat -c \"%u:%g %a\" /srv/app; stat -c %u:%g /srv/app/f; readlink /srv/app/l'")
        .shows(expect![[r#"
            33:34 2750
            33:34
            f
        "#]]);
    // Only an empty volume is filled.
    host.run(
        "docker run --rm -v app:/srv/app busybox rm /srv/app/l && docker run --rm -v app:/srv/app withdata ls /srv/app",
    )
    .shows(expect![[r#"
        f
    "#]]);
}

#[test]
fn who_uses_a_volume_is_said_and_only_unnamed_ones_are_pruned() {
    let mut host = own_host!("busybox");
    host.run("docker create --name one -v shared:/a busybox true; docker create --name two -v shared:/b:ro -v /anonymous busybox true")
        .success();
    host.daemon_kill();
    host.daemon_start();
    let both = host.run("docker volume rm shared").code(1).says("volume is in use").stderr().to_owned();
    for name in ["one", "two"] {
        assert!(both.contains(host.run(&format!("docker inspect -f '{{{{.Id}}}}' {name}")).text()), "{both}");
    }
    host.run("docker volume create named; docker rm one two; docker volume ls -q -f dangling=true | wc -l").says("3");
    host.run("docker volume prune -f >/dev/null; docker volume ls -q").shows(expect![[r#"
        named
        shared
    "#]]);
    // What a volume with options mounts is not hako's to empty.
    host.run("mkdir other && docker volume create -o type=none -o o=bind -o device=$PWD/other other >/dev/null && docker volume prune -af --filter label!=x >/dev/null; docker volume ls -q; docker volume rm other")
        .shows(expect![[r#"
        other
        other
    "#]]);
    host.run("docker volume create named >/dev/null; docker volume prune -f --filter until=1h")
        .code(1)
        .says("invalid filter");
    host.run("docker volume create --label keep=1 kept; docker volume prune -af --filter label!=keep >/dev/null; docker volume ls -q").shows(expect![[r#"
        kept
        kept
    "#]]);
}

#[test]
fn anonymous_volumes_alone_go_with_rm() {
    let host = host!();
    host.run("docker run --rm -v /a -v stays:/b busybox true; docker run --name box -v /a -v stays:/b busybox true; docker rm -v box; docker volume ls -q")
        .shows(expect![[r#"
            box
            stays
        "#]]);
}

#[test]
fn mounting_and_removing_are_told() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s").text().to_owned();
    host.run("docker volume create told; docker run --rm -v told:/data busybox true; docker volume rm told").success();
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!(
        "docker events --since {since} --until {until} -f type=volume -f volume=told --format '{{{{.Action}}}}'"
    ))
    .shows(expect![[r#"
            create
            mount
            unmount
            destroy
        "#]]);
}

#[test]
fn disk_usage_counts_volumes_and_their_users() {
    let host = host!();
    host.run("docker run --name box -v sized:/x busybox dd if=/dev/zero of=/x/f bs=1000 count=1000").success();
    host.run("docker system df -v | grep -w sized").shows(expect![[r#"
        sized   1   1MB
    "#]]);
}

#[test]
fn snapshots_keep_what_was_there() {
    hako_testkit::needs!(hako_testkit::require::own_cli());
    let host = host!();
    host.run("docker run -d --name box -v data:/data busybox sh -c 'echo one > /data/f; sleep 1000'").success();
    host.wait_until("the file", |host| host.run("docker exec box cat /data/f"), |shown| shown.text() == "one");
    host.run("docker volume snapshot data first && docker exec box sh -c 'echo two > /data/f; echo more > /data/g' && docker volume snapshot data second && docker volume snapshots --format '{{.Name}}' data")
        .shows(expect![[r#"
            first
            second
            first
            second
        "#]]);
    // The container went on after each, and nothing is taken from under it.
    host.run("docker exec box cat /data/g").shows(expect![[r#"
        more
    "#]]);
    host.run("docker volume snapshot data first").code(1).says("has a snapshot first already");
    host.run("docker volume restore data first").code(1).says("volume data is used by running containers: box");
    host.run("docker volume clone data twin; docker volume clone --snapshot first data old; docker run --rm -v twin:/t -v old:/o busybox sh -c 'cat /t/f /o/f; ls /o'")
        .shows(expect![[r#"
            twin
            old
            two
            one
            f
        "#]]);
    host.run("docker kill box && docker wait box && docker volume restore data first && docker run --rm -v data:/data busybox sh -c 'cat /data/f; ls /data'")
        .shows(expect![[r#"
            box
            137
            first
            one
            f
        "#]]);
    host.run("docker volume snapshot --rm data first && docker volume restore data first")
        .code(1)
        .says("volume data has no snapshot first");
}

#[test]
fn a_copy_waits_for_nobody_who_is_paused_and_leaves_him_so() {
    hako_testkit::needs!(hako_testkit::require::own_cli());
    let host = host!();
    host.run("docker run -d --name box -v data:/data busybox sleep 1000 && docker pause box && docker volume snapshot data still && docker inspect -f '{{.State.Status}}' box && docker unpause box && docker exec box true")
        .says("paused");
}

#[test]
fn an_export_is_imported_with_owners_and_links() {
    hako_testkit::needs!(hako_testkit::require::own_cli());
    let host = host!();
    host.run("docker run -d --name box -v data:/data busybox sh -c 'mkdir /data/d; echo x > /data/d/f; ln /data/d/f /data/hard; ln -s d/f /data/soft; chown -R 7:8 /data; chmod 750 /data; touch /data/ready; sleep 1000'")
        .success();
    host.wait_until(
        "the files",
        |host| host.run("docker exec box ls /data/ready"),
        |shown| shown.text() == "/data/ready",
    );
    host.run("docker volume export -o out.tar data && docker volume import back out.tar && docker run --rm -v back:/b busybox sh -c 'stat -c \"%n %a %u:%g %h\" /b /b/d/f /b/hard; readlink /b/soft'")
        .shows(expect![[r#"
            back
            /b 750 7:8 3
            /b/d/f 644 7:8 2
            /b/hard 644 7:8 2
            d/f
        "#]]);
    host.run("docker volume snapshots -q data").shows(expect![[""]]);
    host.run("docker volume import back out.tar").code(1).says("is not empty");
    host.run("docker volume import --replace back - < out.tar && docker volume export back | tar -t | sort").shows(
        expect![[r#"
        back
        ./
        ./d/
        ./d/f
        ./hard
        ./ready
        ./soft
    "#]],
    );
    host.run("echo no tar | docker volume import bad -").code(1);
    host.run("docker volume ls -q -f name=bad").shows(expect![[""]]);
}

#[test]
fn only_volumes_of_a_cluster_are_updated() {
    let host = own_host!("busybox");
    host.run("docker volume create plain").success();
    let answer = host.api("PUT", "/volumes/plain?version=1", "{}");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("volume update only valid for cluster volumes, but swarm is unavailable"));
}

#[test]
fn snapshots_share_what_they_hold_where_the_disk_can() {
    hako_testkit::needs!(hako_testkit::require::program("mkfs.btrfs"));
    hako_testkit::needs!(hako_testkit::require::own_cli());
    let host = own_host!();
    host.run("truncate -s 256M disk && mkfs.btrfs -q disk && mkdir small && mount -o loop disk small").success();
    let second = host.second_daemon("second", &["--data-root=/run/test/work/small"]);
    let flags = format!("-H {}", second.address());
    host.load_into("busybox", &flags);
    let run = |line: &str| host.run(&line.replace("docker", &format!("docker {flags}")));
    run("docker run -d --name box -v data:/data busybox sh -c 'head -c 20000000 /dev/urandom > /data/file; sync; echo done; sleep 1000'")
        .success();
    host.wait_until("the file", |_| run("docker logs box").text().to_owned(), |seen| seen.contains("done"));
    let address = second.address();
    let socket = address.trim_start_matches("unix://");
    host.run(&format!("curl -s --unix-socket {socket} -X POST 'http://d/hako/volumes/data/snapshots?name=first'"))
        .shows(expect![[r#"
            {"Name":"first","Bytes":20000000,"SharedBytes":20000000}
        "#]]);
    // The container goes on; what the snapshot has stays as it was.
    run("docker exec box sh -c 'echo new > /data/file' && docker volume clone --snapshot first data old && docker run --rm -v old:/o busybox stat -c %s /o/file")
        .says("20000000");
    host.daemon_end(&second, "KILL");
}
