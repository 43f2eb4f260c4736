//! Nodes that are ours to make: BuildKit in a container, as Buildx's driver `docker-container` has it, so that either tool
//! can use, stop and remove what the other has made.
//!
//! ```text
//! container  buildx_buildkit_NODE          privileged, `buildkitd FLAGS`, restarted unless stopped
//! volume     buildx_buildkit_NODE_state    its cache
//! files      /etc/buildkit/…               put in before it starts
//! ```

use std::{collections::BTreeMap, time::Duration};

use hako_api::{
    build::BuildNews,
    container::{ContainerConfig, ContainerCreateRequest, HostConfig, Mount, Resources, RestartPolicy},
    query::{
        ContainerArchivePutQuery, ContainerCreateQuery, ContainerInspectQuery, ContainerRemoveQuery,
        ContainerStartQuery, ContainerStopQuery, ImageCreateQuery, VolumeRemoveQuery,
    },
    system::SystemInfo,
};
use hako_base::ErrorKind;
use hako_client::{
    Client, ClientError, RequestBody,
    build::{Builder, BuilderInfo},
};
use hako_model::Reference;
use tokio::sync::mpsc;

use super::{
    chosen::{Chosen, Driver, Node},
    configuration::{CONFIGURATION, ROOT},
    store::NodeRecord,
};
use crate::{build::Step, context::Context, credentials::Credentials, error::CommandError, format::size};

/// BuildKit's image, where no option names one.
const IMAGE: &str = "moby/buildkit:buildx-stable-1";

/// How long a node may take to answer, as in Buildx.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Options of the container driver; `env.NAME` beside them.
const CONTAINER_OPTIONS: [&str; 12] = [
    "image",
    "network",
    "memory",
    "memory-swap",
    "cpu-quota",
    "cpu-period",
    "cpu-shares",
    "cpuset-cpus",
    "cpuset-mems",
    "cgroup-parent",
    "restart-policy",
    "default-load",
];

/// Options of the remote driver.
const REMOTE_OPTIONS: [&str; 5] = ["cacert", "cert", "key", "servername", "default-load"];

/// The container of a node.
pub(crate) fn container_name(node: &str) -> String {
    format!("buildx_buildkit_{node}")
}

/// What a node does.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// `running`, `stopped`, `inactive`, `error`.
    pub word: &'static str,
    pub info: Option<BuilderInfo>,
    pub error: Option<String>,
}

/// Looks at a node, and asks it what it is if it runs.
pub(crate) async fn state(driver: &Driver, node: &Node) -> State {
    let failed = |error: String| State { word: "error", error: Some(error), ..State::default() };
    let builder = match &node.builder {
        Ok(builder) => builder,
        Err(why) => return failed(why.clone()),
    };
    if let (Driver::Container, Builder::Container { client, container }) = (driver, builder) {
        match client.container_inspect(container, &ContainerInspectQuery::default()).await {
            Ok(found) if found.state.running => {}
            Ok(_) => return State { word: "stopped", ..State::default() },
            Err(error) if error.kind() == ErrorKind::NotFound => return State { word: "inactive", ..State::default() },
            Err(error) => return failed(crate::error::client_message(&error)),
        }
    }
    match builder.info().await {
        Ok(info) => State { word: "running", info: Some(info), error: None },
        // Whoever runs it may not have started it yet.
        Err(_) if *driver == Driver::Remote => State { word: "inactive", ..State::default() },
        Err(error) => failed(crate::error::client_message(&error)),
    }
}

/// Makes a node ready, tells how, and says what it is.
///
/// # Errors
/// When it cannot be made, or does not answer in time.
pub(crate) async fn boot(
    cx: &Context,
    chosen: &Chosen,
    node: &Node,
    news: &mpsc::Sender<BuildNews>,
) -> Result<BuilderInfo, CommandError> {
    let builder = node.builder()?;
    // One that answers at once has nothing to tell.
    if let State { info: Some(info), .. } = state(&chosen.driver, node).await {
        return Ok(info);
    }
    if chosen.driver == Driver::Docker {
        return Ok(builder.info().await?);
    }
    let place = if chosen.nodes.len() > 1 { format!("{} ", node.record.name) } else { String::new() };
    let what = if chosen.driver == Driver::Container { "booting buildkit" } else { "waiting for connection" };
    let step = Step::begin(news.clone(), format!("[{place}internal] {what}")).await;
    let booted = async {
        if let (Driver::Container, Builder::Container { client, container }) = (&chosen.driver, builder) {
            start(cx, client, container, &node.record, &step).await?;
        }
        answered(builder).await
    };
    let booted = booted.await;
    step.end(booted.as_ref().err().and_then(CommandError::message)).await;
    booted
}

