//! User namespaces: which users of the host a container's users are.
//!
//! Nothing on the disk changes owner for it: layers, volumes and the container's files are mounted with the ids of its
//! namespace, and 0 in there stays 0 on the disk. Binds are the host's and are not mapped, so that root of a container is
//! nobody special in them, as with Docker. Which namespace a container has is decided when it is created and stays so.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use hako_model::{ContainerId, HostSpec, NetworkMode};
use hako_runtime::plan::IdRange;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, record::Record};

/// Ids of one container where nobody says otherwise.
const SIZE: u32 = 65_536;
/// Where ranges come from for which /etc/subuid names nobody: beyond those that useradd and systemd give away, and
/// below 2³¹, beyond which ids wrap somewhere.
const POOL: IdRange = IdRange { container: 0, host: 0x7000_0000, count: 0x0fff_0000 };
/// Whose ranges `default` takes where the files name one of them; the first name is Docker's.
const DEFAULT_NAMES: [&str; 2] = ["dockremap", "hako"];
/// Whose ranges `auto` takes; the first name is Podman's.
const AUTO_NAMES: [&str; 2] = ["containers", "hako"];

/// A container's ids and which they are outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdMap {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// The files that know about ids.
#[derive(Debug, Clone, Default)]
struct Files {
    passwd: String,
    group: String,
    subuid: String,
    subgid: String,
}

impl Files {
    fn of_host() -> Self {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
            subuid: read("/etc/subuid"),
            subgid: read("/etc/subgid"),
        }
    }
}

impl IdMap {
    /// What `--userns-remap` means on this host: `default`, a user, or a user and a group, by name or number.
    ///
    /// # Errors
    /// A user that there is none of, or for whom no ranges are reserved.
    pub fn of_remap(text: &str) -> Result<Self, String> {
        of_remap(text, &Files::of_host())
    }

    fn same(range: IdRange) -> Self {
        Self { uids: vec![range], gids: vec![range] }
    }

    /// Who root of the container is outside.
    pub fn root(&self) -> (u32, u32) {
        (outside(&self.uids, 0), outside(&self.gids, 0))
    }

    /// The text of `uid_map` and `gid_map`.
    pub(crate) fn texts(&self) -> (String, String) {
        (hako_runtime::idmap::text(&self.uids), hako_runtime::idmap::text(&self.gids))
    }
}

/// Which id of the host an id of the container is; one that is not mapped stays what it is.
pub(crate) fn outside(ranges: &[IdRange], id: u32) -> u32 {
    let range = ranges.iter().find(|range| id >= range.container && id - range.container < range.count);
    range.map_or(id, |range| range.host + (id - range.container))
}

fn of_remap(text: &str, files: &Files) -> Result<IdMap, String> {
    if text == "default" {
        let reserved = DEFAULT_NAMES.iter().find_map(|name| {
            let (uids, gids) = (reserved(&files.subuid, name, None), reserved(&files.subgid, name, None));
            (!uids.is_empty() && !gids.is_empty()).then_some(IdMap { uids, gids })
        });
        return Ok(reserved.unwrap_or_else(|| IdMap::same(IdRange { count: SIZE, ..POOL })));
    }
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let (user, uid) = entry(&files.passwd, user).ok_or_else(|| format!("user {user:?} does not exist"))?;
    // Without a group it is the user's name that is looked for, as with Docker.
    let group = if text.contains(':') { group } else { user.as_str() };
    let (group, gid) = entry(&files.group, group).ok_or_else(|| format!("group {group:?} does not exist"))?;
    let uids = reserved(&files.subuid, &user, Some(uid));
    if uids.is_empty() {
        return Err(format!("no subuid ranges found for user {user:?} in /etc/subuid"));
    }
    let gids = reserved(&files.subgid, &group, Some(gid));
    if gids.is_empty() {
        return Err(format!("no subgid ranges found for group {group:?} in /etc/subgid"));
    }
    Ok(IdMap { uids, gids })
}

