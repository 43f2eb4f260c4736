//! ps: columns, filters, formats.

use expect_test::expect;

#[test]
fn the_columns_are_dockers() {
    let host = host!();
    host.run("docker ps").shows(expect![[r#"
        CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES
    "#]]);
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("docker run --name done busybox false").code(1);
    host.run("docker ps").shows(expect![[r#"
        CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES
        <id1>   busybox   "sleep 100"   <age> ago   Up <age>   web
    "#]]);
    host.run("docker ps -a").shows(expect![[r#"
        CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES
        <id1>   busybox   "false"   <age> ago   Exited (1) <age> ago   done
        <id2>   busybox   "sleep 100"   <age> ago   Up <age>   web
    "#]]);
    host.run("docker ps -aq --no-trunc | wc -c").shows(expect![[r#"
        130
    "#]]);
}

#[test]
fn filters_choose() {
    let host = host!();
    host.run("docker run -d --name web -l tier=front -l env busybox sleep 100").success();
    host.run("docker run --name done -l tier=back busybox sh -c 'exit 3'").code(3);
    host.run("docker create --name made busybox true").success();
    let names = |filter: &str| {
        host.run(&format!("docker ps -a --format '{{{{.Names}}}}' {filter} | sort | tr '\\n' ' '")).to_string()
    };
    expect![[r#"
        done
    "#]]
    .assert_eq(&names("-f status=exited"));
    expect![[r#"
        made web
    "#]]
    .assert_eq(&names("-f status=created -f status=running"));
    expect![[r#"
        done web
    "#]]
    .assert_eq(&names("-f label=tier"));
    expect![[r#"
        done
    "#]]
    .assert_eq(&names("-f label=tier=back"));
    expect![[r#"
        done
    "#]]
    .assert_eq(&names("-f exited=3"));
    expect![[r#"
        web
    "#]]
    .assert_eq(&names("-f name=we"));
    expect![[r#"
        made
    "#]]
    .assert_eq(&names("-f name=^/made$"));
    expect![[r#"
        done made web
    "#]]
    .assert_eq(&names("-f ancestor=busybox"));
    expect![[r#"
        web
    "#]]
    .assert_eq(&names("-f before=done"));
    expect![[r#"
        made
    "#]]
    .assert_eq(&names("-f since=done"));
    expect![[r#"
        made
    "#]]
    .assert_eq(&names("-l"));
    expect![[r#"
        done made
    "#]]
    .assert_eq(&names("-n 2"));
    host.run("docker ps -f nosuch=1").code(1).says("invalid filter 'nosuch'");
}

#[test]
fn formats_are_templates() {
    let host = host!();
    host.run("docker run -d --name web -l a=b busybox sleep 100").success();
    host.run("docker ps --format '{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Labels}} {{.Label \"a\"}}'").shows(
        expect![[r#"
            web busybox "sleep 100" running a=b b
        "#]],
    );
    host.run("docker ps --format 'table {{.Names}}\\t{{.Image}}'").shows(expect![[r#"
        NAMES   IMAGE
        web   busybox
    "#]]);
    let json = host.run("docker ps --format json").json();
    let keys: Vec<&String> = json.as_object().map(|object| object.keys().collect()).unwrap_or_default();
    expect![[r#"["Command", "CreatedAt", "ID", "Image", "Labels", "LocalVolumes", "Mounts", "Names", "Networks", "Platform", "Ports", "RunningFor", "Size", "State", "Status"]"#]].assert_eq(&format!("{keys:?}"));
    host.run("docker ps --format '{{.Nosuch}}'").code(1);
    // Newer than this docker; ours has it, and as docker's not in the JSON of a whole row.
    host.run(
        "docker run -d --name ill --health-cmd false --health-retries 1 --health-interval 100ms busybox sleep 100",
    )
    .success();
    host.wait_until(
        "the check to fail",
        |host| host.run("hako ps --format '{{.Names}}:{{.HealthStatus}}' | sort | xargs"),
        |shown| shown.text() == "ill:unhealthy web:",
    );
    host.run("docker rm -f ill").success();
    host.run("docker ps --no-trunc --format '{{upper .Names}} {{len .ID}}'").shows(expect![[r#"
        WEB 64
    "#]]);
}

#[test]
fn the_rarer_filters_choose() {
    let host = host!();
    host.run("docker run -d --name web -p 127.0.0.1:18091:80 --expose 90/udp -v data:/data --health-cmd true --health-interval 100ms busybox sleep 100").success();
    host.run("docker create --name other --network none busybox true").success();
    let names = |filter: &str| {
        host.run(&format!("docker ps -a -f {filter} --format '{{{{.Names}}}}' | sort | xargs")).text().to_owned()
    };
    host.wait_until("the check to pass", |_| names("health=healthy"), |seen| seen == "web");
    for (filter, expected) in [
        ("publish=18091", "web"),
        ("publish=18090-18092/tcp", "web"),
        ("publish=18091/udp", ""),
        ("publish=80", ""),
        ("expose=90/udp", "web"),
        ("expose=85-95/udp", "web"),
        ("expose=90", ""),
        ("health=none", "other"),
        ("health=starting", ""),
        ("volume=data", "web"),
        ("volume=/data", "web"),
        ("volume=/dat", ""),
        ("network=none", "other"),
        ("network=bridge", "web"),
        ("is-task=false", "other web"),
        ("is-task=true", ""),
        ("status=created", "other"),
        ("status=running", "web"),
        ("label=nosuch", ""),
        ("id=nosuch", ""),
    ] {
        assert_eq!(names(filter), expected, "{filter}");
    }
}

#[test]
fn arrows_are_escaped_in_whole_rows_only() {
    let host = host!();
    host.run("docker run -d --name web -p 127.0.0.1:18090:80 busybox sleep 100").success();
    host.run("docker ps --format '{{json .Ports}}'").shows(expect![[r#"
        "127.0.0.1:18090->80/tcp"
    "#]]);
    host.run("docker ps --format '{{json .}}'").says("\"Ports\":\"127.0.0.1:18090-\\u003e80/tcp\"");
}

#[test]
fn sizes_are_shown_when_asked_for() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'head -c 100000 /dev/zero > /file'").success();
    host.run("docker ps -as --format '{{.Size}}' | cut -d' ' -f1").shows(expect![[r#"
        100kB
    "#]]);
}

#[test]
fn ports_have_a_column() {
    let host = host!();
    host.run("docker run -d --name web -p 18080:80 -p 127.0.0.1:18443:443/tcp -p 18053:53/udp busybox sleep 100")
        .success();
    host.run("docker ps --format '{{.Ports}}'").shows(expect![[r#"
        0.0.0.0:18053->53/udp, [::]:18053->53/udp, 0.0.0.0:18080->80/tcp, [::]:18080->80/tcp, 127.0.0.1:18443->443/tcp
    "#]]);
    host.run("docker port web").shows(expect![[r#"
        53/udp -> 0.0.0.0:18053
        53/udp -> [::]:18053
        80/tcp -> 0.0.0.0:18080
        80/tcp -> [::]:18080
        443/tcp -> 127.0.0.1:18443
    "#]]);
}

#[test]
fn top_lists_the_processes() {
    let host = host!();
    host.run("docker run -d --name web busybox sh -c 'sleep 101 & exec sleep 100'").success();
    host.run("docker top web -o pid,args | awk 'NR > 1 {print $2, $3}' | sort").shows(expect![[r#"
        sleep 100
        sleep 101
    "#]]);
    host.run("docker top web | head -1 | awk '{print $1, $2, $NF}'").shows(expect![[r#"
        UID PID CMD
    "#]]);
    host.run("docker stop -t 0 web && docker top web").code(1).says("is not running");
}

#[test]
fn templates_have_dockers_functions() {
    let host = host!();
    host.run("docker run -d --name web -l a=b --expose 80 --expose 81 busybox sleep 100").success();
    for (template, expected) in [
        ("{{join (split .Image \"y\") \"-\"}}", "bus-box"),
        ("{{title .Names}} {{lower .Command}} {{upper .State}}", "Web \"sleep 100\" RUNNING"),
        ("[{{pad .Names 1 2}}]", "[ web  ]"),
        ("{{truncate .Image 4}}", "busy"),
        ("{{range $at, $port := split .Ports \", \"}}{{$at}}={{$port}} {{end}}", "0=80-81/tcp "),
        ("{{json .Names}}", "\"web\""),
        ("{{if eq .State \"running\"}}up{{else}}down{{end}}", "up"),
        ("{{with .Labels}}{{.}}{{end}} {{printf \"%-5s|\" .Names}}", "a=b web  |"),
        ("{{println .Names}}", "web\n"),
        ("{{len .Names}} {{index (split .Image \"s\") 0}}", "3 bu"),
    ] {
        let shown = host.run(&format!("docker ps --format '{template}'"));
        assert_eq!(shown.stdout(), format!("{expected}\n"), "{template}");
    }
}
