//! `daemon.json`: the daemon's flags in a file. A flag and the file may not say the same thing.
//!
//! Keys are dockerd's. One that is not known is an error with its name, since a person wrote it; one that
//! means nothing here is taken with a remark, as its flag is.

use std::{collections::BTreeMap, fs, io, net::IpAddr, path::Path};

use hako_engine::RuntimeProgram;
use hako_network::address::PoolRange;
use serde_json::Value;

use crate::flags::DaemonFlags;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Keys of dockerd that do nothing here.
const IGNORED: [&str; 15] = [
    "allow-nondistributable-artifacts",
    "builder",
    "containerd",
    "containerd-namespace",
    "containerd-plugin-namespace",
    "cri-containerd",
    "exec-opts",
    "experimental",
    "init-path",
    "ip6tables",
    "live-restore",
    "raw-logs",
    "shutdown-timeout",
    "userland-proxy",
    "userland-proxy-path",
];

/// Keys of dockerd that would change what a person relies on, and that are not built.
const NOT_BUILT: [&str; 17] = [
    "allow-direct-routing",
    "authorization-plugins",
    "bip6",
    "bridge-accept-fwmark",
    "containerd-plugins-namespace",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "firewall-backend",
    "ip-forward-no-drop",
    "network-control-plane-mtu",
    "node-generic-resources",
    "nri-opts",
    "rootless",
    "selinux-enabled",
    "swarm-default-advertise-addr",
    "swarm-raft-election-tick",
    "swarm-raft-heartbeat-tick",
];

/// Reads the file into the flags; answers with remarks for the log.
///
/// # Errors
/// What is wrong with the file, with its name and the key.
pub(crate) fn apply(flags: &mut DaemonFlags, given: &[String], is_default: bool) -> Result<Vec<String>, String> {
    let path = flags.config_file.clone();
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_default => return Ok(Vec::new()),
        Err(error) => {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
            return Err(format!("cannot read {}: {why}", path.display()));
        }
    };
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let values: BTreeMap<String, Value> =
        serde_json::from_str(&text).map_err(|error| format!("{} is not a configuration: {error}", path.display()))?;
    let mut remarks = Vec::new();
    for (key, value) in &values {
        let flag = flag_of(key);
        if given.iter().any(|word| word == &flag || word.starts_with(&format!("{flag}="))) {
            return Err(format!(
                "the following directives are specified both as a flag and in the configuration file {}: {key}",
                path.display()
            ));
        }
        if IGNORED.contains(&key.as_str()) {
            remarks.push(format!("{key} in {} does nothing here", path.display()));
            continue;
        }
        set(flags, key, value).map_err(|why| format!("{}: {key}: {why}", path.display()))?;
    }
    Ok(remarks)
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The flag that says the same as a key.
fn flag_of(key: &str) -> String {
    match key {
        "hosts" => "--host".to_owned(),
        "labels" => "--label".to_owned(),
        "insecure-registries" => "--insecure-registry".to_owned(),
        "registry-mirrors" => "--registry-mirror".to_owned(),
        "log-opts" => "--log-opt".to_owned(),
        "storage-opts" => "--storage-opt".to_owned(),
        "dns-opts" => "--dns-opt".to_owned(),
        "default-ulimits" => "--default-ulimit".to_owned(),
        "default-network-opts" => "--default-network-opt".to_owned(),
        "default-address-pools" => "--default-address-pool".to_owned(),
        "runtimes" => "--add-runtime".to_owned(),
        "cdi-spec-dirs" => "--cdi-spec-dir".to_owned(),
        "features" => "--feature".to_owned(),
        "host-gateway-ips" => "--host-gateway-ip".to_owned(),
        key => format!("--{key}"),
    }
}

