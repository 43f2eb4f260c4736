//! `container stats`: what a container uses, sample after sample.
//!
//! ```text
//! sampler, once a second:  containers that somebody watches ── whole sample ──► all who watch
//!          every fifth:    every other that runs ── processor time ──► its history
//! ```
//! One task samples for everybody: however many clients watch a container, it is looked at once. Docker waits a second
//! for a second sample to compare with even when one is all that is asked for; here the history has it at once.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hako_base::clock;
use hako_model::NetworkMode;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    Engine, EngineError,
    table::Container,
    timer,
    view::{Sample, StatsView},
};

/// Between two samples of a stream (Docker's).
const INTERVAL: Duration = Duration::from_secs(1);

/// A container that nobody watches is looked at every so many intervals.
const UNWATCHED: u32 = 5;

/// Between two samples when one answer is wanted and the history is empty.
const GAP: Duration = Duration::from_millis(100);

/// A remembered sample of this age does for the comparison.
const AGE: std::ops::Range<Duration> = Duration::from_millis(80)..Duration::from_secs(10);

/// Samples that are remembered: one may be too young to be compared with.
const KEPT: usize = 2;

/// Samples taken at the same time; more would only wait for each other in the kernel.
static PLACES: Semaphore = Semaphore::const_new(4);

/// The last samples of a container, the oldest first.
pub(crate) type History = VecDeque<Arc<Sample>>;

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
            StatsMode::Stream => remembered(&container),
            StatsMode::Once => match remembered(&container) {
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
        // Before the first sample: the sampler knows from now on that somebody watches.
        let mut watched = (mode == StatsMode::Stream).then(|| container.watched.subscribe());
        let mut sample = self.sample(&container).await;
        loop {
            let record = container.record();
            let view = StatsView { id: record.id, name: record.name.clone(), before, sample: sample.clone() };
            if send.send(view).await.is_err() {
                return;
            }
            let Some(watched) = &mut watched else { return };
            before = sample;
            tokio::select! {
                changed = watched.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    sample = watched.borrow_and_update().clone();
                }
                () = send.closed() => return,
                _ = phase.wait_for(|phase| phase.removed) => return,
            }
        }
    }

    /// One whole sample, unless it does not run.
    async fn sample(&self, container: &Arc<Container>) -> Option<Arc<Sample>> {
        let _place = PLACES.acquire().await;
        let target = container.clone();
        crate::blocking(move || take(&target, true)).await
    }

    /// Takes samples for all who watch, for as long as the daemon runs.
    pub(crate) async fn sample_for_ever(self) {
        for turn in 0_u32.. {
            timer::after(INTERVAL).await;
            let is_watched = |container: &Container| container.watched.receiver_count() > 0;
            let watched = self.containers.chosen(is_watched);
            let rest = match turn % UNWATCHED {
                0 => self.containers.chosen(|container| !is_watched(container) && container.live.lock().is_some()),
                _ => Vec::new(),
            };
            if watched.is_empty() && rest.is_empty() {
                continue;
            }
            let _place = PLACES.acquire().await;
            crate::blocking(move || {
                for container in watched {
                    container.watched.send_replace(take(&container, true));
                }
                for container in rest {
                    take(&container, false);
                }
            })
            .await;
        }
    }
}

/// The youngest sample of this life that is old enough to be compared with.
fn remembered(container: &Container) -> Option<Arc<Sample>> {
    let started = container.record().state.started_at?;
    let fits = |sample: &&Arc<Sample>| {
        let age = Duration::try_from(clock::now().duration_since(sample.at)).ok();
        started < sample.at && age.is_some_and(|age| AGE.contains(&age))
    };
    container.samples.lock().iter().rev().find(fits).cloned()
}

/// Takes a sample and remembers it; `whole`: more than processor time.
fn take(container: &Container, whole: bool) -> Option<Arc<Sample>> {
    let cgroup = container.live.lock().as_ref()?.cgroup.clone();
    let host = hako_runtime::observe::processors();
    let mut sample = Sample {
        at: clock::now(),
        usage: if whole { cgroup.stats() } else { cgroup.cpu_stats() },
        host_cpu_ns: host.total_ns,
        cpus: host.online,
        memory_bytes: host.memory_bytes,
        networks: Vec::new(),
    };
    let record = container.record();
    if whole && !matches!(record.spec.host.network_mode, NetworkMode::Host) {
        sample.networks = hako_runtime::observe::network_counters(record.state.pid).unwrap_or_default();
    }
    let sample = Arc::new(sample);
    let mut kept = container.samples.lock();
    if kept.len() >= KEPT {
        kept.pop_front();
    }
    kept.push_back(sample.clone());
    Some(sample)
}
