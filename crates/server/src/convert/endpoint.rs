//! A container's place in one network.

use std::{fmt, net::IpAddr, str::FromStr};

use hako_api::network::{EndpointIpamConfig, EndpointSettings};
use hako_engine::view::EndpointView;
use hako_model::EndpointSpec;

use crate::error::Failure;

/// What is asked of a network. What a client echoes from `inspect` beside it (ids, addresses that
/// were given) is ignored, as Docker does.
pub(crate) fn endpoint(from: &EndpointSettings) -> Result<EndpointSpec, Failure> {
    let addresses = from.ipam_config.clone().unwrap_or_default();
    Ok(EndpointSpec {
        aliases: from.aliases.clone().unwrap_or_default(),
        links: from.links.clone().unwrap_or_default(),
        ipv4: address("IPv4 address", &addresses.ipv4_address)?,
        ipv6: address("IPv6 address", &addresses.ipv6_address)?,
        link_local: addresses
            .link_local_ips
            .iter()
            .map(|text| required::<IpAddr>("link-local IP address", text))
            .collect::<Result<_, _>>()?,
        mac: mac(&from.mac_address)?,
        driver_options: from.driver_opts.clone().unwrap_or_default(),
        gateway_priority: from.gw_priority.unwrap_or_default(),
    })
}

fn required<T: FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::invalid(format!("invalid {what}: {text}")))
}

fn address<T: FromStr>(what: &str, text: &str) -> Result<Option<T>, Failure> {
    (!text.is_empty()).then(|| required(what, text)).transpose()
}

/// Six bytes in hexadecimal, between colons or dashes.
pub(crate) fn mac(text: &str) -> Result<Option<[u8; 6]>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || Failure::invalid(format!("invalid MAC address: {text}"));
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+')).ok_or_else(invalid)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
    }
    if parts.next().is_some() { Err(invalid()) } else { Ok(Some(bytes)) }
}

pub(crate) fn mac_text(mac: Option<[u8; 6]>) -> String {
    let digits = mac.map_or_else(String::new, |bytes| hako_base::random::encode_hex(&bytes));
    let mut text = String::with_capacity(17);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 2 == 0 {
            text.push(':');
        }
        text.push(digit);
    }
    text
}

/// `null` where Go has a nil slice.
fn some(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

fn text(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

pub(crate) fn endpoint_to_api(view: EndpointView) -> EndpointSettings {
    let spec = view.spec;
    let addresses = EndpointIpamConfig {
        ipv4_address: text(spec.ipv4),
        ipv6_address: text(spec.ipv6),
        link_local_ips: spec.link_local.iter().map(ToString::to_string).collect(),
    };
    EndpointSettings {
        ipam_config: (addresses != EndpointIpamConfig::default()).then_some(addresses),
        links: some(spec.links),
        aliases: some(spec.aliases),
        mac_address: mac_text(view.mac),
        driver_opts: (!spec.driver_options.is_empty()).then_some(spec.driver_options),
        gw_priority: Some(spec.gateway_priority),
        network_id: view.network_id,
        endpoint_id: view.endpoint_id,
        gateway: text(view.gateway),
        ip_address: text(view.address),
        ip_prefix_len: i64::from(view.prefix),
        ipv6_gateway: text(view.gateway6),
        global_ipv6_address: text(view.address6),
        global_ipv6_prefix_len: i64::from(view.prefix6),
        dns_names: some(view.dns_names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_or_refused_by_name() {
        let parse = |text: &str| endpoint(&serde_json::from_str(text).unwrap()).map_err(|failure| failure.message);
        let asked = parse(
            r#"{"IPAMConfig":{"IPv4Address":"10.0.0.9","IPv6Address":"fd00::9"},"MacAddress":"02-42-AC-11-00-02","Aliases":["db"],"IPAddress":"1.2.3.4"}"#,
        )
        .unwrap();
        assert_eq!(asked.ipv4, Some([10, 0, 0, 9].into()));
        assert_eq!(mac_text(asked.mac), "02:42:ac:11:00:02");
        assert_eq!(asked.aliases, ["db"]);
        for (text, message) in [
            (r#"{"IPAMConfig":{"IPv4Address":"fd00::9"}}"#, "invalid IPv4 address: fd00::9"),
            (r#"{"IPAMConfig":{"LinkLocalIPs":["x"]}}"#, "invalid link-local IP address: x"),
            (r#"{"MacAddress":"02:42"}"#, "invalid MAC address: 02:42"),
            (r#"{"MacAddress":"02:42:ac:11:00:02:03"}"#, "invalid MAC address: 02:42:ac:11:00:02:03"),
            (r#"{"MacAddress":"+2:42:ac:11:00:+2"}"#, "invalid MAC address: +2:42:ac:11:00:+2"),
        ] {
            assert_eq!(parse(text).unwrap_err(), message);
        }
    }
}
