//! The shapes of answers, version by version, as text: which fields there are, and which are `null`,
//! `[]`, `{}` or left out when there is nothing to say.
//!
//! The names were held against the published description of API 1.50: none is extra, and those that
//! lack are left out when empty or belong to what hako does not have (multi-platform image store,
//! cluster volumes, swarm peers). Values follow Go's encoder; no running Docker was asked.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use hako_api::{
    ApiVersion,
    container::{ContainerInspect, ContainerSummary, ExecInspect},
    image::{ImageInspect, ImageSummary},
    network::{EndpointSettings, Network},
    system::{DiskUsage, EventMessage, SystemInfo},
    volume::{Volume, VolumeListResponse},
};

/// The fields of an object as text, those of equal value on one line.
fn fields(value: &impl serde::Serialize) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap();
    let mut lines = Vec::new();
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in value.as_object().unwrap() {
        match value {
            serde_json::Value::Object(inner) if !inner.is_empty() => lines.push(format!("{name}: {value}")),
            value => groups.entry(value.to_string()).or_default().push(name),
        }
    }
    let grouped = groups.into_iter().map(|(value, names)| format!("{value}: {}", names.join(" ")));
    grouped.chain(lines).collect()
}

fn check(value: &impl serde::Serialize, expected: Expect) {
    expected.assert_eq(&(fields(value).join("\n") + "\n"));
}

/// What an older version has instead.
fn check_older(newer: &impl serde::Serialize, older: &impl serde::Serialize, expected: Expect) {
    let (newer, older) = (fields(newer), fields(older));
    let gone = newer.iter().filter(|line| !older.contains(line)).map(|line| format!("- {line}\n"));
    let there = older.iter().filter(|line| !newer.contains(line)).map(|line| format!("+ {line}\n"));
    expected.assert_eq(&gone.chain(there).collect::<String>());
}

fn version(minor: u16) -> ApiVersion {
    ApiVersion::new(1, minor)
}

