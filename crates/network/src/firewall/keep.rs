//! Keeping the table true: applying it, changing elements of it, putting it back after a flush.
//!
//! One lock around state and socket: a change is in the state exactly if it is in the kernel. A
//! thread listens to the kernel's news of nf_tables; whatever touches our table and is not us makes
//! it apply the whole state again, and whatever touches other tables makes it look at their forward and
//! input chains again.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use hako_sys::{
    netlink::{NetlinkError, Protocol, Socket},
    nft::{self, Family, Transaction},
};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::{
    compile,
    exposure::{self, Reach},
    foreign::{self, Obstacle},
    policy::Policy,
    ruleset::{Entry, MapKind, NetworkRules, PUBLISH_MAPS, PortSlot, Ruleset, State, additions, ruleset},
};
use crate::error::{Context, NetworkError};

/// News that may wait unread: a flush of a large foreign ruleset is some thousand messages.
const NEWS_BYTES: usize = 4 << 20;
/// Repairs in a row before the thread pauses: somebody removes the table as fast as it comes back.
const REPAIRS_AT_ONCE: u32 = 20;
const REPAIR_PAUSE: Duration = Duration::from_secs(1);
/// Other people's changes come in bursts; their chains are looked at once per burst.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The table of one daemon.
#[derive(Debug)]
pub(crate) struct Firewall {
    kept: Arc<Mutex<Kept>>,
    /// For looking at other people's chains, which may be many: not under the lock of ours.
    /// `None`: this daemon keeps no table.
    looker: Arc<Mutex<Option<Socket>>>,
    stop: Arc<OwnedFd>,
}

#[derive(Debug)]
struct Kept {
    state: State,
    /// `None`: this daemon keeps no table.
    socket: Option<Socket>,
    /// Nothing is applied before the state is known whole (`arm`): the last daemon's table, with the
    /// ports of containers that still run, stays until then.
    armed: bool,
    obstacles: Vec<Obstacle>,
    /// Everything that is published and could be translated; `state` has what others' input rules leave open.
    ports: BTreeMap<PortSlot, SocketAddr>,
    policy: Policy,
    /// Whether published ports obey others' input rules.
    obeys: bool,
    /// By whom news are caused that are no news.
    own_ports: Vec<u32>,
}

