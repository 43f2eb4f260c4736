//! The keeper as the engine has it: one after another, if one dies.
//!
//! Containers do not notice the death of their keeper: the daemon holds a copy of everything that it had, starts another
//! and hands all of it over. Which processes there are is `recover`'s matter; here is who is asked, how a request
//! waits for the next keeper, and what is kept by name.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use hako_keeper::{Adopted, Keeper, KeeperCommand, KeeperError, Notice};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;

use crate::limits;

/// Numbers keepers in the order in which this daemon has met them.
pub(crate) type Reign = u64;

/// Where keepers are found, and the one that reigns.
pub(crate) struct Keepers {
    exec_root: PathBuf,
    command: KeeperCommand,
    notices: mpsc::UnboundedSender<(Reign, Notice)>,
    present: Mutex<Present>,
    /// Another one has come, or none will.
    changed: Condvar,
    /// What the keeper holds by name, for the one after it.
    kept: Mutex<BTreeMap<String, Vec<Arc<OwnedFd>>>>,
}

struct Present {
    reign: Reign,
    keeper: Arc<Keeper>,
}

impl Keepers {
    /// Connects to the keeper of `exec_root`, starting one if there is none; tells what it has.
    ///
    /// # Errors
    /// If none can be started.
    pub(crate) fn open(
        exec_root: PathBuf,
        command: KeeperCommand,
        notices: mpsc::UnboundedSender<(Reign, Notice)>,
    ) -> Result<(Self, Vec<Adopted>), KeeperError> {
        const FIRST: Reign = 1;
        let (keeper, adopted) = connect(&exec_root, &command, &notices, FIRST)?;
        let present = Mutex::new(Present { reign: FIRST, keeper: Arc::new(keeper) });
        let keepers =
            Self { exec_root, command, notices, present, changed: Condvar::new(), kept: Mutex::new(BTreeMap::new()) };
        Ok((keepers, adopted))
    }

    /// The one to ask now. It may be dead, of which the next notice tells.
    pub(crate) fn present(&self) -> (Reign, Arc<Keeper>) {
        let present = self.present.lock();
        (present.reign, present.keeper.clone())
    }

    /// Whether this is still the one.
    pub(crate) fn reigns(&self, reign: Reign) -> bool {
        self.present.lock().reign == reign
    }

    /// Puts another one in place of the one that has died. What was kept by name it keeps from now on.
    ///
    /// # Errors
    /// If none can be started.
    pub(crate) fn replace(&self) -> Result<Vec<Adopted>, KeeperError> {
        let reign = self.present.lock().reign + 1;
        let (keeper, adopted) = connect(&self.exec_root, &self.command, &self.notices, reign)?;
        for (name, descriptors) in self.kept.lock().iter() {
            keeper.keep(name, descriptors)?;
        }
        *self.present.lock() = Present { reign, keeper: Arc::new(keeper) };
        self.changed.notify_all();
        Ok(adopted)
    }

    /// Asks something that may be asked twice: where the keeper has died, of the next one.
    ///
    /// # Errors
    /// What the keeper answers, or that there is none.
    pub(crate) fn ask<T>(&self, request: impl Fn(&Keeper) -> Result<T, KeeperError>) -> Result<T, KeeperError> {
        let (reign, keeper) = self.present();
        match request(&keeper) {
            Err(KeeperError::Lost | KeeperError::Interrupted) if self.wait_for_next(reign) => {
                request(&self.present().1)
            }
            other => other,
        }
    }

    /// Waits until another one than this reigns; not for ever.
    pub(crate) fn wait_for_next(&self, reign: Reign) -> bool {
        let deadline = Instant::now() + limits::NEXT_KEEPER_DEADLINE;
        let mut present = self.present.lock();
        while present.reign == reign {
            if self.changed.wait_until(&mut present, deadline).timed_out() {
                return present.reign != reign;
            }
        }
        true
    }

    /// Keeps descriptors under a name beyond this daemon's life, in place of what the name had.
    ///
    /// # Errors
    /// If there is no keeper, or no descriptor is left.
    pub(crate) fn keep(&self, name: &str, descriptors: Vec<Arc<OwnedFd>>) -> Result<(), KeeperError> {
        self.remember(name, descriptors.clone());
        let kept = self.ask(|keeper| keeper.keep(name, &descriptors));
        if kept.is_err() {
            self.kept.lock().remove(name);
        }
        kept
    }

    /// Notes that the keeper has these already.
    pub(crate) fn remember(&self, name: &str, descriptors: Vec<Arc<OwnedFd>>) {
        self.kept.lock().insert(name.to_owned(), descriptors);
    }

    /// Closes what is kept under a name.
    ///
    /// # Errors
    /// If there is no keeper.
    pub(crate) fn discard(&self, name: &str) -> Result<(), KeeperError> {
        self.kept.lock().remove(name);
        self.ask(|keeper| keeper.discard(name))
    }

    /// What is kept under names that begin like this.
    pub(crate) fn kept(&self, prefix: &str) -> Vec<(String, Vec<Arc<OwnedFd>>)> {
        let kept = self.kept.lock();
        let named = kept.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(name, descriptors)| (name.clone(), descriptors.clone())).collect()
    }
}

fn connect(
    exec_root: &std::path::Path,
    command: &KeeperCommand,
    notices: &mpsc::UnboundedSender<(Reign, Notice)>,
    reign: Reign,
) -> Result<(Keeper, Vec<Adopted>), KeeperError> {
    let notices = notices.clone();
    let forward = move |notice| drop(notices.send((reign, notice)));
    Keeper::connect_or_start_with(exec_root, command, Box::new(forward))
}

/// How often, and with which pauses, a keeper that does not come up is tried again.
pub(crate) fn attempts() -> impl Iterator<Item = Duration> {
    hako_base::backoff::Doubling::new(Duration::from_millis(100), Duration::from_secs(5)).take(limits::KEEPER_ATTEMPTS)
}

impl crate::Engine {
    /// Keeps descriptors under a name until the next daemon comes and beyond: sockets that clients connect to while none
    /// is there. Blocks for the length of a request to the keeper.
    ///
    /// # Errors
    /// If there is no keeper, or no descriptor is left.
    pub fn keep(&self, name: &str, descriptors: Vec<Arc<OwnedFd>>) -> Result<(), crate::EngineError> {
        let kept = self.keepers.keep(name, descriptors);
        kept.map_err(|error| crate::EngineError::mechanism(error.kind(), &error))
    }

    /// What this daemon or an earlier one has kept under names that begin like this.
    pub fn kept(&self, prefix: &str) -> Vec<(String, Vec<Arc<OwnedFd>>)> {
        self.keepers.kept(prefix)
    }

    /// Closes what is kept under a name. Blocks like [`crate::Engine::keep`].
    pub fn discard(&self, name: &str) {
        if let Err(error) = self.keepers.discard(name) {
            tracing::warn!(name, error = %hako_base::error::chain(&error), "the keeper still holds what it need not");
        }
    }
}
