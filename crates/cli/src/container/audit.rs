//! `audit`: what containers may do, and what of it is unusual.
//!
//! Everything follows from what the daemon says a container is ([`audit`], which is pure), so it works with any Docker
//! daemon. Unusual means: not what a container has by default; why that matters is said beside it.

use std::collections::BTreeSet;

use hako_api::{
    container::ContainerInspect,
    query::{ContainerInspectQuery, ContainerListQuery},
};
use serde::Serialize;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

/// What a container has unless somebody says otherwise.
const USUAL: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Capabilities with which the way to the host is short, and which way.
const STRONG: [(&str, &str); 12] = [
    ("ALL", "every right of root"),
    ("BPF", "programs in the kernel"),
    ("DAC_READ_SEARCH", "opens any file of the host by its handle (the way of Shocker)"),
    ("MAC_ADMIN", "changes what security modules forbid"),
    ("NET_ADMIN", "changes addresses, routes and firewall of its network"),
    ("PERFMON", "looks into the kernel"),
    ("SYS_ADMIN", "mounts, namespaces and much more: nearly root of the host"),
    ("SYS_BOOT", "restarts the host"),
    ("SYS_MODULE", "loads code into the kernel"),
    ("SYS_PTRACE", "reads and changes other processes that it sees"),
    ("SYS_RAWIO", "the host's memory and ports"),
    ("SYS_TIME", "sets the host's clock"),
];

/// Directories of the host that are more than data, and what whoever writes there gets.
const PLACES: [(&str, &str); 12] = [
    ("/", "the whole host"),
    ("/boot", "the host's kernel"),
    ("/dev", "the host's devices"),
    ("/etc", "the host's accounts and settings"),
    ("/home", "everybody's files and keys"),
    ("/lib", "programs that root of the host runs"),
    ("/proc", "the host's processes and kernel settings"),
    ("/root", "root's files and keys"),
    ("/run", "the sockets of the host's services"),
    ("/sys", "the kernel's own settings"),
    ("/usr", "programs that root of the host runs"),
    ("/var/lib", "data of the host's services, other containers included"),
];

/// What is closed by default, which flaws were reached through it, and what opens it.
const CLOSED: [(&str, &str, Opens); 5] = [
    ("AF_ALG sockets", "CVE-2026-31431", Opens::Seccomp),
    ("new user namespaces", "CVE-2022-0185", Opens::SeccompOrAdmin),
    ("mounts and cgroup settings", "CVE-2022-0492", Opens::SeccompOrAdmin),
    ("io_uring", "CVE-2023-2598", Opens::IoUring),
    ("kernel keyrings, userfaultfd, bpf", "CVE-2016-0728", Opens::Seccomp),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Seccomp,
    SeccompOrAdmin,
    IoUring,
}

#[derive(Default)]
pub(crate) struct AuditCommand {
    format: String,
}

impl Command for AuditCommand {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container audit", "audit"],
        usage: "[OPTIONS] [CONTAINER...]",
        about: "Tell what containers may do and what of it is unusual (all that run, if none is named)",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "--format", "How to say it: table (default) or json, a line for each container");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        if !matches!(self.format.as_str(), "" | "table" | "json") {
            return Err(CommandError::Said(format!("--format {}: expected table or json", self.format)));
        }
        let client = cx.client()?;
        let remapped = client.system_info().await?.security_options.iter().any(|option| option.contains("name=userns"));
        let names = if names.is_empty() {
            let running = client.container_list(&ContainerListQuery::default()).await?;
            running.into_iter().map(|container| container.id).collect()
        } else {
            names
        };
        for name in &names {
            let container = cx.client()?.container_inspect(name, &ContainerInspectQuery::default()).await?;
            let audit = audit(&container, remapped);
            let text = match self.format.as_str() {
                "json" => serde_json::to_string(&audit).map(|line| line + "\n"),
                _ => Ok(shown(&audit)),
            };
            cx.print(&text.map_err(|error| CommandError::Said(error.to_string()))?)?;
        }
        Ok(())
    }
}

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Audit {
    name: String,
    image: String,
    /// As whom its program runs, inside and outside.
    user: String,
    capabilities: Vec<String>,
    seccomp: String,
    no_new_privileges: bool,
    read_only_root: bool,
    runtime: String,
    /// What of the host it can reach by files: place, and whether it may write.
    mounts: Vec<String>,
    ports: Vec<String>,
    memory_limited: bool,
    processes_limited: bool,
    /// Ways into the kernel that are closed to it, with a flaw that needed them.
    closed: Vec<String>,
    unusual: Vec<Finding>,
}

