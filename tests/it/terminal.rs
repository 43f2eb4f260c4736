//! `-t` and `-i` on a real terminal: size, keys, detaching.

use expect_test::expect;

#[test]
fn a_terminal_is_one_stream_with_carriage_returns() {
    let host = host!();
    let shown =
        host.run("docker run --rm -t busybox sh -c 'echo out; echo err >&2; test -t 0 && test -t 1 && echo tty'");
    assert_eq!((shown.stdout(), shown.stderr()), ("out\r\nerr\r\ntty\r\n", ""));
}

#[test]
fn a_shell_is_typed_into() {
    let host = host!();
    let terminal = host.terminal("docker run --rm -it busybox");
    terminal.wait_for("/ # ").type_keys("echo $((6 * 7)) $TERM; tty\r");
    terminal.wait_for("42 xterm").wait_for("/dev/pts/0");
    terminal.type_keys("exit 5\r");
    terminal.end().code(5);
}

#[test]
fn the_size_follows_the_window() {
    let host = host!();
    let terminal = host.terminal("docker run --rm -it busybox");
    terminal.wait_for("/ # ").type_keys("until stty size | grep '24 80'; do usleep 10000; done; echo first\r");
    terminal.wait_for("\nfirst");
    terminal.resize(31, 101);
    terminal.type_keys("until stty size | grep '31 101'; do usleep 10000; done; echo second\r");
    terminal.wait_for("\nsecond");
    terminal.type_keys("exit\r");
    terminal.end().success();
}

#[test]
fn control_c_interrupts_the_foreground() {
    let host = host!();
    let terminal = host.terminal("docker run --rm -it busybox");
    // Two halves, so that what is seen is the prompt and not the line that sets it.
    terminal.wait_for("/ # ").type_keys("PS1='read''y> '; echo on; sleep 100\r");
    terminal.wait_for("\non");
    terminal.type_keys("\x03");
    // The shell throws away what was typed before it asks again.
    terminal.wait_for("ready> ");
    terminal.type_keys("echo left: $?\r");
    terminal.wait_for("left: 130");
    terminal.type_keys("\x04");
    terminal.end().success();
}

#[test]
fn detaching_leaves_the_container_running() {
    let host = host!();
    let terminal = host.terminal("docker run -it --name web busybox");
    terminal.wait_for("/ # ").type_keys("echo here\r");
    terminal.wait_for("\nhere");
    terminal.type_keys("\x10\x11");
    terminal.end().success();
    host.run("docker ps --format '{{.Names}} {{.State}}'").shows(expect![[r#"
        web running
    "#]]);
    let again = host.terminal("docker attach --detach-keys ctrl-a,x web");
    again.type_keys("\recho again\r");
    again.wait_for("\nagain");
    again.type_keys("\x01x");
    again.end().code(1).says("read escape sequence");
    host.run("docker inspect --format '{{.State.Running}} {{.Config.Tty}} {{.Config.OpenStdin}}' web").shows(expect![
        [r#"
            true true true
        "#]
    ]);
}

#[test]
fn a_terminal_is_refused_where_there_is_none() {
    let host = host!();
    host.run("docker run --rm -it busybox true").code(1).says("the input device is not a TTY");
}
