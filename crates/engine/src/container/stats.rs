//! `container stats`: what a container uses, sample after sample.
//!
//! ```text
//! sampler, once a second:  containers that somebody watches ── whole sample ──► all who watch
//!                          those that somebody asked about a moment ago ── whole sample ──► their history
//!          every fifth:    every other that runs ── processor time ──► its history
//! ```
//! One task samples for everybody: however many clients watch a container, it is looked at once. Docker waits a second
//! for a second sample to compare with even when one is all that is asked for; here the history has it at once. Who
//! asks again and again is answered from the history: what it says is never older than a line of a stream can be.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hako_base::clock;
use hako_model::NetworkMode;
use jiff::Timestamp;
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

/// Samples that are remembered: one to answer with, and one may be too young to be compared with it.
const KEPT: usize = 3;

/// How long after a question the next one is expected.
const ASKED: Duration = Duration::from_secs(5);

/// A whole sample of this age answers a question: the sampler's last one, a little late.
const FRESH: Duration = Duration::from_millis(1_200);

/// Samples taken at the same time; more would only wait for each other in the kernel.
static PLACES: Semaphore = Semaphore::const_new(4);

/// The last samples of a container.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The oldest first.
    samples: VecDeque<Kept>,
    /// When somebody last wanted one.
    asked: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Kept {
    /// Or of use for its processor time alone.
    is_whole: bool,
    sample: Arc<Sample>,
}

impl History {
    fn keep(&mut self, is_whole: bool, sample: Arc<Sample>) {
        if self.samples.len() >= KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Kept { is_whole, sample });
    }

    /// Its limits have changed: what is remembered answers no question any more.
    pub(crate) fn outdate(&mut self) {
        self.samples.iter_mut().for_each(|kept| kept.is_whole = false);
    }

    fn is_asked_for(&self, now: Timestamp) -> bool {
        self.asked.and_then(|asked| age(now, asked)).is_some_and(|age| age < ASKED)
    }

    /// The youngest sample since `started` that can be compared with one of `now`.
    fn before(&self, now: Timestamp, started: Timestamp) -> Option<Arc<Sample>> {
        let fits =
            |sample: &&Arc<Sample>| started < sample.at && age(now, sample.at).is_some_and(|age| AGE.contains(&age));
        self.samples.iter().rev().map(|kept| &kept.sample).find(fits).cloned()
    }

    /// A whole sample that still says how things are, if there is one, and one before it.
    fn answer(&self, now: Timestamp, started: Timestamp) -> Option<(Arc<Sample>, Arc<Sample>)> {
        let Kept { is_whole: true, sample } = self.samples.back()? else { return None };
        let is_fresh = age(now, sample.at).is_some_and(|age| age < FRESH);
        let before = self.before(sample.at, started)?;
        is_fresh.then(|| (before, sample.clone()))
    }
}

// Nothing when the clock was set back.
fn age(now: Timestamp, then: Timestamp) -> Option<Duration> {
    Duration::try_from(now.duration_since(then)).ok()
}

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
        if mode != StatsMode::Stream
            && let Some((before, sample)) = answer(&container)
        {
            let before = (mode == StatsMode::Once).then_some(before);
            let record = container.record();
            let view = StatsView { id: record.id, name: record.name.clone(), before, sample: Some(sample) };
            // Who asked may have left.
            let _ = send.send(view).await;
            return;
        }
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
            let now = clock::now();
            let is_watched = |container: &Container| {
                container.watched.receiver_count() > 0 || container.samples.lock().is_asked_for(now)
            };
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
    container.samples.lock().before(clock::now(), started)
}

/// What the history has for a question; the next one is expected.
fn answer(container: &Container) -> Option<(Arc<Sample>, Arc<Sample>)> {
    let now = clock::now();
    let mut history = container.samples.lock();
    history.asked = Some(now);
    // What has ended says nothing any more, whatever is remembered.
    let record = container.record();
    let started = record.state.started_at.filter(|_| record.is_running())?;
    history.answer(now, started)
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
    container.samples.lock().keep(whole, sample.clone());
    Some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Stats;

    fn history(samples: &[(i64, bool)]) -> History {
        let mut history = History::default();
        for (at_ms, is_whole) in samples {
            let sample = Sample {
                at: Timestamp::from_millisecond(*at_ms).unwrap(),
                usage: Stats::default(),
                host_cpu_ns: 0,
                cpus: 1,
                memory_bytes: 0,
                networks: Vec::new(),
            };
            history.keep(*is_whole, Arc::new(sample));
        }
        history
    }

    #[track_caller]
    fn check(samples: &[(i64, bool)], now_ms: i64, expected: Option<(i64, i64)>) {
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let answer = history(samples).answer(time(now_ms), time(1_000));
        let answer = answer.map(|(before, sample)| (before.at.as_millisecond(), sample.at.as_millisecond()));
        assert_eq!(answer, expected, "{samples:?} at {now_ms}");
    }

    #[test]
    fn a_question_is_answered_from_what_is_remembered_while_it_is_true() {
        check(&[(5_000, false), (6_000, true)], 6_500, Some((5_000, 6_000)));
        check(&[(5_000, true), (6_000, true)], 7_100, Some((5_000, 6_000)));
        // Too old, or its processor time alone, or nothing to compare with.
        check(&[(5_000, true), (6_000, true)], 7_300, None);
        check(&[(5_000, true), (6_000, false)], 6_500, None);
        check(&[(6_000, true)], 6_500, None);
        // Of the life before, or too near.
        check(&[(900, true), (6_000, true)], 6_500, None);
        check(&[(5_990, true), (6_000, true)], 6_500, None);
        check(&[(5_000, true), (5_990, true), (6_000, true)], 6_500, Some((5_000, 6_000)));
        // The clock was set back.
        check(&[(5_000, true), (6_000, true)], 5_500, None);
    }

    #[test]
    fn the_next_question_is_expected_for_a_moment() {
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let history = History { asked: Some(time(1_000)), ..History::default() };
        assert!(history.is_asked_for(time(5_900)) && !history.is_asked_for(time(6_100)));
        assert!(!History::default().is_asked_for(time(0)));
    }
}
