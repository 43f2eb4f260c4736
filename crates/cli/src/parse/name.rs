//! Names and addresses that are checked where they are given: hosts, domains, labels, links,
//! variables, capabilities.

use std::net::IpAddr;

use crate::flag::{FromFlag, go_quote};

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $list:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);

        impl FromFlag for $name {
            const KIND: &'static str = "string";
            const LIST: &'static str = $list;

            fn from_flag(text: &str) -> Result<Self, String> {
                $check(text).map(Self)
            }
        }
    };
}

checked_text!(
    /// `--add-host name:address`, or `name=address`.
    ExtraHost, "list", extra_host
);
checked_text!(
    /// `--dns 1.1.1.1`
    DnsServer, "list", dns_server
);
checked_text!(
    /// `--dns-search example.com`; `.` for none.
    DnsSearch, "list", dns_search
);
checked_text!(
    /// `--label name=value`
    Label, "list", label
);
checked_text!(
    /// `--link container:alias`
    Link, "list", link
);
checked_text!(
    /// `--env name=value`; a name alone takes the value it has here.
    Variable, "list", variable
);
checked_text!(
    /// `--attach stdin`
    Stream, "list", stream
);

fn extra_host(text: &str) -> Result<String, String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("bad format for add-host: {}", go_quote(text)))?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {}", go_quote(bare)));
    }
    Ok(format!("{name}:{bare}"))
}

fn dns_server(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

fn dns_search(text: &str) -> Result<String, String> {
    let domain = text.trim_matches(' ');
    if domain == "." {
        return Ok(domain.to_owned());
    }
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let has_letter = domain.bytes().any(|b| b.is_ascii_alphabetic());
    if !has_letter || domain.len() >= 255 || !domain.split('.').all(part) {
        return Err(format!("{text} is not a valid domain"));
    }
    Ok(domain.to_owned())
}

fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok(text.to_owned())
}

fn link(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty string specified for links".to_owned());
    }
    if text.split(':').count() > 2 {
        return Err(format!("bad format for links: {text}"));
    }
    Ok(text.to_owned())
}

fn variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    // A name without a value here asks for the variable to be removed from the image's.
    Ok(std::env::var(text).map_or_else(|_| text.to_owned(), |value| format!("{text}={value}")))
}

fn stream(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if !matches!(name.as_str(), "stdin" | "stdout" | "stderr") {
        return Err("valid streams are STDIN, STDOUT and STDERR".to_owned());
    }
    Ok(name)
}

/// Capabilities as the API takes them: upper case, with `CAP_`, sorted, each once.
pub(crate) fn capabilities(names: &[String]) -> Option<Vec<String>> {
    let mut known: Vec<String> = names
        .iter()
        .map(|name| name.trim().to_ascii_uppercase())
        .map(|name| match name.as_str() {
            "ALL" | "RESET" => name,
            other if other.starts_with("CAP_") => name,
            other => format!("CAP_{other}"),
        })
        .collect();
    known.sort();
    known.dedup();
    (!known.is_empty()).then_some(known)
}

/// Whether `text` is a hardware address of 6, 8 or 20 bytes, in any of Go's three spellings.
pub(crate) fn is_mac_address(text: &str) -> bool {
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_hexdigit());
    let spelled = |separator: char, width: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        matches!(parts.len() * width / 2, 6 | 8 | 20) && parts.iter().all(|part| digits(part, width))
    };
    spelled(':', 2) || spelled('-', 2) || spelled('.', 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parse: impl Fn(&str) -> Result<String, String>, text: &str, expected: Result<&str, &str>) {
        assert_eq!(parse(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    }

    #[test]
    fn hosts_have_an_address() {
        check(extra_host, "a:1.2.3.4", Ok("a:1.2.3.4"));
        check(extra_host, "b=host-gateway", Ok("b:host-gateway"));
        check(extra_host, "v6:[::1]", Ok("v6:::1"));
        check(extra_host, "abc", Err(r#"bad format for add-host: "abc""#));
        check(extra_host, "a:b", Err(r#"invalid IP address in add-host: "b""#));
    }

    #[test]
    fn names_are_checked_in_dockers_words() {
        check(dns_server, "abc", Err("IP address is not correctly formatted: abc"));
        check(dns_search, "a b", Err("a b is not a valid domain"));
        check(dns_search, "a.b.", Ok("a.b"));
        check(label, "=x", Err("invalid label '=x': empty name"));
        check(link, "a:b:c", Err("bad format for links: a:b:c"));
        check(variable, "=x", Err("invalid environment variable: =x"));
        check(stream, "STDIN", Ok("stdin"));
    }

    #[test]
    fn capabilities_have_one_spelling() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(capabilities(&names(&["b", "cap_a", "CAP_A", "all"])), Some(names(&["ALL", "CAP_A", "CAP_B"])));
        assert_eq!(capabilities(&[]), None);
    }

    #[test]
    fn hardware_addresses_come_in_three_spellings() {
        for text in ["92:d0:c6:0a:29:33", "02-42-ac-11-00-02", "0242.ac11.0002"] {
            assert!(is_mac_address(text), "{text}");
        }
        assert!(!is_mac_address("zz"));
    }
}
