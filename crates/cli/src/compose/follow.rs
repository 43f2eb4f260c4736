//! The output of a project's containers while they run: who has ended, and with which exit code.

use std::{collections::BTreeSet, sync::Arc};

use hako_api::{
    Filters,
    container::{ContainerInspect, ContainerState},
    query::{ContainerInspectQuery, ContainerLogsQuery, SystemEventsQuery},
    text::unix_time,
};
use hako_client::{Client, ClientError};
use hako_compose::observe::Seen;
use tokio::sync::{mpsc, watch};

use super::console::Console;
use crate::error::CommandError;

/// A container that has ended for good.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub service: String,
    pub exit_code: i64,
}

/// What a container is called before its lines.
pub(super) fn short_name(project: &str, seen: &Seen) -> String {
    seen.name.strip_prefix(&format!("{project}-")).unwrap_or(&seen.name).to_owned()
}

/// Which part of the output is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub timestamps: bool,
    /// Names of services whose output is not shown.
    pub silent: Vec<String>,
}

/// Follows containers until they end.
pub(super) struct Following {
    known: BTreeSet<String>,
    client: Client,
    project: String,
    console: Console,
    wanted: Arc<Wanted>,
    changes: watch::Receiver<u64>,
    send: mpsc::UnboundedSender<Result<Ended, CommandError>>,
}

impl Following {
    /// Begins with these containers; ends are sent as they come. To be called before any of them is started.
    ///
    /// # Errors
    /// When the daemon does not tell its events, or how the containers are.
    pub(super) async fn begin(
        client: &Client,
        project: &str,
        containers: Vec<(Seen, bool)>,
        console: &Console,
        wanted: &Wanted,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Result<Ended, CommandError>>), CommandError> {
        let mut filters = Filters::default();
        filters.add("type", "container");
        filters.add("label", format!("{}={project}", hako_compose::labels::PROJECT));
        let mut events = client.system_events(&SystemEventsQuery { filters, ..SystemEventsQuery::default() }).await?;
        let (tick, changes) = watch::channel(0_u64);
        tokio::spawn(async move {
            while let Ok(Some(_)) = events.next().await {
                tick.send_modify(|count| *count += 1);
            }
        });
        let (send, receive) = mpsc::unbounded_channel();
        let mut following = Self {
            known: BTreeSet::new(),
            client: client.clone(),
            project: project.to_owned(),
            console: console.clone(),
            wanted: Arc::new(wanted.clone()),
            changes,
            send,
        };
        for (seen, is_new) in containers {
            let before = if is_new { Before::Nothing } else { Before::of(client, &seen).await? };
            following.follow(seen, before);
        }
        Ok((following, receive))
    }

    /// Follows one more, which is new; gives whether it was not followed already.
    pub(super) fn add(&mut self, seen: Seen) -> bool {
        self.follow(seen, Before::Nothing)
    }

    fn follow(&mut self, seen: Seen, before: Before) -> bool {
        if !self.known.insert(seen.id.clone()) {
            return false;
        }
        let one = Follower {
            client: self.client.clone(),
            name: short_name(&self.project, &seen),
            seen,
            console: self.console.clone(),
            wanted: self.wanted.clone(),
            changes: self.changes.clone(),
        };
        let send = self.send.clone();
        tokio::spawn(async move {
            let ended = one.run(before).await;
            // Nobody may be listening any more.
            let _ = send.send(ended);
        });
        true
    }
}

/// What a container has done before it is followed; none of it is shown.
enum Before {
    Nothing,
    /// It runs, and what it has said so far is old.
    Runs,
    /// It has ended, and will be started again. Times as the daemon tells them.
    Ended {
        started_at: String,
        finished_at: String,
    },
}

impl Before {
    async fn of(client: &Client, seen: &Seen) -> Result<Self, CommandError> {
        if seen.is_running() || seen.state == "paused" {
            return Ok(Self::Runs);
        }
        match client.container_inspect(&seen.id, &ContainerInspectQuery::default()).await {
            Ok(ContainerInspect { state, .. }) if has_run(&state) => {
                Ok(Self::Ended { started_at: state.started_at, finished_at: state.finished_at })
            }
            Ok(_) | Err(ClientError::Api { status: 404, .. }) => Ok(Self::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

fn has_run(state: &ContainerState) -> bool {
    !state.started_at.starts_with("0001")
}

// One of the daemon's times as a beginning of its logs.
fn since(time: &str) -> String {
    time.parse().map(unix_time).unwrap_or_default()
}

struct Follower {
    client: Client,
    seen: Seen,
    name: String,
    console: Console,
    wanted: Arc<Wanted>,
    changes: watch::Receiver<u64>,
}

impl Follower {
    async fn run(mut self, before: Before) -> Result<Ended, CommandError> {
        let shows = !self.wanted.silent.contains(&self.seen.service);
        // Starts by which lives are told apart: the one that was over before, and the one whose output was shown.
        let (over, mut from) = match before {
            Before::Nothing => (String::new(), String::new()),
            Before::Runs => (String::new(), unix_time(hako_base::clock::now())),
            Before::Ended { started_at, finished_at } => (started_at, since(&finished_at)),
        };
        let mut shown = String::new();
        loop {
            self.changes.mark_unchanged();
            let there = match self.client.container_inspect(&self.seen.id, &ContainerInspectQuery::default()).await {
                Ok(there) => there,
                Err(ClientError::Api { status: 404, .. }) => {
                    return Ok(Ended { service: self.seen.service, exit_code: 137 });
                }
                Err(error) => return Err(error.into()),
            };
            let state = there.state;
            let lives = has_run(&state) && state.started_at != over;
            if lives && shows && state.started_at != shown {
                if !shown.is_empty() {
                    // Started again by the daemon: while it runs, the last end that is known is the former life's.
                    from = since(if state.running { &state.finished_at } else { &state.started_at });
                }
                self.copy(from.clone(), there.config.tty).await?;
                shown = state.started_at;
                continue;
            }
            if lives && !state.running && !state.restarting {
                return self.over(state.exit_code);
            }
            if self.changes.changed().await.is_err() {
                return Err(CommandError::Said("the daemon stopped telling its events".to_owned()));
            }
        }
    }

    fn over(self, exit_code: i64) -> Result<Ended, CommandError> {
        if !self.wanted.silent.contains(&self.seen.service) {
            self.console.note(&format!("{} exited with code {exit_code}", self.name))?;
        }
        Ok(Ended { service: self.seen.service, exit_code })
    }

    async fn copy(&self, since: String, tty: bool) -> Result<(), CommandError> {
        let query = ContainerLogsQuery {
            follow: true,
            stdout: true,
            stderr: true,
            since,
            timestamps: self.wanted.timestamps,
            tail: "all".to_owned(),
            ..ContainerLogsQuery::default()
        };
        match self.client.container_logs(&self.seen.id, &query).await {
            Ok(log) => self.console.copy(&self.name, log, tty).await,
            Err(ClientError::Api { status: 404, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
