//! Which devices a container may use: a list of rules, the last one that matches decides, nothing else is allowed.
//!
//! On v1 the list is lines in `devices.deny` and `devices.allow`; on v2 it becomes a program (`sys::bpf`).

use std::str::FromStr;

use hako_sys::bpf;
use serde::{Deserialize, Serialize};

use crate::plan::DeviceKind;

/// The rules of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceRules {
    /// `--privileged`: everything that the host allows.
    All,
    /// These, over a ground of "nothing".
    List(Vec<DeviceRule>),
}

/// One rule; `None` means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    pub kind: Option<DeviceKind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl Default for DeviceRules {
    /// What every container may use: the memory devices, its terminals, and making nodes (which is not using them).
    fn default() -> Self {
        let use_of = |major, minor| DeviceRule::of(DeviceKind::Character, Some(major), minor);
        let make = |kind| DeviceRule { read: false, write: false, ..DeviceRule::of(kind, None, None) };
        Self::List(vec![
            make(DeviceKind::Character),
            make(DeviceKind::Block),
            use_of(1, Some(3)),
            use_of(1, Some(5)),
            use_of(1, Some(7)),
            use_of(1, Some(8)),
            use_of(1, Some(9)),
            use_of(5, Some(0)),
            use_of(5, Some(1)),
            use_of(5, Some(2)),
            use_of(136, None),
            DeviceRule { allow: false, ..use_of(10, Some(229)) },
        ])
    }
}

impl DeviceRules {
    /// Adds one at the end.
    pub fn push(&mut self, rule: DeviceRule) {
        if let Self::List(rules) = self {
            rules.push(rule);
        }
    }

    /// Whether there is nothing to enforce.
    pub fn allows_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// File and line for each write on v1, in order.
    pub(crate) fn lines_v1(&self) -> Vec<(&'static str, String)> {
        let Self::List(rules) = self else { return Vec::new() };
        let mut lines = vec![("devices.deny", "a".to_owned())];
        for rule in rules {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            lines.push((file, rule.line()));
        }
        lines
    }

    /// For the program on v2, where the first match decides.
    pub(crate) fn matches(&self) -> Vec<bpf::DeviceMatch> {
        let Self::List(rules) = self else { return Vec::new() };
        rules.iter().rev().map(|rule| rule.to_match()).collect()
    }
}

impl DeviceRule {
    /// Full use of some devices.
    pub fn of(kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> Self {
        Self { allow: true, kind: Some(kind), major, minor, read: true, write: true, mknod: true }
    }

    /// With other permissions: of `r`, `w`, `m`.
    #[must_use]
    pub fn with_permissions(mut self, permissions: &str) -> Self {
        self.read = permissions.contains('r');
        self.write = permissions.contains('w');
        self.mknod = permissions.contains('m');
        self
    }

    fn line(&self) -> String {
        let kind = match self.kind {
            None => 'a',
            Some(DeviceKind::Block) => 'b',
            // A pipe is not a device; no rule is ever made for one.
            Some(DeviceKind::Character | DeviceKind::Fifo) => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let mut line = format!("{kind} {}:{} ", number(self.major), number(self.minor));
        line.extend(
            [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')].iter().filter(|(on, _)| *on).map(|(_, c)| c),
        );
        line
    }

    fn to_match(self) -> bpf::DeviceMatch {
        bpf::DeviceMatch {
            kind: self.kind.map(|kind| match kind {
                DeviceKind::Block => bpf::DeviceKind::Block,
                DeviceKind::Character | DeviceKind::Fifo => bpf::DeviceKind::Character,
            }),
            major: self.major,
            minor: self.minor,
            read: self.read,
            write: self.write,
            mknod: self.mknod,
            allow: self.allow,
        }
    }
}

/// A text of `--device-cgroup-rule` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid device cgroup format: '{text}'")]
pub struct InvalidDeviceRule {
    text: String,
}

impl FromStr for DeviceRule {
    type Err = InvalidDeviceRule;

    /// `c 188:* rwm`
    fn from_str(text: &str) -> Result<Self, InvalidDeviceRule> {
        parse(text).ok_or_else(|| InvalidDeviceRule { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<DeviceRule> {
    let mut fields = text.split(' ');
    let kind = match fields.next()? {
        "a" => None,
        "b" => Some(DeviceKind::Block),
        "c" => Some(DeviceKind::Character),
        _ => return None,
    };
    let (major, minor) = fields.next()?.split_once(':')?;
    let permissions = fields.next()?;
    let known = !permissions.is_empty() && permissions.len() <= 3 && permissions.chars().all(|c| "rwm".contains(c));
    if !known || fields.next().is_some() {
        return None;
    }
    let rule = DeviceRule { kind, ..DeviceRule::of(DeviceKind::Character, number(major)?, number(minor)?) };
    Some(rule.with_permissions(permissions))
}

// `Some(None)` is "any".
fn number(text: &str) -> Option<Option<u32>> {
    if text == "*" { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_lines_on_v1() {
        let lines: Vec<String> =
            DeviceRules::default().lines_v1().into_iter().map(|(file, line)| format!("{file} {line}")).collect();
        assert_eq!(lines[..3], ["devices.deny a", "devices.allow c *:* m", "devices.allow b *:* m"]);
        assert_eq!(lines.last().unwrap(), "devices.deny c 10:229 rwm");
        assert!(DeviceRules::All.lines_v1().is_empty());
    }

    #[test]
    fn a_rule_is_read_as_docker_writes_it() {
        assert_eq!("c 188:* rw".parse::<DeviceRule>().unwrap().line(), "c 188:* rw");
        assert_eq!("a *:* rwm".parse::<DeviceRule>().unwrap().line(), "a *:* rwm");
        for text in ["", "c 1", "x 1:1 r", "c 1:1 rx", "c 1:1 r r", "c -1:1 r"] {
            assert!(text.parse::<DeviceRule>().is_err(), "{text}");
        }
    }
}