/// Name and number of an entry of passwd or group, by either.
fn entry(file: &str, wanted: &str) -> Option<(String, u32)> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        let is = name == wanted || number == wanted;
        Some((name.to_owned(), number.parse().ok()?)).filter(|_| is)
    })
}

/// What /etc/subuid or /etc/subgid reserves for somebody, one range after the other from 0 on.
fn reserved(file: &str, name: &str, id: Option<u32>) -> Vec<IdRange> {
    let id = id.map(|id| id.to_string());
    let mut ranges: Vec<IdRange> = Vec::new();
    for line in file.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [owner, first, count] = fields[..] else { continue };
        if owner != name && Some(owner) != id.as_deref() {
            continue;
        }
        let (Ok(host), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else { continue };
        let container = ranges.last().map_or(0, |last| last.container + last.count);
        let fits = container.checked_add(count).is_some() && host.checked_add(count).is_some();
        if count > 0 && fits {
            ranges.push(IdRange { container, host, count });
        }
    }
    ranges
}

/// What `--userns` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// As the daemon does by default.
    Default,
    Host,
    Private,
    /// A range that no other container has.
    Auto {
        size: u32,
    },
}

fn mode(text: &str) -> Result<Mode, String> {
    let invalid = || format!("invalid userns mode: {text}");
    let (word, options) = text.split_once(':').unwrap_or((text, ""));
    match (word, options) {
        ("", "") => Ok(Mode::Default),
        ("host", "") => Ok(Mode::Host),
        ("private", "") => Ok(Mode::Private),
        ("auto", "") => Ok(Mode::Auto { size: SIZE }),
        ("auto", options) => match options.strip_prefix("size=").and_then(|size| size.parse::<u32>().ok()) {
            Some(size) if (1..=POOL.count).contains(&size) => Ok(Mode::Auto { size }),
            Some(size) => Err(format!("userns mode auto: size {size} is not between 1 and {}", POOL.count)),
            None => Err(format!("userns mode auto: {options:?} is not known (size=COUNT is)")),
        },
        _ => Err(invalid()),
    }
}

/// The lowest range of `size` ids that is free in the pool.
fn free(pool: &[IdRange], taken: &BTreeSet<(u32, u32)>, size: u32) -> Option<u32> {
    pool.iter().find_map(|range| {
        let end = u64::from(range.host) + u64::from(range.count);
        let mut first = u64::from(range.host);
        for (start, count) in taken {
            let (start, past) = (u64::from(*start), u64::from(*start) + u64::from(*count));
            if start < first + u64::from(size) && past > first {
                first = past;
            }
        }
        (first + u64::from(size) <= end).then_some(first as u32)
    })
}

impl Engine {
    /// The ids that a container is to have; `None`: those of the host.
    ///
    /// # Errors
    /// A mode that there is none of, what cannot go together with one, or that no ids are left.
    fn choose_ids(&self, host: &HostSpec, claims: &BTreeMap<ContainerId, IdMap>) -> Result<Option<IdMap>, EngineError> {
        let remap = self.config.userns_remap.clone();
        let map = match mode(&host.userns_mode).map_err(EngineError::invalid)? {
            Mode::Default => remap,
            Mode::Host => None,
            Mode::Private => Some(match remap {
                Some(map) => map,
                None => IdMap::of_remap("default").map_err(EngineError::invalid)?,
            }),
            Mode::Auto { size } => Some(self.free_ids(size, claims)?),
        };
        match map {
            Some(_) => check(host).map(|()| map),
            None => Ok(None),
        }
    }

