//! Lists of processors and memory nodes (`0-3,7`, cpuset(7)): whether this machine has what one asks for, and handing
//! them down to a directory of cgroup v1 that has none.

use std::{collections::BTreeSet, fs, path::Path};

use super::{CgroupError, write};

/// Far beyond any machine: a list is not allowed to make us build a larger set.
const NUMBER_MAX: u32 = 65_535;

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    Cpus,
    Mems,
}

/// Whether the machine has everything on a list; Docker's sentence where it has not. An empty list asks for nothing.
///
/// # Errors
/// The sentence.
pub fn check(units: Units, asked: &str) -> Result<(), String> {
    let file = match units {
        Units::Cpus => "/sys/devices/system/cpu/online",
        Units::Mems => "/sys/devices/system/node/online",
    };
    // A kernel without memory nodes has one.
    let available = fs::read_to_string(file).unwrap_or_else(|_| "0".to_owned());
    check_against(units, asked, available.trim())
}

fn check_against(units: Units, asked: &str, available: &str) -> Result<(), String> {
    let (what, name) = match units {
        Units::Cpus => ("CPUs", "cpuset cpus"),
        Units::Mems => ("memory nodes", "cpuset mems"),
    };
    let wanted = parse(asked).ok_or_else(|| format!("Invalid value {asked} for {name}: invalid format: {asked}"))?;
    // What cannot be read says nothing against the wish; the kernel will judge.
    match parse(available) {
        Some(has) if !wanted.is_subset(&has) => {
            Err(format!("Requested {what} are not available - requested {asked}, available: {available}"))
        }
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last > NUMBER_MAX {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// Gives a directory of the v1 controller what the one above it has, where it has none itself.
///
/// # Errors
/// [`CgroupError::Read`] or [`CgroupError::Setting`].
pub(super) fn inherit(directory: &Path) -> Result<(), CgroupError> {
    ["cpuset.cpus", "cpuset.mems"].into_iter().try_for_each(|file| inherit_one(directory, file).map(drop))
}

fn inherit_one(directory: &Path, file: &str) -> Result<String, CgroupError> {
    let path = directory.join(file);
    let own = fs::read_to_string(&path).map_err(|source| CgroupError::Read { path: path.clone(), source })?;
    match (own.trim(), directory.parent()) {
        // Somebody made the one above too and gave it nothing.
        ("", Some(above)) => {
            let value = inherit_one(above, file)?;
            write(&path, &value)?;
            Ok(value)
        }
        (own, _) => Ok(own.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_held_against_what_there_is() {
        let read = |asked: &str| check_against(Units::Cpus, asked, "0-1,4").err().unwrap_or_default();
        assert_eq!(read(""), "");
        assert_eq!(read("0"), "");
        assert_eq!(read("0-1,4"), "");
        assert_eq!(read("0,2"), "Requested CPUs are not available - requested 0,2, available: 0-1,4");
        for bad in ["x", "1-", "-1", "3-1", ",", "0-4294967295"] {
            assert_eq!(read(bad), format!("Invalid value {bad} for cpuset cpus: invalid format: {bad}"));
        }
        let mems = check_against(Units::Mems, "5", "0").unwrap_err();
        assert_eq!(mems, "Requested memory nodes are not available - requested 5, available: 0");
    }
}
