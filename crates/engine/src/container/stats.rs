//! `container stats`: what a container uses, sample after sample.
//!
//! Docker waits a second for its second sample even when one is all that is asked for. Here the last sample of a
//! container is remembered for a while, and two that are taken for the purpose lie a tenth of a second apart: the
//! kernel counts processor time in nanoseconds, so that is enough for a percentage.

use std::{sync::Arc, time::Duration};

use hako_base::clock;
use hako_model::NetworkMode;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    table::Container,
    timer,
    view::{Sample, StatsView},
};

/// Between two samples of a stream (Docker's).
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two samples when one answer is wanted.
const GAP: Duration = Duration::from_millis(100);

/// A remembered sample of this age does for the comparison.
const AGE: std::ops::Range<Duration> = Duration::from_millis(80)..Duration::from_secs(10);

/// How samples are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsMode {
    /// One a second until nobody listens.
    Stream,
    /// One, compared with one before it.
    Once,
    /// One, at once, compared with nothing.
    OneShot,
}

impl Engine {
    /// Samples of a container; one that does not run gives empty ones.
    ///
    /// # Errors
    /// No such container.
    pub fn container_stats(&self, name: &str, mode: StatsMode) -> Result<mpsc::Receiver<StatsView>, EngineError> {
        let container = self.containers.find(name)?;
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(self.clone().send_samples(container, mode, send));
        Ok(receive)
    }

    async fn send_samples(self, container: Arc<Container>, mode: StatsMode, send: mpsc::Sender<StatsView>) {
        let mut before = match mode {
            StatsMode::OneShot => None,
            StatsMode::Stream => self.remembered(&container),
            StatsMode::Once => match self.remembered(&container) {
                Some(sample) => Some(sample),
                None => {
                    let first = self.sample(&container).await;
                    if first.is_some() {
                        timer::after(GAP).await;
                    }
                    first
                }
            },
        };
        let mut phase = container.phase.subscribe();
        loop {
            let sample = self.sample(&container).await;
            let record = container.record();
            let view = StatsView { id: record.id, name: record.name.clone(), before, sample: sample.clone() };
            if send.send(view).await.is_err() || mode != StatsMode::Stream {
                return;
            }
            before = sample;
            tokio::select! {
                () = timer::after(INTERVAL) => {}
                () = send.closed() => return,
                _ = phase.wait_for(|phase| phase.removed) => return,
            }
        }
    }

    fn remembered(&self, container: &Container) -> Option<Arc<Sample>> {
        let sample = container.sample.lock().clone()?;
        let age = Duration::try_from(clock::now().duration_since(sample.at)).ok()?;
        let same_life = container.record().state.started_at.is_some_and(|started| started < sample.at);
        (AGE.contains(&age) && same_life).then_some(sample)
    }

    /// One sample, unless it does not run.
    async fn sample(&self, container: &Arc<Container>) -> Option<Arc<Sample>> {
        let (engine, target) = (self.clone(), container.clone());
        let sample = crate::blocking(move || engine.take_sample(&target)).await.map(Arc::new);
        container.sample.lock().clone_from(&sample);
        sample
    }

    fn take_sample(&self, container: &Container) -> Option<Sample> {
        let cgroup = container.live.lock().as_ref()?.cgroup.clone();
        let record = container.record();
        let shows_network = !matches!(record.spec.host.network_mode, NetworkMode::Host);
        let networks = shows_network.then(|| hako_runtime::observe::network_counters(record.state.pid));
        let host = hako_runtime::observe::processors();
        Some(Sample {
            at: sampled_at(),
            usage: cgroup.stats(),
            host_cpu_ns: host.total_ns,
            cpus: host.online,
            memory_bytes: host.memory_bytes,
            networks: networks.and_then(Result::ok).unwrap_or_default(),
        })
    }
}

fn sampled_at() -> Timestamp {
    clock::now()
}
