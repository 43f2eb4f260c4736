//! What runs in a container, and what an image says about it.

use std::collections::BTreeMap;

use hako_api::{
    Empty, StringList,
    container::{ContainerConfig, HealthConfig},
    image,
};
use hako_engine::view::ContainerView;
use hako_model::{HealthSpec, ImageConfig};

use crate::{
    convert::{port, some_list, some_map},
    error::Failure,
};

/// A millisecond, the least that Docker takes for a health check's durations.
const NANOS_MIN: i64 = 1_000_000;

pub(crate) fn health(from: &HealthConfig) -> Result<HealthSpec, Failure> {
    for (name, nanos) in [
        ("Interval", from.interval),
        ("Timeout", from.timeout),
        ("StartPeriod", from.start_period),
        ("StartInterval", from.start_interval),
    ] {
        if nanos != 0 && nanos < NANOS_MIN {
            return Err(Failure::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if from.retries < 0 {
        return Err(Failure::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(HealthSpec {
        test: from.test.clone(),
        interval_ns: from.interval,
        timeout_ns: from.timeout,
        start_period_ns: from.start_period,
        start_interval_ns: from.start_interval,
        retries: from.retries,
    })
}

fn health_to_api(spec: &HealthSpec) -> HealthConfig {
    HealthConfig {
        test: spec.test.clone(),
        interval: spec.interval_ns,
        timeout: spec.timeout_ns,
        start_period: spec.start_period_ns,
        start_interval: spec.start_interval_ns,
        retries: spec.retries,
    }
}

pub(crate) fn words(list: Option<&StringList>) -> Option<Vec<String>> {
    list.map(|list| list.0.clone())
}

fn words_to_api(words: Option<&Vec<String>>) -> Option<StringList> {
    words.cloned().map(StringList)
}

fn paths(from: &[String]) -> Option<BTreeMap<String, Empty>> {
    (!from.is_empty()).then(|| from.iter().map(|path| (path.clone(), Empty)).collect())
}

/// The half of `commit`'s body that an image can hold.
pub(crate) fn image_config(from: &ContainerConfig) -> Result<ImageConfig, Failure> {
    Ok(ImageConfig {
        user: from.user.clone(),
        env: from.env.clone().unwrap_or_default(),
        entrypoint: words(from.entrypoint.as_ref()),
        cmd: words(from.cmd.as_ref()),
        working_dir: from.working_dir.clone(),
        exposed_ports: port::exposed(&from.exposed_ports)?,
        volumes: from.volumes.iter().flatten().map(|(path, _)| path.clone()).collect(),
        labels: from.labels.clone().unwrap_or_default(),
        stop_signal: (!from.stop_signal.is_empty()).then(|| from.stop_signal.clone()),
        health: from.healthcheck.as_ref().map(health).transpose()?,
        on_build: from.on_build.clone().unwrap_or_default(),
        shell: words(from.shell.as_ref()),
        args_escaped: from.args_escaped,
    })
}

/// `Config` of an image's `inspect`.
pub(crate) fn image_config_to_api(config: &ImageConfig) -> image::ImageConfig {
    image::ImageConfig {
        user: config.user.clone(),
        exposed_ports: port::exposed_to_api(&config.exposed_ports),
        env: some_list(&config.env),
        cmd: words_to_api(config.cmd.as_ref()),
        healthcheck: config.health.as_ref().map(health_to_api),
        args_escaped: config.args_escaped,
        volumes: paths(&config.volumes),
        working_dir: config.working_dir.clone(),
        entrypoint: words_to_api(config.entrypoint.as_ref()),
        on_build: some_list(&config.on_build),
        labels: some_map(&config.labels),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        shell: words_to_api(config.shell.as_ref()),
        legacy: None,
    }
}

/// `Config` of a container's `inspect`.
pub(crate) fn container_config(view: &ContainerView) -> ContainerConfig {
    let (spec, config) = (&view.spec, &view.config);
    ContainerConfig {
        hostname: view.hostname.clone(),
        domainname: spec.domainname.clone(),
        user: config.user.clone(),
        attach_stdin: spec.attach_stdin,
        attach_stdout: spec.attach_stdout,
        attach_stderr: spec.attach_stderr,
        exposed_ports: port::exposed_to_api(&config.exposed_ports),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        env: Some(config.env.clone()),
        cmd: words_to_api(config.cmd.as_ref()),
        healthcheck: config.health.as_ref().map(health_to_api),
        args_escaped: config.args_escaped,
        image: spec.image.clone(),
        volumes: paths(&config.volumes),
        working_dir: config.working_dir.clone(),
        entrypoint: words_to_api(config.entrypoint.as_ref()),
        network_disabled: spec.network_disabled,
        mac_address: spec.mac_address.clone().unwrap_or_default(),
        on_build: some_list(&config.on_build),
        labels: Some(config.labels.clone()),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        stop_timeout: spec.stop_timeout_s,
        shell: words_to_api(config.shell.as_ref()),
    }
}
