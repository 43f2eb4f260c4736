//! compose: files become applications.
//!
//! With docker's command line these need its plugin: `HAKO_TEST_COMPOSE` is the path of one; without, they are skipped.

use expect_test::expect;
use hako_testkit::Host;

const APPLICATION: &str = r#"
name: app
services:
  db:
    image: busybox
    command: sh -c "echo ready > /data/state; echo db says $$WHO; exec sleep 1000"
    environment: {WHO: "${WHO:-nobody}"}
    volumes: ["data:/data"]
    healthcheck: {test: "cat /data/state", interval: 1s, retries: 20}
    stop_grace_period: 0s
  web:
    image: busybox
    command: sh -c "echo web sees $$(cat /data/state); exec sleep 1000"
    volumes: ["data:/data:ro"]
    depends_on: {db: {condition: service_healthy}}
    stop_grace_period: 0s
volumes: {data: {}}
"#;

// hako's own, and no plugin.
pub(crate) fn is_hako(host: &Host) -> bool {
    host.run("docker compose plan --help").stdout().contains("Tell what")
}

// A machine where `docker compose` is there, with a file.
pub(crate) fn with_file(host: &Host, text: &str) -> bool {
    if let Some(plugin) = std::env::var_os("HAKO_TEST_COMPOSE") {
        let bytes = std::fs::read(&plugin).unwrap_or_else(|error| panic!("cannot read {}: {error}", plugin.display()));
        host.write("home/.docker/cli-plugins/docker-compose", bytes);
        host.run("chmod +x home/.docker/cli-plugins/docker-compose").success();
    }
    let there = host.run("docker compose version").stdout().contains("Compose version");
    if !there {
        hako_testkit::require::skip("needs docker's compose plugin");
    }
    // Docker keeps one set of names for everybody.
    host.run("docker compose -p app down -v -t 0 --remove-orphans");
    host.write("compose.yaml", text);
    there
}

