//! `container kill`, `stop`, `restart`: ask a container's process to end, wait, then insist.

use std::{sync::Arc, time::Duration};

use hako_model::{ContainerState, RestartPolicy, Signal};

use crate::{Engine, EngineError, limits, record::Record, table::Container, timer, view::StopOptions};

impl Engine {
    /// Sends a signal (SIGKILL if none is named) to the container's first process; after SIGKILL, waits for its end.
    ///
    /// # Errors
    /// No such container, or one that does not run.
    pub async fn container_kill(&self, name: &str, signal: Option<Signal>) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let record = container.record();
        let signal = signal.unwrap_or(Signal::KILL);
        if !record.is_running() {
            // A container between two starts of its policy is ended by not starting it again.
            if record.state.status == ContainerState::Restarting {
                container.change(|record| record.state.stopped_by_hand = true);
                container.restart.notify_waiters();
                self.settle_stopped(&container).await;
                return Ok(());
            }
            return Err(EngineError::conflict(format!("container {} is not running", record.id)));
        }
        if signal == Signal::KILL || ends(&record, signal) {
            self.note_stop(&container).await?;
        }
        let mut phase = container.phase.subscribe();
        send(&container, signal)?;
        self.publish_container("kill", &record, [("signal", signal.number().to_string().as_str())]);
        if signal == Signal::KILL {
            let _ = tokio::time::timeout(limits::KILL_DEADLINE, phase.wait_for(|phase| !phase.running)).await;
        }
        Ok(())
    }

    /// Asks the container to end by its stop signal, and ends it by SIGKILL when the time is over.
    ///
    /// # Errors
    /// No such container; `NotModified` if it does not run.
    pub async fn container_stop(&self, name: &str, options: StopOptions) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        self.stop_locked(&container, options).await
    }

    /// Stops the container if it runs, and starts it.
    ///
    /// # Errors
    /// No such container, or those of a start.
    pub async fn container_restart(&self, name: &str, options: StopOptions) -> Result<(), EngineError> {
        let container = self.containers.find(name)?;
        let _turn = container.operation.lock().await;
        // Who follows the log follows it into the next life.
        container.phase.send_modify(|phase| phase.restarting = true);
        let restarted = self.restart_locked(&container, options).await;
        container.phase.send_modify(|phase| phase.restarting = false);
        restarted?;
        self.publish_container("restart", &container.record(), []);
        Ok(())
    }

    async fn restart_locked(&self, container: &Arc<Container>, options: StopOptions) -> Result<(), EngineError> {
        match self.stop_locked(container, options).await {
            Ok(()) | Err(EngineError::NotModified { .. }) => {}
            Err(error) => return Err(error),
        }
        super::start::forget_restarts(container);
        self.start_locked(container).await
    }

    pub(crate) async fn stop_locked(
        &self,
        container: &Arc<Container>,
        options: StopOptions,
    ) -> Result<(), EngineError> {
        let record = self.note_stop(container).await?;
        if record.state.status == ContainerState::Restarting {
            container.restart.notify_waiters();
            self.settle_stopped(container).await;
            return Ok(());
        }
        if !record.is_running() {
            return Err(EngineError::NotModified { text: format!("container {} is not running", record.id) });
        }
        let signal = options.signal.unwrap_or_else(|| stop_signal(&record));
        let timeout_s = options.timeout_s.or(record.spec.stop_timeout_s).unwrap_or(self.config.stop_timeout_s);
        let mut phase = container.phase.subscribe();
        match send(container, signal) {
            // It has ended by itself a moment ago.
            Err(EngineError::Conflict { .. }) => return self.stop_ended(container).await,
            sent => sent?,
        }
        self.publish_container("kill", &record, [("signal", signal.number().to_string().as_str())]);
        let grace = async {
            match u64::try_from(timeout_s) {
                Ok(seconds) => timer::after(Duration::from_secs(seconds)).await,
                Err(_) => std::future::pending().await,
            }
        };
        let left_in_time = tokio::select! {
            _ = phase.wait_for(|phase| !phase.running) => true,
            () = grace => false,
        };
        if !left_in_time {
            self.insist(container, &record, signal, timeout_s).await?;
        }
        self.publish_container("stop", &container.record(), []);
        Ok(())
    }

    /// Notes that a person ends the container before its process is told, so that whichever daemon sees the end knows.
    /// With `restart` it is this daemon's matter alone: the next one has it run.
    async fn note_stop(&self, container: &Arc<Container>) -> Result<Arc<Record>, EngineError> {
        let record = container.change(|record| record.state.stopped_by_hand = true);
        let matters = record.is_running() && record.spec.host.restart != RestartPolicy::No;
        if matters && !container.phase.borrow().restarting {
            self.write_running(container).await?;
        }
        Ok(record)
    }

    /// Writes what is to be known should this daemon not see the end; nothing if that has come.
    async fn write_running(&self, container: &Arc<Container>) -> Result<(), EngineError> {
        // Who takes it down holds this until all is done, its removal included.
        let living = container.teardown.clone().lock_owned().await;
        let (engine, record) = (self.clone(), container.record());
        if !record.is_running() {
            return Ok(());
        }
        let written = crate::blocking(move || engine.records.running(&record)).await;
        drop(living);
        written
    }

    /// The process has ended, and nobody has noted it yet: what its policy would do next is what a stop prevents.
    async fn stop_ended(&self, container: &Arc<Container>) -> Result<(), EngineError> {
        let mut phase = container.phase.subscribe();
        let _ = tokio::time::timeout(limits::KILL_DEADLINE, phase.wait_for(|phase| !phase.running)).await;
        if container.record().state.status == ContainerState::Restarting {
            container.restart.notify_waiters();
            self.settle_stopped(container).await;
        }
        self.publish_container("stop", &container.record(), []);
        Ok(())
    }

    /// The process did not leave in time.
    async fn insist(
        &self,
        container: &Arc<Container>,
        record: &Record,
        signal: Signal,
        timeout_s: i64,
    ) -> Result<(), EngineError> {
        tracing::info!(container = %record.id.short(), %signal, timeout_s, "did not end in time: sending SIGKILL");
        let mut phase = container.phase.subscribe();
        // Said before it ends, so that its last record has it: 137 alone looks like a lack of memory.
        container.change(|record| {
            record.state.error = format!("did not end within {timeout_s} s of {signal} and was killed");
        });
        self.write_running(container).await?;
        match send(container, Signal::KILL) {
            // It ended between the deadline and now.
            Err(EngineError::Conflict { .. }) => {
                container.change(|record| record.state.error.clear());
                return Ok(());
            }
            other => other?,
        }
        self.publish_container("kill", record, [("signal", "9")]);
        tokio::time::timeout(limits::KILL_DEADLINE, phase.wait_for(|phase| !phase.running))
            .await
            .map_err(|_| EngineError::Mechanism {
                kind: hako_base::ErrorKind::Internal,
                text: format!(
                    "container {} does not end: its process {} has been sent SIGKILL but is stuck in the kernel",
                    record.id, record.state.pid
                ),
            })?
            .ok();
        Ok(())
    }
}

/// The signal that asks a container to end.
pub(crate) fn stop_signal(record: &Record) -> Signal {
    record.config.stop_signal.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Signal::TERM)
}

/// Whether this signal is the one that stops the container for good.
fn ends(record: &Record, signal: Signal) -> bool {
    signal == stop_signal(record)
}

/// Sends a signal to the first process; one that is paused is let go on, or it would never see it.
fn send(container: &Container, signal: Signal) -> Result<(), EngineError> {
    let live = container.live.lock();
    let not_running = || EngineError::conflict(format!("container {} is not running", container.id));
    let live = live.as_ref().ok_or_else(not_running)?;
    let sent = hako_runtime::observe::signal(&live.pidfd, signal);
    match sent {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Err(not_running()),
        Err(error) => Err(EngineError::io(format_args!("cannot signal container {}", container.id), &error)),
        Ok(()) => {
            if signal == Signal::KILL && container.record().state.status == ContainerState::Paused {
                live.cgroup.thaw().map_err(|error| EngineError::mechanism(error.kind(), &error))?;
            }
            Ok(())
        }
    }
}
