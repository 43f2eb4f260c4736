//! Figures and how they are printed: what, how much, and what is promised.

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

/// Lines of a table.
#[derive(Default)]
pub(crate) struct Figures(Vec<[String; 3]>);

impl Figures {
    /// How long `work` takes as a whole.
    pub(crate) fn time(&mut self, what: &str, promise: &str, work: impl FnOnce()) {
        let began = Instant::now();
        work();
        self.lasted(what, promise, began.elapsed());
    }

    pub(crate) fn lasted(&mut self, what: &str, promise: &str, time: Duration) {
        self.line(what, format!("{:.0} ms", milliseconds(time)), promise);
    }

    /// Median and 99th percentile.
    pub(crate) fn times(&mut self, what: &str, promise: &str, times: &[Duration]) {
        let mut sorted = times.to_vec();
        sorted.sort();
        let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let shown = |percent| milliseconds(at(percent).unwrap_or_default());
        self.line(what, format!("{:.1} / {:.1} ms", shown(50), shown(99)), promise);
    }

    pub(crate) fn amount(&mut self, what: &str, promise: &str, amount: f64, unit: &str) {
        self.line(what, format!("{amount:.1} {unit}"), promise);
    }

    fn line(&mut self, what: &str, figure: String, promise: &str) {
        self.0.push([what.to_owned(), figure, promise.to_owned()]);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|[what, figure, promise]| writeln!(f, "{what:<48} {figure:>20}   {promise}"))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The proportional set size of processes: a shared page counts by its share.
pub(crate) fn proportional_kb(pids: &[u32]) -> f64 {
    let of_one = |pid: &u32| -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?.parse().ok()
    };
    pids.iter().filter_map(of_one).sum()
}

/// How many descriptors processes have open.
pub(crate) fn descriptors(pids: &[u32]) -> usize {
    pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()).map(Iterator::count).sum()
}
