//! The flags of `build`: those of docker's CLI and of Buildx, and hako's own.

use crate::{
    flag::{Bytes, FlagSet},
    parse::limit::SwapBytes,
};

/// What was written on the command line.
#[derive(Default)]
pub(crate) struct BuildFlags {
    pub add_hosts: Vec<String>,
    pub allow: Vec<String>,
    pub annotations: Vec<String>,
    pub attest: Vec<String>,
    pub builder: Option<String>,
    pub arguments: Vec<String>,
    pub contexts: Vec<String>,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    pub call: Option<String>,
    pub cgroup_parent: Option<String>,
    pub check: bool,
    pub file: Option<String>,
    pub flatten: bool,
    pub iid_file: Option<String>,
    /// A Dockerfile that is in no directory; Compose's `dockerfile_inline`.
    pub inline: Option<String>,
    pub labels: Vec<String>,
    pub load: bool,
    pub metadata_file: Option<String>,
    pub network: Option<String>,
    pub no_cache: bool,
    pub no_cache_filter: Vec<String>,
    pub outputs: Vec<String>,
    pub platforms: Vec<String>,
    pub progress: Option<String>,
    pub provenance: Option<String>,
    pub pull: bool,
    pub push: bool,
    pub quiet: bool,
    pub sbom: Option<String>,
    pub reproducible: bool,
    pub secrets: Vec<String>,
    pub shm_size: Option<Bytes>,
    pub ssh: Vec<String>,
    pub tags: Vec<String>,
    pub target: Option<String>,
    pub ulimits: Vec<String>,
    pub why: bool,
    /// Of the classic builder, which had containers that one could limit.
    pub old: Old,
}

#[derive(Default)]
pub(crate) struct Old {
    compress: bool,
    cpu_period: Option<i64>,
    cpu_quota: Option<i64>,
    cpu_shares: Option<i64>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    debug: bool,
    force_rm: bool,
    isolation: Option<String>,
    memory: Option<Bytes>,
    memory_swap: Option<SwapBytes>,
    rm: Option<bool>,
    security: Vec<String>,
    squash: bool,
    untrusted: bool,
}

