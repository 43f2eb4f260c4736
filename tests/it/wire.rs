//! The API as bytes: statuses, header names, shapes by version, upgrades, bodies that make no sense.

use std::io::{BufRead, Read};

use expect_test::expect;
use hako_testkit::{Host, needs, require};

#[test]
fn ping_tells_the_version_in_headers() {
    let host = host!();
    for (method, path) in [("GET", "/_ping"), ("HEAD", "/_ping"), ("GET", "/v1.24/_ping")] {
        let answer = host.api(method, path, "");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("docker-experimental"), Some("false"));
        assert_eq!(answer.header("ostype"), Some("linux"));
        assert!(answer.header("api-version").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(answer.text(), if method == "HEAD" { "" } else { "OK" });
    }
}

/// Requests that fail, with how the answer's line begins: the status, the type and Docker's sentence. What the JSON
/// library of the day says of bad JSON is nobody's contract.
const FAILURES: &[(&str, &str, &str, &str)] = &[
    ("GET", "/v1.44/nosuch", "", "404 application/json {\"message\":\"page not found\"}"),
    ("GET", "/v1.44/containers/nosuch/json", "", "404 application/json {\"message\":\"No such container: nosuch\"}"),
    ("GET", "/v1.44/images/nosuch/json", "", "404 application/json {\"message\":\"No such image: nosuch:latest\"}"),
    ("POST", "/v1.44/containers/create", "{", "400 application/json {\"message\":\"invalid JSON: "),
    ("POST", "/v1.44/containers/create", "", "400 application/json {\"message\":\"invalid JSON: got EOF"),
    (
        "POST",
        "/v1.44/containers/create",
        "{\"Image\":\"nosuch\"}",
        "404 application/json {\"message\":\"No such image: nosuch:latest\"}",
    ),
    ("GET", "/v1.44/containers/json?filters=nonsense", "", "400 application/json {\"message\":\"invalid filter"),
    // What is no platform is refused before anything is read or asked for.
    (
        "POST",
        "/v1.44/containers/create?platform=nintendo64",
        "{\"Image\":\"nosuch\"}",
        "400 application/json {\"message\":\"\\\"nintendo64\\\": unknown operating system or architecture: invalid argument\"}",
    ),
    (
        "POST",
        "/v1.44/images/create?fromSrc=-&platform=nintendo64",
        "",
        "400 application/json {\"message\":\"\\\"nintendo64\\\": unknown operating system or architecture: invalid argument\"}",
    ),
    (
        "POST",
        "/v1.44/images/create?fromSrc=-&platform=macos",
        "",
        "400 application/json {\"message\":\"operating system is not supported\"}",
    ),
    (
        "POST",
        "/v1.44/images/create?fromImage=nosuch&platform=nintendo64",
        "",
        "400 application/json {\"message\":\"\\\"nintendo64\\\": unknown operating system or architecture: invalid argument\"}",
    ),
    (
        "POST",
        "/v1.44/volumes/create",
        r#"{"Name":"data","Driver":"nosuch"}"#,
        "404 application/json {\"message\":\"create data: error looking up volume plugin nosuch: plugin \\\"nosuch\\\" not found",
    ),
    (
        "GET",
        "/v1.23/containers/json",
        "",
        "400 application/json {\"message\":\"client version 1.23 is too old. Minimum supported API version is 1.24, \
         please upgrade your client to a newer version\"}",
    ),
];

#[test]
fn errors_have_dockers_shape() {
    let host = host!();
    for (method, path, body, expected) in FAILURES {
        let line = host.api(method, path, body).line();
        assert!(line.starts_with(expected), "{method} {path} {body}: {line}");
    }
}

