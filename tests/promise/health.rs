//! Health checks over the network: what the engine spends on five hundred containers that are each asked every second.
//!
//! Only hako has such checks, so there is no peer. What the containers' own servers spend is not counted.

use std::{fs, time::Duration};

use hako_testkit::{http::Connection, wait};
use serde_json::{Value, json};

use crate::{measure::Table, subject::Subject};

/// A bridge has 1,023 ports (linux/net/bridge/br_private.h); two leave room for more containers than are asked for.
const NETWORKS: [&str; 2] = ["bench-health-0", "bench-health-1"];
const PERIOD: Duration = Duration::from_secs(30);
/// What ticks of proc(5), stat are parts of, on every architecture.
const TICKS_PER_SECOND: u64 = 100;

pub(crate) fn health(table: &mut Table, own: &Subject, _: Option<&Subject>, _: usize, many: usize) {
    let mut connection = own.connect();
    for network in NETWORKS {
        demand(&mut connection, "POST", "/v1.44/networks/create", &json!({ "Name": network }).to_string(), 201);
    }
    for (what, test) in [("HTTP", ["HTTP", ":80/index.html"]), ("TCP", ["TCP", ":80"])] {
        let share = measured(own, &mut connection, test, many);
        let what = format!("{many} checks a second by {what}");
        table.amount(&what, "≤ 5 % of a core", "% of a core", share * 100.0, None);
    }
    for network in NETWORKS {
        demand(&mut connection, "DELETE", &format!("/v1.44/networks/{network}"), "", 204);
    }
}

/// The share of one core that the engine takes while `count` containers are checked every second.
fn measured(own: &Subject, connection: &mut Connection, test: [&str; 2], count: usize) -> f64 {
    let names: Vec<String> = (0..count).map(|number| format!("bench-health-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let body = json!({
            "Image": "busybox",
            "Cmd": ["sh", "-c", "mkdir /w; echo well > /w/index.html; exec httpd -f -p 80 -h /w"],
            "Healthcheck": { "Test": test, "Interval": 1_000_000_000_u64 },
            "HostConfig": { "NetworkMode": NETWORKS[number % NETWORKS.len()] },
        });
        demand(connection, "POST", &format!("/v1.44/containers/create?name={name}"), &body.to_string(), 201);
        demand(connection, "POST", &format!("/v1.44/containers/{name}/start"), "", 204);
    }
    wait::until("every container is healthy", || healthy(connection), |healthy| *healthy == count);
    let processes = own.processes();
    let before = spent(&processes);
    wait::pass(PERIOD);
    let share = (spent(&processes) - before).as_secs_f64() / PERIOD.as_secs_f64();
    assert_eq!(healthy(connection), count, "all are still healthy");
    own.remove(&names);
    share
}

fn healthy(connection: &mut Connection) -> usize {
    // {"health":["healthy"]}
    let path = "/v1.44/containers/json?filters=%7B%22health%22%3A%5B%22healthy%22%5D%7D";
    demand(connection, "GET", path, "", 200).as_array().map_or(0, Vec::len)
}

/// The processor time that processes have taken so far.
fn spent(pids: &[u32]) -> Duration {
    let of_one = |pid: &u32| -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; utime and stime are the fields 14 and 15, the first after it is 3.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    Duration::from_millis(pids.iter().filter_map(of_one).sum::<u64>() * 1_000 / TICKS_PER_SECOND)
}

fn demand(connection: &mut Connection, method: &str, path: &str, body: &str, status: u16) -> Value {
    let answer = connection.send(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    assert!(answer.status == status, "{method} {path}: {}", answer.line());
    answer.json()
}
