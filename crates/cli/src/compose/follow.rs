//! The output of a project's containers while they run: who has ended, and with which exit code.

use std::{collections::BTreeSet, sync::Arc};

use hako_api::{
    Filters,
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
    /// Begins with these containers; ends are sent as they come.
    ///
    /// # Errors
    /// When the daemon does not tell its events.
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
        let following = Self {
            known: BTreeSet::new(),
            client: client.clone(),
            project: project.to_owned(),
            console: console.clone(),
            wanted: Arc::new(wanted.clone()),
            changes,
            send,
        };
        let mut following = following;
        for (seen, is_new) in containers {
            following.add(seen, is_new);
        }
        Ok((following, receive))
    }

    /// Follows one more; gives whether it was not followed already.
    pub(super) fn add(&mut self, seen: Seen, is_new: bool) -> bool {
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
            let ended = one.run(is_new).await;
            // Nobody may be listening any more.
            let _ = send.send(ended);
        });
        true
    }
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
    async fn run(mut self, is_new: bool) -> Result<Ended, CommandError> {
        // What an older container has said before is not said again.
        let mut since = if is_new { String::new() } else { unix_time(hako_base::clock::now()) };
        loop {
            self.changes.mark_unchanged();
            let there = match self.client.container_inspect(&self.seen.id, &ContainerInspectQuery::default()).await {
                Ok(there) => there,
                Err(ClientError::Api { status: 404, .. }) => {
                    return Ok(Ended { service: self.seen.service, exit_code: 137 });
                }
                Err(error) => return Err(error.into()),
            };
            let state = &there.state;
            let has_run = !state.started_at.starts_with("0001");
            if !self.wanted.silent.contains(&self.seen.service)
                && has_run
                && (state.running || is_new || !since.is_empty())
            {
                let from = since.clone();
                since = unix_time(hako_base::clock::now());
                self.copy(from, there.config.tty).await?;
                let after = self.client.container_inspect(&self.seen.id, &ContainerInspectQuery::default()).await;
                if let Ok(after) = after
                    && !after.state.running
                    && !after.state.restarting
                {
                    return self.over(after.state.exit_code);
                }
                continue;
            }
            if has_run && !state.running && !state.restarting && state.status == "exited" {
                return self.over(state.exit_code);
            }
            if self.changes.changed().await.is_err() {
                return Err(CommandError::Said("the daemon stopped telling its events".to_owned()));
            }
        }
    }

    fn over(self, exit_code: i64) -> Result<Ended, CommandError> {
        let text = format!("exited with code {exit_code}");
        if !self.wanted.silent.contains(&self.seen.service) {
            println!("{} {text}", self.name);
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
