//! Prepared network namespaces: loopback up, a veth pair made whose host end is in no bridge yet.
//!
//! Making one costs the better part of a millisecond, so a thread keeps some ready. A namespace is
//! anonymous: it lives as long as the [`Sandbox`], a process in it, or the keeper holds a
//! descriptor of it. Each sandbox has a netlink socket that was opened inside, so that plugging it
//! in needs no change of namespace.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use hako_base::backoff::wait_for;
use hako_sys::netlink::{
    Batch, NetlinkError, Protocol, Socket, namespace,
    route::{self, LinkChange, VethEnd, links_operating},
};
use parking_lot::{Condvar, Mutex};

use crate::{
    Network,
    error::{Context, NetworkError},
    network::Host,
    settings::Instance,
    sysctl,
};

/// The name of the first link in a container.
pub(crate) const FIRST_LINK: &str = "eth0";
/// What prepared links have; a network that wants another changes it when plugging in.
pub(crate) const MTU: u32 = 1500;
/// How long the pool's thread waits after a failure before it tries again by itself.
const RETRY: Duration = Duration::from_secs(1);

/// So many are made as fast as can be; the rest, which only a burst of starts needs, when nobody has taken one for a while.
const EAGER: usize = 8;
/// That while: a pool of 56 is full two seconds after the last start, and never made beside one.
const CALM: Duration = Duration::from_millis(40);

/// A network namespace and what is ready in it.
#[derive(Debug)]
pub struct Sandbox {
    netns: OwnedFd,
    pub(crate) inside: Mutex<Inside>,
}

#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) socket: Socket,
    pub(crate) prepared: Option<Prepared>,
}

/// A veth pair that waits for its bridge; both ends are up, so that their carriers are settled.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The host end.
    pub(crate) link: String,
    pub(crate) index: u32,
    /// The inner end.
    pub(crate) inner: u32,
    /// Whether both ends are known to pass frames.
    pub(crate) settled: bool,
    pub(crate) ipv6: Option<File>,
}

impl Sandbox {
    /// The namespace, for the launch plan and the keeper.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

impl Prepared {
    /// A link has no IPv6 unless its network has (CVE-2024-32473).
    pub(crate) fn switch_ipv6_on(&mut self) -> io::Result<()> {
        self.ipv6.as_mut().map_or(Ok(()), |file| file.write_all(b"0"))
    }
}

/// Ready sandboxes.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Arc<Host>,
    instance: Instance,
    size: usize,
    ready: Mutex<Ready>,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Ready {
    sandboxes: VecDeque<Sandbox>,
    stopped: bool,
}

impl Pool {
    pub(crate) fn new(host: Arc<Host>, instance: Instance, size: usize) -> Self {
        let shared = Shared { host, instance, size, ready: Mutex::new(Ready::default()), taken: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn start(&self) -> Result<(), NetworkError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("sandboxes".into());
        thread.spawn(move || fill(&shared)).context("start", "the sandboxes' thread")?;
        Ok(())
    }

    fn take(&self) -> Result<Sandbox, NetworkError> {
        let ready = self.shared.ready.lock().sandboxes.pop_front();
        self.shared.taken.notify_one();
        ready.map_or_else(|| self.shared.make(true), Ok)
    }

    /// How many are ready.
    pub(crate) fn len(&self) -> usize {
        self.shared.ready.lock().sandboxes.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut ready = self.shared.ready.lock();
        ready.stopped = true;
        ready.sandboxes.clear();
        self.shared.taken.notify_all();
    }
}

fn fill(shared: &Shared) {
    loop {
        let mut ready = shared.ready.lock();
        while !ready.stopped && ready.sandboxes.len() >= shared.size {
            shared.taken.wait(&mut ready);
        }
        while !ready.stopped && ready.sandboxes.len() >= EAGER && !shared.taken.wait_for(&mut ready, CALM).timed_out() {
        }
        if ready.stopped {
            return;
        }
        drop(ready);
        let made = shared.make(true);
        let mut ready = shared.ready.lock();
        match made {
            Ok(sandbox) if !ready.stopped => ready.sandboxes.push_back(sandbox),
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = %hako_base::error::chain(&error), "cannot prepare a sandbox");
                shared.taken.wait_for(&mut ready, RETRY);
            }
        }
    }
}

impl Shared {
    fn make(&self, with_link: bool) -> Result<Sandbox, NetworkError> {
        // Taken here, in the host's namespace, and used inside the new one.
        let mut host = self.host.socket()?;
        let made = namespace::create(|netns| {
            let mut socket = Socket::open(Protocol::Route)?;
            set_defaults(with_link);
            let prepared = if with_link { Some(self.prepare(netns, host.get(), &mut socket)?) } else { None };
            loopback_up(&mut socket)?;
            Ok(Inside { socket, prepared })
        });
        let (netns, inside) = made.context("make", "a network namespace")?;
        Ok(Sandbox { netns, inside: Mutex::new(inside) })
    }

