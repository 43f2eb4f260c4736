//! The keys of a service, in the order in which they are printed and hashed.

use super::{
    List, Shape,
    Shape::{
        Any, Bool, Bytes, Choice, Command, Count, Duration, Float, Hosts, Int, Mapping, Names, NamesOrList, OneOrMany,
        Refused, Struct, Test, Text, Texts, Variables,
    },
    Short, Zero, always, called, field, kept,
};

const MODELS: &str = "models run outside of containers, and hako has nothing that runs them";
const PROVIDER: &str = "providers are programs that docker starts, and hako runs none";
const PRE_START: &str = "hako runs commands after the start (post_start) and before the end (pre_stop) of containers";

/// A service.
pub static SERVICE: Shape = Struct(&[
    field("profiles", Texts),
    field("annotations", Mapping),
    kept("attach", Bool),
    kept("build", Shape::Short(Short::Build, &BUILD)),
    kept("develop", DEVELOP),
    kept("blkio_config", BLKIO),
    field("cap_add", Texts),
    field("cap_drop", Texts),
    field("cgroup_parent", Text),
    field("cgroup", Choice(&["host", "private"])),
    field("cpu_count", Int),
    field("cpu_percent", Float),
    field("cpu_period", Int),
    field("cpu_quota", Int),
    field("cpu_rt_period", Int),
    field("cpu_rt_runtime", Int),
    field("cpus", Float),
    field("cpuset", Text),
    field("cpu_shares", Int),
    always("command", Command, Zero::Null),
    field("configs", Shape::List(&FILES)),
    field("container_name", Text),
    kept("credential_spec", Struct(&[field("config", Text), field("file", Text), field("registry", Text)])),
    field("depends_on", NamesOrList(&DEPENDENCY, Short::Dependency)),
    kept("deploy", DEPLOY),
    field("device_cgroup_rules", Texts),
    field("devices", Shape::List(&DEVICES)),
    field("dns", OneOrMany),
    field("dns_opt", Texts),
    field("dns_search", OneOrMany),
    field("dockerfile", Text),
    field("domainname", Text),
    always("entrypoint", Command, Zero::Null),
    field("environment", Variables),
    field("env_file", Shape::List(&ENV_FILES)),
    field("expose", Texts),
    field("extends", Shape::Short(Short::Extends, &EXTENDS)),
    field("external_links", Texts),
    field("extra_hosts", Hosts),
    field("group_add", Texts),
    field("gpus", Shape::Short(Short::Gpus, &GPUS)),
    field("hostname", Text),
    kept("healthcheck", HEALTHCHECK),
    field("image", Text),
    kept("init", Bool),
    field("ipc", Text),
    field("isolation", Text),
    field("labels", Mapping),
    field("label_file", OneOrMany),
    field("links", Texts),
    kept("logging", Struct(&[field("driver", Text), field("options", Mapping)])),
    field("log_driver", Text),
    field("log_opt", Mapping),
    field("mem_limit", Bytes),
    field("mem_reservation", Bytes),
    field("memswap_limit", Bytes),
    field("mem_swappiness", Bytes),
    field("mac_address", Text),
    field("models", Refused(MODELS)),
    field("net", Text),
    field("network_mode", Text),
    field("networks", NamesOrList(&ENDPOINT, Short::Nothing)),
    field("oom_kill_disable", Bool),
    field("oom_score_adj", Int),
    field("pid", Text),
    field("pids_limit", Int),
    field("platform", Text),
    field("ports", Shape::List(&PORTS)),
    field("pre_start", Refused(PRE_START)),
    field("privileged", Bool),
    field("provider", Refused(PROVIDER)),
    field("pull_policy", Shape::PullPolicy),
    field("pull_refresh_after", Text),
    field("read_only", Bool),
    field("restart", Text),
    field("runtime", Text),
    kept("scale", Int),
    field("secrets", Shape::List(&FILES)),
    field("security_opt", Texts),
    field("shm_size", Bytes),
    field("stdin_open", Bool),
    kept("stop_grace_period", Duration),
    field("stop_signal", Text),
    field("storage_opt", Mapping),
    field("sysctls", Mapping),
    field("tmpfs", OneOrMany),
    field("tty", Bool),
    field("ulimits", Names(&ULIMIT)),
    field("use_api_socket", Refused("hako does not hand its own socket to containers; mount it with volumes")),
    field("user", Text),
    field("userns_mode", Text),
    field("uts", Text),
    field("volume_driver", Text),
    field("volumes", Shape::List(&MOUNTS)),
    field("volumes_from", Texts),
    field("working_dir", Text),
    field("post_start", Shape::List(&HOOKS)),
    field("pre_stop", Shape::List(&HOOKS)),
]);

