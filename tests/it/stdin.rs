//! What goes in: pipes, half-close, attach.

use expect_test::expect;

#[test]
fn input_is_piped_through_and_ends() {
    let host = host!();
    host.run_with_input("docker run --rm -i busybox tr a-z A-Z", b"some words\n").shows(expect![[r#"
        SOME WORDS
    "#]]);
    host.run_with_input("docker run --rm -i busybox wc -c", &vec![b'x'; 3 << 20]).shows(expect![[r#"
        3145728
    "#]]);
}

#[test]
fn without_i_there_is_no_input() {
    let host = host!();
    host.run_with_input("docker run --rm busybox cat", b"words\n").shows(expect![[""]]);
}

#[test]
fn output_goes_on_after_the_input_has_ended() {
    let host = host!();
    host.run_with_input("docker run --rm -i busybox sh -c 'cat >/dev/null; sleep 0.2; echo after'", b"x").shows(
        expect![[r#"
            after
        "#]],
    );
}

#[test]
fn every_byte_passes() {
    let host = host!();
    let all: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
    let there = host.run_with_input("docker run --rm -i busybox sha256sum", &all).text().to_owned();
    let here = host.run_with_input("sha256sum", &all).text().to_owned();
    assert_eq!(there, here);
    let back = host.run_with_input("docker run --rm -i busybox cat | sha256sum", &all).text().to_owned();
    assert_eq!(back, here);
}

#[test]
fn streams_are_chosen_with_a() {
    let host = host!();
    host.run("docker run --rm -a stderr busybox sh -c 'echo out; echo err >&2'").shows(expect![[r#"
        ! err
    "#]]);
}

#[test]
fn attaching_shows_what_comes_and_ends_with_the_container() {
    let host = host!();
    host.run("docker run -di --name web busybox sh -c 'while read line; do test $line != end || exit 4; echo got $line; done'").success();
    let session = host.spawn("docker attach web");
    session.type_line("this");
    session.wait_for("got this");
    session.type_line("end");
    session.end().shows(expect![[r#"
        got this
        exit 4
    "#]]);
    host.run("docker attach web").code(1).says("cannot attach to a stopped container");
}

#[test]
fn start_attaches_with_a_and_i() {
    let host = host!();
    host.run("docker create -i --name web busybox sh -c 'read line; echo got $line; exit 4'").success();
    host.run_with_input("docker start -ai web", b"that\n").shows(expect![[r#"
        got that
        exit 4
    "#]]);
    host.run("docker logs web").shows(expect![[r#"
        got that
    "#]]);
}
