//! Limits and policies: `--ulimit nofile=1024:2048`, `--memory-swap -1`, `--restart on-failure:3`,
//! `--sysctl net.core.somaxconn=1024`.

use crate::flag::{FromFlag, Value};

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// One `--ulimit`; -1 is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

impl FromFlag for Ulimit {
    const KIND: &'static str = "ulimit";
    const LIST: &'static str = "ulimit";

    fn from_flag(text: &str) -> Result<Self, String> {
        let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
        if !ULIMITS.contains(&name) {
            return Err(format!("invalid ulimit type: {name}"));
        }
        let values: Vec<&str> = limits.split(':').collect();
        if values.len() > 2 {
            return Err(format!("too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"));
        }
        let soft = i64::from_flag(values[0])?;
        let hard = values.get(1).map_or(Ok(soft), |text| i64::from_flag(text))?;
        let order = "ulimit soft limit must be less than or equal to hard limit";
        if hard != -1 && soft == -1 {
            return Err(format!("{order}: soft: -1 (unlimited), hard: {hard}"));
        }
        if hard != -1 && soft > hard {
            return Err(format!("{order}: {soft} > {hard}"));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

/// `--ulimit` repeated: the last of a name wins, and names are sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ulimits(pub Vec<Ulimit>);

impl Value for Ulimits {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let limit = Ulimit::from_flag(text)?;
        self.0.retain(|known| known.name != limit.name);
        self.0.push(limit);
        self.0.sort();
        Ok(())
    }

    fn kind(&self) -> &'static str {
        "ulimit"
    }
}

/// `--memory-swap`: bytes, or -1 for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SwapBytes(pub i64);

impl FromFlag for SwapBytes {
    const KIND: &'static str = "bytes";

    fn from_flag(text: &str) -> Result<Self, String> {
        if text == "-1" {
            return Ok(Self(-1));
        }
        crate::format::size::parse_ram(text).map(Self)
    }
}

/// A restart policy by name, with the most retries of `on-failure`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Restart {
    pub name: String,
    pub retries_max: i64,
}

/// Reads `--restart`.
///
/// # Errors
/// In Docker's words.
pub(crate) fn restart(text: &str) -> Result<Restart, String> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() && !text.is_empty() {
        return Err("invalid restart policy format: no policy provided before colon".to_owned());
    }
    let retries_max = match count {
        "" => 0,
        _ => count
            .parse()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?,
    };
    Ok(Restart { name: name.to_owned(), retries_max })
}

/// One `--sysctl`; only those of the container's own namespaces are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sysctl {
    pub name: String,
    pub value: String,
}

impl FromFlag for Sysctl {
    const KIND: &'static str = "map";
    const LIST: &'static str = "map";

    fn from_flag(text: &str) -> Result<Self, String> {
        let refused = || format!("sysctl '{text}' is not allowed");
        let (name, value) = text.split_once('=').filter(|(_, value)| !value.contains('=')).ok_or_else(refused)?;
        let allowed = SYSCTLS.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.");
        if !allowed {
            return Err(refused());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_have_a_soft_and_a_hard_side() {
        let check = |text: &str, expected: Result<(i64, i64), &str>| {
            let got = Ulimit::from_flag(text).map(|limit| (limit.soft, limit.hard));
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        };
        check("nofile=1024:2048", Ok((1024, 2048)));
        check("nproc=5", Ok((5, 5)));
        check("nofile=5:-1", Ok((5, -1)));
        check("foo", Err("invalid ulimit argument: foo"));
        check("foo=1", Err("invalid ulimit type: foo"));
        check("nofile=a", Err(r#"strconv.ParseInt: parsing "a": invalid syntax"#));
        check("nofile=5:1", Err("ulimit soft limit must be less than or equal to hard limit: 5 > 1"));
        check(
            "nofile=-1:5",
            Err("ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 5"),
        );
    }

    #[test]
    fn restart_policies_may_count() {
        let check = |text: &str, expected: Result<(&str, i64), &str>| {
            let got = restart(text).map(|policy| (policy.name, policy.retries_max));
            assert_eq!(got, expected.map(|(name, n)| (name.to_owned(), n)).map_err(str::to_owned), "{text}");
        };
        check("on-failure:5", Ok(("on-failure", 5)));
        check("", Ok(("", 0)));
        check(":1", Err("invalid restart policy format: no policy provided before colon"));
        check("on-failure:a", Err("invalid restart policy format: maximum retry count must be an integer"));
    }

    #[test]
    fn only_namespaced_sysctls_are_allowed() {
        assert!(Sysctl::from_flag("net.core.somaxconn=1").is_ok());
        assert_eq!(Sysctl::from_flag("vm.swappiness=1").unwrap_err(), "sysctl 'vm.swappiness=1' is not allowed");
    }
}