/// Something that a container does not have by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    why: String,
}

fn audit(container: &ContainerInspect, remapped: bool) -> Audit {
    let host = &container.host_config;
    let own_ids = own_ids(&host.userns_mode, remapped);
    let mut unusual = Vec::new();
    let mut say = |what: String, why: &str| unusual.push(Finding { what, why: why.to_owned() });
    if host.privileged {
        say("--privileged".to_owned(), "root in it is root of the host: all rights, all devices, no filter");
    }
    capability_findings(container, &mut say);
    option_findings(container, &mut say);
    namespace_findings(container, &mut say);
    mount_findings(container, &mut say);
    for device in host.resources.devices.iter().flatten() {
        say(format!("--device {}", device.path_on_host), "a device of the host");
    }
    for rule in host.resources.device_cgroup_rules.iter().flatten() {
        say(format!("--device-cgroup-rule {rule:?}"), "opens whatever device nodes of that kind it gets or makes");
    }
    let seccomp = seccomp(container);
    let capabilities = capabilities(container);
    Audit {
        name: container.name.trim_start_matches('/').to_owned(),
        image: container.config.image.clone(),
        user: user(&container.config.user, own_ids),
        closed: closed(container, &capabilities, &seccomp),
        capabilities,
        seccomp,
        no_new_privileges: has_option(container, "no-new-privileges"),
        read_only_root: host.readonly_rootfs,
        runtime: host.runtime.clone(),
        mounts: container.mounts.iter().filter(|mount| mount.kind == "bind").map(mount_line).collect(),
        ports: ports(container),
        memory_limited: host.resources.memory > 0,
        processes_limited: host.resources.pids_limit.is_some_and(|limit| limit > 0),
        unusual,
    }
}

fn own_ids(mode: &str, remapped: bool) -> bool {
    match mode {
        "" => remapped,
        "host" => false,
        _ => true,
    }
}

fn user(user: &str, own_ids: bool) -> String {
    let name = if user.is_empty() { "root" } else { user };
    let is_root = matches!(name.split(':').next(), Some("root" | "0"));
    match (is_root, own_ids) {
        (true, true) => "root inside, nobody outside (a user namespace)".to_owned(),
        (true, false) => "root, with the host's ids".to_owned(),
        (false, true) => format!("{name}, nobody outside (a user namespace)"),
        (false, false) => name.to_owned(),
    }
}

fn bare(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

fn names<'a>(list: Option<&'a hako_api::StringList>) -> impl Iterator<Item = String> + 'a {
    list.into_iter().flat_map(|list| list.0.iter()).map(|name| bare(name))
}

fn capabilities(container: &ContainerInspect) -> Vec<String> {
    let host = &container.host_config;
    if host.privileged {
        return vec!["ALL".to_owned()];
    }
    let dropped: BTreeSet<String> = names(host.cap_drop.as_ref()).collect();
    let usual = USUAL.iter().map(|name| (*name).to_owned());
    let usual = usual.filter(|name| !dropped.contains(name) && !dropped.contains("ALL"));
    usual.chain(names(host.cap_add.as_ref())).collect::<BTreeSet<_>>().into_iter().collect()
}

fn capability_findings(container: &ContainerInspect, say: &mut impl FnMut(String, &str)) {
    for name in names(container.host_config.cap_add.as_ref()).filter(|name| !USUAL.contains(&name.as_str())) {
        let known = STRONG.iter().find(|(strong, _)| *strong == name);
        say(
            format!("--cap-add {name}"),
            known.map_or("a right that containers do not have by default", |(_, why)| *why),
        );
    }
}

fn options(container: &ContainerInspect) -> impl Iterator<Item = &str> {
    container.host_config.security_opt.iter().flatten().map(String::as_str)
}

fn has_option(container: &ContainerInspect, wanted: &str) -> bool {
    options(container).any(|option| option == wanted || option.replace(':', "=") == format!("{wanted}=true"))
}