impl Firewall {
    /// Nothing is applied yet. Where nf_tables is missing this fails, unless it is not wanted.
    pub(crate) fn open(table: String, enabled: bool, obeys: bool) -> Result<Self, NetworkError> {
        let socket = enabled.then(|| open_socket(&table)).transpose()?;
        let looker = enabled.then(|| open_socket(&table)).transpose()?;
        let own_ports = socket.iter().chain(&looker).map(Socket::port).collect();
        let state = State { table, ..State::default() };
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from);
        let stop = Arc::new(stop.context("make", "an event descriptor")?);
        let kept = Kept {
            state,
            socket,
            armed: false,
            obstacles: Vec::new(),
            ports: BTreeMap::new(),
            policy: Policy::default(),
            obeys,
            own_ports,
        };
        Ok(Self { kept: Arc::new(Mutex::new(kept)), looker: Arc::new(Mutex::new(looker)), stop })
    }

    /// Adds ports to what will be applied, applies all of it, and keeps it from now on.
    pub(crate) fn arm(&self, ports: BTreeMap<PortSlot, SocketAddr>) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        kept.ports.extend(ports);
        let keeps_table = kept.socket.is_some();
        drop(kept);
        // Listening first: what others change from here on is not missed.
        let news = if keeps_table { Some(self.listen()?) } else { None };
        look_at_others(&self.kept, &self.looker);
        let mut kept = self.kept.lock();
        kept.armed = true;
        kept.state.ports = kept.open_ports();
        kept.apply()?;
        drop(kept);
        news.map_or(Ok(()), |news| self.watch(news))
    }

    /// A network is there, or has changed.
    pub(crate) fn network_set(&self, bridge: &str, rules: NetworkRules) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        let old = kept.armed.then(|| ruleset(&kept.state));
        let before = kept.state.networks.insert(bridge.to_owned(), rules);
        if let Err(error) = kept.extend(old.as_ref()) {
            match before {
                Some(before) => kept.state.networks.insert(bridge.to_owned(), before),
                None => kept.state.networks.remove(bridge),
            };
            return Err(error);
        }
        drop(kept);
        look_at_others(&self.kept, &self.looker);
        Ok(())
    }

    /// A network is gone.
    pub(crate) fn network_remove(&self, bridge: &str) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        kept.state.networks.remove(bridge);
        kept.apply()?;
        drop(kept);
        look_at_others(&self.kept, &self.looker);
        Ok(())
    }

    /// Ports lead to containers: one transaction of as many elements, whatever else is published.
    pub(crate) fn ports_add(&self, ports: &[(PortSlot, SocketAddr)]) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        let open: Vec<_> = ports.iter().copied().filter(|(slot, _)| kept.is_open(slot)).collect();
        kept.ports.extend(ports.iter().copied());
        kept.state.ports.extend(open.iter().copied());
        let result = kept.change(&open, true);
        if result.is_err() {
            for (slot, _) in ports {
                kept.ports.remove(slot);
                kept.state.ports.remove(slot);
            }
        }
        result
    }

    /// Ports lead nowhere any more; those that did not are ignored.
    pub(crate) fn ports_remove(&self, slots: &[PortSlot]) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        for slot in slots {
            kept.ports.remove(slot);
        }
        let gone: Vec<(PortSlot, SocketAddr)> =
            slots.iter().filter_map(|slot| kept.state.ports.remove(slot).map(|target| (*slot, target))).collect();
        kept.change(&gone, false)
    }

    /// Ports of containers are open at their own addresses, in networks that are routed. These are few and seldom
    /// change: the whole table is applied.
    pub(crate) fn open_at(&self, slots: &[PortSlot]) -> Result<(), NetworkError> {
        if slots.is_empty() {
            return Ok(());
        }
        let mut kept = self.kept.lock();
        kept.state.opened.extend(slots);
        kept.apply()
    }

    /// Nothing is open at these addresses any more.
    pub(crate) fn close(&self, addresses: &[IpAddr]) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        let before = kept.state.opened.len();
        kept.state.opened.retain(|slot| !addresses.contains(&slot.host.ip()));
        if kept.state.opened.len() == before { Ok(()) } else { kept.apply() }
    }

    /// What is to be true.
    pub(crate) fn state(&self) -> State {
        self.kept.lock().state.clone()
    }

    /// What stands in the way in other people's tables.
    pub(crate) fn obstacles(&self) -> Vec<Obstacle> {
        self.kept.lock().obstacles.clone()
    }

    /// Who can reach a published port and why, and whether the kernel translates it.
    pub(crate) fn reach(&self, slot: &PortSlot) -> (Reach, Vec<String>, bool) {
        let kept = self.kept.lock();
        let (reach, reasons) = exposure::reach(&kept.policy, slot, kept.obeys);
        (reach, reasons, kept.state.ports.contains_key(slot))
    }

    /// Removes the table and the tagged rules elsewhere: the daemon leaves the host for good.
    pub(crate) fn remove(&self) -> Result<(), NetworkError> {
        let mut kept = self.kept.lock();
        kept.armed = false;
        kept.state.networks.clear();
        kept.state.ports.clear();
        kept.state.opened.clear();
        kept.ports.clear();
        drop(kept);
        look_at_others(&self.kept, &self.looker);
        let mut kept = self.kept.lock();
        let Kept { state, socket: Some(socket), .. } = &mut *kept else { return Ok(()) };
        compile::remove(&state.table).apply(socket).context("remove table", state.table.as_str())
    }

    fn listen(&self) -> Result<Socket, NetworkError> {
        let news = Socket::open_groups(Protocol::Netfilter, nft::NEWS).context("listen to", "nf_tables news")?;
        news.receive_buffer(NEWS_BYTES).context("enlarge the queue of", "nf_tables news")?;
        Ok(news)
    }

    fn watch(&self, news: Socket) -> Result<(), NetworkError> {
        let (kept, looker, stop) = (Arc::clone(&self.kept), Arc::clone(&self.looker), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new().name("firewall".into());
        thread.spawn(move || watch(&news, &kept, &looker, &stop)).context("start", "the firewall's thread")?;
        Ok(())
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // The thread owns clones of everything; it leaves by itself when it sees this.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
    }
}

