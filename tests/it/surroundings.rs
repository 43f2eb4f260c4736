//! What a command line takes from its surroundings: variables and `config.json`.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use expect_test::expect;
use hako_testkit::Host;

/// What a daemon hears when this line is run: a daemon of the test's own, which has nothing and speaks 1.50.
fn heard(host: &Host, line: &str) -> String {
    let place = host.path("ear.sock");
    let listener = UnixListener::bind(&place).expect("a socket can be made on the machine");
    let listening = thread::spawn(move || {
        let mut heard = String::new();
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("somebody connects"));
            let before = heard.len();
            while stream.read_line(&mut heard).is_ok_and(|length| length > 2) {}
            if heard.len() == before {
                break;
            }
            let body = if heard[before..].starts_with("HEAD") { "" } else { "[]" };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
        heard
    });
    host.run(&format!("export DOCKER_HOST=unix://$PWD/ear.sock; {line}"));
    // Who connects and says nothing ends it.
    drop(UnixStream::connect(&place));
    std::fs::remove_file(place).expect("the socket was made here");
    listening.join().expect("the listener does not panic")
}

#[test]
fn the_version_and_the_headers_asked_for_are_sent() {
    let host = host!();
    host.write("config/config.json", r#"{"HttpHeaders": {"X-Way": "through", "User-Agent": "mine"}}"#);
    let said = heard(&host, "DOCKER_API_VERSION=1.41 DOCKER_CONFIG=$PWD/config docker ps");
    assert!(said.contains("GET /v1.41/containers/json"), "{said}");
    assert!(said.to_ascii_lowercase().contains("\r\nx-way: through\r\n"), "{said}");
    assert!(!said.to_ascii_lowercase().contains("user-agent: mine"), "{said}");
    let said = heard(&host, "docker ps");
    assert!(said.contains("GET /v1.50/containers/json") && !said.to_ascii_lowercase().contains("x-way"), "{said}");
    host.run("DOCKER_API_VERSION=1.99 docker ps").code(1).says("1.99");
}

#[test]
fn formats_of_lists_are_kept_in_the_configuration() {
    let host = host!();
    host.write(
        "config/config.json",
        r#"{"psFormat": "{{.Names}} is up", "imagesFormat": "{{.Repository}}!", "networksFormat": "{{.Name}}?",
            "volumesFormat": "{{.Name}};", "statsFormat": "{{.Name}}: {{.PIDs}}"}"#,
    );
    host.run("docker volume create box && docker run -d --name web busybox sleep 100").success();
    host.run("export DOCKER_CONFIG=$PWD/config; docker ps; docker ps --format {{.Image}}; docker images; docker network ls; docker volume ls; docker stats --no-stream web").shows(
        expect![[r#"
            web is up
            busybox
            busybox!
            bridge?
            host?
            none?
            box;
            web: 1
        "#]],
    );
}

#[test]
fn keys_that_detach_are_kept_in_the_configuration() {
    let host = host!();
    host.write("config/config.json", r#"{"detachKeys": "ctrl-a,x"}"#);
    host.run("docker run -dit --name web busybox").success();
    let terminal = host.terminal("docker --config $PWD/config attach web");
    // Docker's own keys are no longer any.
    terminal.type_keys("\x10\x11\recho still here\r");
    terminal.wait_for("\nstill here");
    terminal.type_keys("\x01x");
    terminal.end().code(1).says("read escape sequence");
    host.run("docker inspect --format '{{.State.Running}}' web").says("true");
}

#[test]
fn a_variable_names_the_platform() {
    let host = host!();
    let variable = "DOCKER_DEFAULT_PLATFORM=linux/s390x";
    host.run(&format!("{variable} docker run --rm --pull never busybox true")).code(125).says("linux/s390x");
    host.run(&format!("{variable} docker run --rm --platform linux/amd64 --pull never busybox echo the flag wins"))
        .says("the flag wins");
    host.run(&format!("touch file && tar c file | {variable} docker import - other:1 && docker image inspect --format '{{{{.Architecture}}}}' other:1"))
        .says("s390x");
    let said = heard(&host, &format!("{variable} docker pull registry.example/box"));
    assert!(said.contains("platform=linux%2Fs390x"), "{said}");
}

#[test]
fn second_names_of_commands_are_hidden_on_request() {
    let host = host!();
    let has = |variable: &str| host.run(&format!("{variable} docker --help | grep -c '^  rename '")).text().to_owned();
    assert_eq!((has("").as_str(), has("DOCKER_HIDE_LEGACY_COMMANDS=1").as_str()), ("1", "0"));
}

#[test]
fn words_on_a_terminal_have_no_colours_where_that_is_asked_for() {
    hako_testkit::needs!(hako_testkit::require::own_cli());
    let host = own_host!();
    let plain = host.terminal("NO_COLOR=1 docker run nosuch/image:1 --pull never; NO_COLOR=1 docker strat web");
    let shown = plain.end();
    assert!(!shown.stdout().contains("\x1b["), "{shown:?}");
    let coloured = host.terminal("docker strat web").end();
    assert!(coloured.stdout().contains("\x1b["), "{coloured:?}");
}

#[test]
fn a_variable_says_how_a_build_is_shown() {
    hako_testkit::needs!(hako_testkit::require::own_cli());
    let host = own_host!();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo built\n");
    let first = |variable: &str| host.run(&format!("{variable} docker build ctx 2>&1 | head -c 1")).text().to_owned();
    assert_eq!((first("BUILDKIT_PROGRESS=rawjson").as_str(), first("").as_str()), ("{", "#"));
}

#[test]
fn a_flag_or_a_variable_switches_debugging_on_and_levels_are_read() {
    let host = host!();
    let mode = "info 2>/dev/null | grep -m 1 'Debug Mode'";
    for (before, flags, expected) in [
        ("", "", "false"),
        ("", "--debug", "true"),
        ("", "-D", "true"),
        ("DEBUG=1", "", "true"),
        ("", "-l debug", "false"),
    ] {
        host.run(&format!("{before} docker {flags} {mode}")).says(&format!("Debug Mode: {expected}"));
    }
    for level in ["debug", "info", "warn", "error", "fatal"] {
        host.run(&format!("docker --log-level {level} ps -q")).success();
    }
    host.run("docker --log-level loud ps").code(1).says("Unable to parse logging level: loud");
}
