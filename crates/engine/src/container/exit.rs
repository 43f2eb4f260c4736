//! A container's process has ended: by itself, by `stop`, by the kernel, or while no daemon was there.
//!
//! Whoever waits is told as soon as the exit status is known, the last output is in the log and the
//! published ports are free. Everything else is taken down after that; the next start waits for it.

use std::{sync::Arc, time::Duration};

use hako_base::clock;
use hako_keeper::{ExitStatus, Subject};
use hako_model::ContainerState;

use super::restart;
use crate::{
    Engine, limits,
    record::{Record, StateRecord},
    stdio::Stdin,
    table::{Container, Live},
};

/// What `State.Error` says of an end that the kernel does not tell (before Linux 6.15).
const UNKNOWN_END: &str = "how it ended is not known: the keeper that was its parent had been killed";

impl Engine {
    /// The container's process of this generation has ended.
    pub(crate) async fn container_exited(self, container: Arc<Container>, generation: u64, status: ExitStatus) {
        // Held by a start until it is complete, so that an end never overtakes its beginning.
        let teardown = container.teardown.clone().lock_owned().await;
        let record = container.record();
        let subject = Subject::Container(container.id, generation);
        let live = if record.state.generation == generation { container.live.lock().take() } else { None };
        // A notice that comes twice, or about a start that was given up.
        let Some(live) = live else {
            self.acknowledge(subject).await;
            return;
        };
        container.stdin.send_replace(Stdin::Closed);
        let mut drained = live.drained.clone();
        if tokio::time::timeout(limits::LAST_OUTPUT_DEADLINE, drained.wait_for(|drained| *drained)).await.is_err() {
            tracing::warn!(container = %container.id.short(), "the last output did not arrive in time");
        }
        self.release_ports(&record).await;
        self.names_leave(&record);
        let before = record;
        let (record, pause) = self.note_exit(&container, &status);
        container.listeners.end();
        self.announce(&record, &status);
        self.publish_network("disconnect", &record);
        self.publish_volumes("unmount", &record);
        self.images.snapshot_release(record.id);
        self.release_volumes(&record);
        // Known before the removal: whoever waits wakes when the container is gone, and reads the code then.
        container.phase.send_modify(|phase| {
            phase.exit_code = status.code;
            phase.error = None;
        });
        // `--rm` means the end, not the pause that a `restart` makes.
        let remove = record.auto_remove() && !container.phase.borrow().restarting;
        if remove && let Err(error) = self.remove_locked(&container, true).await {
            tracing::warn!(container = %container.id.short(), %error, "cannot remove after its end");
        }
        container.stdin.send_replace(Stdin::Awaited);
        container.phase.send_modify(|phase| {
            phase.running = false;
            phase.exits += 1;
        });
        let (engine, ended) = (self.clone(), container.clone());
        crate::blocking(move || engine.take_down(&before, &ended, live, !remove)).await;
        self.acknowledge(subject).await;
        drop(teardown);
        if let Some(pause) = pause {
            tokio::spawn(self.restart_later(container, pause));
        }
    }

    /// Writes the end into the record in memory and decides what comes next.
    fn note_exit(&self, container: &Container, status: &ExitStatus) -> (Arc<Record>, Option<Duration>) {
        let before = container.record();
        let ran = before.state.started_at.map_or(Duration::ZERO, |started| {
            Duration::try_from(status.at.duration_since(started)).unwrap_or_default()
        });
        let state = StateRecord { exit_code: status.code, ..before.state.clone() };
        let pause = restart::decide(before.spec.host.restart, &state, ran);
        let record = container.change(|record| {
            record.state.status = if pause.is_some() { ContainerState::Restarting } else { ContainerState::Exited };
            record.state.pid = 0;
            record.state.exit_code = status.code;
            record.state.oom_killed = status.oom_killed;
            if status.unknown {
                record.state.error = UNKNOWN_END.to_owned();
            }
            record.state.finished_at = Some(status.at);
            record.state.cgroup = None;
            record.state.external = None;
            if ran >= restart::LASTING {
                record.state.doublings = 0;
            }
            record.published.clear();
            record.published_on = None;
            for endpoint in record.endpoints.values_mut() {
                endpoint.plugged = None;
                endpoint.endpoint_id.clear();
            }
        });
        (record, pause)
    }

    fn announce(&self, record: &Record, status: &ExitStatus) {
        if status.oom_killed {
            self.publish_container("oom", record, []);
        }
        let took = record.state.started_at.map_or(0, |started| clock::now().duration_since(started).as_secs());
        let code = status.code.to_string();
        let took = took.to_string();
        self.publish_container("die", record, [("exitCode", code.as_str()), ("execDuration", took.as_str())]);
    }

    /// What is left of a life, off everybody's path.
    fn take_down(&self, plugged: &Record, container: &Container, live: Live, keep_record: bool) {
        let id = container.id;
        crate::runtime::forget(plugged);
        self.leave_after_exit(plugged, live.sandbox);
        if let Err(error) = live.cgroup.remove() {
            tracing::warn!(container = %id.short(), %error, "cannot remove its cgroup; the next start will");
        }
        if keep_record {
            // As it is now: it may have been renamed since its end.
            self.records.settled(&container.record());
        }
    }

    pub(crate) async fn acknowledge(&self, subject: Subject) {
        let engine = self.clone();
        crate::blocking(move || {
            if let Err(error) = engine.keepers.ask(|keeper| keeper.acknowledge(subject)) {
                tracing::warn!(%error, "cannot acknowledge an exit");
            }
        })
        .await;
    }
}
