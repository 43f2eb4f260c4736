//! Ports: what an image exposes and what a person publishes.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl PortProtocol {
    /// `tcp`, `udp` or `sctp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port of a container: `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    pub port: u16,
    pub protocol: PortProtocol,
}

/// A text that is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid port specification: {text:?}")]
pub struct PortError {
    text: String,
}

impl FromStr for PortKey {
    type Err = PortError;

    /// `80` and `80/tcp` are the same; port 0 is none.
    fn from_str(text: &str) -> Result<Self, PortError> {
        let error = || PortError { text: text.to_owned() };
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => PortProtocol::Tcp,
            "udp" => PortProtocol::Udp,
            "sctp" => PortProtocol::Sctp,
            _ => return Err(error()),
        };
        let port = number.parse().ok().filter(|port| *port != 0).ok_or_else(error)?;
        Ok(Self { port, protocol })
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.name())
    }
}

impl Serialize for PortKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Where on the host a container's port is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortBinding {
    /// `None`: every address of the host, both families.
    pub address: Option<IpAddr>,
    /// First port of the range to choose from; 0: any free one.
    pub port: u16,
    /// Last port of that range; equal to `port` for a single one.
    pub port_end: u16,
    /// Any free one was asked for by writing 0, not by writing nothing: clients want back what they sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zero_is_written: bool,
}
