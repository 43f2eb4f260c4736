//! Memory as the kernel shares it out: the proportional set size, which counts a shared page by its share.

use std::fs;

/// The proportional set size of processes, in kilobytes.
pub(crate) fn proportional_kb(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| of_one(*pid)).sum()
}

fn of_one(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
}

/// Every process of this machine.
pub(crate) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok()).collect()
}

/// The processes whose program has one of these names.
pub(crate) fn named(names: &[&str]) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|pid| {
            // The kernel keeps 15 characters of a name.
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            names.iter().any(|wanted| wanted[..wanted.len().min(15)] == *name.trim())
        })
        .collect()
}
