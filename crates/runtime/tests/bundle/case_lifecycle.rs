//! Operations in their order, and out of it.

use std::fs;

use serde_json::Value;

use crate::bundle::Bundle;

pub(crate) const CASES: &[crate::Case] = &[
    ("run_gives_the_programs_output_and_code", run_gives_the_programs_output_and_code),
    ("a_created_container_waits_to_be_started", a_created_container_waits_to_be_started),
    ("operations_out_of_order_are_errors", operations_out_of_order_are_errors),
    ("what_outlives_the_first_process_is_ended_too", what_outlives_the_first_process_is_ended_too),
    ("a_command_that_cannot_run_is_told_and_leaves_nothing", a_command_that_cannot_run_is_told_and_leaves_nothing),
    ("a_failing_exec_at_start_is_the_starts_error", a_failing_exec_at_start_is_the_starts_error),
    ("exec_joins_everything", exec_joins_everything),
    ("the_log_is_what_callers_read", the_log_is_what_callers_read),
    ("descriptors_are_handed_down", descriptors_are_handed_down),
    ("sockets_of_systemd_are_the_programs", sockets_of_systemd_are_the_programs),
    ("a_program_says_when_it_is_ready", a_program_says_when_it_is_ready),
    ("whoever_looks_for_a_mistake_is_told_more", whoever_looks_for_a_mistake_is_told_more),
    ("an_exec_runs_where_it_shall", an_exec_runs_where_it_shall),
    ("a_killed_create_can_be_deleted", a_killed_create_can_be_deleted),
    ("the_runtime_cannot_be_written_to", the_runtime_cannot_be_written_to),
    ("features_and_spec_are_json", features_and_spec_are_json),
];

fn run_gives_the_programs_output_and_code() {
    let bundle = Bundle::new("echo $$ $(hostname); exit 7");
    let ran = bundle.run();
    assert_eq!((ran.code, ran.output.as_str()), (7, "1 hako\n"), "{}", ran.error);
    bundle.call("state", &[]).fails_with("does not exist");
}

fn a_created_container_waits_to_be_started() {
    let bundle = Bundle::new("echo started > /data/x; exec sleep 1000");
    bundle.write();
    let pid_file = bundle.directory.join("pid");
    bundle.call("create", &[&format!("--pid-file={}", pid_file.display())]).succeeds();
    assert_eq!(bundle.status(), "created");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), bundle.pid().to_string());
    assert!(!bundle.directory.join("rootfs/data/x").exists());
    // What the bundle says later has no effect.
    fs::write(bundle.directory.join("config.json"), "{}").unwrap();
    bundle.call("start", &[]).succeeds();
    assert_eq!(bundle.wait_for_file("data/x"), "started\n");
    assert_eq!(bundle.status(), "running");
    bundle.call("pause", &[]).succeeds();
    assert_eq!(bundle.status(), "paused");
    bundle.call("resume", &[]).succeeds();
    bundle.call("kill", &["KILL"]).succeeds();
    bundle.wait_for_status("stopped");
    bundle.call("delete", &[]).succeeds();
    bundle.call("state", &[]).fails_with("does not exist");
}

fn operations_out_of_order_are_errors() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.write();
    for (command, more) in
        [("start", &[][..]), ("kill", &["KILL"]), ("delete", &[]), ("state", &[]), ("exec", &["true"])]
    {
        bundle.call(command, more).fails_with("does not exist");
    }
    bundle.call("create", &[]).succeeds();
    bundle.call("create", &[]).fails_with("already exists");
    bundle.call("start", &[]).succeeds();
    bundle.call("start", &[]).fails_with("cannot start an already running container");
    bundle.call("delete", &[]).fails_with("that is not stopped: running");
    bundle.call("resume", &[]).fails_with("container not paused");
    bundle.call("kill", &["0"]).succeeds();
    bundle.call("kill", &["KILL"]).succeeds();
    bundle.wait_for_status("stopped");
    bundle.call("kill", &["KILL"]).fails_with("container not running");
    bundle.call("kill", &["0"]).fails_with("container not running");
    bundle.call("kill", &["--all", "0"]).succeeds();
    bundle.call("start", &[]).fails_with("cannot start a container that has stopped");
    bundle.call("exec", &["true"]).fails_with("cannot exec in a stopped container");
    bundle.call("delete", &[]).succeeds();
    bundle.call("delete", &["--force"]).succeeds();
}