    // Runs inside the new namespace; requests about the host end go through the host's socket.
    fn prepare(&self, netns: BorrowedFd<'_>, host: &mut Socket, socket: &mut Socket) -> io::Result<Prepared> {
        let link = self.instance.link_name();
        let near = VethEnd { name: &link, namespace: None, address: None };
        let far = VethEnd { name: FIRST_LINK, namespace: Some(netns), address: None };
        let index = veth_make(host, near, far, MTU)?;
        let inner = route::link_named(socket, FIRST_LINK)?.map(|link| link.index).unwrap_or_default();
        let mut batch = Batch::new();
        route::link_change(&mut batch, inner, LinkChange { up: Some(true), ..LinkChange::default() });
        socket.transact(&mut batch)?;
        // The file stays bound to this namespace and link, so that plugging in need not come here.
        let ipv6 = File::options().write(true).open(format!("/proc/sys/net/ipv6/conf/{FIRST_LINK}/disable_ipv6"));
        let _ = sysctl::write("net/ipv6/conf/default/disable_ipv6", "0");
        // Nobody waits here; whoever plugs it in finds the carriers settled.
        let settled = wait_for(RETRY, || {
            let mut both = || Ok(links_operating(socket, &[inner])? && links_operating(host, &[index])?);
            both().map(|yes| yes.then_some(())).transpose()
        });
        let settled = settled.transpose().map_err(|error: NetlinkError| io::Error::from(error))?.is_some();
        Ok(Prepared { link, index, inner, settled, ipv6: ipv6.ok() })
    }
}

/// Makes a veth pair, switches the near end on, and returns its index.
pub(crate) fn veth_make(host: &mut Socket, near: VethEnd<'_>, far: VethEnd<'_>, mtu: u32) -> Result<u32, NetlinkError> {
    let mut batch = Batch::new();
    route::veth_add(&mut batch, near, far, mtu);
    host.transact(&mut batch)?;
    let index = route::link_named(host, near.name)?.map(|link| link.index).unwrap_or_default();
    let mut batch = Batch::new();
    let change = LinkChange { up: Some(true), no_link_local: true, ..LinkChange::default() };
    route::link_change(&mut batch, index, change);
    host.transact(&mut batch)?;
    Ok(index)
}

// What Docker sets in each container's namespace, and no router advertisements (CVE-2020-13401). A
// kernel without one of these switches does not need it.
fn set_defaults(with_link: bool) {
    let _ = sysctl::write("net/ipv4/ip_unprivileged_port_start", "0");
    let _ = sysctl::write("net/ipv4/ping_group_range", "0 2147483647");
    let _ = sysctl::write("net/ipv6/conf/default/accept_ra", "0");
    let _ = sysctl::write("net/ipv6/conf/all/accept_ra", "0");
    if with_link {
        let _ = sysctl::write("net/ipv6/conf/default/disable_ipv6", "1");
    }
}

fn loopback_up(socket: &mut Socket) -> Result<(), NetlinkError> {
    const LOOPBACK: u32 = 1; // always, in every namespace
    let mut batch = Batch::new();
    route::link_change(&mut batch, LOOPBACK, LinkChange { up: Some(true), ..LinkChange::default() });
    socket.transact(&mut batch)
}

impl Network {
    /// A sandbox for a container on a bridge.
    pub fn sandbox_take(&self) -> Result<Sandbox, NetworkError> {
        self.pool.take()
    }

    /// A sandbox with nothing but a loopback (`--network none`).
    pub fn sandbox_take_isolated(&self) -> Result<Sandbox, NetworkError> {
        self.pool.shared.make(false)
    }

    /// A sandbox of a namespace that exists: the keeper's copy after a restart, or one that a
    /// container in a user namespace made itself (`fresh`: its loopback is still down).
    pub fn sandbox_adopt(&self, netns: OwnedFd, fresh: bool) -> Result<Sandbox, NetworkError> {
        let socket = namespace::within(netns.as_fd(), || {
            let mut socket = Socket::open(Protocol::Route)?;
            if fresh {
                set_defaults(false);
                loopback_up(&mut socket)?;
            }
            Ok(socket)
        });
        let socket = socket.context("enter", "a container's network namespace")?;
        Ok(Sandbox { netns, inside: Mutex::new(Inside { socket, prepared: None }) })
    }

    /// Lets go of a sandbox: the namespace ends with its last process, off the caller's path.
    pub fn sandbox_release(&self, sandbox: Sandbox) {
        if let Some(prepared) = sandbox.inside.lock().prepared.take() {
            self.reaper.delete(prepared.link);
        }
        self.reaper.drop_later(sandbox);
    }

    /// How many sandboxes are ready.
    pub fn sandboxes_ready(&self) -> usize {
        self.pool.len()
    }
}
