//! Binds, volumes, tmpfs, read-only roots, and what the host's mount table shows of them: nothing.

use expect_test::expect;

#[test]
fn a_bind_is_the_same_file() {
    let host = own_host!("busybox");
    host.write("shared/file", "ours\n");
    host.run("docker run --rm -v $PWD/shared:/data busybox sh -c 'cat /data/file; echo theirs > /data/new'").shows(
        expect![[r#"
        ours
    "#]],
    );
    host.run("cat shared/new").shows(expect![[r#"
        theirs
    "#]]);
    host.run("docker run --rm -v $PWD/shared:/data:ro busybox touch /data/file").shows(expect![[r#"
        ! touch: /data/file: Read-only file system
        exit 1
    "#]]);
    host.run("docker run --rm -v $PWD/shared/file:/etc/motd busybox cat /etc/motd").shows(expect![[r#"
        ours
    "#]]);
    host.run("docker run --rm -v $PWD/missing:/data busybox ls -d /data; ls -d missing").shows(expect![[r#"
        /data
        missing
    "#]]);
    host.run("docker run --rm --mount type=bind,source=$PWD/nosuch,target=/data busybox true")
        .code(125)
        .says("bind source path does not exist");
}

#[test]
fn a_read_only_bind_is_so_to_its_depths() {
    let host = own_host!("busybox");
    host.run("mkdir -p tree/inner && mount -t tmpfs tmpfs tree/inner && touch tree/inner/file").success();
    host.run("docker run --rm -v $PWD/tree:/data:ro busybox sh -c 'touch /data/inner/file'")
        .code(1)
        .says("Read-only file system");
}

#[test]
fn a_volume_keeps_what_is_written() {
    let host = host!();
    host.run("docker run --rm -v store:/data busybox sh -c 'echo kept > /data/file'").success();
    host.run("docker run --rm -v store:/elsewhere busybox cat /elsewhere/file").shows(expect![[r#"
        kept
    "#]]);
    host.run("docker run --rm --mount type=volume,source=store,target=/data,readonly busybox touch /data/file").code(1);
    host.run("docker create --name user -v store:/data busybox true && docker inspect --format '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' user")
        .shows(expect![[r#"
            <id1>
            volume store /data true
        "#]]);
    host.run("docker rm user && docker run --rm -v store:/data busybox rm /data/file").success();
}

#[test]
fn a_new_volume_takes_what_the_image_has_there() {
    let host = host!();
    host.run("docker run --rm -v fresh:/etc busybox sh -c 'ls /etc/passwd; touch /etc/mine'").shows(expect![[r#"
        /etc/passwd
    "#]]);
    host.run("docker run --rm -v fresh:/x busybox ls /x/mine /x/passwd").shows(expect![[r#"
        /x/mine
        /x/passwd
    "#]]);
    host.run("docker run --rm -v bare:/etc:nocopy busybox sh -c 'ls /etc/passwd'").code(1);
}

#[test]
fn an_anonymous_volume_goes_with_its_container() {
    let host = host!();
    host.run("docker run --rm -v /data busybox sh -c 'touch /data/x; grep -c \" /data \" /proc/self/mountinfo'").shows(
        expect![[r#"
            1
        "#]],
    );
    host.run("docker run --name web -v /data busybox touch /data/x").success();
    let folder = host.run("docker inspect --format '{{(index .Mounts 0).Name}}' web").text().to_owned();
    assert_eq!(folder.len(), 64);
    host.run("docker rm -v web").success();
}

#[test]
fn tmpfs_has_a_size_and_vanishes() {
    let host = host!();
    host.run("docker run --rm --tmpfs /scratch:size=1m busybox sh -c 'df -k /scratch | tail -1 | cut -d\" \" -f1; dd if=/dev/zero of=/scratch/file bs=1k count=3000'")
        .code(1)
        .says("No space left on device");
    host.run("docker run --rm --mount type=tmpfs,target=/scratch,tmpfs-size=65536,tmpfs-mode=700 busybox stat -c %a /scratch").shows(expect![[r#"
        700
    "#]]);
}

#[test]
fn a_read_only_root_still_has_its_devices() {
    let host = host!();
    host.run("docker run --rm --read-only busybox touch /file").code(1).says("Read-only file system");
    host.run("docker run --rm --read-only --tmpfs /tmp busybox sh -c 'touch /tmp/file; echo x > /dev/null; test -s /etc/hosts && echo fine'").shows(expect![[r#"
        fine
    "#]]);
}

#[test]
fn the_hosts_mount_table_shows_no_container() {
    let host = own_host!("busybox");
    let before = host.run("cat /proc/self/mountinfo").text().lines().count();
    host.run("docker run -d --name web -v store:/data --tmpfs /x busybox sleep 100").success();
    assert_eq!(host.run("cat /proc/self/mountinfo").text().lines().count(), before);
}

#[test]
fn shared_memory_has_a_size() {
    let host = host!();
    host.run("docker run --rm busybox sh -c 'df -k /dev/shm | tail -1 | awk \"{print \\$2}\"'").shows(expect![[r#"
        65536
    "#]]);
    host.run("docker run --rm --shm-size 8m busybox sh -c 'df -k /dev/shm | tail -1 | awk \"{print \\$2}\"'").shows(
        expect![[r#"
            8192
        "#]],
    );
}

#[test]
fn volumes_of_another_container_are_taken() {
    let host = host!();
    host.run("docker run --name first -v /data busybox sh -c 'echo x > /data/file'").success();
    host.run("docker run --rm --volumes-from first busybox cat /data/file").shows(expect![[r#"
        x
    "#]]);
    host.run("docker run --rm --volumes-from first:ro busybox touch /data/file").code(1).says("Read-only file system");
}

#[test]
fn volumes_are_listed_inspected_and_pruned() {
    let host = host!();
    host.run("docker volume create --label k=v made").shows(expect![[r#"
        made
    "#]]);
    host.run("docker volume create made").shows(expect![[r#"
        made
    "#]]);
    host.run("docker volume ls -f name=made --format '{{.Driver}} {{.Name}} {{.Labels}}'").shows(expect![[r#"
        local made k=v
    "#]]);
    host.run("docker volume inspect --format '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}}' made").shows(expect![
        [r#"
            made local local {"k":"v"}
        "#]
    ]);
    host.run("docker volume inspect nosuch").code(1).says("no such volume");
    host.run("docker create --name user -v made:/data busybox true && docker volume rm made")
        .code(1)
        .says("volume is in use");
    host.run("docker rm user && docker volume rm made").success();
    host.run("docker volume create --label prune=me doomed && docker volume prune -af --filter label=prune=me")
        .says("doomed");
    host.run("docker volume ls -q -f name=doomed").shows(expect![[""]]);
}

#[test]
fn what_is_mounted_later_travels_as_asked() {
    let host = own_host!("busybox");
    host.run("mkdir -p tree/a tree/b && mount --bind tree tree && mount --make-shared tree").success();
    host.run("docker run -d --name slave -v $PWD/tree:/t:rslave busybox sleep 1000").success();
    host.run("docker run -d --name alone -v $PWD/tree:/t busybox sleep 1000").success();
    host.run("docker run -d --name both --privileged --mount type=bind,src=$PWD/tree,dst=/t,bind-propagation=rshared busybox sleep 1000")
        .success();
    host.run("mount -t tmpfs tmpfs tree/a && touch tree/a/late && for c in slave alone both; do echo $c; docker exec $c ls /t/a; done; docker exec both mount -t tmpfs tmpfs /t/b && docker exec both touch /t/b/back && ls tree/b")
        .shows(expect![[r#"
            slave
            late
            alone
            both
            late
            back
        "#]]);
    host.run("docker run --rm -v $PWD/tree:/t:nosuch busybox true").code(125).says("invalid mode: nosuch");
    host.run("docker run --rm -v $PWD/tree:/t:ro,rw busybox true").code(125).says("invalid mode: ro,rw");
    // What is private on the host passes nothing on, and says so instead of doing nothing.
    host.run("mkdir own && mount --bind own own && mount --make-private own").success();
    for (mode, word) in [("rshared", "a shared"), ("rslave", "a shared or slave")] {
        host.run(&format!("docker run --rm -v $PWD/own:/t:{mode} busybox true"))
            .code(125)
            .says(&format!("/own but it is not {word} mount"));
    }
}

#[test]
fn read_only_is_as_deep_as_asked() {
    let host = own_host!("busybox");
    host.run("mkdir -p tree/inner && mount -t tmpfs tmpfs tree/inner").success();
    let line = |options: &str| {
        format!(
            "docker run --rm --mount type=bind,src=$PWD/tree,dst=/t,{options} busybox sh -c 'touch /t/inner/f && echo written'"
        )
    };
    host.run(&line("ro")).code(1).says("Read-only file system");
    host.run(&line("ro,bind-recursive=readonly,bind-propagation=rprivate")).code(1).says("Read-only file system");
    host.run(&line("ro,bind-recursive=writable")).says("written");
    // Without what is mounted below, the directory under it shows, which is read-only again.
    host.run(&line("ro,bind-recursive=disabled")).code(1).says("Read-only file system");
    host.run("docker run --rm --mount type=bind,src=$PWD/tree,dst=/t,consistency=cached busybox true").success();
    host.run("docker run --rm --mount type=cluster,src=x,dst=/t busybox true")
        .code(125)
        .says("invalid mount config for type \"cluster\": mount type unknown");
    host.run("docker run --rm --tmpfs /t:size=1m,colour=red busybox true")
        .code(125)
        .says("invalid tmpfs option \"colour\"");
    // Under the names that Docker gives them.
    host.run("docker run --rm --tmpfs /t busybox sh -c 'mount | grep -E \" (/t|/proc|/dev|/dev/shm|/sys) \" | cut -d\" \" -f1-5'").shows(
        expect![[r#"
            proc on /proc type proc
            tmpfs on /dev type tmpfs
            sysfs on /sys type sysfs
            shm on /dev/shm type tmpfs
            tmpfs on /t type tmpfs
        "#]],
    );
    host.run("docker run --rm --mount type=tmpfs,dst=/t,tmpfs-mode=800 busybox true")
        .code(125)
        .says("invalid value for tmpfs-mode: 800");
}

#[test]
fn volumes_from_takes_modes() {
    let host = host!();
    host.run("docker create --name first -v named:/n -v /anon --tmpfs /mem busybox true").success();
    host.run("docker run --rm --volumes-from first:ro,z busybox sh -c 'touch /n/x || touch /anon/x || test ! -e /mem && echo no'")
        .says("no");
    host.run("docker run --rm --volumes-from first:bad busybox true").code(125).says("invalid mode: bad");
    // They are the first container's, and stay when the second goes.
    host.run("docker run --rm --volumes-from first busybox touch /anon/kept && docker run --rm --volumes-from first busybox ls /anon").shows(
        expect![[r#"
            kept
        "#]],
    );
}

#[test]
fn an_image_is_mounted_read_only_and_is_in_use() {
    let host = own_host!("busybox");
    host.run("mkdir -p tree/sub && echo said > tree/sub/word && tar -C tree -c . | docker import - data:1").success();
    let mount = "--mount type=image,source=data:1,target=/data";
    host.run(&format!("docker run --rm {mount} busybox sh -c 'cat /data/sub/word; touch /data/x'")).shows(expect![[
        r#"
        said
        ! touch: /data/x: Read-only file system
        exit 1
    "#
    ]]);
    host.run(&format!("docker run --rm {mount},image-subpath=sub busybox ls /data")).shows(expect![[r#"
        word
    "#]]);
    host.run(&format!("docker run --rm {mount},image-subpath=sub/word busybox cat /data")).shows(expect![[r#"
        said
    "#]]);
    host.run(&format!("docker create --name one {mount} busybox cat /data/sub/word && docker inspect -f '{{{{range .Mounts}}}}{{{{.Type}}}} {{{{.Name}}}} {{{{.Destination}}}} {{{{.RW}}}}{{{{end}}}} {{{{json .HostConfig.Mounts}}}}' one"))
        .shows(expect![[r#"
            <id1>
            image data:1 /data false [{"Type":"image","Source":"data:1","Target":"/data"}]
        "#]]);
    host.run("docker rmi data:1")
        .code(1)
        .says("conflict: unable to remove repository reference \"data:1\" (must force) - container");
    host.run("docker image prune -af --filter label=none && docker image ls -q data").success();
    // Forced, its layers stay as long as the container; the next daemon knows that too.
    host.run("docker rmi -f data:1 && docker start -a one").says("said");
    let mut host = host;
    host.daemon_kill();
    host.daemon_start();
    host.run("docker start -a one && docker cp one:/data/sub/word - | tar -xO && docker rm one").shows(expect![[r#"
        said
        said
        one
    "#]]);
    host.run("docker image ls -q data").shows(expect![[""]]);
}

#[test]
fn image_mounts_that_make_no_sense_are_refused() {
    let host = host!();
    host.run("docker run --rm --mount type=image,source=nosuch,target=/x busybox true")
        .code(125)
        .says("No such image: nosuch:latest");
    host.run("docker run --rm --mount type=image,source=busybox,target=/x,image-subpath=../etc busybox true")
        .code(125)
        .says("subpath must be a relative path within the volume");
    host.run("docker run --rm --mount type=image,source=busybox,target=/x,image-subpath=nosuch busybox true").says(
        "error while mounting \"nosuch\" of image busybox on /x: cannot access path nosuch: no such file or directory",
    );
    host.run("docker ps -aq").shows(expect![[""]]);
}