fn what_outlives_the_first_process_is_ended_too() {
    for command in [&["kill", "KILL"][..], &["delete"]] {
        let mut bundle = Bundle::new("echo up > /data/up; exec sleep 1000");
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "pid");
        bundle.write();
        bundle.call("run", &["-d"]).succeeds();
        bundle.wait_for_file("data/up");
        bundle.call("exec", &["-d", "sleep", "1000"]).succeeds();
        let pids = || serde_json::from_str::<Vec<u32>>(&bundle.call("ps", &["--format=json"]).output).unwrap();
        let others: Vec<u32> = pids().into_iter().filter(|pid| *pid != bundle.pid()).collect();
        assert_eq!(others.len(), 1);
        crate::bundle::run("/bin/kill".as_ref(), &["-9".to_owned(), bundle.pid().to_string()]).succeeds();
        bundle.wait_for_status("stopped");
        bundle.call(command[0], &command[1..]).succeeds();
        let gone = || (!std::path::Path::new(&format!("/proc/{}", others[0])).exists()).then_some(());
        assert!(hako_base::backoff::wait_for(std::time::Duration::from_secs(10), gone).is_some(), "{command:?}");
    }
}

fn a_command_that_cannot_run_is_told_and_leaves_nothing() {
    let bundle = Bundle::new("").set("/process/args", serde_json::json!(["nosuch"]));
    bundle.write();
    for command in ["create", "run"] {
        bundle
            .call(command, &[])
            .fails_with("unable to start container process: exec: \\\"nosuch\\\": executable file not found in $PATH");
        assert!(fs::read_dir(bundle.directory.join("records")).unwrap().next().is_none());
        let cgroup = hako_runtime::cgroup::Cgroup::at(bundle.config["linux"]["cgroupsPath"].as_str().unwrap()).unwrap();
        assert!(!cgroup.exists());
    }
}

