//! Health: whether what runs in a container does its work, found out again and again.
//!
//! ```text
//! wait ─► probe (a command, HTTP or TCP) ─► verdict (pure) ─► record, event, perhaps another start
//! ```
//! One task per container that has a check, for as long as its process lives. A result is kept in the record, so that a
//! new daemon goes on where the last one stopped. What to ask is `check`, what an answer means `verdict`.

mod check; // from `HealthSpec` to what is asked
mod command; // asked by a process in the container
mod probe; // asked over its network, without a process
mod verdict; // what the answers mean

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hako_base::clock;
use hako_model::ContainerState;

pub(crate) use check::{Check, RESTART_ANNOTATION, restarts, warning};
pub(crate) use verdict::{Health, HealthRecord, Probe};

use crate::{Engine, EngineError, table::Container, timer, view::StopOptions};

/// How many checks were made.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) made: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Engine {
    /// Looks after the health of a container that has just been started (or was adopted: then it goes on from its
    /// record), if it has a check.
    pub(crate) fn watch_health(&self, container: &Arc<Container>, adopted: bool) {
        let record = container.record();
        let check = record.config.health.as_ref().and_then(|spec| Check::parse(spec, &record.config).ok().flatten());
        let Some(check) = check else { return };
        if !adopted || record.state.health.is_none() {
            container.change(|record| record.state.health = Some(HealthRecord::default()));
        }
        tokio::spawn(self.clone().health_rounds(container.clone(), record.state.generation, check));
    }

    /// One check after another, until this life of the container ends.
    async fn health_rounds(self, container: Arc<Container>, generation: u64, check: Check) {
        let mut phase = container.phase.subscribe();
        loop {
            let Some(pause) = next_pause(&container, generation, &check) else { return };
            tokio::select! {
                () = timer::after(if check.is_process() { pause } else { together(pause, since_start()) }) => {}
                _ = phase.wait_for(|phase| !phase.running) => return,
            }
            if container.record().state.status == ContainerState::Paused {
                // It cannot answer; that is not its fault.
                continue;
            }
            let probe = self.health_probe(&container, &check).await;
            let Some(now) = self.note_probe(&container, generation, &check, probe).await else { return };
            if now == Health::Unhealthy && restarts(&container.record().spec.host) {
                self.restart_unhealthy(&container, generation).await;
                return;
            }
        }
    }

    async fn health_probe(&self, container: &Arc<Container>, check: &Check) -> Probe {
        let start = clock::now();
        let answer = match &check.ask {
            check::Ask::Command(argv) => self.ask_command(container, argv, check.timeout).await,
            check::Ask::Tcp(target) => probe::ask(self, container, target, None, check.timeout).await,
            check::Ask::Http { target, host, path } => {
                probe::ask(self, container, target, Some((host, path)), check.timeout).await
            }
        };
        self.checks.made.fetch_add(1, Ordering::Relaxed);
        if answer.0 != 0 {
            self.checks.failed.fetch_add(1, Ordering::Relaxed);
        }
        Probe { start, end: clock::now(), exit_code: answer.0, output: answer.1 }
    }

    /// Takes an answer into the record; `None` when this life has ended meanwhile.
    async fn note_probe(
        &self,
        container: &Arc<Container>,
        generation: u64,
        check: &Check,
        probe: Probe,
    ) -> Option<Health> {
        let (mut before, mut after) = (None, None);
        let record = container.change(|record| {
            let state = &mut record.state;
            if state.generation != generation || !matches!(state.status, ContainerState::Running) {
                return;
            }
            let started = state.started_at;
            let health = state.health.get_or_insert_default();
            before = Some(health.status);
            health.note(check, started, probe);
            after = Some(health.status);
        });
        let after = after?;
        let changed = before != Some(after);
        if changed || matches!(check.ask, check::Ask::Command(_)) {
            self.keep_health(container, generation).await;
        }
        if changed {
            self.publish_container(&format!("health_status: {}", after.name()), &record, []);
        }
        Some(after)
    }

    /// Writes the record, unless the container has ended: an end holds `teardown` until its own record is written.
    async fn keep_health(&self, container: &Arc<Container>, generation: u64) {
        let _no_end_meanwhile = container.teardown.lock().await;
        let record = container.record();
        if record.state.generation != generation || !record.is_running() {
            return;
        }
        let engine = self.clone();
        let written = crate::blocking(move || engine.records.running(&record)).await;
        if let Err(error) = written {
            tracing::warn!(container = %container.id.short(), %error, "its health is not kept");
        }
    }

    /// `--restart-unhealthy`: stops it as `restart` does and starts it again.
    async fn restart_unhealthy(&self, container: &Arc<Container>, generation: u64) {
        let _turn = container.operation.lock().await;
        let record = container.record();
        if record.state.generation != generation || !record.is_running() {
            return;
        }
        tracing::info!(container = %container.id.short(), "is unhealthy: it is started again");
        match self.stop_locked(container, StopOptions::default()).await {
            Ok(()) | Err(EngineError::NotModified { .. }) => {}
            Err(error) => {
                tracing::warn!(container = %container.id.short(), %error, "is unhealthy and cannot be stopped");
                return;
            }
        }
        container.change(|record| record.state.restart_count += 1);
        match Box::pin(self.start_locked(container)).await {
            Ok(()) => self.publish_container("restart", &container.record(), []),
            Err(error) => tracing::warn!(container = %container.id.short(), %error, "cannot start it again"),
        }
    }
}

/// Checks over the network that are due in one span are made at its beginning. A span is a tenth of the pause, as far
/// as it lies between these.
const SPANS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// A pause that ends where others end too, at most a span early. Five hundred checks a second would else wake the daemon
/// five hundred times: what a check costs is mostly that. Short pauses are kept as they are.
fn together(pause: Duration, since_start: Duration) -> Duration {
    let [shortest, longest] = SPANS;
    let span = (pause / 10).min(longest);
    if span < shortest {
        return pause;
    }
    let early = (since_start + pause).as_nanos() % span.as_nanos();
    pause - Duration::from_nanos(u64::try_from(early).unwrap_or(0))
}

fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// How long until the next check: shorter while it may still be starting up.
fn next_pause(container: &Container, generation: u64, check: &Check) -> Option<Duration> {
    let record = container.record();
    if record.state.generation != generation {
        return None;
    }
    let starting = record.state.health.as_ref().is_none_or(|health| health.status == Health::Starting);
    Some(if starting && !check.start_period.is_zero() { check.start_interval } else { check.interval })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_are_due_about_the_same_time_are_made_together() {
        let ms = Duration::from_millis;
        for (pause, since_start, expected) in
            [(1_000, 0, 1_000), (1_000, 49, 951), (1_000, 100, 1_000), (30_000, 1_234, 29_766), (200, 49, 200)]
        {
            assert_eq!(together(ms(pause), ms(since_start)), ms(expected), "{pause} at {since_start}");
        }
    }
}
