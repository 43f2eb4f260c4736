//! The body of `create` as a [`ContainerSpec`].

use std::collections::BTreeMap;

use hako_api::{ApiVersion, container::ContainerCreateRequest};
use hako_model::{ContainerSpec, EndpointSpec, MountKind, Platform};

use crate::{
    convert::{config, endpoint, host, port},
    error::Failure,
};

/// Everything that is asked for.
pub(crate) fn container_spec(
    request: ContainerCreateRequest,
    platform: Option<Platform>,
) -> Result<ContainerSpec, Failure> {
    let config = request.config;
    let host = request.host_config.unwrap_or_default();
    Ok(ContainerSpec {
        image: config.image.clone(),
        entrypoint: config::words(config.entrypoint.as_ref()),
        cmd: config::words(config.cmd.as_ref()),
        exposed_ports: port::exposed(&config.exposed_ports)?,
        volumes: config.volumes.iter().flatten().map(|(path, _)| path.clone()).collect(),
        health: config.healthcheck.as_ref().map(config::health).transpose()?,
        shell: config::words(config.shell.as_ref()),
        stop_signal: (!config.stop_signal.is_empty()).then_some(config.stop_signal),
        mac_address: endpoint::mac(&config.mac_address)?.map(|mac| endpoint::mac_text(Some(mac))),
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir,
        labels: config.labels.unwrap_or_default(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        stop_timeout_s: config.stop_timeout,
        network_disabled: config.network_disabled,
        on_build: config.on_build.unwrap_or_default(),
        args_escaped: config.args_escaped,
        networks: networks(request.networking_config.unwrap_or_default())?,
        host: host::host_spec(host)?,
        platform,
    })
}

/// What clients of an older API mean by saying nothing, on a host with this version of control groups.
pub(crate) fn as_meant_by(version: ApiVersion, cgroup_version: u8, spec: &mut ContainerSpec) {
    if !version.at_least(40) && spec.host.ipc_mode.is_empty() {
        "shareable".clone_into(&mut spec.host.ipc_mode);
    }
    if !version.at_least(41) && cgroup_version == 1 && spec.host.cgroupns_mode.is_empty() {
        // They knew of no namespace of control groups, and version 2 came with it.
        "host".clone_into(&mut spec.host.cgroupns_mode);
    }
    if !version.at_least(44) {
        // Read-only reached the mount itself, and none that is mounted below it.
        for mount in spec.host.mounts.iter_mut().filter(|mount| mount.kind == MountKind::Bind && mount.read_only) {
            mount.bind.get_or_insert_default().read_only_non_recursive = true;
        }
    }
}

fn networks(from: hako_api::network::NetworkingConfig) -> Result<BTreeMap<String, EndpointSpec>, Failure> {
    let asked = from.endpoints_config.into_iter().map(|(name, settings)| {
        let settings = settings.unwrap_or_default();
        endpoint::endpoint(&settings).map(|spec| (name, spec))
    });
    asked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_as_the_docker_cli_sends_it_is_understood() {
        let text = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":true,"AttachStdout":true,"AttachStderr":true,
            "Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":null,"Cmd":["sh"],"Image":"busybox","Volumes":{},
            "WorkingDir":"","Entrypoint":null,"Labels":{},"Unknown":{"x":1},
            "HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default",
            "PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"",
            "VolumesFrom":null,"ConsoleSize":[24,80],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],
            "DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,
            "PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"",
            "UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"",
            "BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"MemorySwappiness":-1,"OomKillDisable":false,
            "PidsLimit":0,"Ulimits":[],"MaskedPaths":null,"ReadonlyPaths":null},
            "NetworkingConfig":{"EndpointsConfig":{"default":null}}}"#;
        let spec = container_spec(serde_json::from_str(text).unwrap(), None).unwrap();
        assert_eq!(spec.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!((spec.entrypoint, spec.tty, spec.host.auto_remove), (None, true, true));
        assert_eq!(spec.host.console_size, (24, 80));
        assert!(spec.networks.contains_key("default"));
    }

    #[test]
    fn words_may_be_one_string_and_null_is_not_empty() {
        let spec = |text: &str| container_spec(serde_json::from_str(text).unwrap(), None).unwrap();
        assert_eq!(spec(r#"{"Cmd":"echo hi"}"#).cmd, Some(vec!["echo hi".to_owned()]));
        assert_eq!(spec(r#"{"Entrypoint":[]}"#).entrypoint, Some(vec![]));
        assert_eq!(spec(r#"{"Entrypoint":null,"Tty":null,"HostConfig":null}"#).entrypoint, None);
    }
}