async fn answered(builder: &Builder) -> Result<BuilderInfo, CommandError> {
    let mut last = None;
    let asking = async {
        let mut ticks = tokio::time::interval(PAUSE);
        loop {
            ticks.tick().await;
            match builder.info().await {
                Ok(info) => return info,
                Err(error) => last = Some(error),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(info) => Ok(info),
        Err(_) => Err(last.map_or_else(
            || CommandError::Said("ERROR: the builder does not answer".to_owned()),
            |error| CommandError::Said(format!("ERROR: {}", crate::error::client_message(&error))),
        )),
    }
}

async fn start(
    cx: &Context,
    client: &Client,
    container: &str,
    node: &NodeRecord,
    step: &Step,
) -> Result<(), CommandError> {
    match client.container_inspect(container, &ContainerInspectQuery::default()).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => make(cx, client, container, node, step).await?,
        Err(error) => return Err(error.into()),
    }
    Ok(client.container_start(container, &ContainerStartQuery::default()).await?)
}

async fn make(
    cx: &Context,
    client: &Client,
    container: &str,
    node: &NodeRecord,
    step: &Step,
) -> Result<(), CommandError> {
    let info = client.system_info().await?;
    let request = request(container, node, &info).map_err(CommandError::Said)?;
    let image = request.config.image.clone();
    match client.image_inspect(&image).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            step.part(&format!("pulling image {image}"), pull(cx, client, &image)).await?;
        }
        found => drop(found?),
    }
    let making = async {
        let query = ContainerCreateQuery { name: Some(container.to_owned()), ..ContainerCreateQuery::default() };
        client.container_create(&query, &request).await?;
        if node.files.is_empty() {
            return Ok(());
        }
        let query = ContainerArchivePutQuery { path: "/".to_owned(), ..ContainerArchivePutQuery::default() };
        let put = match files(&node.files) {
            Ok(tar) => Ok(client.container_archive_put(container, &query, RequestBody::Bytes(tar.into())).await?),
            Err(why) => Err(CommandError::Said(why)),
        };
        if put.is_err() {
            // Half a builder would be started by the next build.
            let query = ContainerRemoveQuery { force: true, volumes: true, ..ContainerRemoveQuery::default() };
            let _ = client.container_remove(container, &query).await;
        }
        put
    };
    step.part(&format!("creating container {container}"), making).await
}

async fn pull(cx: &Context, client: &Client, image: &str) -> Result<(), CommandError> {
    let reference = image.parse::<Reference>().map_err(|error| CommandError::Said(format!("{image}: {error}")))?;
    let credentials = Credentials::read(&cx.directory)?.of_image(&reference);
    let query = ImageCreateQuery { from_image: image.to_owned(), ..ImageCreateQuery::default() };
    let mut progress = client.image_create(&query, Some(&credentials), RequestBody::Empty).await?;
    while let Some(line) = progress.next().await? {
        if !line.error.is_empty() {
            return Err(CommandError::Said(line.error));
        }
    }
    Ok(())
}

// The container as Buildx makes it. Pure.
fn request(container: &str, node: &NodeRecord, info: &SystemInfo) -> Result<ContainerCreateRequest, String> {
    check_options(&Driver::Container, &node.driver_opts)?;
    let option = |name: &str| node.driver_opts.get(name).cloned().unwrap_or_default();
    let environment = node.driver_opts.iter().filter_map(|(key, value)| Some((key.strip_prefix("env.")?, value)));
    let mut command = node.flags.clone();
    if node.files.contains_key(CONFIGURATION) {
        command.splice(0..0, ["--config".to_owned(), format!("{ROOT}/{CONFIGURATION}")]);
    }
    let state = Mount {
        kind: "volume".to_owned(),
        source: format!("{container}_state"),
        target: "/var/lib/buildkit".to_owned(),
        ..Mount::default()
    };
    let has_mapped_users = info.security_options.iter().any(|option| option.starts_with("name=userns"));
    let network = option("network");
    let host = HostConfig {
        privileged: true,
        init: Some(true),
        restart_policy: restart(&option("restart-policy"))?,
        security_opt: Some(vec!["label=disable".to_owned()]),
        userns_mode: if has_mapped_users { "host".to_owned() } else { String::new() },
        network_mode: if network.is_empty() { "default".to_owned() } else { network },
        mounts: vec![state],
        resources: resources(&node.driver_opts, info)?,
        ..HostConfig::default()
    };
    let image = Some(option("image")).filter(|image| !image.is_empty()).unwrap_or_else(|| IMAGE.to_owned());
    let config = ContainerConfig {
        image,
        env: Some(environment.map(|(key, value)| format!("{key}={value}")).collect()),
        cmd: Some(command.into()),
        ..ContainerConfig::default()
    };
    Ok(ContainerCreateRequest { config, host_config: Some(host), ..ContainerCreateRequest::default() })
}