    fn free_ids(&self, size: u32, claims: &BTreeMap<ContainerId, IdMap>) -> Result<IdMap, EngineError> {
        let files = Files::of_host();
        let named = AUTO_NAMES.iter().map(|name| reserved(&files.subuid, name, None)).find(|pool| !pool.is_empty());
        // The first range of our own pool is what `default` means.
        let own = IdRange { host: POOL.host + SIZE, count: POOL.count - SIZE, ..POOL };
        let pool = named.unwrap_or_else(|| vec![own]);
        let records = self.containers.all();
        let maps = records.iter().filter_map(|container| container.record().ids.clone());
        let maps = maps.chain(claims.values().cloned());
        let taken: BTreeSet<(u32, u32)> =
            maps.flat_map(|map| map.uids).map(|range| (range.host, range.count)).collect();
        let first = free(&pool, &taken, size).ok_or_else(|| {
            EngineError::conflict(format!("no {size} ids are left for another user namespace: remove containers"))
        })?;
        Ok(IdMap::same(IdRange { container: 0, host: first, count: size }))
    }

    /// The same, held until the record has them: another creation meanwhile gets others.
    pub(crate) fn claim_ids(&self, id: ContainerId, host: &HostSpec) -> Result<Option<IdMap>, EngineError> {
        let mut claims = self.id_claims.0.lock();
        let map = self.choose_ids(host, &claims)?;
        if let Some(map) = &map {
            claims.insert(id, map.clone());
        }
        Ok(map)
    }

    pub(crate) fn release_ids(&self, id: ContainerId) {
        self.id_claims.0.lock().remove(&id);
    }

    /// The namespace of a container's users for the start, with a network namespace that it owns unless it joins
    /// somebody's; `None` where they are the host's.
    pub(crate) fn user_space(&self, record: &Record) -> Result<Option<(OwnedFd, Option<OwnedFd>)>, EngineError> {
        let Some(map) = &record.ids else { return Ok(None) };
        if let Some(other) = shares_with(&record.spec.host) {
            return self.join_user_space(map, other).map(Some);
        }
        let (uids, gids) = map.texts();
        let made = hako_runtime::idmap::make(&uids, &gids, true);
        let made = made.map_err(|error| EngineError::io("cannot make a user namespace", &error))?;
        Ok(Some((made.user, made.network)))
    }

    /// What a container shares belongs to the namespace of the other one's users, so it has to be in that.
    fn join_user_space(&self, map: &IdMap, other: &str) -> Result<(OwnedFd, Option<OwnedFd>), EngineError> {
        let other = self.containers.find(other)?;
        let record = other.record();
        if record.ids.as_ref() != Some(map) {
            return Err(EngineError::conflict(format!(
                "cannot share namespaces of container {}: its users are others (--userns)",
                record.id
            )));
        }
        let user = hako_runtime::observe::user_namespace_of(record.state.pid);
        let user = user.map_err(|error| EngineError::io("cannot open the other container's user namespace", &error))?;
        Ok((user, None))
    }

    /// Has a container's root filesystem mounted with its users' ids, for those who look at it.
    pub(crate) fn map_snapshot(&self, record: &Record) -> Result<Option<Arc<OwnedFd>>, EngineError> {
        let Some(map) = &record.ids else { return Ok(None) };
        let (uids, gids) = map.texts();
        let made = hako_runtime::idmap::make(&uids, &gids, false);
        let made = made.map_err(|error| EngineError::io("cannot make a user namespace", &error))?;
        let user = Arc::new(made.user);
        self.images.snapshot_map(record.id, user.clone());
        Ok(Some(user))
    }
}

/// The container whose namespaces are shared.
fn shares_with(host: &HostSpec) -> Option<&str> {
    let network = match &host.network_mode {
        NetworkMode::Container(other) => Some(other.as_str()),
        _ => None,
    };
    network.or_else(|| host.pid_mode.strip_prefix("container:")).or_else(|| host.ipc_mode.strip_prefix("container:"))
}

/// How owners in archives and those on a container's files go together.
pub(crate) fn of_archives(record: &Record) -> hako_archive::Ids {
    let range = |range: &IdRange| (range.container, range.host, range.count);
    record.ids.as_ref().map_or_else(hako_archive::Ids::default, |map| hako_archive::Ids {
        uids: map.uids.iter().map(range).collect(),
        gids: map.gids.iter().map(range).collect(),
    })
}

