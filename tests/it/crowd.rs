//! Many at once: fifty clients that make, start, stop and remove containers all the time.

use std::sync::Arc;

const CLIENTS: usize = 50;

/// How many containers each client goes through; `HAKO_TEST_CROWD` asks for more.
fn rounds() -> usize {
    std::env::var("HAKO_TEST_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn fifty_clients_at_once_leave_nothing() {
    let host = Arc::new(own_host!());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let host = host.clone();
            std::thread::spawn(move || {
                for round in 0..rounds() {
                    one_life(&host, &format!("c{client}-{round}"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client's request failed");
    }
    assert_eq!(host.run("docker ps -aq").text(), "");
    let folder = host.daemon().data_root().to_owned();
    assert_eq!(
        host.run(&format!("ls {folder}/containers {folder}/snapshots/containers"))
            .says_not("ID")
            .text()
            .lines()
            .filter(|line| !line.is_empty() && !line.ends_with(':'))
            .count(),
        0
    );
    assert_eq!(host.run("find /sys/fs/cgroup -maxdepth 4 -regex '.*/[0-9a-f]*' -name '????????????????????????????????????????????????????????????????' | wc -l").text(), "0");
    host.run("docker run --rm busybox echo still well").says("still well");
}

fn one_life(host: &hako_testkit::Host, name: &str) {
    let mut connection = host.connect();
    let mut expect = |method: &str, path: String, body: &str, status: u16| {
        let answer = connection.send(method, &path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    };
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"none"}}"#;
    expect("POST", format!("/v1.48/containers/create?name={name}"), body, 201);
    expect("POST", format!("/v1.48/containers/{name}/start"), "", 204);
    // Reads do not wait for writes.
    expect("GET", format!("/v1.48/containers/{name}/json"), "", 200);
    expect("POST", format!("/v1.48/containers/{name}/stop?t=0"), "", 204);
    expect("DELETE", format!("/v1.48/containers/{name}"), "", 204);
}
