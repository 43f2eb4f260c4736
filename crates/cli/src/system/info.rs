//! `system info`: what the daemon says about itself and its host.

use hako_api::{Operation, query::Query, system::SystemInfo};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::{
        json::{Document, KeyOrder},
        size,
        template::row_of_known,
    },
    inspect, plugin,
    system::version::own_version,
};

/// What daemons leave out when there is nothing to tell, or are too old for.
const OMITTED: [&str; 14] = [
    "BridgeNfIp6tables",
    "BridgeNfIptables",
    "CDISpecDirs",
    "CgroupVersion",
    "ClientInfo",
    "Containerd",
    "DefaultAddressPools",
    "DiscoveredDevices",
    "FirewallBackend",
    "GenericResources",
    "KernelMemory",
    "KernelMemoryTCP",
    "ProductLicense",
    "Warnings",
];

#[derive(Default)]
pub(crate) struct Info {
    format: String,
}

impl Command for Info {
    const SHAPE: &'static Shape = &Shape {
        paths: &["system info", "info"],
        usage: "[OPTIONS]",
        about: "Show what the daemon says about itself and its host",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.format, "-f, --format", "\"json\", or a Go template");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        inspect::check_template(&self.format)?;
        let answer = cx.client()?.bytes(Operation::SystemInfo, &[], &Query::default()).await;
        let own = client_lines(cx);
        let answer = match (answer, self.format.as_str()) {
            (Ok(answer), _) => answer,
            (Err(error), "") => {
                cx.print(&format!("{own}\nServer:\n"))?;
                return Err(error.into());
            }
            (Err(error), _) => return Err(error.into()),
        };
        let unreadable = |error| CommandError::Said(format!("cannot read the daemon's answer: {error}"));
        if self.format.is_empty() {
            let info: SystemInfo = serde_json::from_slice(&answer).map_err(unreadable)?;
            cx.print(&format!("{own}\nServer:\n{}", server_lines(&info)))?;
            info.warnings.iter().flatten().for_each(|warning| cx.remark(warning));
            return Ok(());
        }
        let document: Document = serde_json::from_slice(&answer).map_err(unreadable)?;
        let order = || {
            let mut order = KeyOrder::default();
            order.learn(&document);
            order
        };
        let template = if self.format == "json" { "{{json .}}" } else { &self.format };
        cx.print_line(&row_of_known(template, order, &document.to_value(), 1, &OMITTED)?)
    }
}

fn client_lines(cx: &Context) -> String {
    let (title, version) = own_version(cx.program);
    let (context, debug) = (&cx.context_name, cx.debug);
    let mut text = format!("Client:{title}\n Version:    {version}\n Context:    {context}\n Debug Mode: {debug}\n");
    for (at, it) in plugin::all(&cx.directory, &cx.config).iter().enumerate() {
        let Some(metadata) = it.metadata() else { continue };
        if at == 0 {
            text.push_str(" Plugins:\n");
        }
        text.push_str(&format!("  {}: {} ({})\n", it.name, metadata.short_description, metadata.vendor));
        text.push_str(&format!("    Version:  {}\n    Path:     {}\n", metadata.version, it.path.display()));
    }
    text
}

