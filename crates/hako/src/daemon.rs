//! `hako daemon`: the one place where the parts are put together, and taken apart again.
//!
//! Stopping the daemon stops no container: the keeper goes on, and the next daemon takes everything up.

use std::{collections::BTreeMap, ffi::OsString, fs, process::ExitCode, time::Duration};

use clap::Parser;
use hako_engine::{Engine, EngineConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    config_file,
    flags::DaemonFlags,
    socket::{self, Sockets},
};

/// dockerd's words for how much is logged.
const LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "fatal"];

/// After how long the code that only the start needed is given back: what the first clients want has come by then.
const REST: Duration = Duration::from_secs(3);

/// Where the settings come from; the file is read again at a reload.
struct Source {
    /// The command line's words.
    given: Vec<String>,
    /// What they say.
    flags: DaemonFlags,
}

/// The flags with the file's settings in them, checked.
struct Settings {
    flags: DaemonFlags,
    config: EngineConfig,
    /// What to tell about settings that do nothing.
    remarks: Vec<String>,
}

impl Source {
    fn read(&self) -> Result<Settings, String> {
        let mut flags = self.flags.clone();
        let is_default = !self.given.iter().any(|word| word.starts_with("--config-file"));
        let mut remarks = config_file::apply(&mut flags, &self.given, is_default)?;
        let config = checked(&flags)?;
        remarks.extend(flags.ignored.remarks()?);
        remarks.extend(flags.idle_features());
        if flags.fixed_cidr_v6.is_some() && !flags.ipv6 {
            remarks.push("--fixed-cidr-v6 does nothing without --ipv6".to_owned());
        }
        Ok(Settings { flags, config, remarks })
    }
}

/// The role; `arguments` begin with the program's name.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let source = Source {
        given: arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        flags: match DaemonFlags::try_parse_from(&arguments) {
            Ok(flags) => flags,
            Err(error) => error.exit(),
        },
    };
    let settings = match source.read() {
        Ok(settings) => settings,
        Err(why) => return fail(&why),
    };
    if settings.flags.validate {
        println!("configuration OK");
        return ExitCode::SUCCESS;
    }
    hako_base::telemetry::start(settings.flags.level(), settings.flags.log_format);
    for remark in &settings.remarks {
        tracing::warn!("{remark}");
    }
    match run(&source, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("hako daemon: {why}");
    ExitCode::FAILURE
}