impl BuildFlags {
    pub(crate) fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.add_hosts, "--add-host", "Further host name (host:ip)").kind("list");
        set.add(&mut self.allow, "--allow", "Allow what reaches the host (network.host, security.insecure)")
            .kind("list");
        set.add(&mut self.annotations, "--annotation", "Annotation of the image").kind("stringArray");
        set.add(&mut self.attest, "--attest", "Attestation (type=provenance, type=sbom)").kind("stringArray");
        set.add(&mut self.builder, "--builder", "Builder that makes it (default: the daemon, or what is in use)");
        set.add(&mut self.arguments, "--build-arg", "Variable for the build (NAME=value)").kind("stringArray");
        set.add(&mut self.contexts, "--build-context", "Further context (name=path)").kind("stringArray");
        set.add(&mut self.cache_from, "--cache-from", "Where to take results of steps from").kind("stringArray");
        set.add(&mut self.cache_to, "--cache-to", "Where to leave results of steps").kind("stringArray");
        set.add(&mut self.call, "--call", "build, check, outline or targets (default \"build\")");
        set.add(&mut self.cgroup_parent, "--cgroup-parent", "Parent cgroup of steps");
        set.add(&mut self.check, "--check", "Look for mistakes in the Dockerfile, and build nothing");
        set.add(&mut self.file, "-f, --file", "The Dockerfile (default PATH/Dockerfile); - reads standard input");
        set.add(&mut self.flatten, "--flatten", "All layers of the image as one");
        set.add(&mut self.iid_file, "--iidfile", "Write the image's id to this file");
        set.add(&mut self.labels, "--label", "Label of the image").kind("stringArray");
        set.add(
            &mut self.load,
            "--load",
            "Leave the image with the daemon, which is where the daemon's own builder leaves it",
        );
        set.add(&mut self.metadata_file, "--metadata-file", "Write what is known of the result to this file");
        set.add(&mut self.network, "--network", "Network of RUN steps (default, none, host)");
        set.add(&mut self.no_cache, "--no-cache", "Do everything anew");
        set.add(&mut self.no_cache_filter, "--no-cache-filter", "Do these stages anew").kind("stringArray");
        set.add(&mut self.outputs, "-o, --output", "Where the result goes (type=local,dest=path)").kind("stringArray");
        set.add(&mut self.platforms, "--platform", "Platform of the image").kind("stringArray");
        set.add(&mut self.progress, "--progress", "auto, plain, tty, quiet or rawjson (default \"auto\")");
        set.add(&mut self.provenance, "--provenance", "Shorthand for --attest=type=provenance");
        set.add(&mut self.pull, "--pull", "Ask registries for newer base images");
        set.add(&mut self.push, "--push", "Shorthand for --output=type=registry");
        set.add(&mut self.quiet, "-q, --quiet", "Print the image's id alone");
        set.add(
            &mut self.reproducible,
            "--reproducible",
            "No times in the image but SOURCE_DATE_EPOCH (default: that of the commit, or 0)",
        );
        set.add(&mut self.sbom, "--sbom", "Shorthand for --attest=type=sbom");
        set.add(&mut self.secrets, "--secret", "Secret for RUN --mount (id=name,src=path)").kind("stringArray");
        set.add(&mut self.shm_size, "--shm-size", "Size of /dev/shm in steps");
        set.add(&mut self.ssh, "--ssh", "SSH agent for RUN --mount (default|id=socket)").kind("stringArray");
        set.add(&mut self.tags, "-t, --tag", "Name of the image (name:tag)").kind("stringArray");
        set.add(&mut self.target, "--target", "Stop after this stage");
        set.add(&mut self.ulimits, "--ulimit", "Limit of steps (name=soft:hard)").kind("ulimit");
        set.add(&mut self.why, "--why", "Say for each step whether it was cached, and if not what changed");
        self.old.bind(set);
    }

    /// `--progress`, or what the environment says.
    pub(crate) fn progress(&self) -> String {
        self.progress.clone().or_else(|| std::env::var("BUILDKIT_PROGRESS").ok()).unwrap_or_default()
    }

    /// Limits of steps: flags of the classic builder, which BuildKit's protocol has no words for.
    pub(crate) fn limits(&self) -> Vec<(&'static str, String)> {
        let old = &self.old;
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let all = [
            ("cpu-period", number(old.cpu_period)),
            ("cpu-quota", number(old.cpu_quota)),
            ("cpu-shares", number(old.cpu_shares)),
            ("cpuset-cpus", old.cpuset_cpus.clone()),
            ("cpuset-mems", old.cpuset_mems.clone()),
            ("memory", old.memory.as_ref().map(|bytes| bytes.0.to_string())),
            ("memory-swap", old.memory_swap.as_ref().map(|bytes| bytes.0.to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Warnings about flags of the classic builder that have no effect, in Buildx's words.
    pub(crate) fn ignored(&self) -> Vec<String> {
        let old = &self.old;
        let given = [
            (old.isolation.is_some(), "isolation"),
            (!old.security.is_empty(), "security-opt"),
            (old.squash, "squash"),
        ];
        let ignored = given.into_iter().filter(|(is_given, _)| *is_given);
        ignored.map(|(_, name)| format!("WARNING: {name} flag is ignored")).collect()
    }
}

impl Old {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.compress, "--compress", "Accepted, without effect").hide();
        set.add(&mut self.cpu_period, "--cpu-period", "Limit the CPU of steps: period in microseconds");
        set.add(&mut self.cpu_quota, "--cpu-quota", "Limit the CPU of steps: microseconds in each period");
        set.add(&mut self.cpu_shares, "-c, --cpu-shares", "CPU shares of steps (relative weight)");
        set.add(&mut self.cpuset_cpus, "--cpuset-cpus", "CPUs on which steps run (0-3, 0,1)");
        set.add(&mut self.cpuset_mems, "--cpuset-mems", "Memory nodes that steps use (0-3, 0,1)");
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
        set.add(&mut self.force_rm, "--force-rm", "Of the classic builder").hide();
        set.add(&mut self.isolation, "--isolation", "Of the classic builder").hide();
        set.add(&mut self.memory, "-m, --memory", "Limit the memory of steps");
        set.add(&mut self.memory_swap, "--memory-swap", "Limit memory and swap of steps together; -1 for no limit");
        set.add(&mut self.rm, "--rm", "Of the classic builder").hide();
        set.add(&mut self.security, "--security-opt", "Of the classic builder").hide();
        set.add(&mut self.squash, "--squash", "Of the classic builder").hide();
        set.add(&mut self.untrusted, "--disable-content-trust", "Accepted, without effect").hide();
    }
}
