//! Where a daemon is: the texts of `DOCKER_HOST` and `-H`.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::SshHost;

/// An address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A socket in the file system.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// A machine that the person's `ssh` reaches.
    Ssh(SshHost),
}

/// Docker's ports: without TLS, and with it.
const PORTS: [u16; 2] = [2375, 2376];

/// A text that is not an address, or not one that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("unable to parse docker host `{text}`")]
    Unparsable { text: String },
    #[error("cannot connect to {text}: hako has no {scheme} connections, use unix://, tcp:// or ssh://")]
    NotBuilt { text: String, scheme: String },
    #[error("invalid ssh URL {text}: {why}")]
    Ssh { text: String, why: &'static str },
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text, false)
    }
}

impl Host {
    /// Reads an address; one without a port has Docker's, which depends on whether TLS is spoken there.
    ///
    /// # Errors
    /// A text that is no address, or one of a kind that hako does not connect to.
    pub fn parse(text: &str, tls: bool) -> Result<Self, HostError> {
        let unparsable = || HostError::Unparsable { text: text.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(unparsable)?;
        match scheme {
            "unix" if !rest.is_empty() => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => {
                let address = rest.trim_end_matches('/');
                // A path would be Docker's base path, which no daemon has.
                if address.is_empty() || address.contains('/') {
                    return Err(unparsable());
                }
                let named = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if named { address.to_owned() } else { format!("{address}:{}", PORTS[usize::from(tls)]) }))
            }
            "ssh" => text.parse().map(Self::Ssh),
            "https" | "npipe" | "fd" => Err(HostError::NotBuilt { text: text.to_owned(), scheme: scheme.to_owned() }),
            _ => Err(unparsable()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Ssh(host) => host.fmt(f),
        }
    }
}

impl Host {
    /// What the `Host` header says; no daemon looks at it on a unix socket.
    pub(crate) fn header(&self) -> &str {
        match self {
            Self::Unix(_) | Self::Ssh(_) => "api.moby.localhost",
            Self::Tcp(address) => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dockers() {
        for (text, expected) in [
            ("unix:///run/hako.sock", "unix:///run/hako.sock"),
            ("unix://relative.sock", "unix://relative.sock"),
            ("tcp://localhost", "tcp://localhost:2375"),
            ("tcp://10.0.0.1:99/", "tcp://10.0.0.1:99"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("http://h:1", "tcp://h:1"),
            ("ssh://me@h", "ssh://me@h"),
            ("https://h", "cannot connect to https://h: hako has no https connections, use unix://, tcp:// or ssh://"),
            ("unix://", "unable to parse docker host `unix://`"),
            ("/run/x.sock", "unable to parse docker host `/run/x.sock`"),
            ("tcp://h:1/base", "unable to parse docker host `tcp://h:1/base`"),
        ] {
            let got = text.parse::<Host>().map_or_else(|error| error.to_string(), |host| host.to_string());
            assert_eq!(got, expected, "{text}");
        }
        assert_eq!(Host::parse("tcp://h", true).unwrap().to_string(), "tcp://h:2376");
    }
}
