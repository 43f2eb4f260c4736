//! `--link`: on the default bridge lines in the hosts file and variables; containers there do not know each other's
//! names otherwise.

use expect_test::expect;

#[test]
fn a_link_gives_names_and_variables() {
    let host = host!();
    host.run("docker run -d --name db --expose 3306 -e SECRET=word --hostname store busybox sleep 1000").success();
    host.run("docker run --rm --name web --link db:my-db busybox sh -c 'env | grep ^MY_DB | sed s/172[.0-9]*/ADDRESS/ | sort; grep my-db /etc/hosts | cut -f2; ping -c 1 -W 3 my-db >/dev/null && echo reached'")
        .shows(expect![[r#"
            MY_DB_ENV_SECRET=word
            MY_DB_NAME=/web/my-db
            MY_DB_PORT=tcp://ADDRESS:3306
            MY_DB_PORT_3306_TCP=tcp://ADDRESS:3306
            MY_DB_PORT_3306_TCP_ADDR=ADDRESS
            MY_DB_PORT_3306_TCP_PORT=3306
            MY_DB_PORT_3306_TCP_PROTO=tcp
            my-db store db
            reached
        "#]]);
    host.run("docker run --rm busybox grep -cw db /etc/hosts").code(1);
}

#[test]
fn a_link_follows_the_other_and_needs_it() {
    let host = host!();
    host.run("docker run -d --name db busybox sleep 1000 && docker run -d --name web --link db busybox sleep 1000")
        .success();
    host.run("docker inspect --format '{{.HostConfig.Links}}' web").shows(expect![[r#"
        [/db:/web/db]
    "#]]);
    // Somebody else gets its address meanwhile.
    host.run("docker stop -t 0 db && docker run -d --name other busybox sleep 1000 && docker start db").success();
    let address = host.run("docker inspect --format '{{.NetworkSettings.IPAddress}}' db").text().to_owned();
    let line = host.run("docker exec web grep 'db ' /etc/hosts | cut -f1").text().to_owned();
    assert_eq!(line, address);
    host.run("docker stop -t 0 db && docker restart -t 0 web")
        .code(1)
        .says("Cannot link to a non running container: /db AS /web/db");
    host.run("docker run --rm --link nosuch:x busybox true")
        .code(125)
        .says("could not get container for nosuch: No such container: nosuch");
}

#[test]
fn a_link_is_a_name_too() {
    let host = host!();
    host.run("docker run -d --name db busybox sleep 100").success();
    host.run("docker run -d --name web --link db:store busybox sleep 100").success();
    let id = host.run("docker inspect --format '{{.Id}}' db").text().to_owned();
    assert_eq!(host.run("docker inspect --format '{{.Id}}' web/store").text(), id);
    host.run("docker rename web shop && docker exec shop/store hostname").success();
    host.run("docker inspect web/store").code(1);
    host.run("docker ps --no-trunc --format '{{.Names}}'").shows(expect![[r#"
        shop
        db,shop/store
    "#]]);
    host.run("docker ps --format '{{.Names}}'").shows(expect![[r#"
        shop
        db
    "#]]);
    let shown = host.api("GET", "/v1.44/containers/json?limit=2", "").json();
    assert_eq!(shown[1]["Names"], serde_json::json!(["/db", "/shop/store"]));
}

#[test]
fn a_link_is_taken_away() {
    let host = host!();
    host.run("docker run -d --name db busybox sleep 100").success();
    host.run("docker run -d --name web --link db:store busybox sleep 100").success();
    host.run("docker exec web grep store /etc/hosts").success();
    host.run("docker rm --link /web/store").success();
    host.run("docker exec web grep store /etc/hosts").code(1);
    host.run("docker inspect --format '{{.HostConfig.Links}}' web").shows(expect![[r#"
        []
    "#]]);
    host.run("docker restart -t 0 web").success();
    host.run("docker exec web grep store /etc/hosts").code(1);
    host.run("docker rm --link web/store").code(1).says("No such container: web/store");
    host.run("docker rm --link web").code(1).says("Conflict, cannot remove the default link name of the container");
}
