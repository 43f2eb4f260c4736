//! A container's place in a network: `--network web`, `--network name=web,alias=db,ip=10.0.0.3`.

use super::{csv, name};
use crate::flag::FromFlag;

/// One `--network`, or the default one with the flags that describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub target: String,
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub ipv4: String,
    pub ipv6: String,
    pub mac_address: String,
    pub link_local: Vec<String>,
    pub driver_options: Vec<(String, String)>,
    pub gateway_priority: i64,
}

impl FromFlag for Attachment {
    const KIND: &'static str = "network";
    const LIST: &'static str = "network";

    fn from_flag(text: &str) -> Result<Self, String> {
        if !is_long_form(text) {
            return Ok(Self { target: text.to_owned(), ..Self::default() });
        }
        let mut attachment = Self::default();
        for field in csv::fields(text)? {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
            attachment.set(&key.trim().to_ascii_lowercase(), value.trim())?;
        }
        if attachment.target.is_empty() {
            return Err("network name/id is not specified".to_owned());
        }
        Ok(attachment)
    }
}

// At least one `word=word` where the text begins.
fn is_long_form(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split_once('=').is_some_and(|(key, value)| {
        key.chars().last().is_some_and(is_word) && value.chars().next().is_some_and(is_word)
    })
}

impl Attachment {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "name" => self.target = value.to_owned(),
            "alias" => self.aliases.push(value.to_owned()),
            "ip" => self.ipv4 = value.to_owned(),
            "ip6" => self.ipv6 = value.to_owned(),
            "mac-address" => self.mac_address = value.to_owned(),
            "link-local-ip" => self.link_local.push(value.to_owned()),
            "driver-opt" => {
                let (name, value) = value
                    .split_once('=')
                    .ok_or_else(|| format!("invalid key value pair format in driver options: {value}"))?;
                self.driver_options.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            "gw-priority" => {
                self.gateway_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
        Ok(())
    }

    /// Whether nothing but the network's name was said.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self { target: self.target.clone(), ..Self::default() }
    }

    fn check(&self) -> Result<(), String> {
        if self.target.trim().is_empty() {
            return Err("no name set for network".to_owned());
        }
        if !is_user_defined(&self.target) {
            if !self.aliases.is_empty() {
                return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
            }
            if !self.links.is_empty() {
                return Err("links are only supported for user-defined networks".to_owned());
            }
        }
        if !self.mac_address.is_empty() && !name::is_mac_address(&self.mac_address) {
            return Err(format!("{} is not a valid mac address", self.mac_address));
        }
        Ok(())
    }
}

/// Whether this is a network somebody made, rather than one of the modes of a container.
pub(crate) fn is_user_defined(target: &str) -> bool {
    !matches!(target, "default" | "bridge" | "host" | "none" | "") && !target.starts_with("container:")
}

/// The flags that describe the first network: `--ip`, `--ip6`, `--network-alias` and so on.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstNetwork {
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub ipv4: String,
    pub ipv6: String,
    pub mac_address: String,
    pub link_local: Vec<String>,
}

/// All networks of a container; those that need no word of their own are left out of the second
/// part, the daemon joins them by the network mode alone.
pub(crate) struct Networks {
    pub mode: String,
    pub endpoints: Vec<Attachment>,
}

/// Puts `--network` and the flags for the first network together.
///
/// # Errors
/// When they contradict each other, in Docker's words.
pub(crate) fn combine(given: &[Attachment], first: &FirstNetwork) -> Result<Networks, String> {
    let mode = given.first().map_or("default", |network| &network.target).to_owned();
    let mut endpoints: Vec<Attachment> = Vec::new();
    if given.is_empty() {
        let mut default = Attachment { target: "default".to_owned(), ..Attachment::default() };
        apply_first(&mut default, first)?;
        default.check()?;
        endpoints.push(default);
    }
    for (at, network) in given.iter().enumerate() {
        let mut network = network.clone();
        if at == 0 {
            apply_first(&mut network, first)?;
        }
        network.check()?;
        if endpoints.iter().any(|known| known.target == network.target) {
            return Err(format!("network {} is specified multiple times", crate::flag::go_quote(&network.target)));
        }
        if given.len() > 1 || !network.is_plain() {
            endpoints.push(network);
        }
    }
    let user_defined = given.iter().filter(|network| is_user_defined(&network.target)).count();
    if user_defined > 0 && user_defined < given.len() {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned()
        );
    }
    Ok(Networks { mode, endpoints })
}

fn apply_first(network: &mut Attachment, first: &FirstNetwork) -> Result<(), String> {
    let conflict = |flag: &str, option: &str| {
        Err(format!("conflicting options: cannot specify both {flag} and per-network {option}"))
    };
    if !network.aliases.is_empty() && !first.aliases.is_empty() {
        return conflict("--network-alias", "alias");
    }
    if !network.ipv4.is_empty() && !first.ipv4.is_empty() {
        return conflict("--ip", "IPv4 address");
    }
    if !network.ipv6.is_empty() && !first.ipv6.is_empty() {
        return conflict("--ip6", "IPv6 address");
    }
    if !network.mac_address.is_empty() && !first.mac_address.is_empty() {
        return conflict("--mac-address", "MAC address");
    }
    if !network.link_local.is_empty() && !first.link_local.is_empty() {
        return conflict("--link-local-ip", "link-local IP addresses");
    }
    network.aliases.extend(first.aliases.iter().cloned());
    network.link_local.extend(first.link_local.iter().cloned());
    if is_user_defined(&network.target) {
        network.links.extend(first.links.iter().cloned());
    }
    for (field, value) in [
        (&mut network.ipv4, &first.ipv4),
        (&mut network.ipv6, &first.ipv6),
        (&mut network.mac_address, &first.mac_address),
    ] {
        if !value.is_empty() {
            field.clone_from(value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(networks: &[&str], first: &FirstNetwork, expected: &str) {
        let given: Result<Vec<_>, _> = networks.iter().map(|text| Attachment::from_flag(text)).collect();
        let got = match given.and_then(|given| combine(&given, first)) {
            Ok(all) => {
                let targets: Vec<_> = all.endpoints.iter().map(|endpoint| endpoint.target.clone()).collect();
                format!("{} {targets:?}", all.mode)
            }
            Err(reason) => reason,
        };
        assert_eq!(got, expected, "{networks:?}");
    }

    #[test]
    fn a_network_that_is_only_named_needs_no_endpoint() {
        let none = FirstNetwork::default();
        check(&[], &none, r#"default ["default"]"#);
        check(&["host"], &none, "host []");
        check(&["n1"], &FirstNetwork { ipv4: "10.0.0.2".to_owned(), ..none.clone() }, r#"n1 ["n1"]"#);
        check(&["name=n1,alias=x", "n2"], &none, r#"n1 ["n1", "n2"]"#);
    }

    #[test]
    fn contradictions_are_told_in_dockers_words() {
        let none = FirstNetwork::default();
        let alias = FirstNetwork { aliases: vec!["a".to_owned()], ..none.clone() };
        check(&["n1", "n1"], &none, r#"network "n1" is specified multiple times"#);
        check(&["host"], &alias, "network-scoped aliases are only supported for user-defined networks");
        check(
            &["name=n1,alias=b"],
            &alias,
            "conflicting options: cannot specify both --network-alias and per-network alias",
        );
        check(
            &["n1", "host"],
            &none,
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        );
        check(&["name=a,foo=b"], &none, "invalid field key foo");
        check(&["name=n1,gw-priority=x"], &none, "invalid gw-priority (x): invalid syntax");
        check(&[""], &none, "no name set for network");
    }
}
