//! What a container reads about names: resolv.conf, hosts, hostname. Pure; Docker's behaviour.
//!
//! On the default bridge a container gets the host's resolv.conf without the nameservers that only
//! the host can reach; user-defined networks have a name service of their own (127.0.0.11).

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

/// What was said about names on the command line or in the daemon's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsPlan {
    /// `--dns`
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none.
    pub search: Vec<String>,
    /// `--dns-option`
    pub options: Vec<String>,
}

/// Google's, which Docker falls back to where the host has none that a container can reach.
const FALL_BACK: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const FALL_BACK_IPV6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// `resolv.conf` of a container on the default bridge. `ipv6`: whether it has such an address.
pub fn resolv_conf(host: &str, plan: &DnsPlan, ipv6: bool) -> String {
    let mut servers: Vec<String> = plan.servers.iter().map(IpAddr::to_string).collect();
    if servers.is_empty() {
        servers = values(host, "nameserver").filter(|server| reachable(server, ipv6)).map(str::to_owned).collect();
    }
    if servers.is_empty() {
        servers.extend(FALL_BACK.map(str::to_owned));
        if ipv6 {
            servers.extend(FALL_BACK_IPV6.map(str::to_owned));
        }
    }
    text(&servers, host, plan)
}

/// Where the name service of a user-defined network answers, in each container's namespace.
pub const NAME_SERVICE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// `resolv.conf` of a container in a user-defined network: the name service, which knows the servers outside.
/// `ndots:0`: a name without a dot is a container's before it is looked for in search domains.
pub fn resolv_conf_served(host: &str, plan: &DnsPlan) -> String {
    let mut plan = plan.clone();
    if plan.options.is_empty() {
        let line = values_of_lines(host, "options").last().unwrap_or_default();
        plan.options = line.split_whitespace().map(str::to_owned).collect();
    }
    if !plan.options.iter().any(|option| option.starts_with("ndots:")) {
        plan.options.push("ndots:0".to_owned());
    }
    text(&[NAME_SERVICE.to_string()], host, &plan)
}

/// `resolv.conf` of a container with the host's network: the host's own, but for what was asked.
pub fn resolv_conf_host(host: &str, plan: &DnsPlan) -> String {
    if *plan == DnsPlan::default() {
        return host.to_owned();
    }
    let mut servers: Vec<String> = plan.servers.iter().map(IpAddr::to_string).collect();
    if servers.is_empty() {
        servers = values(host, "nameserver").map(str::to_owned).collect();
    }
    text(&servers, host, plan)
}

fn text(servers: &[String], host: &str, plan: &DnsPlan) -> String {
    let or_host = |own: &[String], keyword: &str| -> Vec<String> {
        if own.is_empty() {
            // The last line counts, as in the C library.
            let line = values_of_lines(host, keyword).last().unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        } else {
            own.to_vec()
        }
    };
    let mut search = or_host(&plan.search, "search");
    if search == ["."] {
        search.clear();
    }
    let options = or_host(&plan.options, "options");
    let mut out = String::new();
    for server in servers {
        let _ = writeln!(out, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(out, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(out, "options {}", options.join(" "));
    }
    out
}

/// Whether a container can reach a nameserver of the host: not its loopback (127.0.0.53 of
/// systemd-resolved), and IPv6 only with an address of its own; link-local ones name a link it lacks.
fn reachable(server: &str, ipv6: bool) -> bool {
    match server.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => !address.is_loopback(),
        Ok(IpAddr::V6(address)) => ipv6 && !address.is_loopback() && !address.is_unicast_link_local(),
        Err(_) => false,
    }
}

fn values_of_lines<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let rest = line.trim().strip_prefix(keyword)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim())
    })
}

fn values<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    values_of_lines(text, keyword).filter_map(|line| line.split_whitespace().next())
}

/// The file that says which nameservers the host really uses: where resolv.conf names only
/// systemd-resolved's stub, its upstream list is to be read instead.
pub fn resolv_conf_is_stub(host: &str) -> bool {
    let mut servers = values(host, "nameserver").peekable();
    servers.peek().is_some() && servers.all(|server| server == "127.0.0.53")
}

/// `hosts` of a container: its names behind each of its addresses, then what was asked for.
///
/// `extra` are `--add-host` entries (`name`, address; `host-gateway` is replaced before).
pub fn hosts(addresses: &[IpAddr], names: &[String], extra: &[(String, IpAddr)]) -> String {
    let mut out = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        let _ = writeln!(out, "{address}\t{name}");
    }
    for address in addresses {
        let _ = writeln!(out, "{address}\t{}", names.join(" "));
    }
    out
}

/// A hosts file as the container has made it by now, with lines for these addresses, or without them.
pub fn hosts_changed(text: &str, gone: &[IpAddr], new: &[IpAddr], names: &[String]) -> String {
    let names = names.join(" ");
    let is_gone = |line: &str| gone.iter().any(|address| line == format!("{address}\t{names}"));
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.lines().filter(|line| !is_gone(line)) {
        let _ = writeln!(out, "{line}");
    }
    for address in new {
        let _ = writeln!(out, "{address}\t{names}");
    }
    out
}

/// A hosts file in which these names have another address: a container that is linked to has started again.
pub fn hosts_readdressed(text: &str, names: &str, address: IpAddr) -> String {
    let is_theirs = |line: &str| line.split_once('\t').is_some_and(|(_, rest)| rest == names);
    let lines = text.lines();
    lines.fold(String::with_capacity(text.len() + 16), |mut out, line| {
        let _ = if is_theirs(line) { writeln!(out, "{address}\t{names}") } else { writeln!(out, "{line}") };
        out
    })
}

