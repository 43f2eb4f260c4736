//! Published and exposed ports: `-p 127.0.0.1:8080-8082:80-82/udp`, `--expose 53/udp`.
//!
//! The long form `-p target=80,published=8080` is rewritten to the short one, as Docker does.

use std::net::IpAddr;

/// One published port: the container's, and where it appears on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedPort {
    /// `80/tcp`
    pub container: String,
    /// Empty for all addresses.
    pub host_ip: String,
    /// Empty for any free port; a range for any free port of it.
    pub host_port: String,
}

/// Reads one `-p`.
///
/// # Errors
/// In Docker's words.
pub(crate) fn publish(text: &str) -> Result<Vec<PublishedPort>, String> {
    let short = if text.contains('=') { long_to_short(text)? } else { text.to_owned() };
    let (address, container) = short.rsplit_once(':').unwrap_or(("", &short));
    let (ip, host) = address.rsplit_once(':').unwrap_or(("", address));
    let host_ip = host_address(ip)?;
    let (container, protocol) = split_protocol(container);
    if container.is_empty() {
        return Err(format!("no port specified: {short}<empty>"));
    }
    let (start, end) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let hosts = match host {
        "" => None,
        _ => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if let Some((host_start, host_end)) = hosts {
        let same_length = end - start == host_end.wrapping_sub(host_start);
        if !same_length && start != end {
            return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
        }
    }
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let host_port = |offset: u16| match hosts {
        None => String::new(),
        Some((from, to)) if start == end && from != to => format!("{from}-{to}"),
        Some((from, _)) => (from + offset).to_string(),
    };
    let published = (start..=end).map(|port| PublishedPort {
        container: format!("{port}/{protocol}"),
        host_ip: host_ip.clone(),
        host_port: host_port(port - start),
    });
    Ok(published.collect())
}

/// Reads one `--expose` into keys such as `80/tcp`.
///
/// # Errors
/// In Docker's words.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (ports, protocol) = split_protocol(text);
    let (start, end) =
        range(ports).map_err(|reason| format!("invalid range format for --expose: {text}, error: {reason}"))?;
    Ok((start..=end).map(|port| format!("{port}/{protocol}")).collect())
}

fn long_to_short(text: &str) -> Result<String, String> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for parameter in text.split(',') {
        match parameter.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((name, _)) if !name.is_empty() => {}
            _ => return Err(format!("invalid publish opts format (should be name=value but got '{parameter}')")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn host_address(ip: &str) -> Result<String, String> {
    let bare = ip.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(ip);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(bare.to_owned())
}

fn split_protocol(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((port, "")) => (port, "tcp"),
        Some((port, protocol)) if !port.is_empty() => (port, protocol),
        Some(_) => ("", ""),
        None => (text, "tcp"),
    }
}

// `80` or `80-90`.
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let number = |text: &str| crate::flag::parse_number::<u16>("ParseUint", text);
    let Some((start, end)) = text.split_once('-') else {
        let port = number(text)?;
        return Ok((port, port));
    };
    let (start, end) = (number(start)?, number(end)?);
    if end < start {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match publish(text) {
            Ok(ports) => ports
                .iter()
                .map(|port| format!("{}={}:{}", port.container, port.host_ip, port.host_port))
                .collect::<Vec<_>>()
                .join(" "),
            Err(reason) => reason,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn ports_are_published_as_docker_does() {
        check("80", "80/tcp=:");
        check("127.0.0.1:8080:80/UDP", "80/udp=127.0.0.1:8080");
        check("127.0.0.1::80", "80/tcp=127.0.0.1:");
        check("8000-8001:80-81", "80/tcp=:8000 81/tcp=:8001");
        check("8000-8010:80", "80/tcp=:8000-8010");
        check("[::1]:80:80", "80/tcp=::1:80");
        check("target=80,published=8080,protocol=udp,mode=host", "80/udp=:8080");
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        check("abc", "invalid containerPort: abc");
        check("99999:80", "invalid hostPort: 99999");
        check("a:80:80", "invalid IP address: a");
        check("1-3:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-3");
        check("80/foo", "invalid proto: foo");
        check("", "no port specified: <empty>");
        check("foo=1", "no port specified: :/tcp<empty>");
        check("target=80,foo", "invalid publish opts format (should be name=value but got 'foo')");
    }

    #[test]
    fn exposed_ports_may_be_ranges() {
        let check = |text: &str, expected: &str| {
            assert_eq!(expose(text).map(|ports| ports.join(" ")).unwrap_or_else(|reason| reason), expected);
        };
        check("90-92/udp", "90/udp 91/udp 92/udp");
        check(
            "abc",
            r#"invalid range format for --expose: abc, error: strconv.ParseUint: parsing "abc": invalid syntax"#,
        );
        check("80:80", "invalid port format for --expose: 80:80");
        check("80-70", "invalid range format for --expose: 80-70, error: invalid range specified for port: 80-70");
    }
}
