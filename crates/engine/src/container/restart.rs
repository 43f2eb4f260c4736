//! The restart policy: whether and when a container whose process has ended is started again.
//!
//! The decision is [`decide`]; waiting and starting is [`Engine::restart_later`].

use std::{sync::Arc, time::Duration};

use hako_model::{ContainerState, RestartPolicy};

use crate::{Engine, record::StateRecord, table::Container, timer};

/// The first pause, and the longest (Docker's).
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);

/// A container that ran so long begins with the first pause again.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// How long to wait before the next start; `None`: it is not started again.
pub(crate) fn decide(policy: RestartPolicy, state: &StateRecord, ran: Duration) -> Option<Duration> {
    let again = match policy {
        RestartPolicy::No => false,
        _ if state.stopped_by_hand => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => state.exit_code != 0 && (most == 0 || state.restart_count < most),
    };
    let doublings = if ran >= LASTING { 0 } else { state.doublings.min(16) };
    again.then(|| (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_LONGEST))
}

impl Engine {
    /// Starts the container after `pause`, unless somebody stops or removes it meanwhile.
    pub(crate) async fn restart_later(self, container: Arc<Container>, pause: Duration) {
        let cancelled = container.restart.notified();
        tokio::select! {
            () = timer::after(pause) => {}
            () = cancelled => return,
        }
        let _turn = container.operation.lock().await;
        let record = container.record();
        if record.state.status != ContainerState::Restarting || record.state.stopped_by_hand {
            return;
        }
        container.change(|record| {
            record.state.restart_count += 1;
            record.state.doublings += 1;
        });
        if let Err(error) = self.start_locked(&container).await {
            tracing::warn!(container = %container.id.short(), %error, "cannot start it again");
            // A start that fails counts as a failed run.
            let record = container.record();
            match decide(record.spec.host.restart, &record.state, Duration::ZERO) {
                Some(pause) => {
                    container.change(|record| record.state.status = ContainerState::Restarting);
                    tokio::spawn(Box::pin(self.clone().restart_boxed(container.clone(), pause)));
                }
                None => self.settle_stopped(&container).await,
            }
        }
    }

    fn restart_boxed(
        self,
        container: Arc<Container>,
        pause: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.restart_later(container, pause))
    }

    /// A container that waited for its next start shall not be started: it has exited.
    pub(crate) async fn settle_stopped(&self, container: &Arc<Container>) {
        let record = container.change(|record| record.state.status = ContainerState::Exited);
        container.phase.send_modify(|phase| phase.running = false);
        self.settle(&record).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: RestartPolicy, exit_code: i32, restart_count: u32, by_hand: bool, expected: Option<u64>) {
        let state = StateRecord {
            exit_code,
            restart_count,
            doublings: restart_count,
            stopped_by_hand: by_hand,
            ..StateRecord::default()
        };
        let pause = decide(policy, &state, Duration::ZERO);
        assert_eq!(pause.map(|pause| pause.as_millis() as u64), expected, "{policy:?} {exit_code} {restart_count}");
    }

    #[test]
    fn policies_decide_as_docker_documents_them() {
        check(RestartPolicy::No, 1, 0, false, None);
        check(RestartPolicy::Always, 0, 0, false, Some(100));
        check(RestartPolicy::Always, 0, 3, false, Some(800));
        check(RestartPolicy::Always, 0, 30, false, Some(60_000));
        check(RestartPolicy::Always, 0, 0, true, None);
        check(RestartPolicy::UnlessStopped, 0, 0, true, None);
        check(RestartPolicy::OnFailure(0), 0, 0, false, None);
        check(RestartPolicy::OnFailure(0), 1, 50, false, Some(60_000));
        check(RestartPolicy::OnFailure(2), 1, 1, false, Some(200));
        check(RestartPolicy::OnFailure(2), 1, 2, false, None);
    }
}