fn a_failing_exec_at_start_is_the_starts_error() {
    let bundle = Bundle::new("").set("/process/args", serde_json::json!(["/data/script"]));
    let script = bundle.directory.join("rootfs/data/script");
    fs::write(&script, "#!/nosuch\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bundle.write();
    bundle.call("create", &[]).succeeds();
    bundle.call("start", &[]).fails_with("exec /data/script: no such file or directory");
    bundle.wait_for_status("stopped");
}

fn exec_joins_everything() {
    let bundle = Bundle::new("echo up > /data/up; exec sleep 1000");
    bundle.write();
    bundle.call("run", &["--detach"]).succeeds();
    bundle.wait_for_file("data/up");
    let script = "hostname; ps | grep -c 'sleep 100[0]'; exit 5";
    let ran = bundle.call("exec", &["sh", "-c", script]);
    assert_eq!((ran.code, ran.output.as_str()), (5, "hako\n1\n"), "{}", ran.error);
    let ran =
        bundle.call("exec", &["--user=33:33", "--cwd=/tmp", "--env=A=b", "sh", "-c", "id -u; pwd; echo $A $HOME"]);
    ran.says("33\n/tmp\nb /home/web\n");
    let ran = bundle.call("exec", &["nosuch"]);
    assert_eq!(ran.code, 255);
    ran.fails_with("exec failed: unable to start container process: exec: \\\"nosuch\\\"");
    // The one that could not be started is killed, and counts until its new parent has taken note of that.
    let pids = || serde_json::from_str::<Vec<u32>>(&bundle.call("ps", &["--format=json"]).output).unwrap();
    let alone = || (pids() == [bundle.pid()]).then_some(());
    assert!(hako_base::backoff::wait_for(std::time::Duration::from_secs(5), alone).is_some(), "{:?}", pids());
    assert!(bundle.call("events", &["--stats"]).output.contains("\"type\":\"stats\""));
    bundle.call("kill", &["--all", "KILL"]).succeeds();
}

fn the_log_is_what_callers_read() {
    let bundle = Bundle::new("").set("/process/args", serde_json::json!(["nosuch"]));
    bundle.write();
    let log = bundle.directory.join("log.json");
    bundle.call_with(&["--log", log.to_str().unwrap(), "--log-format", "json"], "create", &[]);
    let line: Value = serde_json::from_str(fs::read_to_string(log).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(
        line["msg"],
        "runc create failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH"
    );
    bundle.call_with(&["--systemd-cgroup"], "create", &[]).fails_with("systemd");
}

fn descriptors_are_handed_down() {
    let bundle = Bundle::new("cat <&3; ls /proc/self/fd | wc -l");
    std::os::unix::fs::symlink("busybox", bundle.directory.join("rootfs/bin/wc")).unwrap();
    fs::write(bundle.directory.join("given"), "given\n").unwrap();
    bundle.write();
    let call = format!(
        "exec 3<{0}/given; exec {0}/hako-runtime --root {0}/records run --preserve-fds 1 --bundle {0} {1}",
        bundle.directory.display(),
        bundle.name
    );
    // Three streams, the one that was given, and the one by which `ls` reads.
    crate::bundle::run("/bin/sh".as_ref(), &["-c".to_owned(), call]).says("given\n5\n");
}

/// What systemd opened for the caller (sd_listen_fds(3)) is the container's first process's.
fn sockets_of_systemd_are_the_programs() {
    let bundle = Bundle::new("echo \"$LISTEN_PID,$LISTEN_FDS\"; { cat <&3; } 2>/dev/null; true");
    fs::write(bundle.directory.join("given"), "given\n").unwrap();
    bundle.write();
    let call = |pid: &str| {
        let call = format!(
            "exec 3<{0}/given; LISTEN_FDS=1 LISTEN_PID={pid} exec {0}/hako-runtime --root {0}/records run --bundle {0} {1}",
            bundle.directory.display(),
            bundle.name
        );
        crate::bundle::run("/bin/sh".as_ref(), &["-c".to_owned(), call])
    };
    call("$$").says("1,1\ngiven\n");
    // Somebody else's.
    call("1").says(",\n");
}

/// sd_notify(3): busybox's logger is the program that writes to a socket. What else it says stays inside.
fn a_program_says_when_it_is_ready() {
    const SCRIPT: &str = "ln -s $NOTIFY_SOCKET /dev/log; touch /run/notify/x 2>/dev/null && echo writable; \
        logger 'x\nMAINPID=1'; logger 'x\nREADY=1'; echo said > /data/said";
    let call = |bundle: &Bundle, words: &str| {
        let call = format!(
            "NOTIFY_SOCKET={0}/host.sock exec {0}/hako-runtime --root {0}/records {words} {1}",
            bundle.directory.display(),
            bundle.name
        );
        crate::bundle::run("/bin/sh".as_ref(), &["-c".to_owned(), call])
    };
    let bundle = || {
        let bundle = Bundle::new(&format!("{SCRIPT}; exec sleep 1000"));
        for applet in ["ln", "logger"] {
            std::os::unix::fs::symlink("busybox", bundle.directory.join("rootfs/bin").join(applet)).unwrap();
        }
        bundle.write();
        let host = std::os::unix::net::UnixDatagram::bind(bundle.directory.join("host.sock")).unwrap();
        host.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        // Reads without taking descriptors, which closes what says that all has been read.
        let heard = std::thread::spawn(move || {
            let mut messages = Vec::new();
            let mut bytes = [0; 256];
            while let Ok(length) = host.recv(&mut bytes)
                && &bytes[..length] != b"BARRIER=1"
            {
                messages.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
            messages
        });
        (bundle, heard)
    };
    let (one, heard) = bundle();
    let place = one.directory.display().to_string();
    call(&one, &format!("run --detach --bundle {place}")).says("");
    assert_eq!(heard.join().unwrap(), [format!("READY=1\nMAINPID={}\n", one.pid())]);

    let (one, heard) = bundle();
    call(&one, &format!("create --bundle {}", one.directory.display())).says("");
    call(&one, "start").says("");
    assert_eq!(one.wait_for_file("data/said"), "said\n");
    assert_eq!(heard.join().unwrap(), [format!("READY=1\nMAINPID={}\n", one.pid())]);

    // Beside whom the runtime stays until it ends.
    let (one, heard) = bundle();
    let one = one.set("/process/args", serde_json::json!(["sh", "-c", SCRIPT]));
    one.write();
    call(&one, &format!("run --bundle {}", one.directory.display())).says("");
    let said = heard.join().unwrap();
    assert!(said.len() == 1 && said[0].starts_with("READY=1\nMAINPID="), "{said:?}");

    // One that ends without a word is not waited for.
    let (one, _) = bundle();
    let silent = one.set("/process/args", serde_json::json!(["true"]));
    silent.write();
    call(&silent, &format!("run --detach --bundle {}", silent.directory.display())).says("");
    silent.wait_for_status("stopped");
}

fn whoever_looks_for_a_mistake_is_told_more() {
    let bundle = Bundle::new("true");
    bundle.write();
    let ran = bundle.call_with(&["--debug"], "run", &[]);
    assert!(ran.code == 0 && ran.error.contains("level=debug msg=\"called with"), "{ran:?}");
    assert_eq!(bundle.call("run", &[]).error, "");
}

fn an_exec_runs_where_it_shall() {
    let all = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let bundle = Bundle::new("echo up > /data/up; exec sleep 1000");
    bundle.write();
    bundle.call("run", &["-d"]).succeeds();
    bundle.wait_for_file("data/up");
    for (affinity, expected) in [
        (serde_json::json!({ "initial": "0" }), "0"),
        (serde_json::json!({ "final": "0" }), "0"),
        (serde_json::json!({ "initial": "0", "final": all.trim() }), all.trim()),
    ] {
        let process = serde_json::json!({
            "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity,
            "args": ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"],
        });
        let file = bundle.directory.join("process.json");
        fs::write(&file, process.to_string()).unwrap();
        let ran = bundle.call("exec", &[&format!("--process={}", file.display())]);
        assert_eq!(ran.output.split_whitespace().last(), Some(expected), "{affinity} {ran:?}");
    }
}

/// Whatever moment the runtime is killed at, `delete --force` finds what there is.
fn a_killed_create_can_be_deleted() {
    let hook = serde_json::json!({ "path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"] });
    let bundle = Bundle::new("true").set("/hooks", serde_json::json!({ "createRuntime": [hook] }));
    bundle.write();
    assert_eq!(bundle.call("create", &[]).code, 137);
    bundle.call("delete", &["--force"]).succeeds();
    assert!(fs::read_dir(bundle.directory.join("records")).unwrap().next().is_none());
    let cgroup = hako_runtime::cgroup::Cgroup::at(bundle.config["linux"]["cgroupsPath"].as_str().unwrap()).unwrap();
    assert!(!cgroup.exists());
}

/// CVE-2019-5736: a container whose command is the runtime itself opens it and writes to it.
fn the_runtime_cannot_be_written_to() {
    let bundle = Bundle::new("true").set("/process/args", serde_json::json!(["/proc/self/exe", "--version"]));
    let ran = bundle.run();
    // Executed inside, the program is on a mount that is read-only; what counts is the file on the host.
    let program = std::env::current_exe().unwrap();
    let before = fs::metadata(&program).unwrap();
    let script = "exec 9</proc/1/exe; echo x > /proc/self/fd/9";
    let bundle = Bundle::new(script).set("/process/capabilities/bounding", serde_json::json!(["CAP_SYS_PTRACE"]));
    assert_ne!(bundle.run().code, 0, "{ran:?}");
    let after = fs::metadata(&program).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}

fn features_and_spec_are_json() {
    let bundle = Bundle::new("true");
    let program = bundle.directory.join("hako-runtime");
    let features = crate::bundle::run(program.as_os_str(), &["features".to_owned()]);
    let features: Value = serde_json::from_str(&features.output).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    let place = bundle.directory.display().to_string();
    crate::bundle::run(program.as_os_str(), &["spec".to_owned(), "--bundle".to_owned(), place]).succeeds();
    let spec: Value = serde_json::from_str(&fs::read_to_string(bundle.directory.join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"][0], "sh");
}
