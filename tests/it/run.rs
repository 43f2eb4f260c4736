//! `docker run`: output, exit statuses, names, environment, users, working directory.

use expect_test::expect;

#[test]
fn a_container_prints_and_ends() {
    let host = host!();
    host.run("docker run --rm busybox echo hello").shows(expect![[r#"
        hello
    "#]]);
    host.run("docker ps -aq").shows(expect![[""]]);
}

#[test]
fn the_two_streams_stay_apart() {
    let host = host!();
    let shown = host.run("docker run --rm busybox sh -c 'echo out; echo err >&2; exit 3'");
    assert_eq!((shown.stdout(), shown.stderr()), ("out\n", "err\n"));
    shown.code(3);
}

#[test]
fn the_status_is_that_of_the_process() {
    let host = host!();
    host.run("docker run --rm busybox true").code(0);
    host.run("docker run --rm busybox false").code(1);
    host.run("docker run --rm busybox sh -c 'exit 42'").code(42);
    host.run("docker run --rm busybox sh -c 'sleep 100 & kill -9 $!; wait $!'").code(137);
}

#[test]
fn a_command_that_cannot_be_run_ends_with_126_or_127() {
    let host = host!();
    host.run("docker run --rm busybox nosuch").code(127).says("exec: \"nosuch\": executable file not found in $PATH");
    host.run("docker run --rm busybox /nosuch")
        .code(127)
        .says("exec: \"/nosuch\": stat /nosuch: no such file or directory");
    host.run("docker run --rm busybox /etc/passwd").code(126).says("exec: \"/etc/passwd\": permission denied");
    host.run("docker run --rm busybox /etc").code(126).says("exec: \"/etc\": is a directory");
    host.run("docker ps -aq").shows(expect![[""]]);
}

#[test]
fn a_missing_image_is_said_before_it_is_looked_for() {
    let host = host!();
    host.run("docker run --rm nosuch").code(125).says("Unable to find image 'nosuch:latest' locally");
    host.run("docker run --pull never nosuch").code(125).says("No such image: nosuch:latest");
}

#[test]
fn a_name_is_taken_once() {
    let host = host!();
    host.run("docker run -d --name web busybox sleep 100").success();
    host.run("docker run --name web busybox true").shows(expect![[r#"
        ! docker: Error response from daemon: Conflict. The container name "/web" is already in use by container "<id1>". You have to remove (or rename) that container to be able to reuse that name.
        !
        ! Run 'docker run --help' for more information
        exit 125
    "#]]);
    host.run("docker rm -f web").shows(expect![[r#"
        web
    "#]]);
    host.run("docker run --rm --name web busybox true").success();
}

#[test]
fn detached_it_prints_the_whole_id() {
    let host = host!();
    let id = host.run("docker run -d busybox sleep 100").text().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let short = &id[..6];
    assert_eq!(host.run(&format!("docker stop -t 0 {short}")).text(), short);
}

#[test]
fn the_environment_is_the_images_then_ours() {
    let host = host!();
    host.write("list", "FROM_FILE=file\n# a remark\nTWICE=file\n");
    // Sorted: docker's command line sends variables in any order.
    host.run("FROM_SHELL=shell docker run --rm --hostname box -e A=1 -e B='x y' -e FROM_SHELL -e UNSET -e TWICE=flag --env-file list busybox env | sort")
        .shows(expect![[r#"
            A=1
            B=x y
            FROM_FILE=file
            FROM_SHELL=shell
            HOME=/root
            HOSTNAME=box
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
            TWICE=flag
        "#]]);
}

#[test]
fn the_working_directory_is_made_where_it_is_missing() {
    let host = host!();
    host.run("docker run --rm -w /a/b/c busybox sh -c 'pwd; ls -ld . | cut -c1-10'").shows(expect![[r#"
        /a/b/c
        drwxr-xr-x
    "#]]);
    host.run("docker run --rm -w relative busybox pwd").code(125);
}

#[test]
fn the_user_comes_from_the_images_files() {
    let host = host!();
    let identity =
        |flags: &str| host.run(&format!("docker run --rm {flags} busybox sh -c 'id; echo $HOME'")).to_string();
    expect![[r#"
        uid=0(root) gid=0(root) groups=0(root),10(wheel)
        /root
    "#]]
    .assert_eq(&identity(""));
    expect![[r#"
        uid=33(www-data) gid=33(www-data) groups=33(www-data)
        /var/www
    "#]]
    .assert_eq(&identity("-u www-data"));
    expect![[r#"
        uid=33(www-data) gid=33(www-data) groups=33(www-data)
        /var/www
    "#]]
    .assert_eq(&identity("-u 33"));
    expect![[r#"
        uid=1000 gid=2000 groups=2000
        /
    "#]]
    .assert_eq(&identity("-u 1000:2000"));
    expect![[r#"
        uid=2(bin) gid=33(www-data) groups=33(www-data)
        /bin
    "#]]
    .assert_eq(&identity("-u bin:www-data"));
    expect![[r#"
        uid=33(www-data) gid=33(www-data) groups=33(www-data),100(users),555
        /var/www
    "#]]
    .assert_eq(&identity("-u www-data --group-add users --group-add 555"));
    host.run("docker run --rm -u nosuch busybox id")
        .code(125)
        .says("unable to find user nosuch: no matching entries in passwd file");
    host.run("docker run --rm -u root:nosuch busybox id")
        .code(125)
        .says("unable to find group nosuch: no matching entries in group file");
}

#[test]
fn the_entrypoint_comes_before_the_command() {
    let host = host!();
    host.run("docker run --rm --entrypoint echo busybox a b").shows(expect![[r#"
        a b
    "#]]);
    host.run("docker run --rm --entrypoint '' busybox echo c").shows(expect![[r#"
        c
    "#]]);
    host.run("docker run --rm --entrypoint id busybox").says("uid=0(root)");
}

#[test]
fn the_id_is_written_to_a_file_once() {
    let host = host!();
    host.run("docker run --cidfile id busybox true").success();
    host.run("docker inspect --format '{{.State.ExitCode}}' $(cat id)").shows(expect![[r#"
        0
    "#]]);
    host.run("docker run --cidfile id busybox true").code(125).says("found");
}

#[test]
fn hosts_and_host_name_are_the_containers_own() {
    let host = host!();
    host.run("docker run --rm --hostname box --domainname example.org --add-host db:10.1.2.3 busybox sh -c 'hostname; hostname -f; grep -v ip6 /etc/hosts | grep -v box'")
        .shows(expect![[r#"
            box
            box.example.org
            127.0.0.1	localhost
            10.1.2.3	db
        "#]]);
    host.run("docker run --rm --dns 192.0.2.53 --dns-search example.org --dns-option ndots:2 busybox grep -E '^(nameserver|search|options)' /etc/resolv.conf")
        .shows(expect![[r#"
            nameserver 192.0.2.53
            search example.org
            options ndots:2
        "#]]);
}

#[test]
fn init_reaps_and_passes_signals_on() {
    let host = host!();
    host.run("docker run --rm --init busybox sh -c 'grep -c . /proc/1/comm; test $$ != 1 && echo not the first'")
        .shows(expect![[r#"
            1
            not the first
        "#]]);
    host.run(
        "docker run -d --init --name web busybox sh -c 'trap \"exit 7\" TERM; while :; do sleep 1 & wait $!; done'",
    )
    .success();
    host.run("docker stop web && docker wait web").shows(expect![[r#"
        web
        7
    "#]]);
}

#[test]
fn the_command_line_passes_its_signals_on() {
    let host = host!();
    let session = host.spawn("exec docker run --name web busybox sh -c 'trap \"exit 9\" TERM; echo ready; while :; do sleep 1 & wait $!; done'");
    session.wait_for("ready");
    session.signal(hako_testkit::Signal::TERM);
    session.end().code(9);
}

#[test]
fn hello_world_explains_what_happened() {
    let host = host!("hello-world");
    host.run("docker run --rm hello-world").success().says("Hello from hako!").says("Something larger to try");
}

#[test]
fn nothing_is_inherited_but_the_three_streams() {
    let host = host!("probe");
    let shown = host.run("docker run --rm probe descriptors");
    let numbers: Vec<&str> = shown.stdout().lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{shown}");
}

#[test]
fn output_of_a_hundred_megabytes_arrives_whole() {
    let host = host!("probe");
    host.run("docker run --rm probe lines 1000000 99 | cksum").success();
    let (container, local) = (
        host.run("docker run --rm probe lines 200000 99 | cksum").text().to_owned(),
        host.run("seq 200000 | awk '{printf \"%-99s\\n\", $1}' | cksum").text().to_owned(),
    );
    assert_eq!(container, local);
}