fn open_socket(table: &str) -> Result<Socket, NetworkError> {
    let mut socket = Socket::open(Protocol::Netfilter).context("open", "a netfilter socket")?;
    // Says at once, and not at the first container, that the kernel has no nf_tables.
    nft::table_exists(&mut socket, Family::Inet, table).context("ask nf_tables for", table)?;
    Ok(socket)
}

impl Kept {
    fn is_open(&self, slot: &PortSlot) -> bool {
        !self.obeys || exposure::is_open(&self.policy, slot)
    }

    fn open_ports(&self) -> BTreeMap<PortSlot, SocketAddr> {
        self.ports.iter().filter(|(slot, _)| self.is_open(slot)).map(|(slot, target)| (*slot, *target)).collect()
    }

    // Others' input rules have changed: ports that they open now are translated, those that they do not are left to
    // them.
    fn follow(&mut self, policy: Policy) -> Result<(), NetworkError> {
        if self.policy == policy {
            return Ok(());
        }
        self.policy = policy;
        let open = self.open_ports();
        let only_in = |these: &BTreeMap<PortSlot, SocketAddr>, others: &BTreeMap<PortSlot, SocketAddr>| {
            let only = these.iter().filter(|(slot, _)| !others.contains_key(slot));
            only.map(|(slot, target)| (*slot, *target)).collect::<Vec<_>>()
        };
        let (added, removed) = (only_in(&open, &self.state.ports), only_in(&self.state.ports, &open));
        self.state.ports = open;
        self.change(&removed, false)?;
        self.change(&added, true)
    }

    // The whole state, whatever the kernel has.
    fn apply(&mut self) -> Result<(), NetworkError> {
        let Self { state, socket: Some(socket), armed: true, .. } = self else { return Ok(()) };
        compile::replace(&ruleset(state)).apply(socket).context("apply table", state.table.as_str())
    }

    // Only what a network more adds; where that is not enough, or is refused, the whole state.
    fn extend(&mut self, before: Option<&Ruleset>) -> Result<(), NetworkError> {
        let Self { state, socket: Some(socket), armed: true, .. } = self else { return Ok(()) };
        let more = before.and_then(|before| additions(before, &ruleset(state)));
        match more.map(|more| compile::add(&state.table, &more).apply(socket)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                tracing::debug!(%error, "a network more was refused, applying the whole table");
                self.apply()
            }
            None => self.apply(),
        }
    }

    // Only these elements. If that is refused the table is not what it should be: all of it then.
    fn change(&mut self, ports: &[(PortSlot, SocketAddr)], add: bool) -> Result<(), NetworkError> {
        let Self { state, socket: Some(socket), armed: true, .. } = self else { return Ok(()) };
        if ports.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new(Family::Inet);
        for kind in PUBLISH_MAPS {
            let entries = ports.iter().filter(|(slot, _)| MapKind::of(slot) == kind);
            let elements: Vec<_> =
                entries.map(|&(slot, target)| compile::element(&Entry::Port { slot, target })).collect();
            if add {
                transaction.elements_add(&state.table, kind.name(), &elements);
            } else {
                transaction.elements_remove(&state.table, kind.name(), &elements);
            }
        }
        match transaction.apply(socket) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "elements were refused, applying the whole table");
                self.apply()
            }
        }
    }

    fn repair(&mut self) {
        let table = self.state.table.clone();
        match self.apply() {
            Ok(()) => tracing::info!(table, "another program changed the firewall table; it is restored"),
            Err(error) => {
                let error = hako_base::error::chain(&error);
                tracing::error!(table, error, "another program changed the firewall table; it cannot be restored");
            }
        }
    }
}