#[test]
fn up_makes_an_application_and_down_takes_it_away() {
    let host = host!();
    if !with_file(&host, APPLICATION) {
        return;
    }
    host.run("WHO=me docker compose up -d").success();
    host.run("docker compose ps --format '{{.Name}} {{.Service}} {{.State}}'").shows(expect![[r#"
        app-db-1 db running
        app-web-1 web running
    "#]]);
    host.run("docker compose logs --no-color").says("| db says me").says("| web sees ready");
    host.run("docker compose exec -T db cat /data/state").shows(expect![[r#"
        ready
    "#]]);
    host.run("docker compose exec -T web sh -c 'ping -c 1 -W 3 db | grep -o \"1 packets received\"; exit 3'")
        .code(3)
        .says("1 packets received");
    host.run("docker compose down -t 0").success();
    host.run("docker ps -aq; docker network ls -q --filter name=app_; docker volume ls -q").shows(expect![[r#"
        app_data
    "#]]);
    host.run("docker compose down -v").success();
    host.run("docker volume ls -q").shows(expect![""]);
}

#[test]
fn what_has_not_changed_stays() {
    let host = host!();
    if !with_file(&host, APPLICATION) {
        return;
    }
    host.run("docker compose up -d").success();
    let ids = host.run("docker compose ps -q").text().to_owned();
    host.run("docker compose up -d").success();
    assert_eq!(host.run("docker compose ps -q").text(), ids);
    host.run("WHO=other docker compose up -d").success();
    let after = host.run("docker compose ps -q").text().to_owned();
    let kept = after.lines().filter(|id| ids.contains(*id)).count();
    // Docker makes anew whatever depends on something that is made anew; hako only what asks for it.
    let expected = usize::from(is_hako(&host));
    assert_eq!((after.lines().count(), kept), (2, expected));
    host.run("docker compose logs --no-log-prefix db").says("db says other");
    host.run("docker compose down -v -t 0").success();
}

#[test]
fn a_plan_tells_what_would_change_and_changes_nothing() {
    let host = host!();
    if !with_file(&host, APPLICATION) || !is_hako(&host) {
        return;
    }
    host.run("docker compose plan").shows(expect![[r#"
        + network app_default: create
        + volume app_data: create
        + container app-db-1: create and start
        + container app-web-1: create and start
        exit 2
    "#]]);
    host.run("docker ps -aq; docker volume ls -q; docker network ls -q --filter name=app_").shows(expect![""]);
    // It could not change anything if it wanted to: this socket lets only questions through.
    let read_only = host.read_only();
    host.run(&format!("docker -H {read_only} compose plan")).code(2).says("+ container app-db-1");
    host.run(&format!("docker -H {read_only} compose up -d")).code(1).says("sabotage");
    host.run("docker compose up -d").success();
    host.run(&format!("WHO=me docker -H {read_only} compose plan")).code(2).says("~ container app-db-1");
    host.run("docker compose plan").success().shows(expect![[r#"
        project app is as its files say
    "#]]);
    host.run("WHO=me docker compose plan").shows(expect![[r#"
        ~ container app-db-1: replace (stopped for up to 0s and the time it takes to start)
           environment: WHO=nobody -> WHO=me
        exit 2
    "#]]);
    host.run("docker compose down -v -t 0").success();
}

#[test]
fn services_are_scaled_stopped_started_and_run_once() {
    let host = host!();
    if !with_file(&host, APPLICATION) {
        return;
    }
    host.run("docker compose up -d --scale web=3").success();
    host.run("docker compose ps --format '{{.Name}}'").shows(expect![[r#"
        app-db-1
        app-web-1
        app-web-2
        app-web-3
    "#]]);
    host.run("docker compose up -d --scale web=1").success();
    host.run("docker compose stop -t 0 web").success();
    host.run("docker compose ps -a --format '{{.Name}} {{.State}}'").shows(expect![[r#"
        app-db-1 running
        app-web-1 exited
    "#]]);
    host.run("docker compose start web").success();
    host.run("docker compose run --rm -T web cat /data/state").says("ready");
    host.run("docker compose run --rm -T --entrypoint '' web sh -c 'exit 4'").code(4);
    host.run("docker compose kill web && docker compose rm -f web").success();
    host.run("docker compose ps -a --format '{{.Name}}'").shows(expect![[r#"
        app-db-1
    "#]]);
    host.run("docker compose -p app down -v -t 0").success();
}

#[test]
fn in_the_foreground_output_is_shown_and_an_interrupt_stops() {
    let host = host!();
    if !with_file(&host, APPLICATION) {
        return;
    }
    let up = host.spawn("exec docker compose up");
    up.wait_for("| web sees ready").wait_for("| db says nobody");
    up.signal(hako_testkit::Signal::INT);
    up.end().code(130);
    host.run("docker compose ps -a --format '{{.Name}} {{.State}}'").shows(expect![[r#"
        app-db-1 exited
        app-web-1 exited
    "#]]);
    host.run("docker compose down -v -t 0").success();
}

#[test]
fn what_has_ended_is_followed_again() {
    let host = host!();
    let file = "name: app\nservices:\n  web: {image: busybox, command: sh -c \"echo life $$(cat /proc/sys/kernel/random/uuid); echo err >&2; exec sleep 1000\", stop_grace_period: 0s}\n";
    if !with_file(&host, file) {
        return;
    }
    let output = |line: &str| {
        let up = host.spawn(line);
        up.wait_for("err");
        up.signal(hako_testkit::Signal::INT);
        let shown = up.end();
        shown.code(130);
        shown.stdout().lines().find_map(|line| line.split_once("| life ")).map(|(_, life)| life.to_owned())
    };
    let first = output("exec docker compose up");
    let second = output("exec docker compose up");
    assert!(first.is_some() && second.is_some(), "{first:?} {second:?}");
    assert_ne!(first, second, "what was said before is not said again");
    // A pipe finds what was said to standard error too.
    host.run("docker compose logs --no-log-prefix 2>/dev/null | grep -c err").shows(expect![[r#"
        2
    "#]]);
    host.run("docker compose down -t 0").success();
}

#[test]
fn a_service_is_started_with_what_it_depends_on() {
    let host = host!();
    if !with_file(&host, APPLICATION) {
        return;
    }
    host.run("docker compose start").code(1).says("service \"db\" has no container to start");
    host.run("docker compose up -d && docker compose stop -t 0").success();
    host.run("docker compose start web").success();
    host.run("docker compose ps --format '{{.Name}}/{{.Health}}'").shows(expect![[r#"
        app-db-1/healthy
        app-web-1/
    "#]]);
    // Without the file, by what the containers' labels say.
    host.run("docker compose stop -t 0 && rm compose.yaml && docker compose -p app start web").success();
    host.run("docker compose -p app ps -q --status running | wc -l").says("2");
    host.run("docker compose -p app down -v -t 0").success();
    // Who wants it without its dependencies waits for none of them.
    host.write("compose.yaml", APPLICATION.replace("cat /data/state\", interval", "exit 1\", interval"));
    host.run("docker compose up -d db && timeout 10 docker compose up -d --no-deps web").success();
    host.run("docker compose down -v -t 0").success();
}

#[test]
fn what_a_profile_leaves_out_stays() {
    let host = host!();
    let file = "name: app\nservices:\n  web: {image: busybox, command: sleep 1000, stop_grace_period: 0s}\n  \
        debug: {image: busybox, command: sleep 1000, stop_grace_period: 0s, profiles: [debug]}\n";
    if !with_file(&host, file) {
        return;
    }
    host.run("docker compose --profile debug up -d && docker compose down").success();
    host.run("docker compose ps --format '{{.Name}}'").shows(expect![[r#"
        app-debug-1
    "#]]);
    host.run("docker compose --profile debug down").success();
    host.run("docker ps -aq; docker network ls -q --filter name=app_").shows(expect![""]);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let host = host!();
    let file = "name: app\nservices: {web: {image: \"127.0.0.1:1/nothing\"}}\n";
    if !with_file(&host, file) {
        return;
    }
    for words in ["pull", "up -d", "create", "run web"] {
        host.run(&format!("docker compose {words}")).code(18);
    }
    host.run("docker compose pull --ignore-pull-failures").success();
    host.run("docker compose up --nope").code(16);
    host.run("docker compose nope").code(16);
    host.run("docker compose -f missing.yaml ps").code(14);
    host.run("docker compose up --exit-code-from nothing").code(1).says("no such service: nothing");
    host.run("docker compose up -d --attach web").code(1).says("--detach cannot be combined");
    host.run("docker compose run -P -p 80:80 web").code(1).says("--service-ports and --publish are incompatible");
    host.run("docker compose ls --filter a=b").code(1).says("invalid filter");
}

#[test]
fn the_exit_code_of_one_service_counts() {
    let host = host!();
    let file = r#"
name: app
services:
  test: {image: busybox, command: sh -c "echo tested; exit 7", depends_on: {setup: {condition: service_completed_successfully}}}
  setup: {image: busybox, command: echo set up}
  server: {image: busybox, command: sleep 1000, stop_grace_period: 0s}
"#;
    // Docker's plugin takes the end of what is waited for as the end of all.
    if !with_file(&host, file) || !is_hako(&host) {
        return;
    }
    host.run("docker compose up --exit-code-from test").code(7).says("| tested").says("| set up");
    host.run("docker compose down -t 0").success();
    host.write("compose.yaml", file.replace("echo set up", "sh -c 'exit 5'"));
    host.run("docker compose up -d").code(1).says("didn't complete successfully").says("exit 5");
    host.run("docker compose down -t 0").success();
}

#[test]
fn mistakes_in_files_name_their_place() {
    let host = host!();
    if !with_file(&host, "services:\n  web:\n    image: busybox\n    prots: ['80:80']\n") {
        return;
    }
    if !is_hako(&host) {
        host.run("docker compose config -q").says("prots");
    } else {
        let told = host.run("docker compose config -q");
        told.code(15)
            .says("compose.yaml:4:12: services.web.prots: this key is not known here (did you mean \"ports\"?)");
    }
    host.write("compose.yaml", "services: {web: {image: busybox}}");
    host.run("docker compose up -d nothing").code(1).says("no such service: nothing");
    host.run("docker compose -f missing.yaml up").says("missing.yaml");
}

const FILES: &str = r#"
name: app
services:
  web:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    environment: {KIND: "${KIND:-plain}"}
    secrets: [token, {source: token, target: renamed, uid: "7", gid: "8", mode: 0400}]
    configs:
      - motd
      - {source: motd, target: /etc/deep/motd, mode: 0640}
      - {source: file, target: /etc/file}
secrets: {token: {environment: TOKEN}}
configs: {motd: {content: "hello ${WHO:-you}"}, file: {file: ./file}}
"#;

#[test]
fn secrets_and_configs_need_no_file() {
    let host = host!();
    if !with_file(&host, FILES) {
        return;
    }
    host.write("file", "from a file");
    host.run("TOKEN=t0k WHO=me docker compose up -d").success();
    host.run("docker compose exec -T web sh -c 'cd /run/secrets && cat token renamed /motd /etc/deep/motd /etc/file'")
        .says("t0kt0khello mehello mefrom a file");
    host.run("docker compose exec -T web stat -c '%n %u %g %a' /run/secrets/token /run/secrets/renamed /etc/deep/motd")
        .shows(expect![[r#"
            /run/secrets/token 0 0 444
            /run/secrets/renamed 7 8 400
            /etc/deep/motd 0 0 640
        "#]]);
    // They are in a container that is made anew too.
    host.run("TOKEN=new KIND=other docker compose up -d").success();
    host.run("docker compose exec -T web cat /run/secrets/token").says("new");
    host.run("docker compose up -d --force-recreate").code(1).says("TOKEN");
    host.run("TOKEN=x docker compose down -t 0").success();
}

#[test]
fn files_are_copied_from_one_container_and_to_all() {
    let host = host!();
    let file = "name: app\nservices: {web: {image: busybox, command: sleep 1000, scale: 2, stop_grace_period: 0s}}\n";
    if !with_file(&host, file) {
        return;
    }
    host.run("docker compose up -d").success();
    host.run("echo here > local && docker compose cp local web:/there").success();
    for index in 1..=2 {
        host.run(&format!("docker compose exec -T --index {index} web cat /there")).says("here");
    }
    host.run("docker compose exec -T --index 2 web sh -c 'echo second > /there'").success();
    host.run("docker compose cp --index 2 web:/there back && cat back").success().says("second");
    host.run("docker compose cp local back").code(1).says("copy direction");
    host.run("docker compose cp nothing:/there back").code(1);
    host.run("docker compose down -t 0").success();
}

#[test]
fn unused_resources_are_made_on_request() {
    let host = host!();
    let file = "name: app\nservices: {web: {image: busybox, command: sleep 1000, stop_grace_period: 0s, networks: {n: {interface_name: front0}}}}\n\
        networks: {n: {}, spare: {}}\nvolumes: {spare: {}}\n";
    // Docker's plugin knows no interface names so far.
    if !with_file(&host, file) || !is_hako(&host) {
        return;
    }
    host.run("docker compose up -d").success();
    host.run("docker volume ls -q").shows(expect![""]);
    host.run("docker compose exec -T web ip -o link").says("front0");
    host.run("docker compose --all-resources plan").code(2).says("+ network app_spare").says("+ volume app_spare");
    host.run("docker compose --all-resources up -d && docker volume ls -q").says("app_spare");
    host.run("docker compose --all-resources down -v").success();
    host.run("docker volume ls -q").shows(expect![""]);
}

const BUILT: &str = r#"
name: app
services:
  web:
    build: {context: ./web, args: {WORD: "${WORD:-first}"}, secrets: [token], labels: {kind: page}}
    command: sleep 1000
    stop_grace_period: 0s
  inline:
    image: named:1
    build: {context: ./web, dockerfile_inline: "FROM app-web\nRUN echo inline > /inline\n", tags: ["named:2"]}
    command: sleep 1000
    stop_grace_period: 0s
  idle: {image: busybox, command: sleep 1000, stop_grace_period: 0s}
secrets: {token: {environment: TOKEN}}
"#;

#[test]
fn images_are_built_where_they_are_missing_and_on_request() {
    let host = host!();
    if !with_file(&host, BUILT) {
        return;
    }
    host.write(
        "web/Dockerfile",
        "FROM busybox\nARG WORD\nCOPY file /file\n\
         RUN --mount=type=secret,id=token echo $WORD $(cat /run/secrets/token) $(cat /file) > /made\n",
    );
    host.write("web/file", "file");
    let compose = "TOKEN=t0k docker compose --progress plain";
    // The second is built from the first, and nothing says so but its Dockerfile.
    host.run(&format!("{compose} build web && {compose} up -d")).success();
    host.run("docker compose exec -T web cat /made").says("first t0k file");
    host.run("docker compose exec -T inline cat /inline /made").says("inline\nfirst t0k file");
    host.run("docker image inspect named:2 app-web -f '{{index .Config.Labels \"com.docker.compose.service\"}} {{index .Config.Labels \"kind\"}}'")
        .says("web page");
    let ids = host.run("docker compose ps -q").text().to_owned();
    // What comes out as it was replaces nothing.
    host.run(&format!("{compose} up -d --build")).success();
    assert_eq!(host.run("docker compose ps -q").text(), ids);
    host.run(&format!("{compose} build --build-arg WORD=second web && {compose} up -d web")).success();
    host.run("docker compose exec -T web cat /made").says("second t0k file");
    host.write("web/Dockerfile", "FROM busybox\nRUN exit 9\n");
    host.run(&format!("{compose} build web")).code(17).says("exit code: 9");
    host.run(&format!("{compose} down -t 0 --rmi all")).success();
}

const HOOKED: &str = r#"
name: app
services:
  web:
    image: busybox
    command: sleep 1000
    stop_grace_period: 0s
    volumes: ["./shared:/shared", {type: bind, source: ./made, target: /made}]
    post_start: [{command: sh -c "echo started as $$WHO >> /shared/told", environment: [WHO=me]}]
    pre_stop: [{command: [sh, -c, echo stops >> /shared/told]}]
"#;

#[test]
fn commands_run_after_a_start_and_before_an_end() {
    let host = host!();
    // Docker's plugin reads them and runs nothing.
    if !with_file(&host, HOOKED) || !is_hako(&host) {
        return;
    }
    host.run("docker compose up -d").success();
    host.run("cat shared/told && test -d made").success().says("started as me");
    host.run("docker compose restart").success();
    host.run("docker compose down").success();
    host.run("cat shared/told").shows(expect![[r#"
        started as me
        stops
        started as me
        stops
    "#]]);
}

#[test]
fn a_dry_run_does_nothing() {
    let host = host!();
    if !with_file(&host, APPLICATION) || !is_hako(&host) {
        return;
    }
    host.run("docker compose up -d").success();
    let ids = host.run("docker compose ps -q").text().to_owned();
    host.run("docker compose stop --dry-run").success().says("Container app-web-1 (dry run)  Stopped");
    host.run("docker compose --dry-run down -v").success().says("Volume app_data (dry run)  Removed");
    host.run("docker compose exec --dry-run web true").code(1).says("exec has no --dry-run");
    assert_eq!(host.run("docker compose ps -q --status running").text(), ids);
    // What steers the program may stand in .env too.
    host.write(".env", "COMPOSE_COMPATIBILITY=true\nCOMPOSE_PROGRESS=quiet\n");
    host.run("docker compose -p other up -d").shows(expect![""]);
    host.run("docker compose -p other ps --format '{{.Name}}'").says("other_db_1");
    host.run("docker compose -p other down -v -t 0 && docker compose down -v -t 0").success();
}

#[test]
fn proxies_of_the_configuration_reach_containers_and_builds() {
    let host = host!();
    let file = "name: app\nservices: {web: {build: {dockerfile_inline: \"FROM busybox\\nRUN echo $$HTTP_PROXY > /built\\n\"}, \
                command: sleep 1000, stop_grace_period: 0s, environment: {NO_PROXY: own}}}\n";
    if !with_file(&host, file) {
        return;
    }
    let proxies = r#"{"proxies": {"default": {"httpProxy": "http://10.0.0.1:3128", "noProxy": "all"}}}"#;
    host.write("home/.docker/config.json", proxies);
    host.run("docker compose --progress plain up -d").success();
    host.run("docker compose exec -T web sh -c 'echo $HTTP_PROXY $NO_PROXY; cat /built'")
        .says("http://10.0.0.1:3128 own\nhttp://10.0.0.1:3128");
    host.run("docker compose down -t 0 --rmi all").success();
}