/// Does something with a container's files as its root, who owns what is made.
pub(crate) fn as_root_of<T>(record: &Record, work: impl FnOnce() -> T) -> Result<T, EngineError> {
    match &record.ids {
        None => Ok(work()),
        Some(map) => hako_runtime::idmap::as_file_owner(map.root(), work)
            .map_err(|error| EngineError::io("cannot become the container's root", &error)),
    }
}

/// Ids of containers that are being created.
#[derive(Debug, Default)]
pub(crate) struct Claims(parking_lot::Mutex<BTreeMap<ContainerId, IdMap>>);

/// What cannot be together with a user namespace, in Docker's words.
fn check(host: &HostSpec) -> Result<(), EngineError> {
    let refuse = |text: &str| Err(EngineError::invalid(text.to_owned()));
    if host.privileged {
        return refuse(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        );
    }
    if host.network_mode == NetworkMode::Host {
        return refuse("cannot share the host's network namespace when user namespaces are enabled");
    }
    if host.pid_mode == "host" {
        return refuse("cannot share the host PID namespace when user namespaces are enabled");
    }
    if host.ipc_mode == "host" {
        return refuse("cannot share the host IPC namespace when user namespaces are enabled");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n"
                .into(),
            group: "root:x:0:\nann:x:1000:\nbob:x:1001:\nstaff:x:50:\n".into(),
            subuid: "ann:100000:65536\nann:300000:1000\n1001:400000:10\n".into(),
            subgid: "ann:200000:65536\nstaff:500000:10\nbob:600000:10\n".into(),
        }
    }

    #[test]
    fn a_remap_is_read_from_the_files() {
        let show = |text: &str| match of_remap(text, &files()) {
            Ok(map) => {
                let (uids, gids) = map.texts();
                format!("{} | {}", uids.trim().replace('\n', ", "), gids.trim().replace('\n', ", "))
            }
            Err(error) => error,
        };
        assert_eq!(show("ann"), "0 100000 65536, 65536 300000 1000 | 0 200000 65536");
        assert_eq!(show("1000:50"), "0 100000 65536, 65536 300000 1000 | 0 500000 10");
        assert_eq!(show("bob"), "0 400000 10 | 0 600000 10");
        assert_eq!(show("default"), "0 1879048192 65536 | 0 1879048192 65536");
        assert_eq!(show("root"), "no subuid ranges found for user \"root\" in /etc/subuid");
        assert_eq!(show("eve"), "user \"eve\" does not exist");
    }

    #[test]
    fn modes_are_read_or_refused() {
        assert_eq!(mode("auto:size=10"), Ok(Mode::Auto { size: 10 }));
        assert_eq!(mode("private"), Ok(Mode::Private));
        assert_eq!(mode("auto:size=0").unwrap_err(), "userns mode auto: size 0 is not between 1 and 268369920");
        assert_eq!(mode("auto:x=1").unwrap_err(), "userns mode auto: \"x=1\" is not known (size=COUNT is)");
        assert_eq!(mode("nonsense").unwrap_err(), "invalid userns mode: nonsense");
    }

    #[test]
    fn ranges_do_not_overlap() {
        let pool = [IdRange { container: 0, host: 100, count: 50 }, IdRange { container: 50, host: 1000, count: 30 }];
        let taken = |ranges: &[(u32, u32)]| ranges.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(free(&pool, &taken(&[]), 20), Some(100));
        assert_eq!(free(&pool, &taken(&[(100, 20)]), 20), Some(120));
        assert_eq!(free(&pool, &taken(&[(110, 20)]), 20), Some(130));
        assert_eq!(free(&pool, &taken(&[(100, 50)]), 20), Some(1000));
        assert_eq!(free(&pool, &taken(&[(100, 50), (1000, 20)]), 20), None);
    }

    #[test]
    fn ids_are_told_outside() {
        let map = of_remap("ann", &files()).unwrap();
        assert_eq!(map.root(), (100_000, 200_000));
        assert_eq!((outside(&map.uids, 65_537), outside(&map.uids, 99_999)), (300_001, 99_999));
    }
}
