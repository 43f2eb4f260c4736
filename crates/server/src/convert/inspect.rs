//! Everything about one container, as `inspect` shows it.

use hako_api::container::{ContainerInspect, ContainerState, DriverData, Health, HealthcheckResult, NetworkSettings};
use hako_base::clock;
use hako_engine::view::{ContainerView, HealthLook, HealthView, Places, StateView};
use hako_model::ContainerState as State;

use crate::convert::{config, endpoint, host, mount, port, signed};

/// The name that clients know layers on overlayfs by.
pub(crate) const STORAGE_DRIVER: &str = "overlay2";

pub(crate) fn container(view: &ContainerView) -> ContainerInspect {
    ContainerInspect {
        id: view.id.to_string(),
        created: clock::rfc3339_nano(view.created),
        path: view.path.clone(),
        args: view.args.clone(),
        state: state(&view.state),
        image: view.image.to_string(),
        resolv_conf_path: view.resolv_conf_path.clone(),
        hostname_path: view.hostname_path.clone(),
        hosts_path: view.hosts_path.clone(),
        log_path: view.log_path.clone(),
        name: format!("/{}", view.name),
        restart_count: i64::from(view.restart_count),
        driver: STORAGE_DRIVER.to_owned(),
        platform: view.platform.clone(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: view.apparmor_profile.clone(),
        exec_ids: (!view.exec_ids.is_empty()).then(|| view.exec_ids.iter().map(ToString::to_string).collect()),
        host_config: host::host_config(&view.spec.host),
        graph_driver: storage(&view.places),
        size_rw: view.size.map(|size| signed(size.rw)),
        size_root_fs: view.size.map(|size| signed(size.root_fs)),
        mounts: view.mounts.iter().cloned().map(mount::point).collect(),
        config: config::container_config(view),
        network_settings: network_settings(view),
    }
}

/// Where layers are. Docker's four names: `MergedDir` and `WorkDir` are paths that nothing is at, since the overlay is
/// mounted as a descriptor, and each mount has a work place of its own; clients expect the keys.
pub(crate) fn storage(places: &Places) -> DriverData {
    let mut data = std::collections::BTreeMap::new();
    if let Some(upper) = &places.upper {
        let beside = |name: &str| upper.with_file_name(name).display().to_string();
        data.insert("UpperDir".to_owned(), upper.display().to_string());
        data.insert("MergedDir".to_owned(), beside("merged"));
        data.insert("WorkDir".to_owned(), beside("work"));
    }
    if !places.lower.is_empty() {
        let lower: Vec<_> = places.lower.iter().map(|path| path.display().to_string()).collect();
        data.insert("LowerDir".to_owned(), lower.join(":"));
    }
    DriverData { data: Some(data), name: STORAGE_DRIVER.to_owned() }
}

fn state(from: &StateView) -> ContainerState {
    let status = from.status;
    ContainerState {
        status: status.name().to_owned(),
        // In Docker a paused container runs, and one between two restarts too.
        running: matches!(status, State::Running | State::Paused | State::Restarting),
        paused: status == State::Paused,
        restarting: status == State::Restarting,
        oom_killed: from.oom_killed,
        dead: status == State::Dead,
        pid: i64::from(from.pid),
        exit_code: i64::from(from.exit_code),
        error: from.error.clone(),
        started_at: clock::rfc3339_or_zero(from.started_at),
        finished_at: clock::rfc3339_or_zero(from.finished_at),
        health: from.health.as_ref().map(health),
    }
}

fn health(from: &HealthView) -> Health {
    let look = |look: &HealthLook| HealthcheckResult {
        start: clock::rfc3339_nano(look.start),
        end: clock::rfc3339_nano(look.end),
        exit_code: i64::from(look.exit_code),
        output: look.output.clone(),
    };
    Health {
        status: from.status.to_owned(),
        failing_streak: i64::from(from.failing_streak),
        log: from.log.iter().map(look).collect(),
    }
}

fn network_settings(view: &ContainerView) -> NetworkSettings {
    let running = matches!(view.state.status, State::Running | State::Paused);
    let networks: std::collections::BTreeMap<_, _> =
        view.networks.iter().map(|(name, view)| (name.clone(), endpoint::endpoint_to_api(view.clone()))).collect();
    let mut settings = NetworkSettings {
        sandbox_id: view.sandbox_id.clone(),
        sandbox_key: view.sandbox_key.clone(),
        ports: port::published_to_api(&view.ports, &view.config.exposed_ports, running),
        ..NetworkSettings::default()
    };
    // The fields of before networks had names repeat the default bridge's endpoint.
    if let Some(bridge) = networks.get("bridge") {
        settings.endpoint_id.clone_from(&bridge.endpoint_id);
        settings.gateway.clone_from(&bridge.gateway);
        settings.ip_address.clone_from(&bridge.ip_address);
        settings.ip_prefix_len = bridge.ip_prefix_len;
        settings.ipv6_gateway.clone_from(&bridge.ipv6_gateway);
        settings.global_ipv6_address.clone_from(&bridge.global_ipv6_address);
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
        settings.mac_address.clone_from(&bridge.mac_address);
    }
    settings.networks = networks;
    settings
}
