//! Links are deleted off everybody's path: the kernel waits for a grace period under the lock that
//! all link changes share, so deletions are collected and done together.

use std::sync::{
    Arc,
    mpsc::{Receiver, Sender, channel},
};

use hako_sys::netlink::{Batch, route};
use parking_lot::Mutex;

use crate::{
    Sandbox,
    error::{Context, NetworkError},
    network::Host,
};

/// Tasks taken together: a batch of as many small messages, and one long wait.
const TOGETHER: usize = 256;

enum Task {
    Link(String),
    Sandbox(Box<Sandbox>),
    /// Answered when everything before it is done.
    Settled(Sender<()>),
}

/// The thread that deletes; it ends when the `Network` does, after its last task.
#[derive(Debug)]
pub(crate) struct Reaper {
    tasks: Mutex<Sender<Task>>,
}

impl Reaper {
    pub(crate) fn start(host: Arc<Host>, group: u32) -> Result<Self, NetworkError> {
        let (tasks, receiver) = channel();
        let thread = std::thread::Builder::new().name("reaper".into());
        thread.spawn(move || reap(&host, &receiver, group)).context("start", "the reaper's thread")?;
        Ok(Self { tasks: Mutex::new(tasks) })
    }

    /// Deletes a link of the host by its name.
    pub(crate) fn delete(&self, link: String) {
        self.send(Task::Link(link));
    }

    /// Closes a sandbox: closing the last descriptor of a namespace may wait.
    pub(crate) fn drop_later(&self, sandbox: Sandbox) {
        self.send(Task::Sandbox(Box::new(sandbox)));
    }

    /// Waits until all that was given so far is done.
    pub(crate) fn settle(&self) {
        let (done, wait) = channel();
        self.send(Task::Settled(done));
        let _ = wait.recv();
    }

    fn send(&self, task: Task) {
        // The thread lives as long as this sender; a failed send means it panicked, and what it did
        // not delete is swept at the next start.
        let _ = self.tasks.lock().send(task);
    }
}

fn reap(host: &Host, tasks: &Receiver<Task>, group: u32) {
    while let Ok(first) = tasks.recv() {
        let (mut links, mut settled) = (Vec::new(), Vec::new());
        for task in std::iter::once(first).chain(tasks.try_iter().take(TOGETHER)) {
            match task {
                Task::Link(link) => links.push(link),
                Task::Sandbox(sandbox) => drop(sandbox),
                Task::Settled(done) => settled.push(done),
            }
        }
        delete(host, &links, group);
        for done in settled {
            let _ = done.send(());
        }
    }
}

// All in one group, and the group at once: the kernel waits once for all of them.
fn delete(host: &Host, links: &[String], group: u32) {
    let result = host.rtnetlink("delete", &links.join(", "), |socket| {
        let mut batch = Batch::new();
        for link in links {
            route::link_group(&mut batch, link, group);
        }
        if !links.is_empty() {
            route::link_remove_group(&mut batch, group);
        }
        match socket.transact(&mut batch) {
            // Some, or all, are gone with their namespaces before.
            Err(error) if error.errno() == libc::ENODEV => Ok(()),
            result => result,
        }
    });
    if let Err(error) = result {
        tracing::warn!(error = %hako_base::error::chain(&error), "links stay until the next start");
    }
}
