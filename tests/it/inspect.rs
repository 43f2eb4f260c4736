//! inspect: what a container and an image say about themselves.

use expect_test::expect;

#[test]
fn a_container_tells_how_it_was_made() {
    let host = host!();
    host.run("docker run -d --name web -e A=1 -l x=y -m 64m --cpus 0.5 --restart on-failure:3 --hostname box -w /tmp -u bin busybox sleep 100").success();
    host.run(
        "docker inspect --format '{{.Name}} {{.Path}} {{json .Args}} {{.RestartCount}} {{.Driver}} {{.Platform}}' web",
    )
    .shows(expect![[r#"
        /web sleep ["100"] 0 overlay2 linux
    "#]]);
    host.run("docker inspect --format '{{.Config.Hostname}} {{.Config.User}} {{.Config.WorkingDir}} {{json .Config.Cmd}} {{json .Config.Labels}} {{.Config.Image}}' web")
        .shows(expect![[r#"
            box bin /tmp ["sleep","100"] {"x":"y"} busybox
        "#]]);
    host.run("docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.NetworkMode}}' web")
        .shows(expect![[r#"
            67108864 500000000 on-failure 3 bridge
        "#]]);
    host.run(
        "docker inspect --format '{{.State.Running}} {{.State.Paused}} {{.State.Restarting}} {{.State.Dead}}' web",
    )
    .shows(expect![[r#"
        true false false false
    "#]]);
}

#[test]
fn all_of_dockers_keys_are_there() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    let json = &host.run("docker inspect web").json()[0];
    let missing = |part: &str, keys: &str| {
        let value = json.pointer(part).unwrap_or(&serde_json::Value::Null);
        keys.split(' ').filter(|key| value.get(key).is_none()).map(|key| format!("{part}/{key}")).collect::<Vec<_>>()
    };
    let all = [
        missing("", CONTAINER_KEYS),
        missing("/State", "Dead Error ExitCode FinishedAt OOMKilled Paused Pid Restarting Running StartedAt Status"),
        missing("/Config", CONFIG_KEYS),
        missing("/NetworkSettings/Networks/bridge", ENDPOINT_KEYS),
    ];
    assert_eq!(all.concat(), [""; 0]);
}

const CONTAINER_KEYS: &str = "AppArmorProfile Args Config Created Driver ExecIDs GraphDriver HostConfig HostnamePath \
    HostsPath Id Image LogPath MountLabel Mounts Name NetworkSettings Path Platform ProcessLabel ResolvConfPath RestartCount State";
const CONFIG_KEYS: &str = "AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env Hostname Image Labels \
    OnBuild OpenStdin StdinOnce Tty User Volumes WorkingDir";
const ENDPOINT_KEYS: &str = "Aliases DNSNames DriverOpts EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen \
    IPAMConfig IPAddress IPPrefixLen IPv6Gateway Links MacAddress NetworkID";

#[test]
fn names_ids_and_types_are_looked_up() {
    let host = host!();
    host.run("docker create --name web busybox true").success();
    host.run("docker inspect --type container --format '{{.Name}}' web").shows(expect![[r#"
        /web
    "#]]);
    host.run("docker inspect --type image --format '{{json .RepoTags}}' busybox").shows(expect![[r#"
        ["busybox:latest"]
    "#]]);
    host.run("docker inspect --type image web").shows(expect![[r#"
        []
        ! Error response from daemon: No such image: web:latest
        exit 1
    "#]]);
    host.run("docker inspect nosuch").shows(expect![[r#"
        []
        ! Error: No such object: nosuch
        exit 1
    "#]]);
    host.run("docker container inspect nosuch web --format '{{.Name}}'").shows(expect![[r#"
        /web
        ! Error response from daemon: No such container: nosuch
        exit 1
    "#]]);
    host.run("docker inspect --type plugin web").shows(expect![[r#"
        []
        ! Error response from daemon: plugin "web" not found
        exit 1
    "#]]);
    for kind in ["node", "secret"] {
        host.run(&format!("docker inspect --type {kind} web")).code(1).says("swarm");
    }
    host.run("docker inspect --type nosuch web").code(1).says("unknown type: \"nosuch\": must be one of \"config\"");
    host.run("docker inspect -s --format '{{.Name}}' bridge").shows(expect![[r#"
        bridge
        ! WARNING: --size ignored for network
    "#]]);
}

#[test]
fn a_field_that_nothing_has_is_no_empty_text() {
    let host = host!();
    for (command, place) in [
        ("info --format '{{.Foo}}'", "at <.Foo>: can't evaluate field Foo"),
        ("version --format '{{.Foo}}'", "at <.Foo>: can't evaluate field Foo"),
        ("version --format '{{.Client.Foo}}'", "at <.Client.Foo>: can't evaluate field Foo"),
    ] {
        host.run(&format!("docker {command}")).code(1).says(place);
    }
    host.run("docker events --since 0 --until 1 --format '{{.Foo}}'").code(64).says("can't evaluate field Foo");
    host.run("docker info --format '{{.Foo'").code(64).says("template parsing error: template: :1: unclosed action");
    assert_eq!(host.run("docker info --format '[{{.ProductLicense}}]'").text(), "[]");
    host.run("docker info --format '{{range $name, $it := .Runtimes}}{{if eq $name \"none\"}}x{{end}}{{end}}'")
        .success();
}

#[test]
fn sizes_are_there_when_asked_for() {
    let host = host!();
    host.run("docker run --name web busybox sh -c 'head -c 5000 /dev/zero > /file'").success();
    host.run("docker inspect -s --format '{{.SizeRw}}' web").shows(expect![[r#"
        5000
    "#]]);
    host.run("docker inspect --format '{{json .SizeRw}}' web").success();
}

#[test]
fn structs_are_printed_as_docker_prints_them() {
    let host = host!();
    host.run("docker create --name web -p 8080:80 -v data:/data --tmpfs /t --restart on-failure:3 --ulimit nofile=10:20 --device /dev/null:/dev/nothing busybox true").success();
    host.run("docker inspect --format '{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}} {{.HostConfig.PortBindings}} {{.HostConfig.Ulimits}} {{.HostConfig.Devices}}' web").shows(expect![[r#"
        {on-failure 3} {json-file map[]} map[80/tcp:[{ 8080}]] [nofile=10:20] [{/dev/null /dev/nothing rwm}]
    "#]]);
    host.run("docker inspect --format '{{len .Mounts}} {{range .Mounts}}{{.}}{{end}}' web")
        .says("1 {volume data ")
        .says(" /data local z true }");
    host.run("docker inspect --format '{{.State.Health}} {{.HostConfig.PidsLimit}} {{.Config.Healthcheck}} {{.HostConfig.Sysctls}} {{.Config.ExposedPorts}}' web").shows(expect![[r#"
        <nil> <nil> <nil> map[] map[80/tcp:{}]
    "#]]);
    host.run("docker inspect --format '{{.State.Health.Status}}' web").code(1).says(
        "template parsing error: template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
    );
    host.run("docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}unknown{{end}}' web").shows(
        expect![[r#"
        unknown
    "#]],
    );
    host.run("docker rm web && docker volume rm data").success();
}
