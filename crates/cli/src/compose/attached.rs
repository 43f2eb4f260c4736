//! `up` in the foreground: the output of its containers, what their ends mean, and how an interrupt ends it.

use std::{collections::BTreeSet, pin::pin};

use hako_client::Client;
use hako_compose::{
    apply::{Actor, Deed},
    observe::Seen,
    service::{Condition, Service},
};
use tokio::sync::mpsc;

use super::{
    console::Console,
    containers,
    follow::{self, Ended, Following, Wanted},
    progress::Display,
    up::Up,
    watch::Watching,
};
use crate::{context::Context, error::CommandError};

/// `up` in the foreground.
pub(super) struct Attached<'u> {
    pub(super) up: &'u Up,
    pub(super) actor: Actor,
    pub(super) display: Display,
    pub(super) services: Vec<String>,
    pub(super) existed: BTreeSet<String>,
}

impl Attached<'_> {
    /// Starts everything and stays until it has ended, or an interrupt ends it.
    ///
    /// # Errors
    /// When something cannot be started, and with the exit code that counts.
    pub(super) async fn run(self, cx: &Context, watching: Option<Watching>) -> Result<(), CommandError> {
        let client = cx.client()?;
        // Before a word of it is on the screen: whoever reads that it is attached may press Ctrl+C.
        let interrupts = interrupts()?;
        let project = self.actor.project.clone();
        let shown: Vec<Seen> = containers(&client, &project, &[], true)
            .await?
            .into_iter()
            .filter(|seen| project.services.contains_key(&seen.service))
            .collect();
        let wanted = Wanted { timestamps: self.up.timestamps, silent: self.silent() };
        let names: Vec<String> = shown
            .iter()
            .filter(|seen| !wanted.silent.contains(&seen.service))
            .map(|seen| follow::short_name(&project.name, seen))
            .collect();
        self.display.hide();
        let console = Console::new(&names, !self.up.no_log_prefix, self.up.no_color, &cx.compose.ansi);
        console.note(&format!("Attaching to {}", names.join(", ")))?;
        let count = shown.len();
        let pairs = shown.into_iter().map(|seen| {
            let is_new = !self.existed.contains(&seen.name);
            (seen, is_new)
        });
        let (following, ends) = Following::begin(&client, &project.name, pairs.collect(), &console, &wanted).await?;
        let is_watching = watching.is_some();
        let (tell, rebuilt) = mpsc::unbounded_channel();
        let mut watch = pin!(async move {
            match watching {
                Some(watching) => watching.run(cx, Some(tell)).await,
                None => std::future::pending().await,
            }
        });
        let heard = Heard { ends, rebuilt, interrupts };
        let session = Session { client, following, running: count, is_watching };
        self.watch_over(cx, session, heard, watch.as_mut()).await
    }

    // Whose output is not shown.
    fn silent(&self) -> Vec<String> {
        let services = self.actor.project.services.values();
        let silent = services.filter(|service| {
            let name = &service.name;
            let named = self.services.is_empty() || self.services.contains(name) || self.up.attach_dependencies;
            let chosen = if self.up.attach.is_empty() { named } else { self.up.attach.contains(name) };
            !chosen || self.up.no_attach.contains(name) || service.attach == Some(false)
        });
        silent.map(|service| service.name.clone()).collect()
    }

    async fn watch_over(
        self,
        cx: &Context,
        mut session: Session,
        mut heard: Heard,
        mut watch: impl Future<Output = Result<(), CommandError>> + Unpin,
    ) -> Result<(), CommandError> {
        let starter = self.actor.clone();
        let mut starting = tokio::spawn(async move { starter.start().await });
        let mut started = false;
        let mut exit_code = 0;
        while session.running > 0 || session.is_watching {
            tokio::select! {
                done = &mut starting, if !started => {
                    started = true;
                    match done {
                        Ok(done) => done?,
                        Err(error) => std::panic::resume_unwind(error.into_panic()),
                    }
                }
                Some(()) = heard.interrupts.recv() => {
                    starting.abort();
                    cx.remark("Gracefully stopping... (press Ctrl+C again to force)");
                    self.stop_all(&mut heard.interrupts).await?;
                    return Err(CommandError::Exit(130));
                }
                done = &mut watch, if started => return done,
                Some(service) = heard.rebuilt.recv() => session.follow_new(&self.actor, &service).await?,
                Some(ended) = heard.ends.recv() => {
                    let ended = ended?;
                    session.running = session.running.saturating_sub(1);
                    if let Some(code) = self.verdict(&ended) {
                        exit_code = code;
                        if self.aborts(&ended) {
                            cx.remark("Aborting on container exit...");
                            self.stop_all(&mut heard.interrupts).await?;
                            // Its own code may only be known now, when it was stopped with the others.
                            exit_code = self.code_of_chosen(&session.client).await?.unwrap_or(exit_code);
                            break;
                        }
                    }
                }
                else => break,
            }
        }
        match u8::try_from(exit_code & 0xff) {
            Ok(0) | Err(_) => Ok(()),
            Ok(code) => Err(CommandError::Exit(code)),
        }
    }

    fn aborts(&self, ended: &Ended) -> bool {
        // Whoever is waited for to end well has done so: that is the beginning of the others, not their end.
        let completes = |service: &Service| {
            service.depends_on.get(&ended.service).is_some_and(|it| it.condition == Condition::Completed)
        };
        if ended.exit_code == 0 && self.actor.project.services.values().any(completes) {
            return false;
        }
        self.up.abort_on_exit || self.up.exit_code_from.is_some() || (self.up.abort_on_failure && ended.exit_code != 0)
    }

    // The exit code that counts, if this end has one.
    fn verdict(&self, ended: &Ended) -> Option<i64> {
        match &self.up.exit_code_from {
            Some(service) if *service != ended.service => Some(0),
            _ if self.aborts(ended) => Some(ended.exit_code),
            _ => None,
        }
    }

    async fn code_of_chosen(&self, client: &Client) -> Result<Option<i64>, CommandError> {
        let Some(service) = &self.up.exit_code_from else { return Ok(None) };
        let seen = super::one_container(client, &self.actor.project, service, 0, true).await?;
        let there = client.container_inspect(&seen.id, &hako_api::query::ContainerInspectQuery::default()).await?;
        Ok(Some(there.state.exit_code))
    }

    // What was named, or all: dependencies of what was named go on. A second interrupt does not wait any longer.
    async fn stop_all(&self, interrupts: &mut mpsc::UnboundedReceiver<()>) -> Result<(), CommandError> {
        self.display.go_on_in_lines();
        let stop = Deed::Stop(self.up.timeout);
        tokio::select! {
            done = self.actor.act(&self.services, &stop, false) => Ok(done?),
            Some(()) = interrupts.recv() => Ok(self.actor.act(&self.services, &Deed::Kill(None), true).await?),
        }
    }
}

/// What is waited for.
struct Heard {
    ends: mpsc::UnboundedReceiver<Result<Ended, CommandError>>,
    /// Services that have new containers.
    rebuilt: mpsc::UnboundedReceiver<String>,
    interrupts: mpsc::UnboundedReceiver<()>,
}

/// What is followed.
struct Session {
    client: Client,
    following: Following,
    /// How many containers have not ended.
    running: usize,
    /// Sources are followed: while that goes on, all containers may have ended.
    is_watching: bool,
}

impl Session {
    async fn follow_new(&mut self, actor: &Actor, service: &str) -> Result<(), CommandError> {
        let names = [service.to_owned()];
        for seen in containers(&self.client, &actor.project, &names, true).await? {
            if self.following.add(seen) {
                self.running += 1;
            }
        }
        Ok(())
    }
}

/// Interrupts and requests to end, as they come.
///
/// # Errors
/// When they cannot be caught.
pub(super) fn interrupts() -> Result<mpsc::UnboundedReceiver<()>, CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let (send, receive) = mpsc::unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut caught = signal(kind).map_err(CommandError::local("catch signals"))?;
        let send = send.clone();
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                if send.send(()).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
}
