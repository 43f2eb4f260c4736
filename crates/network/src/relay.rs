//! Connections and datagrams the kernel cannot redirect: from the socket that reserves a published
//! port to the container, inside the daemon.
//!
//! Loopback comes here always; anything else only where the firewall does not translate it first.
//! While the daemon is away connections wait in the socket's queue, since the keeper holds it open.

mod tcp; // bytes, without copying them
mod udp; // datagrams, one flow per client

use std::{collections::HashMap, io, net::SocketAddr, os::fd::OwnedFd};

use hako_model::PortProtocol;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use crate::firewall::PortSlot;

/// The relays that run, by what they listen to.
#[derive(Debug)]
pub(crate) struct Relays {
    runtime: Handle,
    running: Mutex<HashMap<PortSlot, Relay>>,
}

#[derive(Debug)]
struct Relay {
    task: AbortHandle,
    target: watch::Sender<SocketAddr>,
}

impl Relays {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, running: Mutex::new(HashMap::new()) }
    }

    /// Relays from a bound, non-blocking socket until [`Self::stop`].
    pub(crate) fn start(&self, slot: PortSlot, socket: OwnedFd, target: SocketAddr) -> io::Result<()> {
        // Registering a socket needs the runtime, and callers come from threads of their own.
        let _inside = self.runtime.enter();
        let (target, watched) = watch::channel(target);
        let task = match slot.protocol {
            PortProtocol::Tcp => {
                let listener = tokio::net::TcpListener::from_std(socket.into())?;
                self.runtime.spawn(tcp::serve(listener, watched))
            }
            PortProtocol::Udp => {
                let socket = tokio::net::UdpSocket::from_std(socket.into())?;
                self.runtime.spawn(udp::serve(socket, watched))
            }
            PortProtocol::Sctp => return Ok(()),
        };
        if let Some(old) = self.running.lock().insert(slot, Relay { task: task.abort_handle(), target }) {
            old.task.abort();
        }
        Ok(())
    }

    /// Leads new connections elsewhere.
    pub(crate) fn lead(&self, slot: &PortSlot, target: SocketAddr) {
        if let Some(relay) = self.running.lock().get(slot) {
            relay.target.send_replace(target);
        }
    }

    /// Ends a relay and every connection through it.
    pub(crate) fn stop(&self, slot: &PortSlot) {
        if let Some(relay) = self.running.lock().remove(slot) {
            relay.task.abort();
        }
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.running.lock().drain().for_each(|(_, relay)| relay.task.abort());
    }
}