#[test]
fn container_inspect() {
    check(
        &ContainerInspect::default().for_version(version(50)),
        expect![[r#"
        "": AppArmorProfile Created Driver HostnamePath HostsPath Id Image LogPath MountLabel Name Path Platform ProcessLabel ResolvConfPath
        0: RestartCount
        []: Args Mounts
        null: ExecIDs
        Config: {"AttachStderr":false,"AttachStdin":false,"AttachStdout":false,"Cmd":null,"Domainname":"","Entrypoint":null,"Env":null,"Hostname":"","Image":"","Labels":null,"OnBuild":null,"OpenStdin":false,"StdinOnce":false,"Tty":false,"User":"","Volumes":null,"WorkingDir":""}
        GraphDriver: {"Data":null,"Name":""}
        HostConfig: {"AutoRemove":false,"Binds":null,"BlkioDeviceReadBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceWriteIOps":null,"BlkioWeight":0,"BlkioWeightDevice":null,"CapAdd":null,"CapDrop":null,"Cgroup":"","CgroupParent":"","CgroupnsMode":"","ConsoleSize":[0,0],"ContainerIDFile":"","CpuCount":0,"CpuPercent":0,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpuShares":0,"CpusetCpus":"","CpusetMems":"","DeviceCgroupRules":null,"DeviceRequests":null,"Devices":null,"Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IOMaximumBandwidth":0,"IOMaximumIOps":0,"IpcMode":"","Isolation":"","Links":null,"LogConfig":{"Config":null,"Type":""},"MaskedPaths":null,"Memory":0,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"NanoCpus":0,"NetworkMode":"","OomKillDisable":null,"OomScoreAdj":0,"PidMode":"","PidsLimit":null,"PortBindings":null,"Privileged":false,"PublishAllPorts":false,"ReadonlyPaths":null,"ReadonlyRootfs":false,"RestartPolicy":{"MaximumRetryCount":0,"Name":""},"SecurityOpt":null,"ShmSize":0,"UTSMode":"","Ulimits":null,"UsernsMode":"","VolumeDriver":"","VolumesFrom":null}
        NetworkSettings: {"Bridge":"","EndpointID":"","Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"HairpinMode":false,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,"MacAddress":"","Networks":{},"Ports":{},"SandboxID":"","SandboxKey":"","SecondaryIPAddresses":null,"SecondaryIPv6Addresses":null}
        State: {"Dead":false,"Error":"","ExitCode":0,"FinishedAt":"","OOMKilled":false,"Paused":false,"Pid":0,"Restarting":false,"Running":false,"StartedAt":"","Status":""}
    "#]],
    );
}

#[test]
fn container_list() {
    check(
        &ContainerSummary::default().for_version(version(50)),
        expect![[r#"
        "": Command Id Image ImageID State Status
        0: Created
        []: Mounts Names Ports
        {}: HostConfig Labels
        NetworkSettings: {"Networks":{}}
    "#]],
    );
}

#[test]
fn an_endpoint_has_its_short_id_as_alias_until_1_44_and_a_priority_since_1_48() {
    let shaped = |minor| {
        let mut endpoint = EndpointSettings {
            aliases: Some(vec!["db".into()]),
            dns_names: Some(vec!["db".into(), "0123".into()]),
            gw_priority: Some(7),
            ..Default::default()
        };
        endpoint.shape(version(minor), "0123");
        endpoint
    };
    check(
        &shaped(50),
        expect![[r#"
        "": EndpointID Gateway GlobalIPv6Address IPAddress IPv6Gateway MacAddress NetworkID
        0: GlobalIPv6PrefixLen IPPrefixLen
        7: GwPriority
        ["db","0123"]: DNSNames
        ["db"]: Aliases
        null: DriverOpts IPAMConfig Links
    "#]],
    );
    check_older(
        &shaped(50),
        &shaped(47),
        expect![[r#"
        - 7: GwPriority
    "#]],
    );
    check_older(
        &shaped(47),
        &shaped(44),
        expect![[r#"
        - ["db","0123"]: DNSNames
        - ["db"]: Aliases
        + ["db","0123"]: Aliases DNSNames
    "#]],
    );
}

#[test]
fn exec_inspect() {
    check(
        &ExecInspect::default(),
        expect![[r#"
        "": ContainerID ID
        0: Pid
        false: CanRemove OpenStderr OpenStdin OpenStdout Running
        null: DetachKeys ExitCode
        ProcessConfig: {"arguments":[],"entrypoint":"","tty":false}
    "#]],
    );
}

#[test]
fn image_inspect() {
    let shaped = |minor| ImageInspect::default().for_version(version(minor));
    check(
        &shaped(50),
        expect![[r#"
        "": Architecture Author Comment DockerVersion Id Os Parent
        0: Size
        []: RepoDigests RepoTags
        Config: {"Cmd":null,"Entrypoint":null,"Env":null,"Labels":null,"OnBuild":null,"User":"","Volumes":null,"WorkingDir":""}
        GraphDriver: {"Data":null,"Name":""}
        Metadata: {"LastTagTime":""}
        RootFS: {"Type":""}
    "#]],
    );
    check_older(
        &shaped(50),
        &shaped(49),
        expect![[r#"
        - Config: {"Cmd":null,"Entrypoint":null,"Env":null,"Labels":null,"OnBuild":null,"User":"","Volumes":null,"WorkingDir":""}
        + Config: {"AttachStderr":false,"AttachStdin":false,"AttachStdout":false,"Cmd":null,"Domainname":"","Entrypoint":null,"Env":null,"Hostname":"","Image":"","Labels":null,"OnBuild":null,"OpenStdin":false,"StdinOnce":false,"Tty":false,"User":"","Volumes":null,"WorkingDir":""}
    "#]],
    );
    check_older(
        &shaped(49),
        &shaped(43),
        expect![[r#"
        - "": Architecture Author Comment DockerVersion Id Os Parent
        - 0: Size
        + "": Architecture Author Comment Container DockerVersion Id Os Parent
        + 0: Size VirtualSize
        + ContainerConfig: {"AttachStderr":false,"AttachStdin":false,"AttachStdout":false,"Cmd":null,"Domainname":"","Entrypoint":null,"Env":null,"Hostname":"","Image":"","Labels":null,"OnBuild":null,"OpenStdin":false,"StdinOnce":false,"Tty":false,"User":"","Volumes":null,"WorkingDir":""}
    "#]],
    );
}

#[test]
fn image_list() {
    let shaped = |minor| ImageSummary { size: 5, ..Default::default() }.for_version(version(minor));
    check(
        &shaped(50),
        expect![[r#"
        "": Id ParentId
        0: Containers Created SharedSize
        5: Size
        []: RepoDigests RepoTags
        null: Labels
    "#]],
    );
    check_older(
        &shaped(50),
        &shaped(42),
        expect![[r#"
        - 5: Size
        - []: RepoDigests RepoTags
        + 5: Size VirtualSize
        + ["<none>:<none>"]: RepoTags
        + ["<none>@<none>"]: RepoDigests
    "#]],
    );
}

#[test]
fn networks() {
    let network = Network { enable_ipv4: Some(true), ..Default::default() };
    check(
        &network,
        expect![[r#"
        "": Created Driver Id Name Scope
        false: Attachable ConfigOnly EnableIPv6 Ingress Internal
        true: EnableIPv4
        {}: Containers Labels Options
        ConfigFrom: {"Network":""}
        IPAM: {"Config":null,"Driver":"","Options":null}
    "#]],
    );
    check_older(
        &network,
        &network.clone().for_version(version(47)),
        expect![[r#"
        - true: EnableIPv4
    "#]],
    );
}

#[test]
fn volumes() {
    check(
        &Volume::default(),
        expect![[r#"
        "": Driver Mountpoint Name Scope
        null: Labels Options
    "#]],
    );
    check(
        &VolumeListResponse::default(),
        expect![[r#"
        []: Volumes
        null: Warnings
    "#]],
    );
}

#[test]
fn system_info() {
    let info = SystemInfo { firewall_backend: Some(Default::default()), ..Default::default() };
    let shaped = |minor| info.clone().for_version(version(minor));
    check(
        &shaped(50),
        expect![[r#"
        "": Architecture CgroupDriver DefaultRuntime DockerRootDir Driver HttpProxy HttpsProxy ID IndexServerAddress InitBinary Isolation KernelVersion LoggingDriver Name NoProxy OSType OSVersion OperatingSystem ServerVersion SystemTime
        0: Containers ContainersPaused ContainersRunning ContainersStopped Images MemTotal NCPU NEventsListener NFd NGoroutines
        []: CDISpecDirs DriverStatus Labels SecurityOptions
        false: CPUSet CPUShares CpuCfsPeriod CpuCfsQuota Debug ExperimentalBuild IPv4Forwarding LiveRestoreEnabled MemoryLimit OomKillDisable PidsLimit SwapLimit
        null: GenericResources RegistryConfig Warnings
        {}: Runtimes
        ContainerdCommit: {"ID":""}
        FirewallBackend: {"Driver":""}
        InitCommit: {"ID":""}
        Plugins: {"Authorization":null,"Log":[],"Network":[],"Volume":[]}
        RuncCommit: {"ID":""}
        Swarm: {"ControlAvailable":false,"Error":"","LocalNodeState":"","NodeAddr":"","NodeID":"","RemoteManagers":null}
    "#]],
    );
    check_older(
        &shaped(50),
        &shaped(49),
        expect![[r#"
        - false: CPUSet CPUShares CpuCfsPeriod CpuCfsQuota Debug ExperimentalBuild IPv4Forwarding LiveRestoreEnabled MemoryLimit OomKillDisable PidsLimit SwapLimit
        + false: BridgeNfIp6tables BridgeNfIptables CPUSet CPUShares CpuCfsPeriod CpuCfsQuota Debug ExperimentalBuild IPv4Forwarding LiveRestoreEnabled MemoryLimit OomKillDisable PidsLimit SwapLimit
    "#]],
    );
    check_older(
        &shaped(49),
        &shaped(48),
        expect![[r#"
        - ContainerdCommit: {"ID":""}
        - FirewallBackend: {"Driver":""}
        - InitCommit: {"ID":""}
        - RuncCommit: {"ID":""}
        + ContainerdCommit: {"Expected":"","ID":""}
        + InitCommit: {"Expected":"","ID":""}
        + RuncCommit: {"Expected":"","ID":""}
    "#]],
    );
}

#[test]
fn disk_usage_and_events() {
    let shaped = |minor| DiskUsage::default().for_version(version(minor));
    check(
        &shaped(50),
        expect![[r#"
        0: LayersSize
        null: BuildCache Containers Images Volumes
    "#]],
    );
    check_older(
        &shaped(50),
        &shaped(41),
        expect![[r#"
        - 0: LayersSize
        + 0: BuilderSize LayersSize
    "#]],
    );
    check(
        &EventMessage::default(),
        expect![[r#"
        "": Action Type
        Actor: {"Attributes":{},"ID":""}
    "#]],
    );
}

#[test]
fn input_is_taken_as_docker_takes_it() {
    let inspect: ContainerInspect =
        serde_json::from_str(r#"{"Id":null,"Args":null,"State":null,"HostConfig":{"Memory":null,"New":1},"More":[]}"#)
            .unwrap();
    assert_eq!(inspect, ContainerInspect::default());
}
