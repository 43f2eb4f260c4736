//! Samples, percentiles, and the table they end in.

use std::time::{Duration, Instant};

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn of(times: Vec<Duration>) -> Self {
        Self(times)
    }

    /// Takes one sample.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.push(start.elapsed());
        result
    }

    /// The nearest-rank percentile in milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len().max(1));
        sorted.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

/// One line: what, in what unit, hako's figures, the peer's, and the budget.
struct Row {
    what: String,
    own: String,
    peer: Option<String>,
    ratio: Option<f64>,
    budget: String,
}

/// Everything that was measured.
pub(crate) struct Table {
    peer: Option<String>,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(peer: Option<String>) -> Self {
        Self { peer, rows: Vec::new() }
    }

    /// A line of times.
    pub(crate) fn times(&mut self, what: &str, budget: &str, own: &Samples, peer: Option<&Samples>) {
        let shown = |samples: &Samples| format!("{:.2} / {:.2} ms", samples.percentile(50), samples.percentile(99));
        self.rows.push(Row {
            what: what.to_owned(),
            own: shown(own),
            peer: peer.map(shown),
            ratio: peer.map(|peer| peer.percentile(50) / own.percentile(50)),
            budget: budget.to_owned(),
        });
    }

    /// A line of another quantity, in this unit.
    pub(crate) fn amount(&mut self, what: &str, budget: &str, unit: &str, own: f64, peer: Option<f64>) {
        self.rows.push(Row {
            what: what.to_owned(),
            own: format!("{own:.1} {unit}"),
            peer: peer.map(|peer| format!("{peer:.1} {unit}")),
            ratio: peer.map(|peer| peer / own),
            budget: budget.to_owned(),
        });
    }

    /// A line of a rate, in this unit: more is better.
    pub(crate) fn rate(&mut self, what: &str, budget: &str, unit: &str, own: f64, peer: Option<f64>) {
        self.rows.push(Row {
            what: what.to_owned(),
            own: format!("{own:.2} {unit}"),
            peer: peer.map(|peer| format!("{peer:.2} {unit}")),
            ratio: peer.map(|peer| own / peer),
            budget: budget.to_owned(),
        });
    }

    pub(crate) fn plain(&self) -> String {
        let mut text = String::new();
        for cells in self.cells() {
            let [what, own, peer, ratio, budget] = cells;
            text.push_str(&format!("{what:<44} {own:>20} {peer:>22} {ratio:>8}  {budget}\n"));
        }
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let mut lines: Vec<String> = self.cells().map(|cells| format!("| {} |", cells.join(" | "))).collect();
        lines.insert(1, "|---|---:|---:|---:|---|".to_owned());
        lines.join("\n") + "\n"
    }

    fn cells(&self) -> impl Iterator<Item = [String; 5]> {
        let peer = self.peer.clone().unwrap_or_else(|| "no peer".to_owned());
        let head = ["p50 / p99".to_owned(), "hako".to_owned(), peer, "ratio".to_owned(), "budget".to_owned()];
        let rows = self.rows.iter().map(|row| {
            let ratio = row.ratio.map_or("–".to_owned(), |ratio| {
                if ratio < 10.0 { format!("{ratio:.2}×") } else { format!("{ratio:.0}×") }
            });
            let peer = row.peer.clone().unwrap_or_else(|| "–".to_owned());
            [row.what.clone(), row.own.clone(), peer, ratio, row.budget.clone()]
        });
        std::iter::once(head).chain(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let samples = Samples::of((1..=100).map(Duration::from_millis).collect());
        assert_eq!((samples.percentile(50), samples.percentile(99)), (50.0, 99.0));
        assert_eq!(Samples::of(vec![Duration::from_millis(7)]).percentile(99), 7.0);
    }
}