fn seccomp(container: &ContainerInspect) -> String {
    if container.host_config.privileged {
        return "unconfined".to_owned();
    }
    let asked =
        options(container).filter_map(|option| option.split_once(['=', ':'])).filter(|(key, _)| *key == "seccomp");
    match asked.last() {
        None | Some((_, "builtin" | "default")) => "default".to_owned(),
        Some((_, "unconfined")) => "unconfined".to_owned(),
        Some(_) => "a profile of its own".to_owned(),
    }
}

fn option_findings(container: &ContainerInspect, say: &mut impl FnMut(String, &str)) {
    let host = &container.host_config;
    if !host.privileged && host.masked_paths.as_ref().is_some_and(Vec::is_empty) {
        let why = "kernel settings below /proc and /sys are neither hidden nor read-only";
        say("--security-opt systempaths=unconfined".to_owned(), why);
    }
    for option in options(container) {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let why = match (key, value) {
            ("seccomp", "unconfined") => "no system call is filtered: every flaw of the kernel is in reach",
            ("seccomp", "builtin" | "default") => continue,
            ("seccomp", _) => "what it allows is for its author to know",
            ("apparmor", "unconfined") => "no AppArmor profile",
            ("allow", "io_uring") => "io_uring does what a filter cannot see",
            ("writable-cgroups", "true") => "it may change its own limits' groups",
            _ => continue,
        };
        let shown = if value.len() > 40 { format!("{key}=…") } else { option.to_owned() };
        say(format!("--security-opt {shown}"), why);
    }
}

fn namespace_findings(container: &ContainerInspect, say: &mut impl FnMut(String, &str)) {
    let host = &container.host_config;
    let modes = [
        ("--pid", host.pid_mode.as_str(), "sees the host's processes, and may signal those of its user"),
        ("--network", host.network_mode.as_str(), "reaches services that listen on the host's loopback"),
        ("--ipc", host.ipc_mode.as_str(), "shares memory with the host's programs"),
        ("--uts", host.uts_mode.as_str(), "has the host's name"),
    ];
    for (flag, mode, why) in modes {
        match mode.strip_prefix("container:") {
            Some(other) => say(
                format!("{flag} container:{}", other.get(..12).unwrap_or(other)),
                "as open as the other container is",
            ),
            None if mode == "host" => say(format!("{flag} host"), why),
            None => {}
        }
    }
}

