//! Who a container's process runs as, from the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files belong to whoever made the image: they are opened inside the root by descriptor, must be regular
//! files, and are read up to a limit. No library of the host or the container takes part (CVE-2019-14271).

use std::{io::Read, os::fd::BorrowedFd, path::Path};

use hako_base::ErrorKind;
use hako_sys::walk;
use rustix::fs::{FileType, OFlags};
use serde::{Deserialize, Serialize};

/// Bytes of either file. A university's passwd file with 60,000 users has 5 MB.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Ids above are refused: they wrap to root somewhere (CVE-2024-40635).
const ID_MAX: u64 = 0x7fff_ffff;
/// Supplementary groups that the kernel takes (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;

/// The ids of a process, and where its user is at home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; always set, so that none of the keeper's is inherited.
    pub groups: Vec<u32>,
    pub home: String,
}

impl Default for User {
    fn default() -> Self {
        Self { uid: 0, gid: 0, groups: vec![0], home: "/".to_owned() }
    }
}

/// Why a user could not be found. The sentences are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoUser { name: String },
    #[error("unable to find group {name}: no matching entries in group file")]
    NoGroup { name: String },
    #[error("uids and gids must be in range 0-{ID_MAX}")]
    Range,
    #[error("{count} supplementary groups are more than the kernel takes ({GROUPS_MAX})")]
    TooManyGroups { count: usize },
    #[error("cannot read {path} of the image: {reason}")]
    Unreadable { path: &'static str, reason: String },
}

impl UserError {
    /// What a person asked for is not there, or the image is broken: both are the request's fault.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// Finds `user` (`""`, `name`, `uid`, each perhaps with `:group`) in the root behind a descriptor; `group_add` are
/// further groups, by name or number.
///
/// # Errors
/// As [`UserError`] tells.
pub fn resolve(root: BorrowedFd<'_>, user: &str, group_add: &[String]) -> Result<User, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    // The group file only matters when somebody is named, or may be a member.
    let group = read(root, "/etc/group")?;
    resolve_in(&passwd, &group, user, group_add)
}

fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String, UserError> {
    let unreadable = |reason: String| UserError::Unreadable { path, reason };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match walk::open_in_root(root, Path::new(path), flags) {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(String::new()),
        Err(error) => return Err(unreadable(hako_base::error::chain(&error))),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| unreadable(errno.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable("not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(hako_base::error::chain(&error)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let _password = fields.next();
        let uid = id(fields.next()?)?;
        let gid = id(fields.next()?)?;
        let _comment = fields.next();
        Some(PasswdLine { name, uid, gid, home: fields.next().unwrap_or("") })
    })
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_lines(text: &str) -> impl Iterator<Item = GroupLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let _password = fields.next();
        let gid = id(fields.next()?)?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or("") })
    })
}

fn id(text: &str) -> Option<u32> {
    text.parse::<u64>().ok().filter(|id| *id <= ID_MAX).map(|id| id as u32)
}

// A number that was asked for: `None` when it is a name, an error when no id can be that large.
fn asked_id(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    id(text).map(Some).ok_or(UserError::Range)
}

pub(crate) fn resolve_in(passwd: &str, group: &str, user: &str, group_add: &[String]) -> Result<User, UserError> {
    let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let number = asked_id(name)?;
    let mut found = User { groups: Vec::new(), ..User::default() };
    let mut login = None;
    // A name wins over a number: there are images with a user called "1000". Nobody named is user 0.
    let wanted = if name.is_empty() { Some(0) } else { number };
    let line = passwd_lines(passwd)
        .find(|line| !name.is_empty() && line.name == name)
        .or_else(|| passwd_lines(passwd).find(|line| Some(line.uid) == wanted));
    match (line, wanted) {
        (Some(line), _) => {
            found = User { uid: line.uid, gid: line.gid, groups: Vec::new(), home: line.home.to_owned() };
            login = Some(line.name);
        }
        (None, Some(uid)) => found.uid = uid,
        (None, None) => return Err(UserError::NoUser { name: name.to_owned() }),
    }
    if !group_name.is_empty() {
        found.gid = find_group(group, group_name)?;
    } else if let Some(login) = login {
        let member = |line: &GroupLine<'_>| line.members.split(',').any(|member| member == login);
        found.groups = group_lines(group).filter(member).map(|line| line.gid).collect();
    }
    for name in group_add {
        found.groups.push(find_group(group, name)?);
    }
    // The first group too: else a file that shuts out just this group would let the process in (CVE-2022-36109).
    found.groups.push(found.gid);
    if found.home.is_empty() {
        found.home = "/".to_owned();
    }
    found.groups.sort_unstable();
    found.groups.dedup();
    if found.groups.len() > GROUPS_MAX {
        return Err(UserError::TooManyGroups { count: found.groups.len() });
    }
    Ok(found)
}

fn find_group(group: &str, name: &str) -> Result<u32, UserError> {
    if let Some(line) = group_lines(group).find(|line| line.name == name) {
        return Ok(line.gid);
    }
    asked_id(name)?.ok_or_else(|| UserError::NoGroup { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:33:34:www:/var/www:/bin/false\n1000:x:7:7::/seven:\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\naudio:x:29:root,web\nvideo:x:44:web\n";

    fn check(user: &str, group_add: &[&str], expected: &str) {
        let group_add: Vec<String> = group_add.iter().map(|name| (*name).to_owned()).collect();
        let got = match resolve_in(PASSWD, GROUP, user, &group_add) {
            Ok(user) => format!("{}:{} {:?} {}", user.uid, user.gid, user.groups, user.home),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{user}");
    }

    #[test]
    fn names_and_numbers_are_found() {
        check("", &[], "0:0 [0, 29] /root");
        check("web", &[], "33:34 [29, 34, 44] /var/www");
        check("33", &[], "33:34 [29, 34, 44] /var/www");
        check("web:audio", &[], "33:29 [29] /var/www");
        check("web:5", &[], "33:5 [5] /var/www");
        check("4711", &[], "4711:0 [0] /");
        check("4711:4712", &["video", "99"], "4711:4712 [44, 99, 4712] /");
        check("1000", &[], "7:7 [7] /seven");
    }

    #[test]
    fn what_is_not_there_is_told_in_dockers_words() {
        check("foo", &[], "unable to find user foo: no matching entries in passwd file");
        check("web:foo", &[], "unable to find group foo: no matching entries in group file");
        check("", &["foo"], "unable to find group foo: no matching entries in group file");
    }

    #[test]
    fn ids_that_would_wrap_are_refused() {
        check("4294967296", &[], "uids and gids must be in range 0-2147483647");
        check("-1", &[], "uids and gids must be in range 0-2147483647");
        check("0:99999999999999999999", &[], "uids and gids must be in range 0-2147483647");
    }

    #[test]
    fn an_image_without_files_knows_only_numbers() {
        assert_eq!(resolve_in("", "", "", &[]).unwrap(), User::default());
        assert_eq!(resolve_in("", "", "5", &[]).unwrap().uid, 5);
        assert!(resolve_in("", "", "root", &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn hostile_files_end_in_an_answer(passwd in "[a-z0-9:\\n-]{0,80}", group in "[a-z0-9:,\\n-]{0,80}", user in "[a-z0-9:-]{0,12}") {
            if let Ok(found) = resolve_in(&passwd, &group, &user, &[]) {
                assert!(u64::from(found.uid) <= ID_MAX && u64::from(found.gid) <= ID_MAX);
            }
        }
    }
}
