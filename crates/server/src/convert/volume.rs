//! Volumes.

use hako_api::volume::{Volume, VolumeCreateRequest, VolumeUsage};
use hako_base::{ErrorKind, clock};
use hako_engine::view::{VolumeOptions, VolumeView};

use crate::{
    convert::{signed, some_map},
    error::Failure,
};

/// How Docker marks a volume that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

pub(crate) fn volume(view: &VolumeView) -> Volume {
    let mut labels = view.labels.clone();
    if view.anonymous {
        labels.entry(ANONYMOUS.to_owned()).or_default();
    }
    Volume {
        created_at: clock::rfc3339_nano(view.created),
        driver: view.driver.clone(),
        labels: some_map(&labels),
        mountpoint: view.mountpoint.clone(),
        name: view.name.clone(),
        options: some_map(&view.options),
        scope: "local".to_owned(),
        usage_data: view.usage.map(|(size, users)| VolumeUsage { ref_count: signed(users as u64), size: signed(size) }),
    }
}

pub(crate) fn options(from: VolumeCreateRequest) -> Result<VolumeOptions, Failure> {
    if from.cluster_volume_spec.is_some() {
        return Err(Failure::new(ErrorKind::Unavailable, crate::dispatch::NOT_A_MANAGER));
    }
    Ok(VolumeOptions {
        name: from.name,
        driver: from.driver,
        options: from.driver_opts.unwrap_or_default(),
        labels: from.labels.unwrap_or_default(),
    })
}
