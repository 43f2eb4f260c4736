//! What a container may not do: capabilities, filter, masked and read-only paths, user, limits.

use std::fs;

use hako_runtime::{
    capability::CapSet,
    plan::{Rlimit, RlimitResource},
    seccomp, user,
};
use std::os::fd::AsFd;

use crate::{
    Case,
    place::{Place, says},
};

pub(crate) const CASES: &[Case] = &[
    ("the_default_capabilities_are_dockers", capabilities),
    ("a_user_of_the_image_has_no_capabilities", other_user),
    ("masked_paths_are_empty_and_read_only_paths_stay", hidden_paths),
    ("a_read_only_root_takes_no_file", read_only_root),
    ("the_default_filter_is_loaded", filter),
    ("a_filter_and_no_new_privileges_go_together", filter_without_privileges),
    ("limits_and_scores_are_the_plans", limits),
    ("sysctls_are_set_in_the_containers_own_namespaces", sysctls),
    ("a_working_directory_is_made", working_directory),
];

const ALL_SETS: &str = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status";

fn capabilities() {
    let place = Place::new();
    says(
        place.run(&place.plan(ALL_SETS)),
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
         CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n",
    );
    let mut plan = place.plan(ALL_SETS);
    plan.process.capabilities = CapSet::NONE;
    assert!(!place.run(&plan).unwrap().output.contains('8'));
}

fn other_user() {
    let place = Place::new();
    let root = place.mount();
    let mut plan = place.plan(&format!("id; {ALL_SETS}; touch /x 2>/dev/null || echo refused; echo out > /dev/stdout"));
    plan.process.user = user::resolve(root.as_fd(), "web", &["5".to_owned()]).unwrap();
    says(
        place.run(&plan),
        "uid=33(web) gid=33(web) groups=5,29(audio),33(web)\n\
         CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
         CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nrefused\nout\n",
    );
}

fn hidden_paths() {
    let place = Place::new();
    fs::create_dir(place.root.join("hidden")).unwrap();
    fs::write(place.root.join("hidden/secret"), "secret").unwrap();
    fs::write(place.root.join("kept"), "kept").unwrap();
    let mut plan = place.plan(
        "ls /hidden | wc -l; touch /hidden/x 2>/dev/null || echo refused; cat /kept; \
         (echo y > /kept) 2>/dev/null || echo refused; head -c 1 /proc/interrupts | wc -c; \
         (echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo refused; \
         (echo h > /proc/sysrq-trigger) 2>/dev/null || echo refused",
    );
    plan.masked_paths.extend(["/hidden".to_owned(), "/no/such/path".to_owned()]);
    plan.readonly_paths.push("/kept".to_owned());
    says(place.run(&plan), "0\nrefused\nkeptrefused\n0\nrefused\nrefused\n");
}

fn read_only_root() {
    let place = Place::new();
    let mut plan = place.plan("touch /x 2>&1 | grep -o 'Read-only.*'; touch /dev/shm/x && echo shm");
    plan.root.read_only = true;
    says(place.run(&plan), "Read-only file system\nshm\n");
}

fn filter() {
    let place = Place::new();
    let mut plan = place
        .plan("grep Seccomp: /proc/self/status; unshare -m true 2>/dev/null || echo refused; echo $(ls / | wc -l)");
    let program = seccomp::default_profile(plan.process.capabilities).unwrap();
    let memory = || program.memfd().unwrap().try_clone_to_owned().unwrap();
    plan.process.seccomp = Some(1);
    let ran = place.run_with(&plan, vec![memory()]).unwrap();
    assert!(ran.output.starts_with("Seccomp:\t2\nrefused\n"), "{}", ran.output);
    // The same memory again: reading it must not move it.
    let ran = place.run_with(&plan, vec![memory()]).unwrap();
    assert!(ran.output.starts_with("Seccomp:\t2\n"), "{}", ran.output);
}

fn filter_without_privileges() {
    let place = Place::new();
    let mut plan = place.plan("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status");
    plan.process.no_new_privileges = true;
    plan.process.user.uid = 33;
    plan.process.seccomp = Some(1);
    let program = seccomp::default_profile(plan.process.capabilities).unwrap();
    let memory = program.memfd().unwrap().try_clone_to_owned().unwrap();
    says(place.run_with(&plan, vec![memory]), "NoNewPrivs:\t1\nSeccomp:\t2\n");
}

fn limits() {
    let place = Place::new();
    let mut plan = place.plan("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; umask");
    plan.process.rlimits = vec![Rlimit { resource: RlimitResource::Nofile, soft: Some(77), hard: Some(99) }];
    plan.process.oom_score_adj = Some(123);
    plan.process.umask = Some(0o077);
    says(place.run(&plan), "77\n99\n123\n0077\n");
}

fn sysctls() {
    let place = Place::new();
    let before = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let mut plan = place.plan("cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start");
    plan.sysctls.insert("kernel.msgmax".to_owned(), "12345".to_owned());
    plan.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    says(place.run(&plan), "12345\n0\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), before);
}

fn working_directory() {
    let place = Place::new();
    let mut plan = place.plan("pwd");
    plan.process.cwd = "/srv/new/place".to_owned();
    says(place.run(&plan), "/srv/new/place\n");
    assert!(place.root.join("srv/new/place").is_dir());
}
