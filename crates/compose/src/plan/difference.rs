//! Why a container is no longer as its file says, field by field: what would be asked for now against what it has.

use std::collections::BTreeSet;

use hako_api::container::{ContainerConfig, ContainerInspect, HostConfig};

use crate::{
    project::Project,
    request::{self, Known},
    service::Service,
};

/// One difference: below which key, from what, to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub key: String,
    pub from: String,
    pub to: String,
}

impl Reason {
    pub(super) fn asked() -> Self {
        Self::changed("--force-recreate", "", "")
    }

    pub(super) fn follows(other: &str) -> Self {
        Self::changed(&format!("depends_on.{other}.restart"), "", &format!("{other} is made anew"))
    }

    pub(super) fn shares(other: &str) -> Self {
        Self::changed("namespaces", "", &format!("shared with {other}, which is made anew"))
    }

    pub(super) fn changed(key: &str, from: &str, to: &str) -> Self {
        Self { key: key.to_owned(), from: from.to_owned(), to: to.to_owned() }
    }
}

/// Everything that differs, as far as the container shows it.
pub(super) fn differences(
    project: &Project,
    service: &Service,
    known: &Known,
    there: &ContainerInspect,
    image_variables: &[String],
) -> Vec<Reason> {
    let Ok(creation) = request::creation(project, service, 1, known) else { return Vec::new() };
    let (wanted, host) = (&creation.request.config, creation.request.host_config.clone().unwrap_or_default());
    let mut out = Vec::new();
    let mut add = |key: &str, from: String, to: String| {
        if from != to {
            out.push(Reason { key: key.to_owned(), from, to });
        }
    };
    add("image", there.config.image.clone(), wanted.image.clone());
    if wanted.cmd.is_some() {
        add("command", words(&there.config, |it| it.cmd.as_ref()), words(wanted, |it| it.cmd.as_ref()));
    }
    if wanted.entrypoint.is_some() {
        add(
            "entrypoint",
            words(&there.config, |it| it.entrypoint.as_ref()),
            words(wanted, |it| it.entrypoint.as_ref()),
        );
    }
    for (key, from, to) in lists(&there.config, &there.host_config, wanted, &host, image_variables) {
        let only = |left: &BTreeSet<String>, right: &BTreeSet<String>| {
            left.difference(right).cloned().collect::<Vec<_>>().join(", ")
        };
        add(key, only(&from, &to), only(&to, &from));
    }
    for (key, from, to) in scalars(&there.config, &there.host_config, wanted, &host) {
        add(key, from, to);
    }
    out
}

fn words(config: &ContainerConfig, pick: impl Fn(&ContainerConfig) -> Option<&hako_api::StringList>) -> String {
    pick(config).map(|list| list.0.join(" ")).unwrap_or_default()
}

/// One of the host's lists.
type Pick = fn(&HostConfig) -> Option<Vec<String>>;
type Sets = Vec<(&'static str, BTreeSet<String>, BTreeSet<String>)>;

fn lists(
    config: &ContainerConfig,
    host: &HostConfig,
    wanted: &ContainerConfig,
    wanted_host: &HostConfig,
    image_variables: &[String],
) -> Sets {
    let set = |list: Option<&Vec<String>>| list.into_iter().flatten().cloned().collect::<BTreeSet<_>>();
    let own_labels = |config: &ContainerConfig| {
        let labels = config.labels.iter().flatten().filter(|(key, _)| !key.starts_with("com.docker.compose."));
        labels.map(|(key, value)| format!("{key}={value}")).collect::<BTreeSet<_>>()
    };
    let to = set(wanted.env.as_ref());
    // What the image sets by itself is no difference.
    let from = set(config.env.as_ref()).into_iter().filter(|line| to.contains(line) || !image_variables.contains(line));
    let mut sets: Sets = vec![
        ("environment", from.collect(), to),
        ("labels", own_labels(config), own_labels(wanted)),
        ("ports", published(host), published(wanted_host)),
        ("volumes", mounted(host), mounted(wanted_host)),
        ("networks", BTreeSet::from([host.network_mode.clone()]), BTreeSet::from([wanted_host.network_mode.clone()])),
    ];
    let picks: [(&'static str, Pick); 6] = [
        ("cap_add", |it| it.cap_add.clone().map(|list| list.0)),
        ("cap_drop", |it| it.cap_drop.clone().map(|list| list.0)),
        ("dns", |it| it.dns.clone()),
        ("extra_hosts", |it| it.extra_hosts.clone()),
        ("group_add", |it| it.group_add.clone()),
        ("security_opt", |it| it.security_opt.clone()),
    ];
    sets.extend(picks.into_iter().map(|(key, pick)| (key, set(pick(host).as_ref()), set(pick(wanted_host).as_ref()))));
    sets
}

fn published(host: &HostConfig) -> BTreeSet<String> {
    let ports = host.port_bindings.iter().flatten();
    let lines = ports.flat_map(|(port, bindings)| {
        bindings.iter().flatten().map(move |it| {
            let address = if it.host_ip.is_empty() { String::new() } else { format!("{}:", it.host_ip) };
            format!("{address}{}:{port}", it.host_port)
        })
    });
    lines.collect()
}

fn mounted(host: &HostConfig) -> BTreeSet<String> {
    let mounts = host.mounts.iter().map(|it| {
        let mode = if it.read_only { ":ro" } else { "" };
        format!("{}:{}{mode}", it.source, it.target)
    });
    mounts
        .chain(host.binds.iter().flatten().cloned())
        .chain(host.tmpfs.keys().map(|it| format!("tmpfs:{it}")))
        .collect()
}

fn scalars(
    config: &ContainerConfig,
    host: &HostConfig,
    wanted: &ContainerConfig,
    wanted_host: &HostConfig,
) -> Vec<(&'static str, String, String)> {
    let mut out = Vec::new();
    // Where the file says nothing, the image or the daemon has filled in something of its own.
    let mut said = |key, from: &str, to: &str| {
        if !to.is_empty() {
            out.push((key, from.to_owned(), to.to_owned()));
        }
    };
    said("user", &config.user, &wanted.user);
    said("working_dir", &config.working_dir, &wanted.working_dir);
    said("hostname", &config.hostname, &wanted.hostname);
    said("stop_signal", &config.stop_signal, &wanted.stop_signal);
    said("runtime", &host.runtime, &wanted_host.runtime);
    said("logging.driver", &host.log_config.kind, &wanted_host.log_config.kind);
    said("restart", &host.restart_policy.name, &wanted_host.restart_policy.name);
    let health = |config: &ContainerConfig| config.healthcheck.as_ref().map(|it| it.test.join(" ")).unwrap_or_default();
    said("healthcheck.test", &health(config), &health(wanted));
    let number = |value: i64| value.to_string();
    out.extend([
        ("tty", config.tty.to_string(), wanted.tty.to_string()),
        ("stdin_open", config.open_stdin.to_string(), wanted.open_stdin.to_string()),
        ("privileged", host.privileged.to_string(), wanted_host.privileged.to_string()),
        ("read_only", host.readonly_rootfs.to_string(), wanted_host.readonly_rootfs.to_string()),
        ("mem_limit", number(host.resources.memory), number(wanted_host.resources.memory)),
        ("cpus", number(host.resources.nano_cpus), number(wanted_host.resources.nano_cpus)),
        ("cpu_shares", number(host.resources.cpu_shares), number(wanted_host.resources.cpu_shares)),
    ]);
    out
}
