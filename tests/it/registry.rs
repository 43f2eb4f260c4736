//! Registries: pull, push, login, logout, search, against a `hako registry serve` on the test's own machine.

use expect_test::expect;
use hako_testkit::{Host, needs, require};

/// Starts a registry on the machine and waits until it listens.
pub(crate) fn serve(host: &Host, port: u16, flags: &str) {
    serve_with(host, "", port, flags);
}

/// The same with variables of its environment: `NAME=value …`.
pub(crate) fn serve_with(host: &Host, variables: &str, port: u16, flags: &str) {
    host.run(&format!(
        "{variables} hako registry serve --listen 127.0.0.1:{port} --root registry-{port} {flags} >registry-{port}.log 2>&1 </dev/null &"
    ))
    .success();
    host.wait_until(
        "the registry to listen",
        |host| host.run(&format!("grep -c ' ready ' registry-{port}.log")),
        |shown| shown.text() == "1",
    );
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run("docker tag busybox localhost:5000/me/box:1 && docker push localhost:5000/me/box:1 | sed -E 's/^[0-9a-f]{12}/LAYER/; s/sha256:[0-9a-f]{64} size: [0-9]+/DIGEST/'")
        .shows(expect![[r#"
            The push refers to repository [localhost:5000/me/box]
            LAYER: Preparing
            LAYER: Pushed
            1: digest: DIGEST
        "#]]);
    // The second time everything is there, and the manifest is the same; a name beside it takes the layer from it.
    host.run("docker push -q localhost:5000/me/box:1 && docker push localhost:5000/me/box:1 | grep -c 'Layer already exists'").shows(
        expect![[r#"
            localhost:5000/me/box:1
            1
        "#]],
    );
    host.run(
        "docker tag busybox localhost:5000/you/box && docker push localhost:5000/you/box | grep -o 'Mounted from .*'",
    )
    .shows(expect![[r#"
            Mounted from me/box
        "#]]);
    let digest =
        host.run("docker image inspect --format '{{index .RepoDigests 0}}' localhost:5000/me/box:1").text().to_owned();
    host.run("docker rmi -f $(docker images -q busybox)").success();
    // `run` of a missing image brings it.
    host.run("docker run --rm localhost:5000/me/box:1 echo ran 2>pulled; sed -E 's/^[0-9a-f]{12}/LAYER/; s/sha256:[0-9a-f]{64}/DIGEST/' pulled | grep -v -e Downloading -e Extracting -e Verifying -e Waiting")
        .shows(expect![[r#"
            ran
            Unable to find image 'localhost:5000/me/box:1' locally
            1: Pulling from me/box
            LAYER: Pulling fs layer
            LAYER: Download complete
            LAYER: Pull complete
            Digest: DIGEST
            Status: Downloaded newer image for localhost:5000/me/box:1
        "#]]);
    host.run("docker pull localhost:5000/me/box:1 | tail -2; docker pull -q localhost:5000/me/box:1").shows(expect![[
        r#"
        Status: Image is up to date for localhost:5000/me/box:1
        localhost:5000/me/box:1
        localhost:5000/me/box:1
    "#
    ]]);
    // By its digest, which is what it was before it went away.
    host.run(&format!("docker rmi localhost:5000/me/box:1 && docker pull -q {digest} && docker run --rm --pull never {digest} echo by digest"))
        .says("by digest");
    host.run("docker run --rm --pull always localhost:5000/you/box echo fresh 2>/dev/null").shows(expect![[r#"
        fresh
    "#]]);
}

#[test]
fn a_registry_says_no_in_dockers_words() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run("docker pull localhost:5000/nosuch").shows(expect![[r#"
        Using default tag: latest
        ! Error response from daemon: manifest for localhost:5000/nosuch:latest not found: manifest unknown: manifest unknown
        exit 1
    "#]]);
    host.run("docker pull 127.0.0.1:1/nosuch:1").shows(expect![[r#"
        ! Error response from daemon: Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused
        exit 1
    "#]]);
    host.run("docker push localhost:5000/nosuch:1").shows(expect![[r#"
        The push refers to repository [localhost:5000/nosuch]
        ! An image does not exist locally with the tag: localhost:5000/nosuch
        exit 1
    "#]]);
    host.run("docker run --rm --pull never localhost:5000/nosuch true")
        .code(125)
        .says("No such image: localhost:5000/nosuch:latest");
    host.run("docker pull -a localhost:5000/nosuch:1").code(1).says("tag can't be used with --all-tags/-a");
}

#[test]
fn all_tags_go_and_come() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run("for tag in 1 2; do docker tag busybox localhost:5000/box:$tag; done; docker push -a localhost:5000/box | grep -o '^[12]: digest'").shows(expect![[r#"
        1: digest
        2: digest
    "#]]);
    host.run("docker rmi localhost:5000/box:1 localhost:5000/box:2 >/dev/null; docker pull -a localhost:5000/box | grep Status; docker images --format '{{.Tag}}' localhost:5000/box | sort").shows(expect![[r#"
        Status: Downloaded newer image for localhost:5000/box:1
        Status: Downloaded newer image for localhost:5000/box:2
        1
        2
    "#]]);
}

#[test]
fn a_login_opens_a_registry_until_the_logout() {
    let host = own_host!();
    // The password is U*U: a test vector of bcrypt.
    host.write("users", "me:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n");
    serve(&host, 5000, "--htpasswd users");
    host.run("docker tag busybox localhost:5000/box && docker push localhost:5000/box")
        .code(1)
        .says("no basic auth credentials");
    host.run("echo wrong | docker login -u me --password-stdin localhost:5000").shows(expect![[r#"
        ! Error response from daemon: Get "http://localhost:5000/v2/": unauthorized: authentication required
        exit 1
    "#]]);
    host.run(
        "echo 'U*U' | docker login -u me --password-stdin localhost:5000 2>/dev/null && cat $HOME/.docker/config.json",
    )
    .shows(expect![[r#"
            Login Succeeded
            {
            	"auths": {
            		"localhost:5000": {
            			"auth": "bWU6VSpV"
            		}
            	}
            }
        "#]]);
    host.run("docker push -q localhost:5000/box && docker rmi localhost:5000/box >/dev/null && docker pull -q localhost:5000/box").shows(expect![[r#"
        localhost:5000/box:latest
        localhost:5000/box:latest
    "#]]);
    host.run("docker logout localhost:5000; docker pull localhost:5000/box:latest").shows(expect![[r#"
        Removing login credentials for localhost:5000
        ! Error response from daemon: Get "http://localhost:5000/v2/box/manifests/latest": no basic auth credentials
        exit 1
    "#]]);
}

/// What a person's key ring is to docker: a program that is asked by name (docker-credential-helpers' protocol).
const KEY_RING: &str = r#"#!/bin/sh
echo "$1" >> asked
case $1 in
store) cat > kept ;;
get) cat > /dev/null; cat kept 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) cat > /dev/null; rm -f kept ;;
list) echo '{}' ;;
esac
"#;

#[test]
fn a_key_ring_keeps_what_a_login_gave() {
    let host = own_host!();
    host.write("users", "me:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n");
    host.write("bin/docker-credential-mine", KEY_RING);
    host.write("home/.docker/config.json", r#"{"credHelpers": {"localhost:5000": "mine"}}"#);
    serve(&host, 5000, "--htpasswd users");
    let docker = "chmod +x bin/*; export PATH=$PWD/bin:$PATH; docker";
    host.run(&format!("{docker} login -u me -p 'U*U' localhost:5000")).success().says("Login Succeeded");
    host.run("cat kept").says("\"Username\":\"me\"").says("\"Secret\":\"U*U\"");
    host.run("cat home/.docker/config.json").says("credHelpers").says_not("bWU6");
    host.run(&format!("docker tag busybox localhost:5000/box; {docker} push -q localhost:5000/box")).success();
    host.run(&format!("{docker} logout localhost:5000; ls kept; sort -u asked | xargs")).says("erase get store");
    host.run(&format!("{docker} push -q localhost:5000/box")).code(1).says("no basic auth credentials");
}

#[test]
fn a_search_looks_at_names_and_descriptions() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run(
        "docker create --name web busybox true >/dev/null && docker commit --change 'LABEL org.opencontainers.image.description=\"Serves pages, and tells nobody what it has seen of them\"' web localhost:5000/web/server >/dev/null && docker push -q localhost:5000/web/server && docker tag busybox localhost:5000/box && docker push -q localhost:5000/box",
    )
    .success();
    host.run("docker search localhost:5000/pages; docker search --no-trunc --format '{{.Name}}: {{.Description}}' localhost:5000/server; docker search --filter stars=1 --format '{{.Name}}' localhost:5000/server; docker search localhost:5000/nothing")
        .shows(expect![[r#"
            NAME   DESCRIPTION   STARS   OFFICIAL
            web/server   Serves pages, and tells nobody what it has s…   0
            web/server: Serves pages, and tells nobody what it has seen of them
            NAME   DESCRIPTION   STARS   OFFICIAL
        "#]]);
    host.run("docker search --limit 101 localhost:5000/x").code(1).says("limit 101 is outside the range of [1, 100]");
}

#[test]
fn what_a_registry_has_is_told_without_bringing_it() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run("docker tag busybox localhost:5000/box:1 && docker push -q localhost:5000/box:1 && docker rmi localhost:5000/box:1").success();
    let answer = host.api("GET", "/v1.50/distribution/localhost:5000/box:1/json", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    let found: serde_json::Value = serde_json::from_slice(&answer.body).expect("it is JSON");
    assert_eq!(found["Descriptor"]["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(
        (&found["Platforms"][0]["os"], &found["Platforms"][0]["architecture"]),
        (&"linux".into(), &"amd64".into())
    );
    host.run("docker image inspect localhost:5000/box:1").code(1);
    assert_eq!(host.api("GET", "/v1.50/distribution/localhost:5000/box:2/json", "").status, 404);
}

/// Stands in for Docker Hub: its names lead to a registry here, whose certificate is of an authority of the test's.
fn stand_in_for_the_hub(host: &Host) {
    host.run(
        "ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
         openssl req -x509 $ec -days 2 -subj /CN=authority -keyout ca.key -out ca.crt 2>/dev/null &&
         openssl req $ec -subj /CN=hub -keyout hub.key -out hub.csr 2>/dev/null &&
         echo subjectAltName=DNS:registry-1.docker.io,DNS:index.docker.io > names &&
         openssl x509 -req -in hub.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -days 2 -out hub.crt 2>/dev/null &&
         { cat /etc/hosts; echo 127.0.0.1 registry-1.docker.io index.docker.io; } > hosts && mount --bind hosts /etc/hosts &&
         mount --bind ca.crt /etc/ssl/certs/ca-certificates.crt",
    )
    .success();
    serve(host, 443, "--tls-cert hub.crt --tls-key hub.key");
}

#[test]
fn names_without_a_registry_are_docker_hubs() {
    hako_testkit::needs!(hako_testkit::require::program("openssl"));
    let authorities = std::path::Path::new("/etc/ssl/certs/ca-certificates.crt");
    hako_testkit::needs!(authorities.exists().then_some(()).ok_or("needs ca-certificates".to_owned()));
    let host = own_host!("busybox", "hello-world");
    stand_in_for_the_hub(&host);
    host.run("docker push -q hello-world && docker create --name web busybox true >/dev/null && docker commit --change 'LABEL org.opencontainers.image.description=\"A language\"' web python:3 >/dev/null && docker push -q python:3")
        .success();
    host.run("docker rm web >/dev/null; docker rmi hello-world python:3 >/dev/null; docker pull python:3 | sed -n '1p;$p'; docker run --rm hello-world 2>&1 | sed -n 1,2p")
        .shows(expect![[r#"
            3: Pulling from library/python
            docker.io/library/python:3
            Unable to find image 'hello-world:latest' locally
            latest: Pulling from library/hello-world
        "#]]);
    host.run("docker search python; docker pull -q nosuch").shows(expect![[r#"
        NAME   DESCRIPTION   STARS   OFFICIAL
        library/python   A language   0
        ! Error response from daemon: manifest for nosuch:latest not found: manifest unknown: manifest unknown
        exit 1
    "#]]);
}

#[test]
fn the_registrys_own_image_runs_as_everybody_has_written_it() {
    let host = own_host!();
    host.run("hako image bootstrap -q registry && docker images --format '{{.Repository}}:{{.Tag}}' registry | sort")
        .shows(expect![[r#"
            registry:latest
            registry:2
            registry:3
            registry:latest
        "#]]);
    host.run("docker run -d -p 5000:5000 --restart=always --name registry -e REGISTRY_STORAGE_DELETE_ENABLED=true -v data:/var/lib/registry registry:2 >/dev/null && echo runs")
        .shows(expect![[r#"
            runs
        "#]]);
    host.wait_until(
        "the registry to listen",
        |host| host.run("docker logs registry 2>&1 | grep -c ' ready '"),
        |shown| shown.text() == "1",
    );
    host.run("docker tag busybox localhost:5000/box && docker push -q localhost:5000/box && docker rmi localhost:5000/box >/dev/null && docker run --rm localhost:5000/box echo came back 2>/dev/null")
        .shows(expect![[r#"
            localhost:5000/box:latest
            came back
        "#]]);
    // What it keeps is in the volume, and its own program collects garbage beside the server.
    host.run("docker run --rm -v data:/data busybox ls /data/docker/registry/v2/repositories").shows(expect![[r#"
        box
    "#]]);
    host.run("docker exec registry /bin/registry garbage-collect --dry-run /etc/docker/registry/config.yml").shows(
        expect![[r#"
            would remove 0 manifests and 0 blobs, 0 bytes
        "#]],
    );
    // The reference registry's file is read, and its mistakes are named.
    host.write("config.yml", "version: 0.1\nhttp:\n  addr: 127.0.0.1:5001\nstorage:\n  s3:\n    bucket: x\n");
    host.run("docker run --rm -v $PWD/config.yml:/etc/docker/registry/config.yml registry").shows(expect![[r#"
        ! hako registry: REGISTRY_STORAGE_S3_BUCKET: x: this is not built yet
        exit 1
    "#]]);
}

#[test]
fn a_cache_of_another_registry_serves_on_when_that_one_is_gone() {
    let host = own_host!();
    host.run("hako image bootstrap -q registry && docker run -d -p 5000:5000 --name origin registry >/dev/null")
        .success();
    host.wait_until(
        "the registry to listen",
        |host| host.run("docker logs origin 2>&1 | grep -c ' ready '"),
        |shown| shown.text() == "1",
    );
    serve(&host, 5001, "--upstream http://127.0.0.1:5000");
    host.run("docker tag busybox localhost:5000/me/box && docker push -q localhost:5000/me/box").success();
    host.run("docker tag busybox localhost:5001/me/box && docker push localhost:5001/me/box")
        .code(1)
        .says("the registry is a cache of another one");
    host.run("docker rmi localhost:5001/me/box >/dev/null").success();
    host.run("docker pull -q localhost:5001/me/box && docker rmi localhost:5001/me/box >/dev/null && docker rm -f origin && docker pull -q localhost:5001/me/box")
        .shows(expect![[r#"
            localhost:5001/me/box:latest
            origin
            localhost:5001/me/box:latest
        "#]]);
}

#[test]
fn a_damaged_layer_is_found_and_brought_again() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run("docker tag busybox localhost:5000/box && docker push -q localhost:5000/box && docker rmi -f busybox localhost:5000/box >/dev/null && docker pull -q localhost:5000/box && hako image verify localhost:5000/box")
        .shows(expect![[r#"
            localhost:5000/box:latest
            localhost:5000/box:latest
            localhost:5000/box: 1 layers are good
        "#]]);
    // A file that the disk lost a bit of; then the blob, too.
    host.run("file=$(ls -d ../hako/data/snapshots/*/fs/bin/busybox) && printf x | dd of=$file bs=1 seek=1000 conv=notrunc 2>/dev/null; hako image verify localhost:5000/box | sed -E 's/[0-9a-f]{12}/LAYER/'").shows(
        expect![[r#"
            localhost:5000/box: layer LAYER is damaged
              /bin/busybox has other content
            ! 1 layer is damaged
        "#]],
    );
    host.run("hako image verify --repair localhost:5000/box | head -1 | sed -E 's/[0-9a-f]{12}/LAYER/'; hako image verify localhost:5000/box")
        .shows(expect![[r#"
            localhost:5000/box: layer LAYER was damaged and is repaired
            localhost:5000/box: 1 layers are good
        "#]]);
    host.run("blob=$(ls -S ../hako/data/content/sha256/* | head -1) && printf x | dd of=$blob bs=1 seek=1000 conv=notrunc 2>/dev/null; hako image verify localhost:5000/box")
        .code(1)
        .says("is damaged");
    host.run("hako image verify --repair localhost:5000/box >/dev/null && hako image verify localhost:5000/box && docker run --rm localhost:5000/box echo whole")
        .shows(expect![[r#"
            localhost:5000/box: 1 layers are good
            whole
        "#]]);
    // A container that runs keeps its files.
    host.run("docker run -d --name running localhost:5000/box sleep 1000 >/dev/null; file=$(ls -d ../hako/data/snapshots/*/fs/bin/busybox) && printf x | dd of=$file bs=1 seek=1000 conv=notrunc 2>/dev/null; hako image verify --repair localhost:5000/box | grep -o 'runs on it: stop it first'")
        .says("runs on it: stop it first");
}

#[test]
fn images_are_explained_and_compared() {
    let host = own_host!();
    host.run("docker run --name one busybox sh -c 'head -c 100000 /dev/zero >/big; mkdir /d; echo 1 >/d/a' && docker commit one step:1 >/dev/null && docker run --name two step:1 sh -c 'rm /big; echo 22 >/d/a; echo 3 >/d/b' && docker commit two step:2 >/dev/null")
        .success();
    host.run("hako image explain --format '{{.Size}} {{.Files}} {{.Wasted}}' step:2 | tail -2").shows(expect![[r#"
        100kB 2 100kB
        5B 2 0B
    "#]]);
    host.run("hako image explain step:2 | tail -3 | sed -E 's/^[0-9.]+MB/SIZE/'").shows(expect![[r#"
        SIZE in all, 100kB of it nobody sees
          100kB  /big
          2B  /d/a
    "#]]);
    host.run("hako image diff step:1 step:2 | sed -E 's/[0-9a-f]{12} .*/LAYER/'").shows(expect![[r#"
        D /big -100000
        C /d/a +1
        A /d/b +2
        = layer LAYER
        = layer LAYER
        + layer LAYER
    "#]]);
    host.run("hako image diff step:1 nosuch").code(1).says("No such image: nosuch:latest");
}

#[test]
fn an_image_is_for_its_platform_alone() {
    let host = own_host!();
    host.run("own=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' busybox); docker save --platform $own busybox | tar -t | grep -c manifest.json; docker history -q --platform $own busybox | wc -l")
        .shows(expect![[r#"
            1
            1
        "#]]);
    for command in [
        "save --platform linux/s390x busybox -o x.tar",
        "history --platform linux/s390x busybox",
        "push --platform linux/s390x busybox",
    ] {
        host.run(&format!("docker {command}"))
            .code(1)
            .says("was found but its platform (linux/amd64) does not match the specified platform (linux/s390x)");
    }
}

#[test]
fn an_image_goes_to_another_daemon_without_what_is_there() {
    let host = own_host!();
    host.run("docker run --name one busybox sh -c 'echo 1 >/one' && docker commit one step >/dev/null").success();
    // The daemon itself is another one, too: it has all layers.
    host.run("hako image copy step unix:///run/test/hako.sock 2>&1").shows(expect![[r#"
        2 of 2 layers are there already
        Loaded image: step:latest
    "#]]);
    host.run("hako image copy nosuch unix:///run/test/hako.sock").code(1).says("No such image: nosuch:latest");
    // An archive without what is here is loaded; without what is not, it is refused.
    host.run("layer=$(docker image inspect --format '{{index .RootFS.Layers 0}}' step); curl -sg --unix-socket /run/test/hako.sock \"http://d/images/step/get?without=$layer\" >part.tar; tar -tf part.tar | grep -c ${layer#sha256:}; docker rmi -f step >/dev/null; docker load -i part.tar && docker rm one >/dev/null && docker run --rm step cat /one")
        .shows(expect![[r#"
            0
            Loaded image: step:latest
            1
        "#]]);
    host.run("docker rmi -f step busybox >/dev/null; docker load -q -i part.tar")
        .code(1)
        .says("it has no blobs/sha256/");
    host.run("docker load -q --platform linux/s390x -i part.tar").code(1);
}

#[test]
fn what_goes_to_a_registry_and_comes_back_is_told() {
    let host = own_host!();
    serve(&host, 5000, "");
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker tag busybox localhost:5000/box:1 && docker push -q localhost:5000/box:1 && docker rmi localhost:5000/box:1 && docker pull -q localhost:5000/box:1; docker pull -q localhost:5000/box:none")
        .code(1);
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!("docker events --since {since} --until {until} --filter type=image --filter event=push --filter event=pull --format '{{{{.Action}}}} {{{{.Actor.ID}}}} {{{{.Actor.Attributes.name}}}}'"))
        .shows(expect![[r#"
            push localhost:5000/box:1 localhost:5000/box
            pull localhost:5000/box:1 localhost:5000/box
        "#]]);
}

#[test]
fn a_silent_name_server_is_not_waited_for_long() {
    needs!(require::program("python3"));
    let host = own_host!();
    host.write(
        "silent.py",
        "import socket\nserver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nserver.bind(('127.0.0.1', 53))\n\
         open('silent', 'w').write('yes')\nwhile True: server.recvfrom(2000)\n",
    );
    host.run("python3 silent.py > silent.log 2>&1 < /dev/null &").success();
    host.wait_until("the name server", |host| host.run("cat silent"), |shown| shown.text() == "yes");
    host.write("resolv.conf", "nameserver 127.0.0.1\n");
    let inspect = |limit: u32| {
        host.run(&format!(
            "unshare -m sh -c 'mount --bind resolv.conf /etc/resolv.conf && timeout {limit} hako manifest inspect registry.example/a'"
        ))
    };
    // Five seconds go without saying.
    inspect(9).code(1).says("lookup registry.example: request timed out");
    host.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1\n");
    inspect(3).code(1).says("lookup registry.example: request timed out");
    // One that is not to be reached is not waited for at all.
    host.write("resolv.conf", "nameserver 192.0.2.53\n");
    host.run("ip route add unreachable 192.0.2.0/24").success();
    inspect(1).code(1).says("lookup registry.example: no name server can be reached");
}
