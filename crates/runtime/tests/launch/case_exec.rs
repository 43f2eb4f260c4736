//! Processes that join a running container.

use hako_runtime::{capability::CapSet, plan::ExecPlan, seccomp};

use crate::{
    Case,
    place::{Place, Running, process_of, says},
};

pub(crate) const CASES: &[Case] = &[
    ("exec_joins_every_namespace_and_gives_its_exit_code", joins),
    ("exec_has_the_confinement_of_its_plan", confined),
    ("exec_has_a_terminal_of_the_container", terminal),
    ("exec_of_what_is_not_there_fails_like_a_start", missing),
    ("exec_into_what_has_ended_is_an_error", ended),
];

fn plan(script: &str) -> ExecPlan {
    ExecPlan { target: 0, process: process_of(&["sh", "-c", script]), ..ExecPlan::default() }
}

fn started(place: &Place) -> Running {
    place.start(&place.plan("sleep 100")).unwrap()
}

fn joins() {
    let place = Place::new();
    let running = started(&place);
    says(
        running.exec(&plan("hostname; cat /proc/1/cmdline; ls /bin/busybox; pwd"), false),
        "box\nsleep\x00100\x00/bin/busybox\n/\n",
    );
    assert_eq!(running.exec(&plan("exit 5"), false).unwrap().code, 5);
    let kinds = "for n in pid ipc uts net mnt cgroup user; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done";
    let ran = running.exec(&plan(kinds), false).unwrap();
    let links: Vec<&str> = ran.output.lines().collect();
    assert_eq!(links.len(), 14);
    links.chunks(2).for_each(|pair| assert_eq!(pair[0], pair[1]));
    running.kill();
}

fn confined() {
    let place = Place::new();
    let running = started(&place);
    let mut plan = plan(
        "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l",
    );
    plan.process.user.uid = 33;
    plan.process.no_new_privileges = true;
    plan.process.capabilities = CapSet::NONE;
    plan.process.oom_score_adj = Some(7);
    says(
        running.exec(&plan, false),
        "33\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n7\n4\n",
    );
    assert!(seccomp::default_profile(CapSet::NONE).is_ok());
    running.kill();
}

fn terminal() {
    let place = Place::new();
    let running = started(&place);
    let ran = running.exec(&plan("tty; stty size; echo x > /dev/tty"), true).unwrap();
    assert_eq!(ran.output.replace('\r', ""), "/dev/pts/0\n30 100\nx\n");
    running.kill();
}

fn missing() {
    let place = Place::new();
    let running = started(&place);
    let mut plan = plan("true");
    plan.process.argv = vec!["nosuch".to_owned()];
    let error = running.exec(&plan, false).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("exec: \"nosuch\": executable file not found in $PATH", 127)
    );
    plan.process.argv = vec!["true".to_owned()];
    plan.process.cwd = "/no/such".to_owned();
    let error = running.exec(&plan, false).unwrap_err();
    assert_eq!(error.to_string(), "chdir to cwd (\"/no/such\") set in config.json failed: no such file or directory");
    running.kill();
}

fn ended() {
    let place = Place::new();
    let running = started(&place);
    hako_sys::process::send_signal(std::os::fd::AsFd::as_fd(&running.child.pidfd), 9).unwrap();
    let pidfd = running.child.pidfd.try_clone().unwrap();
    assert_eq!(running.finish().code, 137);
    let gone =
        Running { child: hako_sys::process::Child { pid: 0, pidfd }, output: None, terminal: None, heard: Vec::new() };
    let error = gone.exec(&plan("true"), false).unwrap_err();
    assert_eq!(error.to_string(), "cannot join namespace of the container: no such process");
}
