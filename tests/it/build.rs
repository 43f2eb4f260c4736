//! Builds through the classic API: what every client of the last ten years sends to `POST /build`.

use std::io::Read;

use expect_test::expect;
use hako_testkit::Host;

/// Packs `ctx` and sends it; answers the lines of the stream without their JSON, names of containers replaced.
fn build(host: &Host, query: &str) -> String {
    host.run("tar -C ctx -cf ctx.tar .").success();
    let tar = std::fs::read(host.path("ctx.tar")).unwrap();
    let path = format!("/v1.44/build?{query}");
    let answer = host.connect().send_bytes("POST", &path, "Content-Type: application/x-tar\r\n", &tar).unwrap();
    if answer.status != 200 {
        return answer.line();
    }
    let lines = answer.text();
    let values = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text: String = values
        .map(|value| match (value["stream"].as_str(), value["errorDetail"]["message"].as_str()) {
            (Some(stream), _) => stream.to_owned(),
            (None, Some(error)) => format!("error: {error} ({})\n", value["errorDetail"]["code"]),
            (None, None) => String::new(),
        })
        .collect();
    hide_ids(&text)
}

// Twelve hexadecimal digits are an id, and differ from run to run.
fn hide_ids(text: &str) -> String {
    let word = |word: &str| {
        let is_id = word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id { "ID".to_owned() } else { word.to_owned() }
    };
    text.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn a_dockerfile_becomes_an_image() {
    let host = host!("busybox");
    host.run(
        "mkdir -p ctx/dir/below && echo file > ctx/file && echo deep > ctx/dir/below/deep && echo no > ctx/secret",
    )
    .success();
    host.write("ctx/.dockerignore", "secret\n");
    host.write(
        "ctx/Dockerfile",
        "ARG TAG=latest\nFROM busybox:$TAG\nARG WHO=nobody\nENV NAME=$WHO\nWORKDIR /app\nCOPY --chown=7:8 file .\n\
         COPY dir /app/dir\nRUN echo $NAME > name && chmod 600 name\nUSER 7:8\nEXPOSE 80\nCMD [\"cat\", \"file\"]\n",
    );
    let first = build(&host, "t=made:1&buildargs=%7B%22WHO%22%3A%22somebody%22%7D&rm=1");
    assert!(first.ends_with("Successfully built ID\nSuccessfully tagged made:1\n"), "{first}");
    host.run(
        "docker run --rm made:1; docker run --rm made:1 id -u; docker run --rm -u 0 made:1 cat name dir/below/deep",
    )
    .shows(expect![[r#"
            file
            7
            somebody
            deep
        "#]]);
    host.run("docker run --rm -u 0 made:1 stat -c '%n %a %u:%g' file name dir/below/deep").shows(expect![[r#"
        file 644 7:8
        name 600 0:0
        dir/below/deep 644 0:0
    "#]]);
    host.run("docker run --rm -u 0 made:1 ls -A /app").shows(expect![[r#"
        dir
        file
        name
    "#]]);
    host.run("docker image inspect -f '{{json .Config.Cmd}} {{.Config.WorkingDir}} {{.Config.User}} {{json .Config.ExposedPorts}}' made:1")
        .shows(expect![[r#"
            ["cat","file"] /app 7:8 {"80/tcp":{}}
        "#]]);
    host.run("docker image inspect -f '{{.Id}}' made:1 > before").success();
    let again = build(&host, "t=made:1&buildargs=%7B%22WHO%22%3A%22somebody%22%7D&rm=1");
    assert_eq!(again.matches(" ---> Using cache").count(), 9, "{again}");
    host.run("docker image inspect -f '{{.Id}}' made:1 | diff before - && echo same").shows(expect![[r#"
        same
    "#]]);
}

#[test]
fn a_change_in_a_file_is_what_ends_the_cache() {
    let host = host!("busybox");
    host.run("mkdir ctx && echo 1 > ctx/a && echo 1 > ctx/b").success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY a /a\nCOPY b /b\nRUN cat /a /b > /c\n");
    build(&host, "t=made");
    host.run("touch -d '1 hour ago' ctx/a ctx/b").success();
    assert_eq!(build(&host, "t=made").matches("Using cache").count(), 3, "a time is no content");
    host.run("echo 2 > ctx/b").success();
    assert_eq!(build(&host, "t=made").matches("Using cache").count(), 1);
    host.run("docker run --rm made cat /c").shows(expect![[r#"
        1
        2
    "#]]);
    for (cache, expected) in [("nocache=1", 0), ("cachefrom=%5B%22nosuch%22%5D", 0), ("cachefrom=%5B%22made%22%5D", 3)]
    {
        assert_eq!(build(&host, &format!("t=made&{cache}")).matches("Using cache").count(), expected, "{cache}");
    }
}

#[test]
fn a_failing_step_is_told_and_leaves_nothing() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo out; echo err >&2; exit 3\n");
    let text = build(&host, "t=made");
    assert!(text.contains("\nout\n\x1b[91merr\n\x1b[0m"), "{text}");
    assert!(
        text.ends_with(
            "error: The command '/bin/sh -c echo out; echo err >&2; exit 3' returned a non-zero code: 3 (3)\n"
        ),
        "{text}"
    );
    // Programs look for what a step complained of as a message of its own.
    let answer = host.run("tar -C ctx -c . | curl -s --unix-socket $(echo $DOCKER_HOST | cut -c8-) -T - -H 'Content-Type: application/x-tar' -X POST 'http://localhost/build?nocache=1'");
    answer.says(r#"{"stream":"\u001b[91merr\n\u001b[0m"}"#);
    host.run("docker image inspect made > /dev/null; docker ps -aq | wc -l").shows(expect![[r#"
        0
        ! Error response from daemon: No such image: made:latest
    "#]]);
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    for (text, expected) in [
        ("FROM busybox\nCPOY a b\n", "unknown instruction: CPOY"),
        ("FROM busybox # why\n", "FROM requires either one or three arguments"),
        ("RUN x\n", "no build stage in current context"),
        ("FROM busybox\nENV A=1 B\n", "Syntax error - can't find = in"),
    ] {
        host.write("ctx/Dockerfile", text);
        let line = build(&host, "t=made");
        assert!(line.contains(expected), "{text}: {line}");
    }
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY nosuch /\n");
    let text = build(&host, "t=made");
    assert!(text.contains("nosuch") && text.contains("not found"), "{text}");
}

#[test]
fn what_the_cache_keeps_is_counted_and_goes_when_asked() {
    let host = own_host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null\n");
    build(&host, "t=made");
    host.run(
        "docker rmi made > /dev/null; docker system df --format '{{.Type}} {{.TotalCount}} {{.Size}}' | grep Build",
    )
    .shows(expect![[r#"
            Build Cache 1 3.146MB
        "#]]);
    let answer = host.api("POST", "/v1.44/build/prune?all=1", "");
    assert_eq!(answer.json()["SpaceReclaimed"], 3 << 20);
    host.run("docker system df --format '{{.Type}} {{.TotalCount}} {{.Size}}' | grep Build").shows(expect![[r#"
        Build Cache 0 0B
    "#]]);
    assert!(!build(&host, "t=made").contains("Using cache"));
}

/// What HTTP/2 begins with, from whoever asks.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame: no length, type SETTINGS.
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[test]
fn buildkit_is_asked_and_asks_on_upgraded_connections() {
    let host = host!();
    let upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n";
    let mut grpc = host.connect();
    grpc.send_raw(format!("POST /grpc HTTP/1.1\r\nHost: hako\r\n{upgrade}\r\n").as_bytes()).unwrap();
    let head = grpc.read_head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, Some("h2c")));
    grpc.send_raw(&[PREFACE, EMPTY_SETTINGS].concat()).unwrap();
    let mut frame = [0; 9];
    grpc.stream().read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "the daemon's first frame is its settings: {frame:?}");

    let mut session = host.connect();
    let names = "X-Docker-Expose-Session-Uuid: abc\r\nX-Docker-Expose-Session-Name: test\r\n";
    session.send_raw(format!("POST /session HTTP/1.1\r\nHost: hako\r\n{upgrade}{names}\r\n").as_bytes()).unwrap();
    assert_eq!(session.read_head().unwrap().status, 101);
    let mut preface = [0; 24];
    session.stream().read_exact(&mut preface).unwrap();
    assert_eq!(preface, PREFACE, "on a session, the daemon is who asks");
}

#[test]
fn a_missing_base_is_brought_from_its_registry() {
    let host = own_host!();
    super::registry::serve(&host, 5000, "");
    host.run(
        "docker tag busybox localhost:5000/base:1 && docker push -q localhost:5000/base:1 && docker rmi localhost:5000/base:1",
    )
    .success();
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM localhost:5000/base:1\nCOPY --from=localhost:5000/base:1 /bin/busybox /copied\n",
    );
    let text = build(&host, "t=made");
    assert!(text.contains("Pulling from base") || text.contains("Step 1/2"), "{text}");
    assert!(text.ends_with("Successfully tagged made:latest\n"), "{text}");
    host.run("docker run --rm made ls /copied && docker images -q localhost:5000/base:1 | wc -l").shows(expect![[r#"
        /copied
        1
    "#]]);
    // Another image under the name: asked for only with `pull`.
    host.run(
        "docker run --name changed busybox touch /new; docker commit changed localhost:5000/base:1 && docker push -q localhost:5000/base:1 \
         && docker rmi localhost:5000/base:1 && docker tag busybox localhost:5000/base:1",
    )
    .success();
    host.write("ctx/Dockerfile", "FROM localhost:5000/base:1\nRUN ls /new\n");
    assert!(build(&host, "t=made").contains("returned a non-zero code"), "the local image has no such file");
    let text = build(&host, "t=made&pull=1");
    assert!(text.ends_with("Successfully tagged made:latest\n"), "{text}");
    host.write("ctx/Dockerfile", "FROM localhost:5000/nosuch\n");
    let text = build(&host, "t=made");
    assert!(text.contains("manifest for localhost:5000/nosuch:latest not found"), "{text}");
}