fn mount_findings(container: &ContainerInspect, say: &mut impl FnMut(String, &str)) {
    for mount in container.mounts.iter().filter(|mount| mount.kind == "bind") {
        let source = mount.source.as_str();
        if source.ends_with(".sock")
            && ["docker", "hako", "containerd", "podman"].iter().any(|name| source.contains(name))
        {
            say(mount_line(mount), "whoever may use this socket is root of the host");
            continue;
        }
        let place = PLACES.iter().find(|(place, _)| {
            source == *place || (*place != "/" && source.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')))
        });
        if let Some((_, what)) = place.filter(|_| !source.starts_with("/var/lib/hako/volumes")) {
            let verb = if mount.rw { "writes" } else { "reads" };
            say(mount_line(mount), &format!("{verb} {what}"));
        }
        if matches!(mount.propagation.as_str(), "shared" | "rshared") && mount.rw {
            say(
                format!("{} ({})", mount_line(mount), mount.propagation),
                "mounts that it makes there appear on the host",
            );
        }
    }
}

fn mount_line(mount: &hako_api::container::MountPoint) -> String {
    format!("{} at {}{}", mount.source, mount.destination, if mount.rw { "" } else { " (read-only)" })
}

fn ports(container: &ContainerInspect) -> Vec<String> {
    let all = container.network_settings.ports.iter();
    let bindings = all.flat_map(|(port, bindings)| {
        let bindings = bindings.iter().flatten();
        bindings.map(move |binding| format!("{}:{} -> {port}", binding.host_ip, binding.host_port))
    });
    bindings.collect()
}

fn closed(container: &ContainerInspect, capabilities: &[String], seccomp: &str) -> Vec<String> {
    let admin = capabilities.iter().any(|name| name == "ALL" || name == "SYS_ADMIN");
    let is_closed = |opens: Opens| match opens {
        Opens::Seccomp => seccomp == "default",
        Opens::SeccompOrAdmin => seccomp == "default" && !admin,
        Opens::IoUring => seccomp == "default" && !options(container).any(|option| option == "allow=io_uring"),
    };
    let closed = CLOSED.iter().filter(|(_, _, opens)| is_closed(*opens));
    closed.map(|(what, flaw, _)| format!("{what} ({flaw})")).collect()
}

fn shown(audit: &Audit) -> String {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let capabilities = if audit.capabilities.iter().map(String::as_str).eq(USUAL) {
        "the usual 14".to_owned()
    } else {
        list(&audit.capabilities)
    };
    let mut text = format!("{} ({})\n", audit.name, audit.image);
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<18}{value}\n"));
    line("user", &audit.user);
    line("capabilities", &capabilities);
    line("seccomp", &audit.seccomp);
    line("no-new-privileges", yes_no(audit.no_new_privileges));
    line("root read-only", yes_no(audit.read_only_root));
    line("host's files", &list(&audit.mounts));
    line("published", &list(&audit.ports));
    line("limits", &format!("memory {}, processes {}", yes_no(audit.memory_limited), yes_no(audit.processes_limited)));
    line("closed to it", &list(&audit.closed));
    if audit.unusual.is_empty() {
        line("unusual", "nothing");
    }
    for finding in &audit.unusual {
        line("unusual", &format!("{}: {}", finding.what, finding.why));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(inspect: serde_json::Value, remapped: bool, expected: &Expect) {
        let container: ContainerInspect = serde_json::from_value(inspect).unwrap();
        expected.assert_eq(&shown(&audit(&container, remapped)));
    }

    #[test]
    fn an_ordinary_container_has_nothing_unusual() {
        check(
            serde_json::json!({ "Name": "/web", "Config": { "Image": "busybox" }, "HostConfig": {} }),
            false,
            &expect![[r#"
                web (busybox)
                  user              root, with the host's ids
                  capabilities      the usual 14
                  seccomp           default
                  no-new-privileges no
                  root read-only    no
                  host's files      none
                  published         none
                  limits            memory no, processes no
                  closed to it      AF_ALG sockets (CVE-2026-31431), new user namespaces (CVE-2022-0185), mounts and cgroup settings (CVE-2022-0492), io_uring (CVE-2023-2598), kernel keyrings, userfaultfd, bpf (CVE-2016-0728)
                  unusual           nothing
            "#]],
        );
    }

    #[test]
    fn what_is_unusual_is_told_with_its_reason() {
        check(
            serde_json::json!({
                "Name": "/web",
                "Config": { "Image": "busybox", "User": "1000" },
                "HostConfig": {
                    "CapAdd": ["CAP_SYS_ADMIN"], "CapDrop": ["ALL"], "PidMode": "host", "Memory": 1, "ReadonlyRootfs": true,
                    "SecurityOpt": ["seccomp=unconfined", "no-new-privileges", "allow=io_uring"], "UsernsMode": "host",
                },
                "Mounts": [
                    { "Type": "bind", "Source": "/var/run/docker.sock", "Destination": "/s", "RW": true },
                    { "Type": "bind", "Source": "/etc/ssl", "Destination": "/ssl", "RW": false },
                    { "Type": "bind", "Source": "/srv/data", "Destination": "/data", "RW": true, "Propagation": "rshared" },
                ],
            }),
            true,
            &expect![[r#"
                web (busybox)
                  user              1000
                  capabilities      SYS_ADMIN
                  seccomp           unconfined
                  no-new-privileges yes
                  root read-only    yes
                  host's files      /var/run/docker.sock at /s, /etc/ssl at /ssl (read-only), /srv/data at /data
                  published         none
                  limits            memory yes, processes no
                  closed to it      none
                  unusual           --cap-add SYS_ADMIN: mounts, namespaces and much more: nearly root of the host
                  unusual           --security-opt seccomp=unconfined: no system call is filtered: every flaw of the kernel is in reach
                  unusual           --security-opt allow=io_uring: io_uring does what a filter cannot see
                  unusual           --pid host: sees the host's processes, and may signal those of its user
                  unusual           /var/run/docker.sock at /s: whoever may use this socket is root of the host
                  unusual           /etc/ssl at /ssl (read-only): reads the host's accounts and settings
                  unusual           /srv/data at /data (rshared): mounts that it makes there appear on the host
            "#]],
        );
    }
}
