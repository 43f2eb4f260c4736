//! Connections and datagrams the kernel cannot redirect: from the socket that reserves a published
//! port to the container, inside the daemon.
//!
//! Loopback comes here always; anything else only where the firewall does not translate it first.
//! While the daemon is away connections wait in the socket's queue, since the keeper holds it open.

mod tcp; // bytes, without copying them
mod udp; // datagrams, one flow per client

use std::{collections::HashMap, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use hako_base::backoff::wait_for;
use hako_model::PortProtocol;
use parking_lot::Mutex;
use tokio::{io::unix::AsyncFd, runtime::Handle, sync::watch, task::AbortHandle};

use crate::{firewall::PortSlot, publish::Way};

/// For a task to end that was told to.
const PATIENCE: Duration = Duration::from_secs(1);

/// The relays that run, by what they listen to.
#[derive(Debug)]
pub(crate) struct Relays {
    runtime: Handle,
    running: Mutex<HashMap<PortSlot, Relay>>,
}

/// One published port of a socket; a socket that is both families' has two.
#[derive(Debug)]
struct Relay {
    target: watch::Sender<SocketAddr>,
    task: Arc<Task>,
}

/// Ends with the last port of its socket, and every connection through it too.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where the clients of one socket are led, by their family.
#[derive(Debug, Default)]
struct Targets {
    v4: Option<watch::Receiver<SocketAddr>>,
    v6: Option<watch::Receiver<SocketAddr>>,
}

impl Targets {
    /// Whether another target has been set, or one taken away, since this was last asked.
    fn have_changed(&mut self) -> bool {
        let mut have_changed = false;
        for family in [&mut self.v4, &mut self.v6] {
            match family.as_ref().map(watch::Receiver::has_changed) {
                None | Some(Ok(false)) => continue,
                Some(Ok(true)) => family.iter_mut().for_each(watch::Receiver::mark_unchanged),
                Some(Err(_)) => *family = None,
            }
            have_changed = true;
        }
        have_changed
    }

    /// The target of this client; a socket that is both families' shows the address of IPv4 in one of IPv6.
    fn of(&self, client: SocketAddr) -> Option<SocketAddr> {
        let family = if client.ip().to_canonical().is_ipv4() { &self.v4 } else { &self.v6 };
        family.as_ref().map(|target| *target.borrow())
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types that change their descriptor: this one cannot"
)]
fn register(socket: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::new(socket)
}

impl Relays {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, running: Mutex::new(HashMap::new()) }
    }

    /// Relays from a bound, non-blocking socket, for each of the ports that it reserves until that one's
    /// [`Self::stop`].
    pub(crate) fn start(&self, socket: Arc<OwnedFd>, ways: &[Way]) -> io::Result<()> {
        let Some((first, _)) = ways.first() else { return Ok(()) };
        let (mut targets, mut senders) = (Targets::default(), Vec::new());
        for (slot, target) in ways {
            let (sender, target) = watch::channel(*target);
            *(if slot.host.is_ipv4() { &mut targets.v4 } else { &mut targets.v6 }) = Some(target);
            senders.push((*slot, sender));
        }
        // Registering a socket needs the runtime, and callers come from threads of their own.
        let _inside = self.runtime.enter();
        let socket = register(socket)?;
        let task = match first.protocol {
            PortProtocol::Tcp => self.runtime.spawn(tcp::serve(socket, targets)),
            PortProtocol::Udp => self.runtime.spawn(udp::serve(socket, targets)),
            PortProtocol::Sctp => return Ok(()),
        };
        let task = Arc::new(Task(task.abort_handle()));
        let relay = |(slot, target)| (slot, Relay { target, task: task.clone() });
        self.running.lock().extend(senders.into_iter().map(relay));
        Ok(())
    }

    /// Leads new connections elsewhere.
    pub(crate) fn lead(&self, slot: &PortSlot, target: SocketAddr) {
        if let Some(relay) = self.running.lock().get(slot) {
            relay.target.send_replace(target);
        }
    }

    /// Ends relays and, with the last one of a socket, every connection through it. Blocks until their tasks have let
    /// go of the sockets, so that the ports can be bound again.
    pub(crate) fn stop(&self, slots: &[PortSlot]) {
        let mut running = self.running.lock();
        let stopped: Vec<Relay> = slots.iter().filter_map(|slot| running.remove(slot)).collect();
        drop(running);
        let tasks: Vec<_> = stopped.iter().map(|relay| (Arc::downgrade(&relay.task), relay.task.0.clone())).collect();
        drop(stopped);
        for (_, task) in tasks.iter().filter(|(task, _)| task.strong_count() == 0) {
            if wait_for(PATIENCE, || task.is_finished().then_some(())).is_none() {
                tracing::warn!("a relay does not end");
            }
        }
    }
}