#[test]
fn sizes_that_are_none_are_told_in_dockers_words() {
    let host = own_host!();
    host.run("docker run -dt --name web busybox sleep 100").success();
    for (size, expected) in [
        ("h=20", "invalid resize width \"\": invalid syntax"),
        ("h=x&w=3", "invalid resize height \"x\": invalid syntax"),
        ("h=3&w=-1", "invalid resize width \"-1\": value out of range"),
        ("h=3&w=4294967296", "invalid resize width \"4294967296\": value out of range"),
    ] {
        let answer = host.api("POST", &format!("/v1.44/containers/web/resize?{size}"), "");
        assert_eq!((answer.status, answer.message().as_str()), (400, expected), "{size}");
    }
}

#[test]
fn clients_of_an_older_api_get_what_they_mean() {
    let host = host!();
    let body = r#"{"Image":"busybox","Cmd":["sleep","100"],"HostConfig":{"Binds":["/tmp:/x:ro"],"PidsLimit":50}}"#;
    assert_eq!(host.api("POST", "/v1.39/containers/create?name=old", body).status, 201);
    assert_eq!(host.api("POST", "/v1.44/containers/create?name=new", body).status, 201);
    host.run("docker inspect --format '{{.HostConfig.IpcMode}}' old new").shows(expect![[r#"
        shareable
        private
    "#]]);
    // Where the namespace of control groups came with their version 2, older clients have it too.
    host.run("stat -f -c %T /sys/fs/cgroup; docker inspect --format '{{.HostConfig.CgroupnsMode}}' old")
        .says(if hako_testkit::require::cgroup_v2().is_ok() { "private" } else { "host" });
    assert_eq!(host.api("POST", "/v1.39/containers/old/update", r#"{"PidsLimit":7}"#).status, 200);
    assert_eq!(host.api("POST", "/v1.44/containers/new/update", r#"{"PidsLimit":-1}"#).status, 200);
    host.run("docker inspect --format '{{.HostConfig.PidsLimit}}' old new").shows(expect![[r#"
        50
        0
    "#]]);
}

/// Who asks for nothing but the names closes with the first answer, and everything is done by then.
#[test]
fn a_quiet_load_answers_when_it_is_done() {
    let host = host!();
    host.run("docker tag busybox kept:1 && docker save -o kept.tar kept:1 && docker rmi kept:1").success();
    let tar = std::fs::read(host.path("kept.tar")).expect("it has been saved");
    let mut connection = host.connect();
    let head = format!(
        "POST /v1.44/images/load?quiet=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        tar.len()
    );
    connection.send_raw(head.as_bytes()).expect("the daemon listens");
    connection.send_raw(&tar).expect("the daemon reads");
    assert_eq!(connection.read_head().expect("an answer").status, 200);
    drop(connection);
    host.run("docker image inspect --format '{{.RepoTags}}' kept:1").says("kept:1");
}

#[test]
fn a_body_of_another_type_is_read_before_it_is_refused() {
    let host = host!();
    host.run("docker create --name web busybox true").success();
    let mut connection = host.connect();
    let body = "x".repeat(100_000);
    let answer =
        connection.send_bytes("POST", "/v1.44/containers/web/update", "Content-Type: text/plain\r\n", body.as_bytes());
    assert_eq!(answer.expect("an answer").status, 400);
}

#[test]
fn there_are_no_plugins() {
    let host = host!();
    assert_eq!(host.api("GET", "/v1.44/plugins", "").line(), "200 application/json []");
    assert_eq!(host.api("GET", "/v1.44/plugins/nosuch/json", "").status, 404);
}

#[test]
fn what_has_happened_already_is_304() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    assert_eq!(host.api("POST", "/v1.44/containers/web/start", "").status, 304);
    assert_eq!(host.api("POST", "/v1.44/containers/web/stop?t=0", "").status, 204);
    assert_eq!(host.api("POST", "/v1.44/containers/web/stop?t=0", "").status, 304);
    assert_eq!(host.api("DELETE", "/v1.44/containers/web", "").status, 204);
}

#[test]
fn a_whole_life_by_hand() {
    let host = host!();
    let mut connection = host.connect();
    let mut send =
        |method: &str, path: &str, body: &str| connection.send(method, path, body).expect("the connection stays open");
    let created = send(
        "POST",
        "/v1.44/containers/create?name=web",
        r#"{"Image":"busybox","Cmd":["sh","-c","echo out; echo err >&2; exit 3"]}"#,
    );
    assert_eq!(created.status, 201);
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(created.json()["Warnings"], serde_json::json!([]));
    assert_eq!(send("POST", "/v1.44/containers/web/start", "").status, 204);
    assert_eq!(send("POST", "/v1.44/containers/web/wait", "").json()["StatusCode"], 3);
    let logs = send("GET", "/v1.44/containers/web/logs?stdout=1&stderr=1", "");
    assert_eq!(logs.header("content-type"), Some("application/vnd.docker.multiplexed-stream"));
    let mut frames = frames(&logs.body);
    frames.sort();
    assert_eq!(frames, [(1, "out\n".to_owned()), (2, "err\n".to_owned())]);
    assert_eq!(send("DELETE", "/v1.44/containers/web?v=1", "").status, 204);
    assert_eq!(send("GET", "/v1.44/containers/web/json", "").status, 404);
}

/// The stream and the text of each frame of a multiplexed stream.
fn frames(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        frames.push((head[0], String::from_utf8_lossy(&rest[..length]).into_owned()));
        bytes = &rest[length..];
    }
    frames
}

#[test]
fn attaching_upgrades_the_connection() {
    let host = host!();
    host.api(
        "POST",
        "/v1.44/containers/create?name=web",
        r#"{"Image":"busybox","Cmd":["tr","a-z","A-Z"],"OpenStdin":true,"StdinOnce":true,"AttachStdin":true}"#,
    );
    let mut connection = host.connect();
    let request = "POST /v1.44/containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
    connection.send_raw(request.as_bytes()).expect("the daemon listens");
    let head = connection.read_head().expect("an answer");
    assert_eq!((head.status, head.header("upgrade"), head.header("connection")), (101, Some("tcp"), Some("Upgrade")));
    assert_eq!(host.api("POST", "/v1.44/containers/web/start", "").status, 204);
    connection.send_raw(b"words\n").expect("the stream is open");
    let stream = connection.stream();
    stream.get_ref().shutdown(std::net::Shutdown::Write).expect("half of it may be closed");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the other half goes on to its end");
    assert_eq!(frames(&rest), [(1, "WORDS\n".to_owned())]);
}

/// Opens a stream, types Docker's own keys to leave (^P ^Q) into it, and returns what came before its end.
fn leave(host: &Host, path: &str, body: &str) -> String {
    let mut connection = host.connect();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    connection.send_raw(request.as_bytes()).expect("the daemon listens");
    assert_eq!(connection.read_head().expect("an answer").status, 101);
    connection.send_raw(b"\x10\x11").expect("the stream is open");
    let mut rest = Vec::new();
    connection.stream().read_to_end(&mut rest).expect("the daemon lets go of it");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn keys_that_leave_end_the_stream_and_are_told() {
    needs!(require::unkilled_daemon());
    let host = host!();
    let since = host.run("date +%s.%N").text().to_owned();
    host.run("docker run -d -it --name web busybox cat").success();
    leave(&host, "/v1.44/containers/web/attach?stream=1&stdin=1&stdout=1", "");
    let wanted = r#"{"AttachStdin":true,"AttachStdout":true,"Tty":true,"Cmd":["cat"]}"#;
    let exec = host.api("POST", "/v1.44/containers/web/exec", wanted).json()["Id"].as_str().unwrap().to_owned();
    leave(&host, &format!("/v1.44/exec/{exec}/start"), r#"{"Tty":true}"#);
    // Both go on without anybody.
    assert_eq!(host.api("GET", &format!("/v1.44/exec/{exec}/json"), "").json()["Running"], true);
    host.run("docker inspect --format '{{.State.Running}}' web").says("true");
    let until = host.run("date +%s.%N").text().to_owned();
    host.run(&format!("docker events --since {since} --until {until} --filter container=web --filter event=detach --filter event=exec_detach --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}} {{{{with .Actor.Attributes.execID}}}}{{{{len .}}}}{{{{end}}}}'"))
        .shows(expect![[r#"
            detach web
            exec_detach web 64
        "#]]);
}

#[test]
fn who_was_attached_reads_the_exit_as_soon_as_the_stream_has_ended() {
    let host = host!();
    for name in ["one", "two", "three", "four", "five"] {
        let wanted = r#"{"Image":"busybox","Cmd":["sh","-c","echo out; exit 3"]}"#;
        host.api("POST", &format!("/v1.44/containers/create?name={name}"), wanted);
        let mut connection = host.connect();
        let request = format!(
            "POST /v1.44/containers/{name}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        );
        connection.send_raw(request.as_bytes()).expect("the daemon listens");
        connection.read_head().expect("an answer");
        host.api("POST", &format!("/v1.44/containers/{name}/start"), "");
        let mut rest = Vec::new();
        connection.stream().read_to_end(&mut rest).expect("the stream ends");
        assert_eq!(frames(&rest), [(1, "out\n".to_owned())]);
        let state = host.api("GET", &format!("/v1.44/containers/{name}/json"), "").json()["State"].clone();
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &3.into()));
    }
}

#[test]
fn waiting_sends_its_headers_at_once() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 1000").success();
    let mut connection = host.connect();
    connection
        .send_raw(
            b"POST /v1.44/containers/web/wait?condition=not-running HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        )
        .expect("the daemon listens");
    // The container still runs, so that only the head can be there.
    assert_eq!(connection.read_head().expect("the head comes first").status, 200);
    host.run("docker kill web").success();
    let mut line = String::new();
    while !line.contains("StatusCode") {
        line.clear();
        assert_ne!(connection.stream().read_line(&mut line).expect("then the body"), 0);
    }
    assert!(line.contains("\"StatusCode\":137"), "{line}");
}

#[test]
fn unknown_fields_are_ignored_and_wrong_types_are_not() {
    let host = host!();
    let create = |body: &str| host.api("POST", "/v1.44/containers/create", body).status;
    assert_eq!(create(r#"{"Image":"busybox","Nonsense":{"a":[1]}}"#), 201);
    assert_eq!(create(r#"{"Image":5}"#), 400);
    assert_eq!(create(r#"{"Image":"busybox","HostConfig":{"Memory":"much"}}"#), 400);
}

#[test]
fn a_body_of_a_hundred_megabytes_is_refused() {
    let host = host!();
    let mut connection = host.connect();
    let head = "POST /v1.44/containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n";
    connection.send_raw(head.as_bytes()).expect("the daemon listens");
    let chunk = vec![b' '; 1 << 20];
    // It may answer and close before it has taken everything.
    for _ in 0..100 {
        if connection.send_raw(&chunk).is_err() {
            break;
        }
    }
    if let Ok(answer) = connection.read_head() {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert_eq!(host.api("GET", "/_ping", "").status, 200);
}

#[test]
fn two_requests_may_come_in_one_packet() {
    let host = host!();
    let mut connection = host.connect();
    connection
        .send_raw(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("the daemon listens");
    for _ in 0..2 {
        assert_eq!(connection.read_head().expect("an answer").status, 200);
        let mut body = [0_u8; 2];
        connection.stream().read_exact(&mut body).expect("its body");
        assert_eq!(&body, b"OK");
    }
}

#[test]
fn nonsense_is_no_request() {
    let host = host!();
    let mut connection = host.connect();
    connection.send_raw(b"nonsense\r\n\r\n").expect("the daemon listens");
    assert_eq!(connection.read_head().expect("an answer").status, 400);
    assert_eq!(host.api("GET", "/_ping", "").status, 200);
}

#[test]
fn quotes_typed_into_an_address_are_understood() {
    let host = host!();
    host.run("docker create --name web busybox true && docker create --name other busybox true").success();
    // As curl sends it: the quotes as they are, the braces too.
    let mut connection = host.connect();
    let request = "GET /v1.44/containers/json?all=1&filters={\"name\":[\"web\"]} HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.send_raw(request.as_bytes()).expect("the daemon listens");
    let head = connection.read_head().expect("an answer");
    assert_eq!(head.status, 200);
    let length: usize = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    connection.stream().read_exact(&mut body).expect("the body is there");
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("\"Names\":[\"/web\"]") && !body.contains("/other"), "{body}");
}

#[test]
fn a_node_without_a_swarm_says_so() {
    let host = host!();
    expect![[r#"503 application/json {"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}"#]].assert_eq(&host.api("GET", "/v1.44/services", "").line());
    expect![[r#"503 application/json {"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}"#]].assert_eq(&host.api("GET", "/v1.44/nodes", "").line());
}

#[test]
fn options_are_answered() {
    let host = host!();
    assert_eq!(host.api("OPTIONS", "/v1.44/containers/json", "").status, 200);
}

#[test]
fn one_image_is_sent_as_a_tar() {
    let host = host!();
    let answer = host.api("GET", "/v1.44/images/busybox/get", "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-tar")));
    host.write("image.tar", &answer.body);
    host.run("tar -tf image.tar | grep -x manifest.json").shows(expect![[r#"
        manifest.json
    "#]]);
}

#[test]
fn field_names_are_known_in_any_case() {
    let host = host!();
    let body = r#"{"image":"busybox","CMD":["true"],"labels":{"Kept":"x"},"hostconfig":{"memory":67108864,"Binds":["/tmp:/a"]}}"#;
    let made = host.api("POST", "/v1.44/containers/create?name=any", body);
    assert_eq!(made.status, 201, "{}", made.line());
    let seen = host.api("GET", "/v1.44/containers/any/json", "").json();
    assert_eq!(seen["HostConfig"]["Memory"], 67_108_864);
    assert_eq!(seen["HostConfig"]["Binds"][0], "/tmp:/a");
    assert_eq!((&seen["Path"], &seen["Config"]["Labels"]["Kept"]), (&"true".into(), &"x".into()));
}

#[test]
fn a_browser_attaches_by_a_websocket() {
    let host = host!();
    host.run("docker create -i --name web busybox sh -c 'read line; echo got $line'").success();
    let mut connection = host.connect();
    // Key and answer are the example of RFC 6455.
    let request = "GET /v1.44/containers/web/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.send_raw(request.as_bytes()).expect("the daemon listens");
    let head = connection.read_head().expect("an answer");
    assert_eq!(head.status, 101);
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(host.api("POST", "/v1.44/containers/web/start", "").status, 204);
    // A final binary frame of five bytes, masked by four zeros as clients must.
    connection.send_raw(b"\x82\x85\0\0\0\0this\n").expect("the stream is open");
    let mut frame = [0; 11];
    std::io::Read::read_exact(connection.stream(), &mut frame).expect("the output");
    assert_eq!(&frame, b"\x82\x09got this\n");
    // Then the container ends, and a frame that closes comes.
    let mut close = [0; 2];
    std::io::Read::read_exact(connection.stream(), &mut close).expect("an end");
    assert_eq!(close[0], 0x88);
}

#[test]
fn what_is_no_handshake_of_a_websocket_is_told_so() {
    let host = host!();
    host.run("docker create --name web busybox true").success();
    let answer = host.api("GET", "/v1.44/containers/web/attach/ws?stream=1", "");
    assert_eq!(answer.status, 400);
}