fn server_lines(info: &SystemInfo) -> String {
    let mut lines = Lines(String::new());
    lines.put(1, "Containers", &info.containers.to_string());
    lines.put(2, "Running", &info.containers_running.to_string());
    lines.put(2, "Paused", &info.containers_paused.to_string());
    lines.put(2, "Stopped", &info.containers_stopped.to_string());
    lines.put(1, "Images", &info.images.to_string());
    lines.put_known(1, "Server Version", &info.server_version);
    lines.put_known(1, "Storage Driver", &info.driver);
    info.driver_status.iter().for_each(|[name, value]| lines.put(2, name, value));
    lines.put_known(1, "Logging Driver", &info.logging_driver);
    lines.put_known(1, "Cgroup Driver", &info.cgroup_driver);
    lines.put_known(1, "Cgroup Version", &info.cgroup_version);
    lines.title("Plugins");
    lines.put(2, "Volume", &info.plugins.volume.join(" "));
    lines.put(2, "Network", &info.plugins.network.join(" "));
    if let Some(authorization) = info.plugins.authorization.as_ref().filter(|names| !names.is_empty()) {
        lines.put(2, "Authorization", &authorization.join(" "));
    }
    lines.put(2, "Log", &info.plugins.log.join(" "));
    if !info.cdi_spec_dirs.is_empty() {
        lines.title("CDI spec directories");
        info.cdi_spec_dirs.iter().for_each(|directory| lines.0.push_str(&format!("  {directory}\n")));
    }
    if !info.discovered_devices.is_empty() {
        lines.title("Discovered Devices");
        let device = |one: &hako_api::system::DeviceInfo| format!("  {}: {}\n", one.source, one.id);
        info.discovered_devices.iter().for_each(|one| lines.0.push_str(&device(one)));
    }
    lines.put(1, "Swarm", &info.swarm.local_node_state);
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    lines.put(1, "Runtimes", &runtimes.join(" "));
    lines.put_known(1, "Default Runtime", &info.default_runtime);
    lines.put_known(1, "Init Binary", &info.init_binary);
    lines.put_known(1, "containerd version", &info.containerd_commit.id);
    lines.put_known(1, "runc version", &info.runc_commit.id);
    lines.put_known(1, "init version", &info.init_commit.id);
    if !info.security_options.is_empty() {
        lines.title("Security Options");
        info.security_options.iter().for_each(|option| security_option(&mut lines, option));
    }
    lines.put_known(1, "Kernel Version", &info.kernel_version);
    lines.put_known(1, "Operating System", &info.operating_system);
    lines.put_known(1, "OSType", &info.os_type);
    lines.put_known(1, "Architecture", &info.architecture);
    lines.put(1, "CPUs", &info.cpus.to_string());
    lines.put(1, "Total Memory", &size::binary(info.mem_total));
    lines.put_known(1, "Name", &info.name);
    lines.put_known(1, "ID", &info.id);
    lines.put_known(1, "Docker Root Dir", &info.docker_root_dir);
    lines.put(1, "Debug Mode", &info.debug.to_string());
    lines.put_known(1, "HTTP Proxy", &info.http_proxy);
    lines.put_known(1, "HTTPS Proxy", &info.https_proxy);
    lines.put_known(1, "No Proxy", &info.no_proxy);
    if !info.labels.is_empty() {
        lines.title("Labels");
        info.labels.iter().for_each(|label| lines.0.push_str(&format!("  {label}\n")));
    }
    lines.put(1, "Experimental", &info.experimental_build.to_string());
    if let Some(registries) = &info.registry_config {
        lines.title("Insecure Registries");
        registries.insecure_registry_cidrs.iter().for_each(|range| lines.0.push_str(&format!("  {range}\n")));
    }
    lines.put(1, "Live Restore Enabled", &info.live_restore_enabled.to_string());
    lines.0
}

// `name=seccomp,profile=builtin`: the name, and what else is said below it.
fn security_option(lines: &mut Lines, option: &str) {
    for field in option.split(',') {
        match field.split_once('=') {
            Some(("name", name)) => lines.0.push_str(&format!("  {name}\n")),
            Some((key, value)) => lines.put(3, if key == "profile" { "Profile" } else { key }, value),
            None => lines.0.push_str(&format!("  {field}\n")),
        }
    }
}

struct Lines(String);

impl Lines {
    fn put(&mut self, indent: usize, name: &str, value: &str) {
        self.0.push_str(&format!("{:indent$}{name}: {value}\n", ""));
    }

    fn put_known(&mut self, indent: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(indent, name, value);
        }
    }

    fn title(&mut self, name: &str) {
        self.0.push_str(&format!(" {name}:\n"));
    }
}
