//! What the daemon does when a keeper dies: another one takes over, and no container notices.
//!
//! ```text
//! keeper lost ─► start another ─► hand over what is kept by name ─► hand over every process ─► go on
//! ```
//! The daemon holds a copy of every descriptor that the keeper had: pidfds, rings, the pipes that fill them, terminals.
//! The next keeper is not the parent of what it is given; how that ends the kernel tells (Linux 6.15), or nobody
//! does, and then the exit status is 255 and said to be unknown. A start that was under way is ended and answered
//! with an error: it may have run, and a job must not run twice without being asked.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use hako_keeper::{Adopted, Keeper, KeeperError, Notice, RingEnds, Subject, Survivor};
use hako_network::Sandbox;
use hako_runtime::plan::CgroupJoin;
use tokio::io::unix::AsyncFd;

use crate::{
    Engine,
    exec::Exec,
    keeper::{self, Reign},
    stdio::Stdin,
    table::Container,
    timer,
};

/// Everything that a keeper needs to follow a process which another one has started.
pub(crate) struct Lifeline {
    pub(crate) subject: Subject,
    pub(crate) pid: u32,
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) ring: RingEnds,
    /// Its terminal's master, if it has one.
    pub(crate) pty: Option<OwnedFd>,
    /// The write end of its standard input, unless that is to end with the daemon.
    pub(crate) stdin: Option<Arc<AsyncFd<OwnedFd>>>,
    /// Whether anybody may write to it at all.
    pub(crate) wants_stdin: bool,
    pub(crate) non_blocking_output: bool,
    pub(crate) cgroup: CgroupJoin,
    pub(crate) sandbox: Option<Arc<Sandbox>>,
}

impl Lifeline {
    fn hand_to(&self, keeper: &Keeper) -> Result<(), KeeperError> {
        let netns = self.sandbox.as_ref().map(|sandbox| sandbox.netns());
        let pty = self.pty.as_ref().map(OwnedFd::as_fd);
        let stdin: Option<BorrowedFd<'_>> = match pty {
            Some(master) => self.wants_stdin.then_some(master),
            None => self.stdin.as_ref().map(|stdin| stdin.get_ref().as_fd()),
        };
        keeper.restore(&Survivor {
            subject: self.subject,
            pid: self.pid,
            pidfd: self.pidfd.as_fd(),
            stdin,
            pty,
            ring: &self.ring,
            non_blocking_output: self.non_blocking_output,
            cgroup: &self.cgroup,
            kept: netns.as_slice(),
        })
    }
}

impl Engine {
    /// The keeper of this reign has died.
    pub(crate) async fn keeper_lost(&self, reign: Reign) {
        if !self.keepers.reigns(reign) {
            return;
        }
        tracing::warn!("the keeper has ended: another one takes over");
        self.steps.keeper_lost();
        for pause in keeper::attempts() {
            let engine = self.clone();
            match crate::blocking(move || engine.succeed()).await {
                Ok(adopted) => return self.reconcile(adopted).await,
                Err(error) => tracing::error!(error = %hako_base::error::chain(&error), "cannot start a keeper"),
            }
            timer::after(pause).await;
        }
        // Containers run on; perhaps the next daemon has more luck.
        tracing::error!("no keeper can be started: the daemon ends");
        std::process::exit(1);
    }

    /// Puts another keeper in place and gives it every process there is.
    fn succeed(&self) -> Result<Vec<Adopted>, KeeperError> {
        let adopted = self.keepers.replace()?;
        // A process that begins from now on is the new keeper's, or finds out by itself that its keeper has changed.
        let containers = self.containers.all();
        let lines = containers.iter().filter_map(|container| container_lifeline(container));
        let lines: Vec<Lifeline> = lines.chain(self.execs.lifelines()).collect();
        let (_, keeper) = self.keepers.present();
        for line in &lines {
            match line.hand_to(&keeper) {
                Ok(()) => {}
                // It is dead as well: its own notice comes.
                Err(KeeperError::Lost | KeeperError::Interrupted) => break,
                Err(error) => {
                    tracing::error!(subject = %line.subject, error = %hako_base::error::chain(&error), "is not followed any more");
                }
            }
        }
        tracing::info!(processes = lines.len(), "the next keeper has taken over");
        Ok(adopted)
    }

    /// A keeper that had only closed the connection knows how some have ended meanwhile.
    async fn reconcile(&self, adopted: Vec<Adopted>) {
        for process in adopted {
            match process.exited {
                Some(status) => self.heed_one(Notice::Exited { subject: process.subject, status }).await,
                None if self.is_known(process.subject) => {}
                None => self.end_stray(&process).await,
            }
        }
    }

    fn is_known(&self, subject: Subject) -> bool {
        match subject {
            // A start that is under way has its generation in the record already.
            Subject::Container(id, generation) => self
                .containers
                .find(&id.to_string())
                .is_ok_and(|container| container.record().state.generation == generation),
            Subject::Exec(id) => self.execs.get(id).is_some_and(|exec| exec.is_running()),
        }
    }

    /// A container's process has just been started by the keeper of this reign, which may have died since.
    pub(crate) fn entrust_container(&self, container: &Arc<Container>, reign: Reign) {
        if !self.keepers.reigns(reign) {
            self.entrust(container_lifeline(container));
        }
    }

    /// The same for an exec.
    pub(crate) fn entrust_exec(&self, exec: &Exec, reign: Reign) {
        if !self.keepers.reigns(reign) {
            self.entrust(exec.lifeline());
        }
    }

    fn entrust(&self, line: Option<Lifeline>) {
        let Some(line) = line else { return };
        let keepers = self.keepers.present().1;
        // Fire and forget: what cannot be handed over here is handed over with all others when this keeper dies too.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = line.hand_to(&keepers) {
                tracing::error!(subject = %line.subject, error = %hako_base::error::chain(&error), "is not followed");
            }
        }));
    }
}

fn container_lifeline(container: &Container) -> Option<Lifeline> {
    let record = container.record();
    let live = container.live.lock();
    let live = live.as_ref()?;
    let stdin = match &*container.stdin.borrow() {
        Stdin::Open(stdin) if !record.spec.stdin_once => Some(stdin.clone()),
        _ => None,
    };
    Some(Lifeline {
        subject: Subject::Container(container.id, record.state.generation),
        pid: record.state.pid,
        pidfd: live.pidfd.clone(),
        ring: live.ring.clone(),
        pty: live.pty.as_ref().and_then(|pty| pty.try_clone().ok()),
        stdin,
        wants_stdin: record.spec.open_stdin,
        non_blocking_output: record.spec.host.output_is_non_blocking(),
        cgroup: live.cgroup.join_plan(),
        sandbox: live.sandbox.clone(),
    })
}
