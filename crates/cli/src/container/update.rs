//! `container update`: other limits for containers, running or not.

use hako_api::container::{ContainerEditRequest, ContainerUpdateRequest, PortBinding, Resources, RestartPolicy};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
    flag::{Bytes, Cpus, FlagSet},
    parse::{
        limit::{self, SwapBytes},
        port,
    },
};

#[derive(Default)]
pub(crate) struct Update {
    blkio_weight: u16,
    cpu_period: i64,
    cpu_quota: i64,
    rt_period: i64,
    rt_runtime: i64,
    cpu_shares: i64,
    cpus: Option<Cpus>,
    cpuset_cpus: String,
    cpuset_mems: String,
    memory: Bytes,
    reservation: Bytes,
    swap: Option<SwapBytes>,
    kernel_memory: Bytes,
    pids: Option<i64>,
    restart: String,
    publish_add: Vec<String>,
    publish_remove: Vec<String>,
    label_add: Vec<String>,
    label_remove: Vec<String>,
    log_options: Vec<String>,
}

impl Command for Update {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container update", "update"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Change the limits of containers",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.blkio_weight, "--blkio-weight", "Share of block I/O, 10 to 1000, or 0 for none");
        set.add(&mut self.cpu_period, "--cpu-period", "Length of a scheduling period in microseconds");
        set.add(&mut self.cpu_quota, "--cpu-quota", "Microseconds of processor time in a period");
        set.add(&mut self.rt_period, "--cpu-rt-period", "Length of a real-time period in microseconds");
        set.add(&mut self.rt_runtime, "--cpu-rt-runtime", "Microseconds of real-time in a period");
        set.add(&mut self.cpu_shares, "-c, --cpu-shares", "Share of processor time, relative to others");
        set.add(&mut self.cpus, "--cpus", "Number of processors");
        set.add(&mut self.cpuset_cpus, "--cpuset-cpus", "Processors it may run on (0-3, 0,1)");
        set.add(&mut self.cpuset_mems, "--cpuset-mems", "Memory nodes it may use (0-3, 0,1)");
        set.add(&mut self.memory, "-m, --memory", "Memory it may use at most");
        set.add(&mut self.reservation, "--memory-reservation", "Memory to shrink it to when the host runs short");
        set.add(&mut self.swap, "--memory-swap", "Memory and swap together at most; -1 for no limit");
        set.add(&mut self.kernel_memory, "--kernel-memory", "Accepted, without effect").hide();
        set.add(&mut self.pids, "--pids-limit", "Number of processes; -1 for no limit");
        set.add(&mut self.restart, "--restart", "When to start it again");
        set.add(&mut self.publish_add, "--publish-add", "Publish a port more, while it runs");
        set.add(&mut self.publish_remove, "--publish-rm", "Publish a port no longer: [HOST:]PORT[/PROTOCOL]");
        set.add(&mut self.label_add, "--label-add", "Set a label");
        set.add(&mut self.label_remove, "--label-rm", "Remove a label");
        set.add(&mut self.log_options, "--log-opt", "Change how much of the log is kept: max-size, max-file, compress");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let edit = self.edit()?;
        let request = self.request(edit.is_some())?;
        let client = cx.client()?;
        let (mut warnings, mut failures) = (Vec::new(), Vec::new());
        for name in names {
            if let Some(edit) = &edit
                && let Err(error) = client.container_edit(&name, edit).await
            {
                failures.push(client_message(&error));
                continue;
            }
            let Some(request) = &request else {
                cx.print_line(&name)?;
                continue;
            };
            match client.container_update(&name, request).await {
                Ok(answer) => {
                    cx.print_line(&name)?;
                    warnings.extend(answer.warnings.unwrap_or_default());
                }
                Err(error) => failures.push(client_message(&error)),
            }
        }
        if !warnings.is_empty() {
            cx.print_line(&warnings.join("\n"))?;
        }
        if failures.is_empty() { Ok(()) } else { Err(CommandError::Several(failures)) }
    }
}

impl Update {
    /// What Docker's `update` does not know.
    fn edit(&self) -> Result<Option<ContainerEditRequest>, CommandError> {
        let lists = [&self.publish_add, &self.publish_remove, &self.label_add, &self.label_remove, &self.log_options];
        if lists.iter().all(|list| list.is_empty()) {
            return Ok(None);
        }
        let mut edit = ContainerEditRequest::default();
        for text in &self.publish_add {
            for port in port::publish(text).map_err(CommandError::Said)? {
                let binding = PortBinding { host_ip: port.host_ip, host_port: port.host_port };
                edit.publish_add.entry(port.container).or_default().get_or_insert_default().push(binding);
            }
        }
        edit.publish_remove.clone_from(&self.publish_remove);
        let pair = |text: &String| {
            text.split_once('=')
                .map_or((text.clone(), String::new()), |(key, value)| (key.to_owned(), value.to_owned()))
        };
        edit.labels_add = self.label_add.iter().map(pair).collect();
        edit.labels_remove.clone_from(&self.label_remove);
        edit.log_options = self.log_options.iter().map(pair).collect();
        Ok(Some(edit))
    }

    /// What Docker's `update` is asked for; nothing where only ours is.
    fn request(self, edits: bool) -> Result<Option<ContainerUpdateRequest>, CommandError> {
        let nothing_said = self.restart.is_empty()
            && (self.blkio_weight, self.cpu_period, self.cpu_quota, self.cpu_shares) == (0, 0, 0, 0)
            && (self.rt_period, self.rt_runtime, self.memory.0, self.reservation.0) == (0, 0, 0, 0)
            && self.cpus.is_none()
            && self.swap.is_none()
            && self.pids.is_none()
            && self.cpuset_cpus.is_empty()
            && self.cpuset_mems.is_empty();
        if nothing_said && edits {
            return Ok(None);
        }
        if nothing_said {
            return Err(CommandError::Said("you must provide one or more flags when using this command".to_owned()));
        }
        let policy = limit::restart(&self.restart).map_err(CommandError::Said)?;
        Ok(Some(ContainerUpdateRequest {
            restart_policy: RestartPolicy { name: policy.name, maximum_retry_count: policy.retries_max },
            resources: Resources {
                blkio_weight: self.blkio_weight,
                cpu_period: self.cpu_period,
                cpu_quota: self.cpu_quota,
                cpu_realtime_period: self.rt_period,
                cpu_realtime_runtime: self.rt_runtime,
                cpu_shares: self.cpu_shares,
                nano_cpus: self.cpus.unwrap_or_default().0,
                cpuset_cpus: self.cpuset_cpus,
                cpuset_mems: self.cpuset_mems,
                memory: self.memory.0,
                memory_reservation: self.reservation.0,
                memory_swap: self.swap.unwrap_or_default().0,
                pids_limit: self.pids,
                ..Resources::default()
            },
        }))
    }
}
