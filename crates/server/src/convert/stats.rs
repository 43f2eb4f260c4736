//! One sample of what a container uses, in Docker's words.

use hako_api::stats::{
    BlkioEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, ThrottlingData,
};
use hako_base::clock;
use hako_engine::view::{IoEntry, Sample, StatsView};

pub(crate) fn stats(view: &StatsView) -> ContainerStats {
    let mut stats = ContainerStats {
        read: clock::rfc3339_or_zero(view.sample.as_ref().map(|sample| sample.at)),
        preread: clock::rfc3339_or_zero(view.before.as_ref().map(|sample| sample.at)),
        precpu_stats: view.before.as_deref().map(cpu).unwrap_or_default(),
        name: format!("/{}", view.name),
        id: view.id.to_string(),
        ..ContainerStats::default()
    };
    let Some(sample) = &view.sample else {
        stats.preread = clock::ZERO.to_owned();
        stats.precpu_stats = CpuStats::default();
        return stats;
    };
    let pids = &sample.usage.pids;
    stats.pids_stats = PidsStats { current: pids.current, limit: pids.limit.unwrap_or_default() };
    stats.blkio_stats = blkio(sample);
    stats.cpu_stats = cpu(sample);
    stats.memory_stats = memory(sample);
    stats.networks = sample.networks.iter().map(|link| (link.name.clone(), network(link))).collect();
    stats
}

fn cpu(sample: &Sample) -> CpuStats {
    let cpu = &sample.usage.cpu;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.usage_ns,
            percpu_usage: cpu.per_cpu_ns.clone(),
            usage_in_kernelmode: cpu.system_ns,
            usage_in_usermode: cpu.user_ns,
        },
        system_cpu_usage: sample.host_cpu_ns,
        online_cpus: sample.cpus,
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_ns,
        },
    }
}

fn memory(sample: &Sample) -> MemoryStats {
    let memory = &sample.usage.memory;
    MemoryStats {
        usage: memory.usage_bytes,
        max_usage: memory.max_usage_bytes,
        stats: memory.detail.clone(),
        failcnt: memory.failures,
        // As Docker shows it: no limit is all there is.
        limit: memory.limit_bytes.map_or(sample.memory_bytes, |limit| limit.min(sample.memory_bytes)),
    }
}

fn blkio(sample: &Sample) -> BlkioStats {
    let list = |entries: &[IoEntry]| {
        let entry = |entry: &IoEntry| BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.operation.clone(),
            value: entry.value,
        };
        Some(entries.iter().map(entry).collect())
    };
    BlkioStats {
        io_service_bytes_recursive: list(&sample.usage.io_service_bytes),
        io_serviced_recursive: list(&sample.usage.io_serviced),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

fn network(link: &hako_engine::view::LinkCounters) -> NetworkStats {
    NetworkStats {
        rx_bytes: link.received.bytes,
        rx_packets: link.received.packets,
        rx_errors: link.received.errors,
        rx_dropped: link.received.dropped,
        tx_bytes: link.sent.bytes,
        tx_packets: link.sent.packets,
        tx_errors: link.sent.errors,
        tx_dropped: link.sent.dropped,
    }
}