fn run(source: &Source, settings: Settings) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this needs to be root: it makes namespaces, mounts and bridges for containers".to_owned());
    }
    // Ten thousand published ports on both families are sixty thousand descriptors. The keeper inherits the limit.
    hako_sys::process::descriptor_limit_raise()
        .map_err(|error| format!("cannot raise the limit of descriptors: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(512)
        // Small: most of what runs here is shallow, and there are many of them.
        .thread_stack_size(1 << 20)
        .build()
        .map_err(|error| format!("cannot start the reactor: {error}"))?;
    runtime.block_on(serve(source, settings))
}

/// Gives back what the start has left in memory of the program itself; what is needed comes again from the page cache.
async fn rest() {
    // Nothing is waited for but the time.
    let _ = tokio::time::timeout(REST, std::future::pending::<()>()).await;
    if let Err(error) = hako_sys::memory::release_clean_pages() {
        tracing::debug!(%error, "cannot give memory back");
    }
}

async fn serve(source: &Source, Settings { flags, config, .. }: Settings) -> Result<(), String> {
    let flags = &flags;
    // Heard from the first moment on: a daemon that is told to stop while it starts, stops.
    let stop = stop_asked()?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let engine = Engine::open(config).await.map_err(|error| error.to_string())?;
    let builder = hako_build::Builder::open(engine.clone()).map_err(|error| error.to_string())?;
    let metrics = metrics_listener(flags).await?;
    let Sockets { listeners, made, .. } = tokio::task::block_in_place(|| socket::open(flags, &engine))?;
    if let Some(path) = &flags.pidfile {
        fs::write(path, std::process::id().to_string())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    notify("READY=1");
    let sockets: Vec<&str> = made.iter().map(|made| made.address.as_str()).collect();
    tracing::info!(data_root = %flags.data_root.display(), sockets = sockets.join(" "), "ready");
    tokio::spawn(rest());
    let settings = hako_server::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        min_api: min_api(&flags.min_api_version)?,
        git_commit: option_env!("HAKO_COMMIT").unwrap_or("unknown").to_owned(),
        build_time: option_env!("HAKO_BUILD_TIME").unwrap_or("unknown").to_owned(),
    };
    let reloading = builder.engine().clone();
    let stop = async move {
        let reloads = async {
            while hang_up.recv().await.is_some() {
                reload(source, &reloading);
            }
        };
        tokio::select! { () = stop => {}, () = reloads => {} }
    };
    let listeners = hako_server::Listeners { api: listeners, metrics };
    hako_server::serve(builder, settings, listeners, stop).await;
    notify("STOPPING=1");
    tokio::task::block_in_place(|| socket::close(&engine, &made));
    if let Some(path) = &flags.pidfile {
        let _ = fs::remove_file(path);
    }
    tracing::info!("ends; containers run on");
    Ok(())
}

/// The socket of `--metrics-addr`.
async fn metrics_listener(flags: &DaemonFlags) -> Result<Option<tokio::net::TcpListener>, String> {
    let Some(address) = flags.metrics_addr else { return Ok(None) };
    let bound = tokio::net::TcpListener::bind(address).await;
    bound.map(Some).map_err(|error| format!("cannot listen on --metrics-addr {address}: {error}"))
}

/// Everything about the flags that can be known before the host is touched.
fn checked(flags: &DaemonFlags) -> Result<EngineConfig, String> {
    if !LEVELS.contains(&flags.log_level.as_str()) {
        return Err(format!("--log-level {}: expected one of {}", flags.log_level, LEVELS.join(", ")));
    }
    socket::check(flags)?;
    min_api(&flags.min_api_version)?;
    let config = engine_config(flags)?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

/// Reads the settings anew at SIGHUP. A mistake in them changes nothing: the daemon goes on as it was.
fn reload(source: &Source, engine: &Engine) {
    match source.read() {
        Ok(Settings { flags, config, .. }) => {
            hako_base::telemetry::set_level(flags.level());
            engine.reload(config.reloadable());
            tracing::info!("debug, log-level, labels and runtimes were taken anew; everything else needs a new daemon");
        }
        Err(why) => tracing::error!("the settings were not taken anew: {why}"),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen to signals: {error}"))
}

/// Completes at SIGTERM or SIGINT.
fn stop_asked() -> Result<impl Future<Output = ()>, String> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Tells the service manager, if there is one (`sd_notify(3)`).
fn notify(state: &str) {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::debug!(%error, "cannot tell the service manager");
    }
}

fn engine_config(flags: &DaemonFlags) -> Result<EngineConfig, String> {
    let absolute =
        |path: &std::path::Path| std::path::absolute(path).map_err(|_| format!("{:?} is not a directory's path", path));
    let mut config = EngineConfig::new(absolute(&flags.data_root)?, absolute(&flags.exec_root)?);
    config.cgroup_parent = flags.cgroup_parent.clone();
    config.bridge_disabled = flags.bridge == "none";
    config.bridge = if config.bridge_disabled { String::new() } else { flags.bridge.clone() };
    config.bridge_address = flags.bip;
    config.address_pools.clone_from(&flags.default_address_pools);
    config.ipv6 = flags.ipv6;
    config.mtu = flags.mtu;
    config.icc = flags.icc;
    config.masquerade = flags.ip_masq;
    config.ip_forward = flags.ip_forward;
    config.firewall = flags.iptables;
    config.publish_past_firewall = flags.publish_past_firewall;
    config.publish_address = flags.ip;
    config.dns.clone_from(&flags.dns);
    config.dns_options.clone_from(&flags.dns_options);
    config.dns_search.clone_from(&flags.dns_search);
    config.log_driver.clone_from(&flags.log_driver);
    config.log_options = pairs(&flags.log_options, "--log-opt")?;
    config.shm_bytes = size(&flags.default_shm_size)?;
    config.ulimits = flags.default_ulimits.iter().map(|text| ulimit(text)).collect::<Result<_, _>>()?;
    config.bridge_range = flags.fixed_cidr;
    config.bridge_subnet_ipv6 = flags.fixed_cidr_v6;
    config.bridge_gateway = flags.default_gateway;
    config.bridge_gateway_ipv6 = flags.default_gateway_v6;
    config.host_gateways.clone_from(&flags.host_gateways);
    config.network_options = network_options(&flags.default_network_options)?;
    if let Some(folders) = &flags.cdi_folders {
        // One that is empty means none, as with dockerd.
        config.cdi_folders = folders.iter().filter(|folder| !folder.is_empty()).map(Into::into).collect();
    }
    if flags.feature("cdi")? == Some(false) {
        config.cdi_folders.clear();
    }
    config.stop_timeout_s = flags.default_stop_timeout;
    config.cgroupns_mode.clone_from(&flags.default_cgroupns_mode);
    config.ipc_mode.clone_from(&flags.default_ipc_mode);
    config.seccomp = seccomp(&flags.seccomp_profile)?;
    config.init = flags.init;
    config.no_new_privileges = flags.no_new_privileges;
    config.labels.clone_from(&flags.labels);
    config.debug = flags.debug;
    config.userns_remap = remap(&flags.userns_remap)?;
    config.runtimes = flags.other_runtimes()?;
    config.sandboxes = flags.sandboxes.unwrap_or(config.sandboxes);
    config.registry = flags.registry.settings(|name| std::env::var(name).ok());
    Ok(config)
}

fn pairs(texts: &[String], flag: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    texts.iter().map(|text| pair(text).ok_or_else(|| format!("{flag} {text}: expected KEY=VALUE"))).collect()
}

/// `bridge=com.docker.network.driver.mtu=1400`
fn network_options(texts: &[String]) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for text in texts {
        let bad = || format!("--default-network-opt {text}: expected DRIVER=KEY=VALUE");
        let (driver, pair) = text.split_once('=').ok_or_else(bad)?;
        let (key, value) = pair.split_once('=').ok_or_else(bad)?;
        all.entry(driver.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// The daemon's own profile; `None` for the one that is built in.
fn seccomp(text: &str) -> Result<Option<String>, String> {
    match text {
        "" | "builtin" | "default" => Ok(None),
        "unconfined" => Ok(Some(text.to_owned())),
        path => {
            let read = fs::read_to_string(path).map_err(|error| error.to_string());
            let text = read.and_then(|text| match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(_) => Ok(text),
                Err(error) => Err(error.to_string()),
            });
            text.map(Some).map_err(|why| format!("--seccomp-profile {path}: {why}"))
        }
    }
}

/// Whose ids containers have; `None`: the host's own.
fn remap(text: &str) -> Result<Option<hako_engine::IdMap>, String> {
    match text {
        "" => Ok(None),
        text => {
            let map = hako_engine::IdMap::of_remap(text);
            map.map(Some).map_err(|why| format!("--userns-remap {text}: {why}"))
        }
    }
}

/// The oldest version of the API that is spoken.
fn min_api(text: &str) -> Result<hako_api::ApiVersion, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("--min-api-version {text}: {why}");
    match text {
        "" => Ok(hako_api::ApiVersion::MIN),
        text => {
            let version: hako_api::ApiVersion = text.parse().map_err(|error| wrong(&error))?;
            version.supported().map_err(|error| wrong(&error))
        }
    }
}

/// `64M`, `1g`, `67108864`
fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("--default-shm-size {text}: expected a size such as 64M");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(bad()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(bad)
}

/// `nofile=1024:2048`
fn ulimit(text: &str) -> Result<hako_model::Ulimit, String> {
    let bad = || format!("--default-ulimit {text}: expected NAME=SOFT[:HARD]");
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(hako_model::Ulimit {
        name: name.to_owned(),
        soft: soft.parse().map_err(|_| bad())?,
        hard: hard.parse().map_err(|_| bad())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_limits_are_read_or_refused() {
        assert_eq!(size("64M").unwrap(), 64 << 20);
        assert_eq!(size("1gib").unwrap(), 1 << 30);
        assert!(size("lots").is_err());
        assert_eq!(ulimit("nofile=1:2").unwrap().hard, 2);
        assert!(ulimit("nofile").is_err());
    }
}