fn resources(options: &BTreeMap<String, String>, info: &SystemInfo) -> Result<Resources, String> {
    let option = |name: &str| options.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let number = |name: &str| match option(name) {
        None => Ok(0),
        Some(text) => text.parse::<i64>().map_err(|_| format!("{name}={text}: expected a number")),
    };
    let bytes = |name: &str| match option(name) {
        None => Ok(0),
        Some(text) => size::parse_ram(text).map_err(|error| format!("{name}={text}: {error}")),
    };
    // A slice of systemd's is named otherwise, and BuildKit's own choice of cgroups then does no harm.
    let parent = if info.cgroup_driver == "cgroupfs" { "/docker/buildx" } else { "" };
    Ok(Resources {
        cpu_shares: number("cpu-shares")?,
        cpu_period: number("cpu-period")?,
        cpu_quota: number("cpu-quota")?,
        memory: bytes("memory")?,
        memory_swap: if option("memory-swap") == Some("-1") { -1 } else { bytes("memory-swap")? },
        cpuset_cpus: option("cpuset-cpus").unwrap_or_default().to_owned(),
        cpuset_mems: option("cpuset-mems").unwrap_or_default().to_owned(),
        cgroup_parent: option("cgroup-parent").unwrap_or(parent).to_owned(),
        ..Resources::default()
    })
}

fn restart(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    let maximum_retry_count = count.parse().map_err(|_| format!("restart-policy={text}: expected a number"))?;
    let name = if name.is_empty() { "unless-stopped" } else { name };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

/// Whether the driver has these options.
///
/// # Errors
/// The one that it has not, in Buildx's words.
pub(crate) fn check_options(driver: &Driver, options: &BTreeMap<String, String>) -> Result<(), String> {
    let known: &[&str] = match driver {
        Driver::Container => &CONTAINER_OPTIONS,
        Driver::Remote => &REMOTE_OPTIONS,
        Driver::Docker | Driver::Other(_) => &[],
    };
    let is_variable = |name: &str| *driver == Driver::Container && name.starts_with("env.");
    match options.keys().find(|name| !known.contains(&name.as_str()) && !is_variable(name)) {
        Some(name) => Err(format!("invalid driver option {name} for {} driver", driver.name())),
        None => Ok(()),
    }
}

fn files(files: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let bytes = hako_api::text::base64_url_decode(text).ok_or_else(|| format!("the file {name} is not base64"))?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        let added = tar.append_data(&mut header, format!("{}/{name}", ROOT.trim_start_matches('/')), bytes.as_slice());
        added.map_err(|error| format!("the file {name}: {error}"))?;
    }
    tar.into_inner().map_err(|error| error.to_string())
}

/// Stops a node, where that is ours to do.
///
/// # Errors
/// What the daemon says.
pub(crate) async fn stop(chosen: &Chosen, node: &Node) -> Result<(), CommandError> {
    let (Driver::Container, Builder::Container { client, container }) = (&chosen.driver, node.builder()?) else {
        return Ok(());
    };
    unless_missing(client.container_stop(container, &ContainerStopQuery::default()).await)
}

/// Removes what was made for a node. `daemon`: its container too; `state`: its cache too.
///
/// # Errors
/// What the daemon says.
pub(crate) async fn remove(chosen: &Chosen, node: &Node, daemon: bool, state: bool) -> Result<(), CommandError> {
    let (Driver::Container, Builder::Container { client, container }) = (&chosen.driver, node.builder()?) else {
        return Ok(());
    };
    if !daemon {
        return Ok(());
    }
    let query = ContainerRemoveQuery { force: true, volumes: true, ..ContainerRemoveQuery::default() };
    unless_missing(client.container_remove(container, &query).await)?;
    if state {
        unless_missing(client.volume_remove(&format!("{container}_state"), &VolumeRemoveQuery::default()).await)?;
    }
    Ok(())
}

fn unless_missing(done: Result<(), ClientError>) -> Result<(), CommandError> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)], files: &[&str], expected: &str) {
        let node = NodeRecord {
            driver_opts: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            files: files.iter().map(|name| ((*name).to_owned(), String::new())).collect(),
            flags: vec!["--debug".to_owned()],
            ..NodeRecord::default()
        };
        let info = SystemInfo { cgroup_driver: "cgroupfs".to_owned(), ..SystemInfo::default() };
        let got = match request("c", &node, &info) {
            Err(why) => why,
            Ok(request) => {
                let (host, config) = (request.host_config.unwrap_or_default(), request.config);
                let words = config.cmd.unwrap_or_default().0.join(" ");
                let restart = host.restart_policy;
                format!(
                    "{} {words}; {:?}; {} {} {} {}:{}",
                    config.image,
                    config.env.unwrap_or_default(),
                    host.network_mode,
                    host.resources.cgroup_parent,
                    host.resources.memory,
                    restart.name,
                    restart.maximum_retry_count
                )
            }
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn the_container_is_the_one_that_buildx_makes() {
        check(&[], &[], r#"moby/buildkit:buildx-stable-1 --debug; []; default /docker/buildx 0 unless-stopped:0"#);
        check(
            &[
                ("image", "b"),
                ("env.A", "1"),
                ("network", "host"),
                ("memory", "1m"),
                ("restart-policy", "on-failure:3"),
            ],
            &["buildkitd.toml"],
            r#"b --config /etc/buildkit/buildkitd.toml --debug; ["A=1"]; host /docker/buildx 1048576 on-failure:3"#,
        );
        check(&[("gpus", "all")], &[], "invalid driver option gpus for docker-container driver");
        check(&[("cpu-quota", "many")], &[], "cpu-quota=many: expected a number");
    }
}
