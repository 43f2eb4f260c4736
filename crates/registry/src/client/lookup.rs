//! Addresses of registries' names.
//!
//! Not by the C library: a static program would need its plug-ins at run time, of the very version it was built with.
//! `/etc/hosts` and the servers of `/etc/resolv.conf` are asked, read anew each time, since laptops move.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_resolver::{TokioResolver, config::ResolverOpts, net::NetError};

use crate::limits;

/// The addresses of a host, in the order in which they are tried.
///
/// # Errors
/// Why there are none, in the words of Docker.
pub(super) async fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    // Never asked for outside (RFC 6761, 6.3).
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let known = std::fs::read_to_string("/etc/hosts").map(|text| in_hosts(&text, &name)).unwrap_or_default();
    if !known.is_empty() {
        return Ok(known);
    }
    let failed = |why: &dyn std::fmt::Display| format!("dial tcp: lookup {host}: {why}");
    let mut builder = TokioResolver::builder_tokio().map_err(|error| failed(&error))?;
    hurry(builder.options_mut());
    let resolver = builder.build().map_err(|error| failed(&error))?;
    match tokio::time::timeout(limits::CONNECT_DEADLINE, resolver.lookup_ip(host)).await {
        Err(_) => Err(failed(&"i/o timeout")),
        Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Err(failed(&"no such host")),
        Ok(Err(NetError::NoConnections)) => Err(failed(&"no name server can be reached")),
        Ok(Err(error)) => Err(failed(&error)),
        Ok(Ok(found)) => {
            let addresses: Vec<IpAddr> = found.iter().collect();
            if addresses.is_empty() { Err(failed(&"no such host")) } else { Ok(addresses) }
        }
    }
}

// What `/etc/resolv.conf` says is how long a lookup may take, as musl reads it; taken as the time of each attempt, a
// silent server would be waited for thrice as long. Within an attempt questions are sent again several times.
fn hurry(options: &mut ResolverOpts) {
    let attempts = u32::try_from(options.attempts).unwrap_or(1).clamp(1, 10);
    options.timeout /= attempts;
    options.attempts = attempts as usize - 1;
}

// Asked first, and for both families at once: a resolver that finds one there goes on to servers for the other.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|known| known.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_attempts_together_take_the_time_that_is_given() {
        let check = |timeout_ms: u64, attempts: usize, expected: (u64, usize)| {
            let mut options = ResolverOpts::default();
            (options.timeout, options.attempts) = (Duration::from_millis(timeout_ms), attempts);
            hurry(&mut options);
            assert_eq!((options.timeout, options.attempts), (Duration::from_millis(expected.0), expected.1));
        };
        check(5000, 2, (2500, 1));
        check(5000, 0, (5000, 0));
        check(6000, 3, (2000, 2));
        check(10_000, 1000, (1000, 9));
    }

    #[test]
    fn hosts_may_have_several_names_and_addresses() {
        let text = "# comment\n10.0.0.1 one.test One two\n::1 one.test # three\nnonsense one.test\n";
        let check = |name: &str| in_hosts(text, name).iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(check("one.test"), "10.0.0.1 ::1");
        assert_eq!(check("one"), "10.0.0.1");
        assert_eq!(check("three"), "");
    }
}