fn set(flags: &mut DaemonFlags, key: &str, value: &Value) -> Result<(), String> {
    match key {
        "data-root" => flags.data_root = text(value)?.into(),
        "exec-root" => flags.exec_root = text(value)?.into(),
        "hosts" => flags.hosts = texts(value)?,
        "docker-socket" => flags.docker_socket = text(value)?,
        "group" => flags.group = text(value)?,
        "pidfile" => flags.pidfile = Some(text(value)?.into()),
        "debug" => flags.debug = switch(value)?,
        "log-level" => flags.log_level = text(value)?,
        "tls" => flags.tls = Some(switch(value)?),
        "tlsverify" => flags.tlsverify = switch(value)?,
        "tlscacert" => flags.tlscacert = Some(text(value)?.into()),
        "tlscert" => flags.tlscert = Some(text(value)?.into()),
        "tlskey" => flags.tlskey = Some(text(value)?.into()),
        "bridge" => flags.bridge = text(value)?,
        "bip" => flags.bip = Some(parsed(value)?),
        "default-address-pools" => flags.default_address_pools = pools(value)?,
        "ipv6" => flags.ipv6 = switch(value)?,
        "mtu" => flags.mtu = value.as_u64().and_then(|mtu| u32::try_from(mtu).ok()).ok_or("expected a number")?,
        "icc" => flags.icc = switch(value)?,
        "ip-masq" => flags.ip_masq = switch(value)?,
        "ip-forward" => flags.ip_forward = switch(value)?,
        "iptables" => flags.iptables = switch(value)?,
        "publish-past-firewall" => flags.publish_past_firewall = switch(value)?,
        "ip" => flags.ip = Some(parsed(value)?),
        "dns" => flags.dns = addresses(value)?,
        "dns-opts" => flags.dns_options = texts(value)?,
        "dns-search" => flags.dns_search = texts(value)?,
        "log-driver" => flags.log_driver = text(value)?,
        "log-opts" => flags.log_options = pairs(value)?,
        "cgroup-parent" => flags.cgroup_parent = text(value)?,
        "default-shm-size" => flags.default_shm_size = text(value)?,
        "default-ulimits" => flags.default_ulimits = ulimits(value)?,
        "fixed-cidr" => flags.fixed_cidr = Some(parsed(value)?),
        "fixed-cidr-v6" => flags.fixed_cidr_v6 = Some(parsed(value)?),
        "default-gateway" => flags.default_gateway = Some(parsed(value)?),
        "default-gateway-v6" => flags.default_gateway_v6 = Some(parsed(value)?),
        "host-gateway-ips" => flags.host_gateways = addresses(value)?,
        "log-format" => flags.log_format = text(value)?.parse()?,
        "metrics-addr" => flags.metrics_addr = Some(parsed(value)?),
        "storage-opts" => flags.ignored.storage_options = texts(value)?,
        "default-network-opts" => flags.default_network_options = network_options(value)?,
        "cdi-spec-dirs" => flags.cdi_folders = Some(texts(value)?),
        "features" => flags.features = features(value)?,
        "default-stop-timeout" => flags.default_stop_timeout = value.as_i64().ok_or("expected a number of seconds")?,
        "default-cgroupns-mode" => flags.default_cgroupns_mode = text(value)?,
        "default-ipc-mode" => flags.default_ipc_mode = text(value)?,
        "seccomp-profile" => flags.seccomp_profile = text(value)?,
        "min-api-version" => flags.min_api_version = text(value)?,
        "init" => flags.init = switch(value)?,
        "no-new-privileges" => flags.no_new_privileges = switch(value)?,
        "labels" => flags.labels = texts(value)?,
        "insecure-registries" => flags.registry.insecure = texts(value)?,
        "registry-mirrors" => flags.registry.mirrors = texts(value)?,
        "max-concurrent-downloads" => flags.registry.max_concurrent_downloads = count(value)?,
        "max-concurrent-uploads" => flags.registry.max_concurrent_uploads = count(value)?,
        "max-download-attempts" => flags.registry.max_download_attempts = count(value)?,
        "proxies" => proxies(flags, value)?,
        "runtimes" => flags.runtimes = runtimes(value)?,
        "userns-remap" => flags.userns_remap = text(value)?,
        "default-runtime" => flags.default_runtime = text(value)?,
        // What the flag of this name says about it is said of the file, too.
        "storage-driver" => flags.ignored.storage_driver = Some(text(value)?),
        key if NOT_BUILT.contains(&key) => return Err("is not built yet".to_owned()),
        _ => return Err("is not known".to_owned()),
    }
    Ok(())
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "expected a text".to_owned())
}

fn switch(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "expected true or false".to_owned())
}

fn count(value: &Value) -> Result<usize, String> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| "expected a number".to_owned())
}

fn features(value: &Value) -> Result<Vec<String>, String> {
    let features = value.as_object().ok_or("expected an object of true and false")?;
    features.iter().map(|(name, on)| Ok(format!("{name}={}", switch(on)?))).collect()
}

fn proxies(flags: &mut DaemonFlags, value: &Value) -> Result<(), String> {
    for (key, value) in value.as_object().ok_or("expected an object of texts")? {
        let place = match key.as_str() {
            "http-proxy" => &mut flags.registry.http_proxy,
            "https-proxy" => &mut flags.registry.https_proxy,
            "no-proxy" => &mut flags.registry.no_proxy,
            other => return Err(format!("{other} is not known")),
        };
        *place = Some(text(value)?);
    }
    Ok(())
}

