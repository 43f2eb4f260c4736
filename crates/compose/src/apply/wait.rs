//! Waiting for containers to be healthy, or to end well: woken by the daemon's events, decided by looking.

use hako_api::{
    Filters,
    container::ContainerInspect,
    query::{ContainerInspectQuery, SystemEventsQuery},
};
use hako_client::{Client, ClientError};
use tokio::sync::watch;

use crate::{error::ApplyError, labels};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Running,
    Healthy,
    /// Healthy where it has a check, running where it has none.
    RunningOrHealthy,
    Completed,
}

/// Whether a container is as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    NotYet,
    Yes,
    Never(String),
}

/// Looks at one container. Pure.
pub(super) fn verdict(wanted: Wanted, there: &ContainerInspect) -> Verdict {
    let name = there.name.trim_start_matches('/');
    let state = &there.state;
    let health = state.health.as_ref().map(|health| health.status.as_str()).filter(|status| *status != "none");
    let over = matches!(state.status.as_str(), "exited" | "dead");
    match (wanted, health) {
        (Wanted::Completed, _) if over && state.exit_code == 0 => Verdict::Yes,
        (Wanted::Completed, _) if over => Verdict::Never(format!("{name} exit {}", state.exit_code)),
        (Wanted::Completed, _) => Verdict::NotYet,
        _ if over => Verdict::Never(format!("container {name} exited ({})", state.exit_code)),
        (Wanted::Healthy, None) if state.running => {
            Verdict::Never(format!("container {name} has no healthcheck configured"))
        }
        (Wanted::Healthy | Wanted::RunningOrHealthy, Some("unhealthy")) => {
            Verdict::Never(format!("container {name} is unhealthy"))
        }
        (Wanted::Healthy | Wanted::RunningOrHealthy, Some(status)) if status != "healthy" => Verdict::NotYet,
        _ if state.running && !state.restarting => Verdict::Yes,
        _ => Verdict::NotYet,
    }
}

/// A counter that grows whenever something happens to a container of a project.
#[derive(Debug, Clone)]
pub struct Watch {
    changes: watch::Receiver<u64>,
}

impl Watch {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the daemon does not tell its events.
    pub async fn begin(client: &Client, project: &str) -> Result<Self, ClientError> {
        let mut filters = Filters::default();
        filters.add("type", "container");
        filters.add("label", format!("{}={project}", labels::PROJECT));
        let mut events = client.system_events(&SystemEventsQuery { filters, ..SystemEventsQuery::default() }).await?;
        let (send, changes) = watch::channel(0);
        tokio::spawn(async move {
            // The sender's end, however it comes, is told to everybody who waits.
            while let Ok(Some(_)) = events.next().await {
                send.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { changes })
    }

    /// Waits until a container is as wanted.
    ///
    /// # Errors
    /// When it never will be, or the daemon goes away.
    pub async fn until(&self, client: &Client, id: &str, wanted: Wanted) -> Result<(), ApplyError> {
        let mut changes = self.changes.clone();
        loop {
            changes.mark_unchanged();
            let there = client.container_inspect(id, &ContainerInspectQuery::default()).await?;
            match verdict(wanted, &there) {
                Verdict::Yes => return Ok(()),
                Verdict::Never(why) => return Err(ApplyError::Said(why)),
                Verdict::NotYet => {}
            }
            if changes.changed().await.is_err() {
                return Err(ApplyError::Said("the daemon stopped telling its events".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hako_api::container::{ContainerState, Health};

    use super::*;

    fn check(wanted: Wanted, status: &str, exit_code: i64, health: &str, expected: Verdict) {
        let there = ContainerInspect {
            name: "/web".to_owned(),
            state: ContainerState {
                status: status.to_owned(),
                running: status == "running",
                exit_code,
                health: (!health.is_empty()).then(|| Health { status: health.to_owned(), ..Health::default() }),
                ..ContainerState::default()
            },
            ..ContainerInspect::default()
        };
        assert_eq!(verdict(wanted, &there), expected, "{wanted:?} {status} {exit_code} {health}");
    }

    #[test]
    fn a_container_is_well_ill_or_over() {
        let never = |why: &str| Verdict::Never(why.to_owned());
        check(Wanted::Healthy, "running", 0, "starting", Verdict::NotYet);
        check(Wanted::Healthy, "running", 0, "healthy", Verdict::Yes);
        check(Wanted::Healthy, "running", 0, "unhealthy", never("container web is unhealthy"));
        check(Wanted::Healthy, "running", 0, "", never("container web has no healthcheck configured"));
        check(Wanted::Healthy, "exited", 3, "starting", never("container web exited (3)"));
        check(Wanted::Completed, "running", 0, "", Verdict::NotYet);
        check(Wanted::Completed, "exited", 0, "", Verdict::Yes);
        check(Wanted::Completed, "exited", 1, "", never("web exit 1"));
        check(Wanted::RunningOrHealthy, "running", 0, "", Verdict::Yes);
        check(Wanted::Running, "created", 0, "", Verdict::NotYet);
    }
}
