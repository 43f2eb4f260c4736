//! What clients do while daemons die, each with what must be true of it; each answers how often it was done.

use hako_testkit::{Host, wait};

use crate::client::Client;

type Work = fn(&Client<'_>) -> usize;

/// Everything that goes on at once.
pub(crate) const WORK: &[(&str, Work)] = &[
    ("jobs_end_with_their_code_and_all_output", |client| jobs(client, "a")),
    ("jobs_end_with_their_code_and_all_output_too", |client| jobs(client, "b")),
    ("a_stop_is_heard", stops),
    ("an_exec_tells_its_code", execs),
    ("what_runs_and_goes_tells_its_code", passing),
    ("volumes_keep_what_was_written", volumes),
];

/// Lines that a job prints.
const LINES: usize = 400;

/// Makes a container, and makes it again if the daemon died before it had one.
fn create(client: &Client<'_>, name: &str, rest: &str) {
    let shown = client.ask(&format!("docker create --name {name} {rest}"));
    let known = shown.stderr().is_empty() || shown.stderr().contains("already in use");
    assert!(known, "{}", shown.stderr());
}

/// Starts a container that has never run, once.
fn start(client: &Client<'_>, name: &str) {
    let begun = || {
        let _ = client.once(&format!("docker start {name}"));
        client.inspect(name, "{{.State.StartedAt}}")
    };
    // A start whose answer is lost has happened or has not; a job is not to run twice.
    let look = || match client.inspect(name, "{{.State.StartedAt}}") {
        never if never.starts_with("0001-") => begun(),
        at => at,
    };
    wait::until(&format!("{name} to be started"), look, |at| !at.starts_with("0001-"));
}

fn remove(client: &Client<'_>, name: &str) {
    let gone = || {
        let shown = client.ask(&format!("docker rm -f {name}"));
        shown.stderr().is_empty() || shown.stderr().contains("No such container")
    };
    wait::until(&format!("{name} to be removed"), gone, |gone| *gone);
}

fn jobs(client: &Client<'_>, series: &str) -> usize {
    let expected: Vec<String> = (1..=LINES).map(|line| format!("line {line}")).collect();
    let expected = expected.join("\n");
    let mut done = 0;
    while client.goes_on() {
        let (name, code) = (format!("job-{series}-{done}"), done % 120);
        let script = format!("n=0; while test $n -lt {LINES}; do n=$((n + 1)); echo line $n; done; exit {code}");
        create(client, &name, &format!("busybox sh -c '{script}'"));
        start(client, &name);
        client.comes_to(&format!("docker wait {name}"), &code.to_string());
        client.comes_to(&format!("docker logs {name}"), &expected);
        remove(client, &name);
        done += 1;
    }
    done
}

fn stops(client: &Client<'_>) -> usize {
    let mut done = 0;
    while client.goes_on() {
        let name = format!("server-{done}");
        create(
            client,
            &name,
            "busybox sh -c 'trap \"echo bye; exit 5\" TERM; echo up; while true; do usleep 10000; done'",
        );
        start(client, &name);
        client.comes_to(&format!("docker logs {name}"), "up");
        let stopped = || {
            let _ = client.ask(&format!("docker stop -t 20 {name}"));
            client.inspect(&name, "{{.State.Status}} {{.State.ExitCode}}")
        };
        wait::until(&format!("{name} to be stopped"), stopped, |state| state == "exited 5");
        client.comes_to(&format!("docker logs {name}"), "up\nbye");
        remove(client, &name);
        done += 1;
    }
    done
}

fn execs(client: &Client<'_>) -> usize {
    let mut done = 0;
    while client.goes_on() {
        // What is lost on the way may have run; it is not asked for again.
        if let Some(shown) = client.once("docker exec talk-0 sh -c 'echo in; exit 7' || echo code $?")
            && shown.stderr().is_empty()
        {
            assert_eq!(shown.text(), "in\ncode 7");
            done += 1;
        }
    }
    done
}

fn passing(client: &Client<'_>) -> usize {
    let mut done = 0;
    while client.goes_on() {
        if let Some(shown) = client.once("docker run --rm busybox sh -c 'echo passing; exit 3' || echo code $?")
            && shown.stderr().is_empty()
        {
            assert_eq!(shown.text(), "passing\ncode 3");
            done += 1;
        }
    }
    done
}

fn volumes(client: &Client<'_>) -> usize {
    let mut done = 0;
    while client.goes_on() {
        let name = format!("kept-{done}");
        client.ask(&format!("docker volume create {name}")).says(&name);
        create(client, &name, &format!("-v {name}:/data busybox sh -c 'echo {name} > /data/file; exit 4'"));
        start(client, &name);
        client.comes_to(&format!("docker wait {name}"), "4");
        remove(client, &name);
        let read = format!("{name}-read");
        create(client, &read, &format!("-v {name}:/data busybox cat /data/file"));
        start(client, &read);
        client.comes_to(&format!("docker wait {read}"), "0");
        client.comes_to(&format!("docker logs {read}"), &name);
        remove(client, &read);
        let gone = || {
            let shown = client.ask(&format!("docker volume rm {name}"));
            shown.stderr().is_empty() || shown.stderr().contains("no such volume")
        };
        wait::until(&format!("volume {name} to be removed"), gone, |gone| *gone);
        done += 1;
    }
    done
}

/// Containers that run from the beginning to the end, and talk.
pub(crate) struct Watched {
    before: String,
}

const TALKERS: usize = 3;
const NAMES: &str = "talk-0 talk-1 talk-2";
const WHO: &str = "{{.Name}} {{.State.Pid}} {{.State.StartedAt}} {{.State.Running}} {{.RestartCount}}";

impl Watched {
    pub(crate) fn start(client: &Client<'_>) -> Self {
        for number in 0..TALKERS {
            let script =
                "n=0; until test -e /go; do n=$((n + 1)); echo $n; test $((n % 40)) = 0 && usleep 20000; done; exit 9";
            client.ask(&format!("docker run -d --name talk-{number} busybox sh -c '{script}'")).says("");
        }
        Self { before: client.inspect(NAMES, WHO) }
    }

    /// Ends them, and sees that they are who they were and have said everything, once.
    pub(crate) fn check(&self, client: &Client<'_>) {
        assert_eq!(client.inspect(NAMES, WHO), self.before);
        for number in 0..TALKERS {
            let name = format!("talk-{number}");
            client.ask(&format!("docker exec {name} touch /go"));
            client.comes_to(&format!("docker wait {name}"), "9");
            let logs = client.ask(&format!("docker logs {name}"));
            let lines: Vec<usize> = logs.stdout().lines().map(|line| line.parse().unwrap_or(0)).collect();
            // The oldest may have been rotated away.
            let first = lines.first().copied().unwrap_or(1);
            let wrong = lines.iter().zip(first..).find(|(line, expected)| *line != expected);
            assert!(wrong.is_none() && lines.len() > 100, "{name}: {wrong:?} of {} lines", lines.len());
            println!("{name} has said {} lines", lines.last().copied().unwrap_or_default());
            remove(client, &name);
        }
    }
}

/// Removes what lost commands have left, as a person would, and looks for what nobody could remove.
pub(crate) fn nothing_is_left(host: &Host) {
    host.run("docker ps -aq | xargs -r docker rm -f; docker volume ls -q | xargs -r docker volume rm").success();
    let (data, run) = (host.daemon().data_root().to_owned(), host.daemon().exec_root().to_owned());
    let look = format!(
        "ls {data}/containers {data}/snapshots/containers {run}/containers | grep -v ':$'; \
         ls /sys/class/net/*/brif 2>/dev/null | grep -v ':$'; \
         find /sys/fs/cgroup -type d -path '*hako*' | grep -E '[0-9a-f]{{64}}'; \
         grep -c overlay /proc/self/mountinfo | grep -v '^1$'"
    );
    wait::until("nothing to be left", || host.run(&look), |left| left.text().split_whitespace().next().is_none());
    let (daemons, keepers) = (host.processes_of("daemon").len(), host.processes_of("keeper").len());
    assert_eq!((daemons, keepers), (1, 1), "daemons and keepers");
}