fn look_at_others(kept: &Mutex<Kept>, looker: &Mutex<Option<Socket>>) {
    let mut socket = looker.lock();
    let Some(socket) = socket.as_mut() else { return };
    let state = {
        let kept = kept.lock();
        State { table: kept.state.table.clone(), networks: kept.state.networks.clone(), ..State::default() }
    };
    let (policy, obstacles) = foreign::open_way(socket, &state);
    let mut kept = kept.lock();
    if let Err(error) = kept.follow(policy) {
        tracing::error!(error = %hako_base::error::chain(&error), "published ports do not follow the host's input rules");
    }
    if kept.obstacles != obstacles {
        for obstacle in &obstacles {
            tracing::warn!(%obstacle, "another firewall may stop containers' packets");
        }
        kept.obstacles = obstacles;
    }
}

// What a datagram of news was about.
#[derive(Debug, Default, Clone, Copy)]
struct Touched {
    ours: bool,
    others: bool,
}

fn watch(news: &Socket, kept: &Mutex<Kept>, looker: &Mutex<Option<Socket>>, stop: &OwnedFd) {
    let (mut repairs, mut since) = (0, Instant::now());
    let mut look_at: Option<Instant> = None;
    while wait(&[news.as_fd(), stop.as_fd()], look_at) != Some(1) {
        let touched = read_news(news, &kept.lock());
        if touched.ours {
            let mut kept = kept.lock();
            if kept.armed {
                kept.repair();
            }
            repairs += 1;
        }
        if touched.others {
            look_at = look_at.or_else(|| Some(Instant::now() + LOOK_PAUSE));
        }
        if look_at.is_some_and(|at| at <= Instant::now()) {
            look_at = None;
            look_at_others(kept, looker);
        }
        if since.elapsed() > REPAIR_PAUSE {
            (repairs, since) = (0, Instant::now());
        } else if repairs >= REPAIRS_AT_ONCE && wait(&[stop.as_fd()], Some(since + REPAIR_PAUSE)).is_some() {
            return;
        }
    }
}

// Which descriptor is readable, the last of them first; `None` when `until` has come.
fn wait(descriptors: &[BorrowedFd<'_>], until: Option<Instant>) -> Option<usize> {
    let mut set: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
    let timeout = until.map(|until| {
        let left = until.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
    });
    // An interruption reads as an early time-out: the loops above ask again.
    let _ = rustix::event::poll(&mut set, timeout.as_ref());
    set.iter().rposition(|one| !one.revents().is_empty())
}

fn read_news(socket: &Socket, kept: &Kept) -> Touched {
    let (mut touched, mut buffer) = (Touched::default(), Vec::new());
    loop {
        match socket.news(&mut buffer) {
            Ok(Some(messages)) => {
                for message in messages.filter(|message| !kept.own_ports.contains(&message.port)) {
                    match nft::news_of_table(&message) {
                        Some((Family::Inet, table)) if table == kept.state.table => touched.ours = true,
                        Some(_) => touched.others = true,
                        None => {}
                    }
                }
            }
            Ok(None) => return touched,
            // Some were lost (ENOBUFS): they may have been about us.
            Err(error) => {
                tracing::debug!(%error, "nf_tables news were lost");
                return Touched { ours: true, others: true };
            }
        }
    }
}

/// Whether a refusal means that the object is not there (any more).
pub(super) fn is_gone(error: &NetlinkError) -> bool {
    error.errno() == libc::ENOENT
}
