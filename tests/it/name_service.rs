//! Containers of a user-defined network find each other by name, and nobody else does.

use expect_test::expect;
use hako_testkit::{Host, needs, require};

/// What `nslookup` found, without its head: addresses of which only the host part is shown.
fn look_up(host: &Host, container: &str, name: &str) -> String {
    let shown = host.run(&format!("docker exec {container} nslookup {name} 127.0.0.11"));
    let text = shown.text().to_owned();
    let answers = text.lines().skip_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("Address: "));
    let mut answers: Vec<String> =
        answers.map(|address| address.rsplit('.').next().unwrap_or_default().trim().to_owned()).collect();
    answers.sort();
    answers.dedup();
    answers.join(" ")
}

fn two(host: &Host, flags: &str) {
    host.run("docker network create --subnet 10.77.0.0/24 red").success();
    host.run(&format!("docker run -d --name web --network red {flags} busybox sleep 1000")).success();
    host.run("docker run -d --name bob --network red busybox sleep 1000").success();
}

#[test]
fn names_aliases_and_ids_are_found() {
    let host = host!();
    two(&host, "--network-alias www --hostname box");
    host.run("docker run -d --name ben --network red --network-alias www busybox sleep 1000").success();
    host.run("docker exec bob cat /etc/resolv.conf | grep nameserver").shows(expect![[r#"
        nameserver 127.0.0.11
    "#]]);
    host.run("docker exec bob ping -c 1 -W 3 web | head -1").shows(expect![[r#"
        PING web (10.77.0.2): 56 data bytes
    "#]]);
    for name in ["web", "WEB", "web.red", "$(docker inspect --format '{{slice .Id 0 12}}' web)"] {
        assert_eq!(look_up(&host, "bob", name), "2", "{name}");
    }
    assert_eq!(look_up(&host, "bob", "www"), "2 4");
    // The name says who it is; the network says where.
    host.run("docker exec bob nslookup 10.77.0.2 127.0.0.11 | grep -o 'name = .*'").shows(expect![[r#"
        name = web.red
    "#]]);
    host.run("docker exec web sh -c 'echo hello >/tmp/index.html; httpd -p 80 -h /tmp'").success();
    host.run("docker run --rm --network red busybox wget -q -O - http://web").shows(expect![[r#"
        hello
    "#]]);
}

#[test]
fn names_follow_their_containers() {
    let host = host!();
    two(&host, "");
    host.run("docker rename web anna").success();
    assert_eq!((look_up(&host, "bob", "anna"), look_up(&host, "bob", "web")), ("2".to_owned(), String::new()));
    host.run("docker restart -t 0 anna").success();
    host.run("docker exec bob ping -c 1 -W 3 anna").success();
    host.run("docker exec anna ping -c 1 -W 3 bob").success();
    host.run("docker stop -t 0 anna").success();
    assert_eq!(look_up(&host, "bob", "anna"), "");
}

#[test]
fn only_members_of_a_network_know_its_names() {
    let host = host!();
    two(&host, "");
    host.run("docker network create --subnet 10.78.0.0/24 blue").success();
    host.run("docker run -d --name far --network blue busybox sleep 1000").success();
    host.run("docker run -d --name plain busybox sleep 1000").success();
    assert_eq!(look_up(&host, "far", "web"), "");
    host.run("docker exec plain ping -c 1 -W 1 web").code(1).says("bad address 'web'");
    host.run("docker exec plain grep -c 127.0.0.11 /etc/resolv.conf").code(1);
    // Names come and go with the network, aliases too.
    host.run("docker network connect --alias www blue web").success();
    assert_eq!((look_up(&host, "far", "web"), look_up(&host, "far", "www")), ("3".to_owned(), "3".to_owned()));
    assert_eq!(look_up(&host, "bob", "www"), "");
    host.run("docker network disconnect blue web").success();
    assert_eq!(look_up(&host, "far", "web"), "");
    // A container that began on the default bridge gets the service with its first network that has one.
    host.run("docker network connect red plain").success();
    host.run("docker exec plain ping -c 1 -W 3 web").success();
    assert_eq!(look_up(&host, "bob", "plain"), "4");
    // And whoever shares a network shares the service.
    host.run("docker run --rm --network container:bob busybox ping -c 1 -W 3 web").success();
}

#[test]
fn what_is_asked_for_is_in_resolv_conf() {
    let host = host!();
    two(&host, "--dns 192.0.2.53 --dns-search example.org --dns-option ndots:3");
    host.run("docker exec web grep -E '^(nameserver|search|options)' /etc/resolv.conf").shows(expect![[r#"
        nameserver 127.0.0.11
        search example.org
        options ndots:3
    "#]]);
    host.run("docker run --rm --network red --add-host host.docker.internal:host-gateway busybox ping -c 1 -W 3 host.docker.internal")
        .success();
}

#[test]
fn an_internal_network_answers_its_own_names_and_sends_nothing_out() {
    let host = host!();
    host.run("docker network create --internal --subnet 10.79.0.0/24 inner").success();
    host.run("docker run -d --name db --network inner busybox sleep 1000").success();
    host.run("docker run --rm --network inner busybox ping -c 1 -W 3 db").success();
    host.run("docker run --rm --network inner busybox nslookup secret.example.org 127.0.0.11").code(1).says("SERVFAIL");
}

#[test]
fn questions_wait_for_the_next_daemon() {
    let mut host = own_host!();
    two(&host, "");
    let pid = host.run("docker inspect --format '{{.State.Pid}}' bob").text().to_owned();
    host.daemon_kill();
    let asking = host.spawn(&format!("nsenter -t {pid} -n -m -- /bin/nslookup web 127.0.0.11"));
    host.wait_until(
        "the question to wait",
        |host| host.run(&format!("nsenter -t {pid} -n cat /proc/net/udp")),
        // A socket of 127.0.0.11 whose queue has something in it.
        |shown| {
            let queue = |line: &str| {
                line.split_whitespace().nth(4).and_then(|queues| queues.split(':').nth(1).map(str::to_owned))
            };
            shown
                .stdout()
                .lines()
                .any(|line| line.contains("0B00007F:") && queue(line).is_some_and(|it| it != "00000000"))
        },
    );
    host.daemon_start();
    asking.wait_for("10.77.0.2");
    assert_eq!(look_up(&host, "bob", "web"), "2");
    host.run("docker stop -t 0 web && docker start web && docker exec web ping -c 1 -W 3 bob").success();
}

#[test]
fn a_name_service_that_is_told_to_ask_itself_says_so_at_once() {
    let host = host!();
    host.run("docker network create red").success();
    host.run("docker run --rm --network red --dns 127.0.0.11 busybox timeout 4 nslookup example.org 127.0.0.11")
        .code(1)
        .says("SERVFAIL");
}

/// How many connections the kernel follows in a container's network after one of the container with itself.
fn followed(host: &Host, container: &str) -> String {
    let talk = "httpd -p 80 -h /etc 2>/dev/null; wget -q -O /dev/null http://127.0.0.1/hostname";
    host.run(&format!("docker exec {container} sh -c '{talk}'")).success();
    let count = "cat /proc/sys/net/netfilter/nf_conntrack_count";
    let mut shown = host.run(&format!("docker exec {container} {count}")).text().to_owned();
    if shown != "0" {
        "some".clone_into(&mut shown);
    }
    shown
}

#[test]
fn connections_of_a_container_with_itself_are_not_followed() {
    needs!(require::own_daemon());
    let host = host!();
    two(&host, "");
    assert_eq!(followed(&host, "web"), "0");
    // Questions are, since they are led to another port.
    assert_eq!(look_up(&host, "web", "bob"), "3");
    assert_eq!(followed(&host, "web"), "some");
}

#[test]
fn who_may_translate_loopback_has_it_followed() {
    needs!(require::own_daemon());
    let host = host!();
    two(&host, "--cap-add NET_ADMIN");
    assert_eq!(followed(&host, "web"), "some");
    // A guest in the network of another who may do so, and a privileged command.
    assert_eq!(followed(&host, "bob"), "0");
    host.run("docker run --rm --network container:bob busybox true").success();
    assert_eq!(followed(&host, "bob"), "0");
    host.run("docker run --rm --network container:bob --cap-add NET_ADMIN busybox true").success();
    assert_eq!(followed(&host, "bob"), "some");
    assert_eq!(look_up(&host, "bob", "web"), "2");
    host.run("docker run -d --name ben --network red busybox sleep 1000").success();
    assert_eq!(followed(&host, "ben"), "0");
    host.run("docker exec --privileged ben true; docker exec --privileged ben true").success();
    assert_eq!(followed(&host, "ben"), "some");
    // Where no names are served there is nothing to change.
    host.run("docker run -d --name plain busybox sleep 1000").success();
    host.run("docker run --rm --network container:plain --privileged busybox true").success();
}
