//! The shapes of answers, version by version, as text: which fields there are, and which are `null`,
//! `[]`, `{}` or left out when there is nothing to say.
//!
//! The expected texts were held against the published description of API 1.50 field by field.

use expect_test::{Expect, expect};
use hako_api::{
    ApiVersion,
    container::{ContainerInspect, ContainerSummary, ExecInspect},
    image::{ImageInspect, ImageSummary},
    network::{EndpointSettings, Network},
    system::{DiskUsage, EventMessage, SystemInfo},
    volume::{Volume, VolumeListResponse},
};

fn check(value: &impl serde::Serialize, expected: Expect) {
    let text = serde_json::to_string(value).unwrap();
    // One field a line for those who compare; nested objects stay on theirs.
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let lines: Vec<String> =
        value.as_object().unwrap().iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    expected.assert_eq(&lines.concat());
}

fn version(minor: u16) -> ApiVersion {
    ApiVersion::new(1, minor)
}

#[test]
fn container_inspect() {
    check(
        &ContainerInspect::default().for_version(version(50)),
        expect![[r#"
        AppArmorProfile ""
        Args []
        Config {"AttachStderr":false,"AttachStdin":false,"AttachStdout":false,"Cmd":null,"Domainname":"","Entrypoint":null,"Env":null,"Hostname":"","Image":"","Labels":null,"OnBuild":null,"OpenStdin":false,"StdinOnce":false,"Tty":false,"User":"","Volumes":null,"WorkingDir":""}
        Created ""
        Driver ""
        ExecIDs null
        GraphDriver {"Data":null,"Name":""}
        HostConfig {"AutoRemove":false,"Binds":null,"BlkioDeviceReadBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceWriteIOps":null,"BlkioWeight":0,"BlkioWeightDevice":null,"CapAdd":null,"CapDrop":null,"Cgroup":"","CgroupParent":"","CgroupnsMode":"","ConsoleSize":[0,0],"ContainerIDFile":"","CpuCount":0,"CpuPercent":0,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpuShares":0,"CpusetCpus":"","CpusetMems":"","DeviceCgroupRules":null,"DeviceRequests":null,"Devices":null,"Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IOMaximumBandwidth":0,"IOMaximumIOps":0,"IpcMode":"","Isolation":"","Links":null,"LogConfig":{"Config":null,"Type":""},"MaskedPaths":null,"Memory":0,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"NanoCpus":0,"NetworkMode":"","OomKillDisable":null,"OomScoreAdj":0,"PidMode":"","PidsLimit":null,"PortBindings":null,"Privileged":false,"PublishAllPorts":false,"ReadonlyPaths":null,"ReadonlyRootfs":false,"RestartPolicy":{"MaximumRetryCount":0,"Name":""},"SecurityOpt":null,"ShmSize":0,"UTSMode":"","Ulimits":null,"UsernsMode":"","VolumeDriver":"","VolumesFrom":null}
        HostnamePath ""
        HostsPath ""
        Id ""
        Image ""
        LogPath ""
        MountLabel ""
        Mounts []
        Name ""
        NetworkSettings {"Bridge":"","EndpointID":"","Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"HairpinMode":false,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,"MacAddress":"","Networks":{},"Ports":{},"SandboxID":"","SandboxKey":"","SecondaryIPAddresses":null,"SecondaryIPv6Addresses":null}
        Path ""
        Platform ""
        ProcessLabel ""
        ResolvConfPath ""
        RestartCount 0
        State {"Dead":false,"Error":"","ExitCode":0,"FinishedAt":"","OOMKilled":false,"Paused":false,"Pid":0,"Restarting":false,"Running":false,"StartedAt":"","Status":""}
    "#]],
    );
}

#[test]
fn container_list() {
    check(
        &ContainerSummary::default().for_version(version(50)),
        expect![[r#"
        Command ""
        Created 0
        HostConfig {}
        Id ""
        Image ""
        ImageID ""
        Labels {}
        Mounts []
        Names []
        NetworkSettings {"Networks":{}}
        Ports []
        State ""
        Status ""
    "#]],
    );
}

#[test]
fn an_endpoint_has_its_short_id_as_alias_until_1_45_and_a_priority_since_1_48() {
    let shaped = |minor| {
        let mut endpoint = EndpointSettings {
            aliases: Some(vec!["db".into()]),
            dns_names: Some(vec!["db".into(), "0123".into()]),
            gw_priority: Some(0),
            ..Default::default()
        };
        endpoint.shape(version(minor), "0123");
        endpoint
    };
    check(
        &shaped(50),
        expect![[r#"
        Aliases ["db"]
        DNSNames ["db","0123"]
        DriverOpts null
        EndpointID ""
        Gateway ""
        GlobalIPv6Address ""
        GlobalIPv6PrefixLen 0
        GwPriority 0
        IPAMConfig null
        IPAddress ""
        IPPrefixLen 0
        IPv6Gateway ""
        Links null
        MacAddress ""
        NetworkID ""
    "#]],
    );
    check(
        &shaped(44),
        expect![[r#"
        Aliases ["db","0123"]
        DNSNames ["db","0123"]
        DriverOpts null
        EndpointID ""
        Gateway ""
        GlobalIPv6Address ""
        GlobalIPv6PrefixLen 0
        IPAMConfig null
        IPAddress ""
        IPPrefixLen 0
        IPv6Gateway ""
        Links null
        MacAddress ""
        NetworkID ""
    "#]],
    );
}

#[test]
fn exec_inspect() {
    check(
        &ExecInspect::default(),
        expect![[r#"
        CanRemove false
        ContainerID ""
        DetachKeys null
        ExitCode null
        ID ""
        OpenStderr false
        OpenStdin false
        OpenStdout false
        Pid 0
        ProcessConfig {"arguments":[],"entrypoint":"","tty":false}
        Running false
    "#]],
    );
}

#[test]
fn image_inspect() {
    check(
        &ImageInspect::default().for_version(version(50)),
        expect![[r#"
        Architecture ""
        Author ""
        Comment ""
        Config {"Cmd":null,"Entrypoint":null,"Env":null,"Labels":null,"OnBuild":null,"User":"","Volumes":null,"WorkingDir":""}
        DockerVersion ""
        GraphDriver {"Data":null,"Name":""}
        Id ""
        Metadata {"LastTagTime":""}
        Os ""
        Parent ""
        RepoDigests []
        RepoTags []
        RootFS {"Type":""}
        Size 0
    "#]],
    );
    check(
        &ImageInspect::default().for_version(version(43)),
        expect![[r#"
        Architecture ""
        Author ""
        Comment ""
        Config {"AttachStderr":false,"AttachStdin":false,"AttachStdout":false,"Cmd":null,"Domainname":"","Entrypoint":null,"Env":null,"Hostname":"","Image":"","Labels":null,"OnBuild":null,"OpenStdin":false,"StdinOnce":false,"Tty":false,"User":"","Volumes":null,"WorkingDir":""}
        Container ""
        ContainerConfig {"AttachStderr":false,"AttachStdin":false,"AttachStdout":false,"Cmd":null,"Domainname":"","Entrypoint":null,"Env":null,"Hostname":"","Image":"","Labels":null,"OnBuild":null,"OpenStdin":false,"StdinOnce":false,"Tty":false,"User":"","Volumes":null,"WorkingDir":""}
        DockerVersion ""
        GraphDriver {"Data":null,"Name":""}
        Id ""
        Metadata {"LastTagTime":""}
        Os ""
        Parent ""
        RepoDigests []
        RepoTags []
        RootFS {"Type":""}
        Size 0
        VirtualSize 0
    "#]],
    );
}

#[test]
fn image_list() {
    check(
        &ImageSummary::default().for_version(version(50)),
        expect![[r#"
        Containers 0
        Created 0
        Id ""
        Labels null
        ParentId ""
        RepoDigests []
        RepoTags []
        SharedSize 0
        Size 0
    "#]],
    );
    check(
        &ImageSummary::default().for_version(version(42)),
        expect![[r#"
        Containers 0
        Created 0
        Id ""
        Labels null
        ParentId ""
        RepoDigests ["<none>@<none>"]
        RepoTags ["<none>:<none>"]
        SharedSize 0
        Size 0
        VirtualSize 0
    "#]],
    );
}

#[test]
fn networks() {
    let network = Network { enable_ipv4: Some(true), ..Default::default() };
    check(
        &network.clone().for_version(version(50)),
        expect![[r#"
        Attachable false
        ConfigFrom {"Network":""}
        ConfigOnly false
        Containers {}
        Created ""
        Driver ""
        EnableIPv4 true
        EnableIPv6 false
        IPAM {"Config":null,"Driver":"","Options":null}
        Id ""
        Ingress false
        Internal false
        Labels {}
        Name ""
        Options {}
        Scope ""
    "#]],
    );
    check(
        &network.for_version(version(47)),
        expect![[r#"
        Attachable false
        ConfigFrom {"Network":""}
        ConfigOnly false
        Containers {}
        Created ""
        Driver ""
        EnableIPv6 false
        IPAM {"Config":null,"Driver":"","Options":null}
        Id ""
        Ingress false
        Internal false
        Labels {}
        Name ""
        Options {}
        Scope ""
    "#]],
    );
}

#[test]
fn volumes() {
    check(
        &Volume::default(),
        expect![[r#"
        Driver ""
        Labels null
        Mountpoint ""
        Name ""
        Options null
        Scope ""
    "#]],
    );
    check(
        &VolumeListResponse::default(),
        expect![[r#"
        Volumes []
        Warnings null
    "#]],
    );
}

#[test]
fn system_info() {
    let info = SystemInfo { firewall_backend: Some(Default::default()), ..Default::default() };
    check(
        &info.clone().for_version(version(50)),
        expect![[r#"
        Architecture ""
        CDISpecDirs []
        CPUSet false
        CPUShares false
        CgroupDriver ""
        ContainerdCommit {"ID":""}
        Containers 0
        ContainersPaused 0
        ContainersRunning 0
        ContainersStopped 0
        CpuCfsPeriod false
        CpuCfsQuota false
        Debug false
        DefaultRuntime ""
        DockerRootDir ""
        Driver ""
        DriverStatus []
        ExperimentalBuild false
        FirewallBackend {"Driver":""}
        GenericResources null
        HttpProxy ""
        HttpsProxy ""
        ID ""
        IPv4Forwarding false
        Images 0
        IndexServerAddress ""
        InitBinary ""
        InitCommit {"ID":""}
        Isolation ""
        KernelVersion ""
        Labels []
        LiveRestoreEnabled false
        LoggingDriver ""
        MemTotal 0
        MemoryLimit false
        NCPU 0
        NEventsListener 0
        NFd 0
        NGoroutines 0
        Name ""
        NoProxy ""
        OSType ""
        OSVersion ""
        OomKillDisable false
        OperatingSystem ""
        PidsLimit false
        Plugins {"Authorization":null,"Log":[],"Network":[],"Volume":[]}
        RegistryConfig null
        RuncCommit {"ID":""}
        Runtimes {}
        SecurityOptions []
        ServerVersion ""
        SwapLimit false
        Swarm {"ControlAvailable":false,"Error":"","LocalNodeState":"","NodeAddr":"","NodeID":"","RemoteManagers":null}
        SystemTime ""
        Warnings null
    "#]],
    );
    check(
        &info.for_version(version(48)),
        expect![[r#"
        Architecture ""
        BridgeNfIp6tables false
        BridgeNfIptables false
        CDISpecDirs []
        CPUSet false
        CPUShares false
        CgroupDriver ""
        ContainerdCommit {"Expected":"","ID":""}
        Containers 0
        ContainersPaused 0
        ContainersRunning 0
        ContainersStopped 0
        CpuCfsPeriod false
        CpuCfsQuota false
        Debug false
        DefaultRuntime ""
        DockerRootDir ""
        Driver ""
        DriverStatus []
        ExperimentalBuild false
        GenericResources null
        HttpProxy ""
        HttpsProxy ""
        ID ""
        IPv4Forwarding false
        Images 0
        IndexServerAddress ""
        InitBinary ""
        InitCommit {"Expected":"","ID":""}
        Isolation ""
        KernelVersion ""
        Labels []
        LiveRestoreEnabled false
        LoggingDriver ""
        MemTotal 0
        MemoryLimit false
        NCPU 0
        NEventsListener 0
        NFd 0
        NGoroutines 0
        Name ""
        NoProxy ""
        OSType ""
        OSVersion ""
        OomKillDisable false
        OperatingSystem ""
        PidsLimit false
        Plugins {"Authorization":null,"Log":[],"Network":[],"Volume":[]}
        RegistryConfig null
        RuncCommit {"Expected":"","ID":""}
        Runtimes {}
        SecurityOptions []
        ServerVersion ""
        SwapLimit false
        Swarm {"ControlAvailable":false,"Error":"","LocalNodeState":"","NodeAddr":"","NodeID":"","RemoteManagers":null}
        SystemTime ""
        Warnings null
    "#]],
    );
}

#[test]
fn disk_usage_and_events() {
    check(
        &DiskUsage::default().for_version(version(50)),
        expect![[r#"
        BuildCache null
        Containers null
        Images null
        LayersSize 0
        Volumes null
    "#]],
    );
    check(
        &DiskUsage::default().for_version(version(41)),
        expect![[r#"
        BuildCache null
        BuilderSize 0
        Containers null
        Images null
        LayersSize 0
        Volumes null
    "#]],
    );
    check(
        &EventMessage::default(),
        expect![[r#"
        Action ""
        Actor {"Attributes":{},"ID":""}
        Type ""
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