/// The names a container has in its own hosts file: `web.example.org web`, or `web`.
pub fn own_names(hostname: &str, domain: &str) -> Vec<String> {
    if !domain.is_empty() {
        return vec![format!("{hostname}.{domain}"), hostname.to_owned()];
    }
    match hostname.split_once('.') {
        Some((short, _)) => vec![hostname.to_owned(), short.to_owned()],
        None => vec![hostname.to_owned()],
    }
}

/// `--add-host name:address` (or `name=address`, and brackets around IPv6); `host-gateway` stands
/// for the addresses of the host. Empty: not such an entry.
pub fn extra_host(text: &str, host_gateways: &[IpAddr]) -> Vec<(String, IpAddr)> {
    let Some((name, address)) = text.split_once(['=', ':']).filter(|(name, _)| !name.is_empty()) else {
        return Vec::new();
    };
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    let addresses =
        if address == "host-gateway" { host_gateways.to_vec() } else { address.parse().into_iter().collect() };
    addresses.into_iter().map(|address| (name.to_owned(), address)).collect()
}

/// `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.53 \nnameserver fe80::1%eth0\n\
                        nameserver 2001:db8::53\nsearch example.org lan\noptions edns0\n";

    #[test]
    fn the_hosts_file_is_copied_without_what_only_the_host_reaches() {
        let plan = DnsPlan::default();
        assert_eq!(resolv_conf(HOST, &plan, false), "nameserver 10.0.0.53\nsearch example.org lan\noptions edns0\n");
        assert_eq!(
            resolv_conf(HOST, &plan, true),
            "nameserver 10.0.0.53\nnameserver 2001:db8::53\nsearch example.org lan\noptions edns0\n"
        );
    }

    #[test]
    fn without_a_reachable_nameserver_there_is_a_fall_back() {
        assert_eq!(
            resolv_conf("nameserver 127.0.0.1\n", &DnsPlan::default(), false),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
        assert!(resolv_conf_is_stub("nameserver 127.0.0.53\noptions x\n"));
        assert!(!resolv_conf_is_stub(HOST) && !resolv_conf_is_stub(""));
    }

    #[test]
    fn what_was_asked_for_wins() {
        let plan = DnsPlan {
            servers: vec!["1.1.1.1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
        };
        assert_eq!(resolv_conf(HOST, &plan, false), "nameserver 1.1.1.1\noptions ndots:2\n");
        assert_eq!(resolv_conf_host(HOST, &DnsPlan::default()), HOST);
    }

    #[test]
    fn hosts_names_the_container_behind_its_addresses() {
        let extra = [extra_host("db:10.0.0.9", &[]), extra_host("six=[2001:db8::1]", &[])].concat();
        let text = hosts(&["172.17.0.2".parse().unwrap()], &own_names("web", "example.org"), &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"));
        assert!(text.ends_with("10.0.0.9\tdb\n2001:db8::1\tsix\n172.17.0.2\tweb.example.org web\n"), "{text}");
    }

    #[test]
    fn in_a_user_defined_network_the_name_service_is_asked() {
        let plan = DnsPlan::default();
        let expected = "nameserver 127.0.0.11\nsearch example.org lan\noptions edns0 ndots:0\n";
        assert_eq!(resolv_conf_served(HOST, &plan), expected);
        let plan = DnsPlan {
            servers: vec!["1.1.1.1".parse().unwrap()],
            search: vec!["one".into()],
            options: vec!["ndots:3".into()],
        };
        assert_eq!(resolv_conf_served("", &plan), "nameserver 127.0.0.11\nsearch one\noptions ndots:3\n");
    }

    #[test]
    fn a_change_of_networks_leaves_what_the_container_wrote() {
        let names = own_names("web", "");
        let (one, two) = (["10.1.0.2".parse().unwrap()], ["10.2.0.2".parse().unwrap()]);
        let text = hosts_changed("127.0.0.1\tlocalhost\n10.1.0.2\tweb\n10.1.0.2 mine", &[], &two, &names);
        assert_eq!(text, "127.0.0.1\tlocalhost\n10.1.0.2\tweb\n10.1.0.2 mine\n10.2.0.2\tweb\n");
        let text = hosts_changed(&text, &one, &[], &names);
        assert_eq!(text, "127.0.0.1\tlocalhost\n10.1.0.2 mine\n10.2.0.2\tweb\n");
        let text = hosts_readdressed(&text, "web", "10.2.0.9".parse().unwrap());
        assert_eq!(text, "127.0.0.1\tlocalhost\n10.1.0.2 mine\n10.2.0.9\tweb\n");
    }

    #[test]
    fn host_gateway_is_each_address_of_the_host() {
        let gateways: [IpAddr; 2] = ["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let entries = |text: &str, gateways: &[IpAddr]| {
            let entries = extra_host(text, gateways);
            entries.iter().map(|(name, address)| format!("{name} {address}")).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(entries("host.docker.internal:host-gateway", &gateways[..1]), "host.docker.internal 172.17.0.1");
        assert_eq!(entries("host=host-gateway", &gateways), "host 172.17.0.1, host fd00::1");
        assert_eq!(entries("host:[fd00::9]", &gateways), "host fd00::9");
        assert_eq!(entries("host:host-gateway", &[]), "");
        assert_eq!(entries("nothing", &gateways) + &entries(":1.2.3.4", &gateways), "");
    }
}
