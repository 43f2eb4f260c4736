//! `container inspect`: everything about one container, from its record.

use std::{collections::BTreeMap, sync::Arc};

use hako_model::ContainerSpec;

use hako_model::ContainerState;

use super::list::{endpoints, mount_views};
use crate::{
    Engine, EngineError,
    health::HealthRecord,
    record::Record,
    view::{ContainerView, HealthLook, HealthView, StateView},
};

impl Engine {
    /// Everything about one container; with `size`, what it takes on the disk.
    ///
    /// # Errors
    /// No such container.
    pub async fn container_inspect(&self, name: &str, size: bool) -> Result<ContainerView, EngineError> {
        let container = self.containers.find(name)?;
        let record = container.record();
        let size = if size { self.size_measured(&record).await } else { None };
        let files = self.network_files(&record);
        let kept = |name: &str| files.join(name).display().to_string();
        let running = record.is_running();
        let log = container.log();
        Ok(ContainerView {
            id: record.id,
            name: record.name.clone(),
            created: record.created,
            spec: self.spec_shown(&record),
            config: (*record.config).clone(),
            path: record.path.clone(),
            args: record.args.clone(),
            image: record.image,
            platform: "linux".to_owned(),
            state: state_view(&record),
            restart_count: record.state.restart_count,
            mounts: mount_views(&record),
            networks: endpoints(&record),
            ports: if running { record.ports() } else { BTreeMap::new() },
            sandbox_id: if running { record.id.to_string() } else { String::new() },
            // The kernel's own name of the namespace: no file keeps it alive, the keeper does.
            sandbox_key: if running { format!("/proc/{}/ns/net", record.state.pid) } else { String::new() },
            hostname: record.hostname.clone(),
            hostname_path: kept("hostname"),
            hosts_path: kept("hosts"),
            resolv_conf_path: kept("resolv.conf"),
            log_path: if log.shown { log.path.display().to_string() } else { String::new() },
            exec_ids: container.execs.lock().values().filter(|exec| exec.is_running()).map(|exec| exec.id).collect(),
            places: self.images.snapshot_places(record.id).unwrap_or_default(),
            size,

            apparmor_profile: self.apparmor_shown(&record.spec.host),
        })
    }
}

impl Engine {
    /// The spec with links as they stand: names may have changed hands since.
    fn spec_shown(&self, record: &Record) -> Arc<ContainerSpec> {
        if record.spec.host.links.is_empty() {
            return record.spec.clone();
        }
        let mut spec = (*record.spec).clone();
        spec.host.links = self.links_shown(record);
        Arc::new(spec)
    }
}

fn state_view(record: &Record) -> StateView {
    let state = &record.state;
    StateView {
        status: state.status,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        oom_killed: state.oom_killed,
        started_at: state.started_at,
        finished_at: state.finished_at,
        health: state.health.as_ref().map(|health| health_view(health, state.status == ContainerState::Running)),
    }
}

/// As with Docker, nobody is called healthy whose health is not being checked: what is paused or has ended.
fn health_view(health: &HealthRecord, checked: bool) -> HealthView {
    let look = |probe: &crate::health::Probe| HealthLook {
        start: probe.start,
        end: probe.end,
        exit_code: probe.exit_code,
        output: probe.output.clone(),
    };
    HealthView {
        status: if checked { health.status.name() } else { "unhealthy" },
        failing_streak: health.failing_streak,
        log: health.log.iter().map(look).collect(),
    }
}