/// `{"crun": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}}`
fn runtimes(value: &Value) -> Result<BTreeMap<String, RuntimeProgram>, String> {
    let mut all = BTreeMap::new();
    for (name, about) in value.as_object().ok_or("expected an object of runtimes")? {
        let mut program = RuntimeProgram { path: Default::default(), arguments: Vec::new() };
        for (key, value) in about.as_object().ok_or_else(|| format!("{name}: expected an object"))? {
            let within = |why: String| format!("{name}: {key}: {why}");
            match key.as_str() {
                "path" => program.path = text(value).map_err(within)?.into(),
                "runtimeArgs" => program.arguments = texts(value).map_err(within)?,
                "runtimeType" | "options" => {
                    return Err(within("containerd's shims are not used: name a program as \"path\"".to_owned()));
                }
                _ => return Err(within("is not known".to_owned())),
            }
        }
        all.insert(name.clone(), program);
    }
    Ok(all)
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    value.as_array().ok_or("expected a list of texts")?.iter().map(text).collect()
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Result<T, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("{text:?} is not an address"))
}

/// `[{"base": "10.10.0.0/16", "size": 24}]`
fn pools(value: &Value) -> Result<Vec<PoolRange>, String> {
    let list = value.as_array().ok_or("expected a list of pools")?;
    let one = |pool: &Value| {
        let base = pool.get("base").and_then(Value::as_str).ok_or("a pool needs its base")?;
        let size = pool.get("size").and_then(Value::as_u64).ok_or("a pool needs the size of its subnets")?;
        format!("base={base},size={size}").parse()
    };
    list.iter().map(one).collect()
}

/// `{"bridge": {"com.docker.network.driver.mtu": "1400"}}`, as the flag says it.
fn network_options(value: &Value) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for (driver, options) in value.as_object().ok_or("expected an object of drivers")? {
        all.extend(pairs(options)?.into_iter().map(|pair| format!("{driver}={pair}")));
    }
    Ok(all)
}

fn addresses(value: &Value) -> Result<Vec<IpAddr>, String> {
    value.as_array().ok_or("expected a list of addresses")?.iter().map(parsed).collect()
}

fn pairs(value: &Value) -> Result<Vec<String>, String> {
    let pairs = value.as_object().ok_or("expected an object of texts")?;
    pairs.iter().map(|(key, value)| Ok(format!("{key}={}", text(value)?))).collect()
}

fn ulimits(value: &Value) -> Result<Vec<String>, String> {
    let all = value.as_object().ok_or("expected an object")?;
    all.iter()
        .map(|(name, limit)| {
            let number = |key: &str| limit.get(key).and_then(Value::as_i64).ok_or("expected Soft and Hard");
            Ok(format!("{name}={}:{}", number("Soft")?, number("Hard")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn check(text: &str, given: &[&str], expected: &str) {
        let path = std::env::temp_dir().join(format!("hako-config-{}.json", hako_base::random::hex(8)));
        fs::write(&path, text).unwrap();
        let mut flags = DaemonFlags::try_parse_from(["hako"]).unwrap();
        flags.config_file = path.clone();
        let given: Vec<String> = given.iter().map(|word| (*word).to_owned()).collect();
        let got = match apply(&mut flags, &given, false) {
            Ok(remarks) => format!("debug={} icc={} {remarks:?}", flags.debug, flags.icc),
            Err(error) => error,
        };
        assert_eq!(got.replace(&path.display().to_string(), "FILE"), expected);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_is_read_and_mistakes_are_named() {
        check(r#"{"debug": true, "icc": false}"#, &[], "debug=true icc=false []");
        check(r#"{"live-restore": true}"#, &[], "debug=false icc=true [\"live-restore in FILE does nothing here\"]");
        check(r#"{"colour": "red"}"#, &[], "FILE: colour: is not known");
        check(r#"{"rootless": true}"#, &[], "FILE: rootless: is not built yet");
        check(r#"{"metrics-addr": "9323"}"#, &[], "FILE: metrics-addr: \"9323\" is not an address");
        check(r#"{"log-format": "xml"}"#, &[], "FILE: log-format: \"xml\": expected text or json");
        check(
            r#"{"default-network-opts": {"bridge": {"a": "b"}}, "default-ipc-mode": "shareable"}"#,
            &[],
            "debug=false icc=true []",
        );
        check(
            r#"{"runtimes": {"crun": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}}, "default-runtime": "crun"}"#,
            &[],
            "debug=false icc=true []",
        );
        check(
            r#"{"runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}}"#,
            &[],
            "FILE: runtimes: kata: runtimeType: containerd's shims are not used: name a program as \"path\"",
        );
        check(r#"{"debug": "yes"}"#, &[], "FILE: debug: expected true or false");
        check(
            r#"{"debug": true}"#,
            &["--debug"],
            "the following directives are specified both as a flag and in the configuration file FILE: debug",
        );
        check("{", &[], "FILE is not a configuration: EOF while parsing an object at line 1 column 1");
    }
}