static HOOKS: List = List { item: HOOK, unique: &[] };

static BUILD: Shape = Struct(&[
    field("context", Text),
    field("dockerfile", Text),
    field("dockerfile_inline", Text),
    field("entitlements", Texts),
    field("args", Variables),
    field("ssh", Shape::Keys),
    field("labels", Mapping),
    field("cache_from", Texts),
    field("cache_to", Texts),
    field("no_cache", Bool),
    field("no_cache_filter", OneOrMany),
    field("additional_contexts", Mapping),
    field("pull", Bool),
    field("extra_hosts", Hosts),
    field("isolation", Text),
    field("network", Text),
    field("target", Text),
    field("secrets", Shape::List(&FILES)),
    field("shm_size", Bytes),
    field("tags", Texts),
    field("ulimits", Names(&ULIMIT)),
    field("platforms", Texts),
    field("privileged", Bool),
    field("provenance", Any),
    field("sbom", Any),
]);

const DEVELOP: Shape = Struct(&[field("watch", Shape::List(&WATCH))]);

static WATCH: List = List {
    item: Struct(&[
        field("path", Text),
        field("action", Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
        field("target", Text),
        always("exec", HOOK, Zero::Exec),
        field("include", OneOrMany),
        field("ignore", OneOrMany),
        field("initial_sync", Bool),
    ]),
    unique: &["path"],
};

/// A command in a container that is there.
const HOOK: Shape = Struct(&[
    always("command", Command, Zero::Null),
    field("user", Text),
    field("privileged", Bool),
    field("working_dir", Text),
    field("environment", Variables),
]);

const BLKIO: Shape = Struct(&[
    field("weight", Int),
    field(
        "weight_device",
        Shape::List(&List {
            item: Struct(&[called("path", "Path", Text), called("weight", "Weight", Int)]),
            unique: &["path"],
        }),
    ),
    field("device_read_bps", Shape::List(&RATES)),
    field("device_read_iops", Shape::List(&RATES)),
    field("device_write_bps", Shape::List(&RATES)),
    field("device_write_iops", Shape::List(&RATES)),
]);

static RATES: List =
    List { item: Struct(&[called("path", "Path", Text), called("rate", "Rate", Bytes)]), unique: &["path"] };

static FILES: List = List {
    item: Shape::Short(
        Short::Source,
        &Struct(&[
            field("source", Text),
            field("target", Text),
            field("uid", Text),
            field("gid", Text),
            kept("mode", Int),
        ]),
    ),
    unique: &["source", "target"],
};

static DEPENDENCY: Shape = Struct(&[
    field("condition", Choice(&["service_started", "service_healthy", "service_completed_successfully"])),
    field("restart", Bool),
    kept("required", Bool),
]);

const DEPLOY: Shape = Struct(&[
    field("mode", Text),
    kept("replicas", Int),
    field("labels", Mapping),
    kept("update_config", UPDATE),
    kept("rollback_config", UPDATE),
    always("resources", RESOURCES, Zero::Object),
    kept(
        "restart_policy",
        Struct(&[
            field("condition", Text),
            kept("delay", Duration),
            kept("max_attempts", Int),
            kept("window", Duration),
        ]),
    ),
    always(
        "placement",
        Struct(&[
            field("constraints", Texts),
            field("preferences", Shape::List(&List { item: Struct(&[field("spread", Text)]), unique: &[] })),
            field("max_replicas_per_node", Int),
        ]),
        Zero::Object,
    ),
    field("endpoint_mode", Choice(&["vip", "dnsrr"])),
]);

const UPDATE: Shape = Struct(&[
    kept("parallelism", Int),
    field("delay", Duration),
    field("failure_action", Text),
    field("monitor", Duration),
    field("max_failure_ratio", Float),
    field("order", Choice(&["start-first", "stop-first"])),
]);

const RESOURCES: Shape = Struct(&[
    kept("limits", Struct(&[field("cpus", Float), field("memory", Bytes), field("pids", Int)])),
    kept(
        "reservations",
        Struct(&[
            field("cpus", Float),
            field("memory", Bytes),
            field("pids", Int),
            field("devices", Shape::List(&List { item: GPU, unique: &[] })),
            field(
                "generic_resources",
                Shape::List(&List {
                    item: Struct(&[kept("discrete_resource_spec", Struct(&[field("kind", Text), kept("value", Int)]))]),
                    unique: &[],
                }),
            ),
        ]),
    ),
]);

const GPU: Shape = Struct(&[
    field("capabilities", Texts),
    field("driver", Text),
    field("count", Count),
    field("device_ids", Texts),
    field("options", Mapping),
]);

static GPUS: Shape = Shape::List(&List { item: GPU, unique: &[] });

static DEVICES: List = List {
    item: Shape::Short(
        Short::Device,
        &Struct(&[field("source", Text), field("target", Text), field("permissions", Text)]),
    ),
    unique: &["target"],
};

static ENV_FILES: List = List {
    item: Shape::Short(Short::EnvFile, &Struct(&[field("path", Text), kept("required", Bool), field("format", Text)])),
    unique: &["path"],
};

static EXTENDS: Shape = Struct(&[field("file", Text), field("service", Text)]);

const HEALTHCHECK: Shape = Struct(&[
    field("test", Test),
    kept("timeout", Duration),
    kept("interval", Duration),
    kept("retries", Int),
    kept("start_period", Duration),
    kept("start_interval", Duration),
    field("disable", Bool),
]);

static ENDPOINT: Shape = Struct(&[
    field("priority", Int),
    field("gw_priority", Int),
    field("interface_name", Text),
    field("aliases", Texts),
    field("ipv4_address", Text),
    field("ipv6_address", Text),
    field("link_local_ips", Texts),
    field("mac_address", Text),
    field("driver_opts", Mapping),
]);

static PORTS: List = List {
    item: Shape::Short(
        Short::Port,
        &Struct(&[
            field("name", Text),
            field("mode", Text),
            field("host_ip", Text),
            field("target", Int),
            field("published", Text),
            field("protocol", Text),
            field("app_protocol", Text),
        ]),
    ),
    unique: &["host_ip", "target", "published", "protocol"],
};

static ULIMIT: Shape = Shape::Short(Short::Ulimit, &Struct(&[field("soft", Int), field("hard", Int)]));

static MOUNTS: List = List {
    item: Shape::Short(
        Short::Mount,
        &Struct(&[
            field("type", Choice(&["bind", "volume", "tmpfs", "image", "npipe", "cluster"])),
            field("source", Text),
            field("target", Text),
            field("read_only", Bool),
            field("consistency", Text),
            kept(
                "bind",
                Struct(&[
                    field("selinux", Text),
                    field("propagation", Text),
                    field("create_host_path", Bool),
                    field("recursive", Choice(&["disabled", "enabled", "writable", "readonly"])),
                ]),
            ),
            kept("volume", Struct(&[field("nocopy", Bool), field("subpath", Text), field("labels", Mapping)])),
            kept("tmpfs", Struct(&[field("size", Bytes), field("mode", Int)])),
            kept("image", Struct(&[field("subpath", Text)])),
        ]),
    ),
    unique: &["target"],
};
