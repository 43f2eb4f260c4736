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

/// The most that processes had resident since [`forget_peaks`], each at its own moment, in kilobytes.
pub(crate) fn peak_kb(pids: &[u32]) -> f64 {
    let of_one = |pid: &u32| -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
    };
    pids.iter().filter_map(of_one).sum()
}

/// Begins to look for the highest anew (proc(5), clear_refs).
pub(crate) fn forget_peaks(pids: &[u32]) {
    for pid in pids {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
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
