//! Files in and out of containers: where they land, what they keep, and what is refused.

use expect_test::expect;

#[test]
fn a_dot_at_the_end_means_what_is_inside() {
    let host = host!();
    host.run("docker create --name web busybox true").success();
    for (path, first) in
        [("./", "./"), ("/./", "./"), ("/", "/"), ("/etc/./", "./"), ("/etc/.//", "./"), ("/etc/", "etc/")]
    {
        let answer = host.api("GET", &format!("/v1.44/containers/web/archive?path={path}"), "");
        let name: Vec<u8> = answer.body.iter().copied().take_while(|byte| *byte != 0).collect();
        assert_eq!(String::from_utf8_lossy(&name), first, "{path}");
    }
}

#[test]
fn things_land_as_the_book_says() {
    let host = host!();
    host.run("docker run -d --name box busybox sleep 1000").success();
    host.run("docker exec box sh -c 'mkdir -p /w/dir/sub /w/there; echo f > /w/file; echo g > /w/dir/sub/g; ln -s file /w/link'")
        .success();
    host.run("mkdir there; docker cp box:/w/file new && docker cp box:/w/file there && docker cp box:/w/dir dir && docker cp box:/w/dir there && docker cp box:/w/dir/. there && docker cp box:/w/link . && docker cp -L box:/w/link followed && find . ! -path './home*' ! -name '*.sock' -type f | sort; readlink link")
        .shows(expect![[r#"
            ./dir/sub/g
            ./followed
            ./new
            ./there/dir/sub/g
            ./there/file
            ./there/sub/g
            file
        "#]]);
    for (line, says) in [
        ("docker cp box:/w/file none/", "no such directory"),
        ("docker cp box:/w/dir new", "cannot copy directory"),
        ("docker cp box:/w/file none/x", "invalid output path: directory"),
        ("docker cp box:/none .", "Could not find the file /none in container box"),
        ("docker cp nosuch:/x .", "No such container: nosuch"),
        ("docker cp new box:/none/x", "Could not find the file /none in container box"),
        ("docker cp new box:/none/", "no such directory"),
        ("docker cp dir box:/w/file", "cannot copy directory"),
        ("docker cp nothere box:/w", "nothere: no such file or directory"),
        ("docker cp new other", "must specify at least one container source"),
        ("docker cp box:/x box:/y", "copying between containers is not supported"),
    ] {
        host.run(line).code(1).says(says);
    }
    host.run("docker cp new box:/w/n1 && docker cp new box:/w/there && docker cp dir box:/w/n2 && docker cp dir box:/w/there && docker cp dir/. box:/w/there && docker cp link box:/w/l && docker cp new box:/w/link && docker cp new box:relative")
        .success();
    host.run("docker exec box sh -c 'cd /; find w/n1 w/n2 w/there w/link relative | sort; readlink /w/l'").shows(
        expect![[r#"
        relative
        w/link
        w/n1
        w/n2
        w/n2/sub
        w/n2/sub/g
        w/there
        w/there/dir
        w/there/dir/sub
        w/there/dir/sub/g
        w/there/new
        w/there/sub
        w/there/sub/g
        file
    "#]],
    );
}

#[test]
fn archives_go_through_pipes() {
    let host = host!();
    host.run("docker create --name box busybox true").success();
    host.run("mkdir d; echo x > d/f; tar -c d | docker cp - box:/tmp && docker cp box:/tmp/d - | tar -t").shows(
        expect![[r#"
        d/
        d/f
    "#]],
    );
    host.run("tar -cz d | docker cp - box:/mnt; tar -c d | docker cp - box:/none").code(1).says("must be a directory");
    host.run("head -c 700 /dev/urandom | docker cp - box:/tmp").code(1).says("Error response from daemon");
}

#[test]
fn owners_modes_links_and_devices_are_kept() {
    let host = own_host!("busybox");
    host.run("docker run -d --name box --cap-add MKNOD busybox sleep 1000").success();
    host.run("mkdir d; echo x > d/f; ln d/f d/hard; ln -s f d/soft; mkfifo d/fifo; mknod d/null c 1 3; chown -R 70:71 d; chmod 4711 d/f; truncate -s 100M d/hole; echo end >> d/hole")
        .success();
    host.run("docker cp d box:/d && docker exec box stat -c '%n %a %u:%g %h %s' /d/f /d/hard /d/hole && docker exec box sh -c 'readlink /d/soft; test -p /d/fifo && test -c /d/null && tail -c 4 /d/hole'")
        .shows(expect![[r#"
            /d/f 4711 70:71 2 2
            /d/hard 4711 70:71 2 2
            /d/hole 644 0:0 1 104857604
            f
            end
        "#]]);
    // What comes out belongs to whoever called.
    host.run("docker cp box:/d e && stat -c '%n %a %u:%g %h %s' e/f e/hole; cmp d/hole e/hole && test -c e/null && readlink e/soft").shows(expect![[r#"
        e/f 4711 0:0 2 2
        e/hole 644 0:0 1 104857604
        f
    "#]]);
}

#[test]
fn with_archive_everything_is_the_containers_users() {
    let host = own_host!("busybox");
    host.run("docker run -d --name box --user 1000:1001 busybox sleep 1000").success();
    host.run("echo x > f; docker cp f box:/tmp/plain && docker cp -a f box:/tmp/own && docker exec box stat -c '%u:%g' /tmp/plain /tmp/own")
        .shows(expect![[r#"
            0:0
            1000:1001
        "#]]);
}

#[test]
fn a_stopped_container_shows_its_volumes_and_binds() {
    let host = own_host!("busybox");
    host.write("bound/here", "bound\n");
    host.run("docker create --name box -v store:/data -v $PWD/bound:/bound -v fixed:/fixed:ro busybox sleep 1000")
        .success();
    host.run("echo new > f; docker cp f box:/data/f && docker cp f box:/bound/f && cat bound/f && docker cp box:/bound/here - | tar -xO").shows(
        expect![[r#"
            new
            bound
        "#]],
    );
    host.run("docker run --rm -v store:/x busybox cat /x/f").shows(expect![[r#"
        new
    "#]]);
    host.run("docker cp f box:/fixed/").code(1).says("mounted volume is marked read-only");
    // What was copied in is there after the start, and a running container is looked at through its own mounts.
    host.run("docker start box && docker exec box cat /data/f && docker exec box sh -c 'echo own > /data/g' && docker cp box:/data all && cat all/g")
        .shows(expect![[r#"
            box
            new
            own
        "#]]);
    host.run("docker cp f box:/fixed/").code(1).says("mounted volume is marked read-only");
    // Neither the kernel's files nor hako's are copied along with everything.
    host.run("docker cp box:/ whole && ls whole/proc whole/sys whole/dev && cat whole/bound/here").shows(expect![[
        r#"
        whole/dev:

        whole/proc:

        whole/sys:
        bound
    "#
    ]]);
    host.run("docker cp box:/proc/1/status .").code(1).says("Could not find the file /proc/1/status in container box");
    host.run("mv bound gone && docker rm -f box && docker create --name box -v store:/data -v $PWD/gone:/bound busybox true && rm -r gone && docker cp box:/data/f - | tar -xO")
        .says("new");
    host.run("docker cp box:/bound .").code(1).says("bind source path does not exist");
}

#[test]
fn a_read_only_root_takes_nothing() {
    let host = host!();
    host.run("docker run -d --name box --read-only -v store:/data busybox sleep 1000").success();
    host.run("echo x > f; docker cp f box:/tmp/f").code(1).says("container rootfs is marked read-only");
    host.run("docker cp f box:/data/f && docker exec box cat /data/f").shows(expect![[r#"
        x
    "#]]);
    host.run("docker kill box && docker cp f box:/tmp/f").code(1).says("container rootfs is marked read-only");
}

#[test]
fn the_api_says_what_a_path_is() {
    let host = host!();
    host.run("docker create --name box busybox true").success();
    let found = host.api("HEAD", "/containers/box/archive?path=/bin/sh", "");
    assert_eq!(found.status, 200);
    assert!(found.header("x-docker-container-path-stat").is_some());
    assert_eq!(host.api("HEAD", "/containers/box/archive?path=/none", "").status, 404);
    assert_eq!(host.api("GET", "/containers/box/archive", "").status, 400);
    assert_eq!(host.api("PUT", "/containers/box/archive?path=/none", "").status, 404);
}

#[test]
fn a_container_that_swaps_its_directories_gets_nothing_of_the_host() {
    let host = own_host!("busybox");
    // The same path means one thing here and another in the container.
    host.write("/run/test/trap/secret", "of the host\n");
    host.run("docker run -d --name box busybox sh -c 'mkdir -p /run/test/trap /real; echo of the container > /run/test/trap/secret; echo of the container > /real/secret; while :; do ln -sfn /run/test/trap /swap; rm /swap; ln -sfn ../../../../../../run/test/trap /swap; rm /swap; mkdir /swap; echo of the container > /swap/secret; rm -r /swap; done'")
        .success();
    host.run("mkdir in; echo planted > in/planted; tar -C in -cf in.tar planted").success();
    let read = host.run("for i in $(seq 60); do docker cp -L box:/swap/secret out 2>/dev/null && cat out; docker cp box:/swap/. outdir 2>/dev/null; docker cp - box:/swap < in.tar 2>/dev/null; done; cat outdir/* 2>/dev/null");
    assert!(!read.stdout().contains("of the host"), "{read}");
    host.run("ls /run/test/trap; cat /run/test/trap/secret").shows(expect![[r#"
        secret
        of the host
    "#]]);
}

#[test]
fn files_are_reached_after_the_daemon_was_killed() {
    let mut host = own_host!("busybox");
    host.run("docker run -d --name box -v store:/data busybox sh -c 'echo x > /data/f; sleep 1000'").success();
    host.daemon_kill();
    host.daemon_start();
    host.run("docker cp box:/data/f - | tar -xO && docker export box | tar -t etc/hosts bin/sh | sort -r && echo y > f && docker cp f box:/f && docker exec box cat /f").shows(expect![[r#"
        x
        etc/hosts
        bin/sh
        y
    "#]]);
    // The next life, while somebody may still look at this one.
    host.run("docker restart -t 0 box && docker cp box:/f - | tar -xO").shows(expect![[r#"
        box
        y
    "#]]);
}
