//! import, commit, save, load, tag, rmi, history, images.

use expect_test::expect;

#[test]
fn images_are_listed_as_docker_lists_them() {
    let host = host!("busybox", "hello-world");
    host.run("docker images --format '{{.Repository}} {{.Tag}}' | grep -E '^(busybox|hello-world) ' | sort").shows(
        expect![[r#"
            busybox latest
            hello-world latest
        "#]],
    );
    host.run("docker images busybox | head -1").shows(expect![[r#"
        REPOSITORY   TAG   IMAGE ID   CREATED   SIZE
    "#]]);
    host.run("docker images -q busybox | wc -c; docker images -q --no-trunc busybox | wc -c").shows(expect![[r#"
        13
        72
    "#]]);
    host.run("docker image ls nosuch -q").shows(expect![[""]]);
    host.run("docker images --filter reference='hello*' --format '{{.Repository}}'").shows(expect![[r#"
        hello-world
    "#]]);
}

#[test]
fn filters_choose_images() {
    let host = host!();
    host.run("mkdir tree && echo content > tree/file && tar -C tree -cf tree.tar . && docker import -c 'LABEL kind=a' tree.tar ione:1 && docker import -c 'LABEL kind=b' tree.tar itwo:1 && docker import tree.tar ithree:1").success();
    let shown = |filter: &str| {
        let images = format!("docker images --filter '{filter}' --format '{{{{.Repository}}}}'");
        let chosen = host.run(&format!("{images} | grep -E '^i(one|two|three)$' | sort | xargs"));
        chosen.text().to_owned()
    };
    for (filter, expected) in [
        ("label=kind", "ione itwo"),
        ("label=kind=a", "ione"),
        ("label!=kind=a", "ithree itwo"),
        ("label!=kind", "ithree"),
        ("before=itwo:1", "ione"),
        ("since=ione:1", "ithree itwo"),
        ("since=ithree:1", ""),
        ("until=1h", ""),
        ("until=0s", "ione ithree itwo"),
        ("dangling=false", "ione ithree itwo"),
        ("dangling=true", ""),
        ("reference=i*e", "ione ithree"),
        ("reference=ione:2", ""),
    ] {
        assert_eq!(shown(filter), expected, "{filter}");
    }
    host.run("for filter in nosuch=x dangling=x since=nosuch; do docker images -q --filter $filter; done").shows(
        expect![[r#"
            ! Error response from daemon: invalid filter 'nosuch'
            ! Error response from daemon: invalid filter 'dangling=[x]'
            ! Error response from daemon: No such image: nosuch:latest
            exit 1
        "#]],
    );
    host.run("docker images --filter label=kind=a --filter reference=ione --filter reference=itwo --format '{{.Repository}} {{.Tag}} {{.Digest}} {{len .ID}} {{.CreatedSince}}'; docker images -q --no-trunc ione; docker images --digests ione | head -1; docker rmi ione:1 itwo:1 ithree:1 >/dev/null")
        .shows(expect![[r#"
            ione 1 <none> 12 <age> ago
            sha256:<id1>
            REPOSITORY   TAG   DIGEST   IMAGE ID   CREATED   SIZE
        "#]]);
}

#[test]
fn a_prune_chooses_by_label_and_time() {
    let host = host!();
    host.run("mkdir tree && echo content > tree/file && tar -C tree -cf tree.tar . && for kind in a b c; do docker import -c \"LABEL own=yes kind=$kind\" tree.tar >/dev/null; done; docker import -c 'LABEL own=yes kind=n' tree.tar named:1").success();
    let count = "docker images -aq --filter label=own | wc -l";
    // Of these, three have no name.
    host.run(&format!("docker image prune -f --filter label=own --filter until=1h >/dev/null; {count}; docker image prune -f --filter label=own --filter label=kind=a | grep -c ^deleted; {count}; docker image prune -f --filter label=own --filter label!=kind=b | grep -c ^deleted; {count}"))
        .shows(expect![[r#"
            4
            1
            3
            1
            2
        "#]]);
    host.run(&format!("docker image prune -f --filter label=own --filter dangling=true | grep -c ^deleted; {count}; docker image prune -af --filter label=own | grep -e ^untagged -e ^Total; {count}"))
        .shows(expect![[r#"
            1
            1
            untagged: named:1
            Total reclaimed space: 8B
            0
        "#]]);
    // The command line itself says that it is about those without a name.
    let contradiction = "docker image prune -f --filter dangling=false";
    host.run(contradiction).code(1).says("Error response from daemon: invalid filter 'dangling=[");
    host.run("docker image prune -f --filter nosuch=x").code(1).says("invalid filter 'nosuch'");
}

#[test]
fn a_container_that_ends_while_it_is_committed_is_an_image_nevertheless() {
    let host = host!();
    host.run("docker run -d --name web busybox sh -c 'head -c 60000000 /dev/urandom >/big; exec sleep 1000'").success();
    let written = |host: &hako_testkit::Host| host.run("docker exec web pidof sleep");
    host.wait_until("the file to be written", written, |shown| {
        !shown.text().is_empty() && !shown.text().contains("exit")
    });
    let committing = host.spawn("docker commit web made:1");
    let paused = "docker inspect --format '{{.State.Status}}' web";
    host.wait_until("the container to be frozen", |host| host.run(paused), |shown| shown.text() == "paused");
    host.run("docker kill web").success();
    committing.end().success();
    host.run("docker run --rm made:1 wc -c /big").says("60000000 /big");
    host.run(paused).says("exited");
    // Most of these end about when they would be frozen.
    host.run("for n in $(seq 25); do docker run -d --name short busybox true >/dev/null && docker commit short made:2 >/dev/null && docker rm -f short >/dev/null || exit 1; done").success();
}

#[test]
fn a_prune_leaves_an_image_in_use_the_last_of_its_names() {
    let host = host!();
    host.run("mkdir tree && echo content > tree/file && tar -C tree -cf tree.tar . && docker import -c 'LABEL own=yes' tree.tar own:h >/dev/null && for tag in a zz; do docker tag own:h own:$tag; docker tag own:h other:$tag; done; docker create --name web own:a x >/dev/null").success();
    host.run("docker image prune -af --filter label!=own | grep -c own").code(1);
    host.run("docker image prune -af --filter label=own; docker images --filter label=own --format '{{.Repository}}:{{.Tag}}'").shows(
        expect![[r#"
            Deleted Images:
            untagged: other:a
            untagged: other:zz
            untagged: own:a
            untagged: own:h

            Total reclaimed space: 0B
            own:zz
        "#]],
    );
    host.run("docker image prune -af --filter label=own; docker rm web >/dev/null; docker image prune -af --filter label=own | grep -c ^deleted").shows(
        expect![[r#"
            Total reclaimed space: 0B
            2
        "#]],
    );
}

#[test]
fn parents_stay_if_asked() {
    let host = host!();
    host.run("docker run --name web busybox touch /file && docker commit web made:1 && docker rm web && docker run --name web made:1 touch /other && docker commit web made:2 && docker rm web").success();
    // What others were made from only loses its name; it is nothing that hangs about.
    let unnamed = "docker images -q --filter dangling=true --filter since=busybox | wc -l";
    host.run(&format!("docker rmi made:1; {unnamed}")).shows(expect![[r#"
        Untagged: made:1
        0
    "#]]);
    host.run(&format!("docker rmi --no-prune made:2 | sed 's/sha256:.*/sha256:…/'; {unnamed}")).shows(expect![[r#"
        Untagged: made:2
        Deleted: sha256:…
        Deleted: sha256:…
        1
    "#]]);
    host.run(&format!(
        "docker rmi $(docker images -q --filter dangling=true --filter since=busybox) | grep -c ^Deleted; {unnamed}"
    ))
    .shows(expect![[r#"
        2
        0
    "#]]);
    // A running container keeps the files, not the name.
    host.run("docker run --name web busybox touch /file && docker commit web own && docker rm web && docker run -d --name web own sleep 100").success();
    host.run("docker rmi own").code(1).says("must force");
    host.run("docker rmi -f own; docker exec web ls /file; docker rm -f web; docker image prune -f | grep -c ^deleted")
        .shows(expect![[r#"
        Untagged: own:latest
        /file
        web
        2
    "#]]);
}

#[test]
fn what_the_api_says_of_images() {
    let host = host!();
    let json = |path: &str| -> serde_json::Value {
        let answer = host.api("GET", &format!("/v1.45{path}"), "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_slice(&answer.body).expect("it is JSON")
    };
    let inspected = json("/images/busybox/json");
    let all = json("/images/json?shared-size=1&digests=1&filters=%7B%22reference%22%3A%5B%22busybox%22%5D%7D");
    let listed = &all[0];
    assert_eq!((&listed["Id"], &listed["RepoTags"]), (&inspected["Id"], &inspected["RepoTags"]));
    assert_eq!(listed["Containers"], -1);
    assert!(listed["SharedSize"].as_i64().is_some_and(|size| size >= 0), "{listed}");
    assert_eq!((&listed["Size"], &listed["ParentId"]), (&inspected["Size"], &inspected["Parent"]));
    assert_eq!(json("/images/json?filters=%7B%22reference%22%3A%5B%22busybox%22%5D%7D")[0]["SharedSize"], -1);
    let missing = |value: &serde_json::Value, keys: &str| -> Vec<String> {
        keys.split(' ').filter(|key| value.get(key).is_none()).map(str::to_owned).collect()
    };
    let keys = "Id RepoTags RepoDigests Parent Comment Created DockerVersion Author Config Architecture Os Size GraphDriver RootFS Metadata";
    assert_eq!(missing(&inspected, keys), [""; 0]);
    let keys = "Containers Created Id Labels ParentId RepoDigests RepoTags SharedSize Size";
    assert_eq!(missing(listed, keys), [""; 0]);
    let history = json("/images/busybox/history");
    assert_eq!(missing(&history[0], "Comment Created CreatedBy Id Size Tags"), [""; 0]);
    assert_eq!((&history[0]["Id"], &history[0]["Tags"]), (&inspected["Id"], &inspected["RepoTags"]));
    for (method, path, status) in [
        ("POST", "/images/busybox/tag?repo=a/b&tag=c", 201),
        ("POST", "/images/busybox/tag?repo=UPPER&tag=c", 400),
        ("POST", "/images/nosuch/tag?repo=a/b", 404),
        ("DELETE", "/images/a/b:c", 200),
        ("DELETE", "/images/a/b:c", 404),
        ("GET", "/images/nosuch/json", 404),
        ("GET", "/images/nosuch/history", 404),
        ("GET", "/images/json?filters=nonsense", 400),
        ("GET", "/images/nosuch/get", 404),
    ] {
        let answer = host.api(method, &format!("/v1.45{path}"), "");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
}

#[test]
fn a_tree_has_each_image_once() {
    let host = own_host!();
    host.run("docker tag busybox also:1 && docker images --tree 2>/dev/null | sed -E 's/\x1b\\[[0-9]+m//g; s/ +$//; s/[0-9.]+MB/SIZE/; s/[0-9a-f]{12}/ID/' | tail -3")
        .shows(expect![[r#"
            IMAGE   ID   DISK USAGE   CONTENT SIZE   EXTRA
            busybox:latest
            also:1   ID   SIZE   0B
        "#]]);
    host.run("docker images --tree -q; docker images --tree --digests").shows(expect![[r#"
        ! --quiet is not yet supported with --tree
        ! --show-digest is not yet supported with --tree
        exit 1
    "#]]);
}

#[test]
fn of_an_archive_those_platforms_are_loaded_that_are_wanted() {
    let host = own_host!();
    host.run("mkdir tree && echo content > tree/file && tar -C tree -cf tree.tar . && docker import --platform linux/s390x tree.tar far:1 && docker import --platform linux/amd64 tree.tar near:1 && docker save -o two.tar near:1 far:1 && docker rmi near:1 far:1").success();
    host.run("docker load --platform linux/s390x -i two.tar; docker images --format '{{.Repository}}' | grep -c -e near -e far").shows(expect![[r#"
        Loaded image: far:1
        1
    "#]]);
    host.run("docker rmi far:1 >/dev/null; hako load --platform linux/s390x,linux/amd64 -i two.tar").shows(expect![[
        r#"
        Loaded image: near:1
        Loaded image: far:1
    "#
    ]]);
    host.run("hako load --platform linux/s390x,linux/riscv64 -i two.tar")
        .code(1)
        .says("it has no image for linux/riscv64");
    host.run("hako save --platform linux/s390x,linux/amd64 far:1 >x").code(1).says("linux/amd64");
}

#[test]
fn a_prune_knows_times_and_names_what_is_none() {
    let host = host!();
    host.run("docker tag busybox spare:1; for until in 2020-01-01 2020-01-01Z 2020-01-01T10:00 1500000000.25 240h; do docker image prune -af --filter until=$until --filter label=no.such; done; docker image prune -f --filter until=never; docker image prune -f --filter until=5y")
        .shows(expect![[r#"
            Total reclaimed space: 0B
            Total reclaimed space: 0B
            Total reclaimed space: 0B
            Total reclaimed space: 0B
            Total reclaimed space: 0B
            ! Error response from daemon: failed to parse value as time or duration: "never"
            ! Error response from daemon: failed to parse value as time or duration: "5y"
            exit 1
        "#]]);
}

#[test]
fn an_import_takes_a_tar_and_changes() {
    let host = host!();
    host.run("mkdir tree && echo content > tree/file && tar -C tree -cf tree.tar . && gzip -k tree.tar").success();
    host.run("docker import --change 'CMD [\"a\", \"b\"]' --change 'ENV X=1' --change 'WORKDIR /w' --change 'USER 5' --change 'LABEL k=v' --change 'EXPOSE 80/tcp' --change 'VOLUME /data' --change 'ENTRYPOINT [\"/e\"]' --change 'STOPSIGNAL USR1' -m words tree.tar made:1")
        .shows(expect![[r#"
            sha256:<id1>
        "#]]);
    host.run("docker image inspect --format '{{json .Config.Cmd}} {{json .Config.Env}} {{.Config.WorkingDir}} {{.Config.User}} {{json .Config.Labels}} {{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{json .Config.Entrypoint}} {{.Config.StopSignal}} {{.Comment}}' made:1")
        .shows(expect![[r#"
            ["a","b"] ["X=1"] /w 5 {"k":"v"} {"80/tcp":{}} {"/data":{}} ["/e"] USR1 words
        "#]]);
    let (plain, zipped) = (host.run("docker import tree.tar plain"), host.run("docker import - zipped < tree.tar.gz"));
    plain.success();
    zipped.success();
    host.run(
        "for i in plain zipped; do docker image inspect --format '{{index .RootFS.Layers 0}}' $i; done | uniq | wc -l",
    )
    .shows(expect![[r#"
        1
    "#]]);
}

#[test]
fn an_import_fetches_from_an_address() {
    let host = own_host!();
    host.run("mkdir -p www && echo content >www/file && tar -C www -cf www/tree.tar file && busybox httpd -p 127.0.0.1:8099 -h www 2>/dev/null || python3 -m http.server 8099 --bind 127.0.0.1 --directory www >/dev/null 2>&1 </dev/null &")
        .success();
    host.wait_until(
        "the web server to listen",
        |host| host.run("curl -sf http://127.0.0.1:8099/tree.tar | wc -c"),
        |shown| shown.text() != "0",
    );
    host.run("docker import -c 'ENV A=1' http://127.0.0.1:8099/tree.tar fetched | grep -v Importing; docker image inspect --format '{{json .Config.Env}} {{.Comment}}' fetched")
        .shows(expect![[r#"
            Downloading from http://127.0.0.1:8099/tree.tar
            sha256:<id1>
            ["A=1"] Imported from http://127.0.0.1:8099/tree.tar
        "#]]);
    host.run("docker import http://127.0.0.1:8099/nosuch x")
        .code(1)
        .says("failed to GET http://127.0.0.1:8099/nosuch with status 404");
    host.run("docker import http://127.0.0.1:1/x x")
        .code(1)
        .says("Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: connect: connection refused");
    host.run("docker import http://127.0.0.1:8099/file x").code(1);
    host.run("docker images -q x | wc -l").shows(expect![[r#"
        0
    "#]]);
}

#[test]
fn a_commit_is_a_layer_more() {
    let host = host!();
    host.run("docker run --name web -e A=1 busybox sh -c 'echo mine > /file; rm /bin/wget'").success();
    host.run("docker commit -a me -m words --change 'CMD [\"cat\", \"/file\"]' web me/made:1").shows(expect![[r#"
        sha256:<id1>
    "#]]);
    host.run("docker run --rm me/made:1; docker run --rm me/made:1 ls /bin/wget").shows(expect![[r#"
        mine
        ! ls: /bin/wget: No such file or directory
        exit 1
    "#]]);
    host.run("docker image inspect --format '{{len .RootFS.Layers}} {{.Author}} {{.Comment}} {{json .Config.Cmd}} {{json .Config.Env}}' me/made:1")
        .shows(expect![[r#"
            2 me words ["cat","/file"] ["A=1","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        "#]]);
    host.run("docker history --format '{{.CreatedBy}} {{.Comment}}' me/made:1").shows(expect![[r#"
        sh -c echo mine > /file; rm /bin/wget words
         Imported from -
    "#]]);
    host.run("docker history -q me/made:1 | wc -l").shows(expect![[r#"
        2
    "#]]);
    // Sizes for people or in bytes; what is long is cut or whole.
    host.run("docker run --name talker busybox sh -c 'echo one two three four five six seven eight nine ten > /said' && docker commit talker me/long:1 >/dev/null; for flags in '' --human=false '--no-trunc --human=false'; do docker history --format '{{.Size}} {{.CreatedAt}} {{len .CreatedBy}}' $flags me/long:1 | sed -E 's/[0-9]{4}-[0-9-]*T[0-9:.]*(Z|[+-][0-9:]+)/TIME/'; done")
        .shows(expect![[r#"
            49B TIME 47
            1.98MB TIME 0
            49 TIME 47
            1982543 TIME 0
            49 TIME 67
            1982543 TIME 0
        "#]]);
}

#[test]
fn an_archive_of_an_image_without_layers_is_loaded() {
    let host = host!();
    host.write("manifest.json", r#"[{"Config":"c.json","RepoTags":["bare:1"],"Layers":null}]"#);
    host.write(
        "c.json",
        r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    host.run("tar -c manifest.json c.json | docker load").shows(expect![[r#"
        Loaded image: bare:1
    "#]]);
}

#[test]
fn what_is_saved_can_be_loaded() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'echo mine > /file; ln -s file /link; mkfifo /pipe; chown 5:6 /file; chmod 4751 /file'").success();
    host.run("docker commit web made:1 && docker tag made:1 made:2").success();
    let id = host.run("docker image inspect --format '{{.Id}}' made:1").text().to_owned();
    host.run("docker save -o all.tar made:1 made:2 && tar -tf all.tar | grep -cx manifest.json").shows(expect![[r#"
        1
    "#]]);
    host.run("docker rm web && docker rmi made:1 made:2 && docker image inspect made:1").code(1);
    host.run("docker load -i all.tar").shows(expect![[r#"
        Loaded image: made:1
        Loaded image: made:2
    "#]]);
    assert_eq!(host.run("docker image inspect --format '{{.Id}}' made:2").text(), id);
    host.run("docker run --rm made:1 ls -ln /file /link /pipe | awk '{print $1, $3, $4}'").shows(expect![[r#"
        -rwsr-x--x 5 6
        lrwxrwxrwx 0 0
        prw-r--r-- 0 0
    "#]]);
    host.run("docker save made:1 | gzip | docker load").shows(expect![[r#"
        Loaded image: made:1
    "#]]);
    // A name without a tag means all of them, also where none is "latest".
    host.run("docker save made | docker load").shows(expect![[r#"
        Loaded image: made:1
        Loaded image: made:2
    "#]]);
}

#[test]
fn rmi_untags_and_then_deletes() {
    let host = host!();
    host.run(
        "docker run --name web busybox touch /file && docker commit web made && docker rm web && docker tag made other",
    )
    .success();
    host.run("docker rmi made").shows(expect![[r#"
        Untagged: made:latest
    "#]]);
    host.run("docker rmi other | sed 's/sha256:.*/sha256:…/'").shows(expect![[r#"
        Untagged: other:latest
        Deleted: sha256:…
        Deleted: sha256:…
    "#]]);
    host.run("docker rmi nosuch").shows(expect![[r#"
        ! Error response from daemon: No such image: nosuch:latest
        exit 1
    "#]]);
}

#[test]
fn an_image_in_use_stays() {
    let host = host!();
    host.run("docker run --name web busybox touch /file && docker commit web made && docker rm web && docker create --name user made true").success();
    host.run("docker rmi made").code(1).says("unable to remove repository reference \"made\" (must force) - container");
    host.run("docker rmi -f made").success().says("Untagged: made:latest");
    host.run("docker rm user").success();
}

#[test]
fn tags_are_names_and_ids_are_prefixes() {
    let host = host!();
    let id = host.run("docker image inspect --format '{{.Id}}' busybox").text().to_owned();
    host.run("docker tag busybox registry.example:5000/a/b:c && docker images --format '{{.Repository}}:{{.Tag}}' registry.example:5000/a/b").shows(expect![[r#"
        registry.example:5000/a/b:c
    "#]]);
    host.run(&format!("docker tag {} by-id && docker image inspect --format '{{{{.Id}}}}' by-id", &id[7..19]))
        .says(&id);
    host.run("docker tag busybox UPPER").code(1).says("repository name (library/UPPER) must be lowercase");
    host.run("docker tag nosuch other").shows(expect![[r#"
        ! Error response from daemon: No such image: nosuch:latest
        exit 1
    "#]]);
    host.run("docker rmi registry.example:5000/a/b:c by-id").success();
}

#[test]
fn the_id_is_the_digest_of_the_configuration() {
    let host = host!();
    let id = host.run("docker image inspect --format '{{.Id}}' busybox").text().to_owned();
    host.run(
        "docker save busybox | tar -xf - && sed 's/.*\"Config\":\"\\([^\"]*\\)\".*/\\1/' manifest.json > config-path",
    )
    .success();
    let digest = host.run("sha256sum < $(cat config-path) | cut -d' ' -f1").text().to_owned();
    assert_eq!(id, format!("sha256:{digest}"));
}

#[test]
fn a_container_without_changes_commits_to_the_same_files() {
    let host = host!();
    host.run("docker create --name web busybox true && docker commit web same && docker run --rm same ls /bin/busybox")
        .says("/bin/busybox");
    host.run("docker rm web && docker rmi same").success();
}

#[test]
fn diff_and_export_tell_what_a_container_changed() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'echo x > /tmp/new; echo y >> /etc/passwd; rm /bin/wget'").success();
    host.run("docker diff web | sort").shows(expect![[r#"
        A /tmp/new
        C /bin
        C /etc
        C /etc/passwd
        C /tmp
        D /bin/wget
    "#]]);
    host.run("docker export web | tar -tf - | grep -E '^(tmp/new|bin/wget|bin/busybox)$'").shows(expect![[r#"
        bin/busybox
        tmp/new
    "#]]);
    host.run("docker export nosuch").code(1).says("No such container: nosuch");
}

#[test]
fn prune_takes_what_nobody_uses() {
    let host = host!();
    host.run("docker run --name web busybox touch /file && docker commit web made && docker tag busybox made")
        .success();
    host.run("docker images -f dangling=true -q | wc -l").shows(expect![[r#"
        1
    "#]]);
    host.run("docker rm web && docker image prune -f | head -1").success().says("Deleted Images:");
    host.run("docker images -f dangling=true -q | wc -l; docker rmi made").shows(expect![[r#"
        0
        Untagged: made:latest
    "#]]);
}

#[test]
fn disk_usage_is_told() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'head -c 100000 /dev/zero > /file'").success();
    host.run("docker system df --format '{{.Type}} {{.TotalCount}}' | grep Containers").shows(expect![[r#"
        Containers 1
    "#]]);
    host.run("docker system df -v | grep -c '^CONTAINER ID'").shows(expect![[r#"
        1
    "#]]);
}

#[test]
fn prune_takes_those_that_the_filters_choose() {
    let host = host!();
    for (name, change) in [("red", "LABEL colour=red"), ("blue", "LABEL keep=1"), ("plain", "CMD true")] {
        host.run(&format!(
            "docker create --name base busybox true && docker commit -c '{change}' base {name}:1 && docker rm base"
        ))
        .success();
    }
    let left = || {
        let shown = host.run("docker images --format '{{.Repository}}' | grep -E 'red|blue|plain' | sort | xargs");
        shown.text().to_owned()
    };
    host.run("docker image prune -a -f --filter until=1h --filter label!=of-the-base && docker images -q").success();
    assert_eq!(left(), "blue plain red");
    host.run("docker image prune -f --filter label=colour=red").success();
    assert_eq!(left(), "blue plain red", "those with names are taken with -a only");
    host.run("docker image prune -a -f --filter label=colour=red").success();
    assert_eq!(left(), "blue plain");
    // One in use keeps its name.
    host.run("docker create --name user busybox true && docker image prune -a -f --filter label!=keep").success();
    assert_eq!(left(), "blue");
    host.run("docker image inspect busybox").success();
}
