//! Plans carried out: what may happen at the same time does, what depends on something waits for it.
//!
//! A service is created when what its containers refer to is there, and started when what it depends on is started,
//! healthy or done. Stopping goes the other way round. Every step is told to [`Tell`], which shows it to the person.

mod create; // networks, volumes, images, containers
mod inject; // files copied into new containers
mod order; // a graph walked from its roots or its leaves
mod remove; // down, rm
mod start; // start, stop, and what else is done to containers in order
mod sync; // changed files into running containers
mod transfer; // pull, push
mod wait; // healthy, completed

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use hako_api::auth::AuthConfig;
use hako_client::Client;
use hako_model::Reference;
use tokio::sync::Semaphore;

pub use create::UpOptions;
pub use remove::{DownOptions, Rmi};
pub use start::Deed;
pub use wait::{Wanted, Watch};

use crate::{error::ApplyError, project::Project, request::Known};

/// As many requests at once where nobody says otherwise; a daemon has more to do than listen to one client.
const AT_ONCE: usize = 64;

/// Something that is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Container`, `Network`, `Volume`, `Image`
    pub kind: &'static str,
    pub name: String,
    /// `Creating`, `Created`, …
    pub state: String,
    /// How far it is, where that is known: for displays that can be drawn over.
    pub detail: String,
    pub phase: Phase,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Working,
    Done,
    Failed,
}

/// Shows events to the person.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What is known for an image's registry.
pub type FindCredentials = Arc<dyn Fn(&Reference) -> Option<AuthConfig> + Send + Sync>;

/// Carries plans out.
#[derive(Clone)]
pub struct Actor {
    pub client: Client,
    pub project: Arc<Project>,
    tell: Tell,
    credentials: FindCredentials,
    quiet_transfers: bool,
    dry_run: bool,
    limit: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

impl Actor {
    /// `at_once`: at most so many requests at the same time; none: as many as are good for the daemon.
    pub fn new(client: Client, project: Project, tell: Tell, at_once: Option<usize>) -> Self {
        Self {
            client,
            project: Arc::new(project),
            tell,
            credentials: Arc::new(|_| None),
            quiet_transfers: false,
            dry_run: false,
            limit: Arc::new(Semaphore::new(at_once.unwrap_or(AT_ONCE).max(1))),
            known: Arc::default(),
        }
    }

    /// Says who we are to registries.
    #[must_use]
    pub fn with_credentials(self, credentials: FindCredentials) -> Self {
        Self { credentials, ..self }
    }

    /// Does not tell how far pulls and pushes are, only that they begin and end.
    #[must_use]
    pub fn with_quiet_transfers(self, quiet_transfers: bool) -> Self {
        Self { quiet_transfers, ..self }
    }

    /// Tells what would be done, and does nothing.
    #[must_use]
    pub fn with_dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    fn say(&self, kind: &'static str, name: &str, state: &str, phase: Phase) {
        self.tell_event(kind, name, state, String::new(), phase);
    }

    fn say_detail(&self, kind: &'static str, name: &str, state: &str, detail: String) {
        self.tell_event(kind, name, state, detail, Phase::Working);
    }

    fn tell_event(&self, kind: &'static str, name: &str, state: &str, detail: String, phase: Phase) {
        let name = if self.dry_run { format!("{name} (dry run)") } else { name.to_owned() };
        (self.tell)(Event { kind, name, state: state.to_owned(), detail, phase });
    }

    /// Does one thing to one object and tells when it begins and ends.
    async fn step<T: Default, E: Into<ApplyError>>(
        &self,
        kind: &'static str,
        name: &str,
        [doing, done]: [&str; 2],
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApplyError> {
        let _permit = self.limit.acquire().await;
        self.say(kind, name, doing, Phase::Working);
        if self.dry_run {
            self.say(kind, name, done, Phase::Done);
            return Ok(T::default());
        }
        match act.await {
            Ok(value) => {
                self.say(kind, name, done, Phase::Done);
                Ok(value)
            }
            Err(error) => {
                let error = error.into();
                self.say(kind, name, &format!("Error: {error}"), Phase::Failed);
                Err(error)
            }
        }
    }

    fn with_known<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who depends on whom, by name.
pub type Dependencies = BTreeMap<String, Vec<String>>;
