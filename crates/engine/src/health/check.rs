//! What a health check asks: read from the container's settings, with Docker's defaults filled in.
//!
//! Docker knows `CMD`, `CMD-SHELL` and `NONE`. `HTTP` and `TCP` are ours: the daemon asks over the container's network,
//! and no process is started for it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use hako_model::{HealthSpec, HostSpec, ImageConfig};

use crate::EngineError;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The annotation by which `--restart-unhealthy` travels: clients that do not know the flag can say it too.
pub(crate) const RESTART_ANNOTATION: &str = "hako.restart-unhealthy";

/// A check that can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) ask: Ask,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) start_period: Duration,
    pub(crate) start_interval: Duration,
    pub(crate) retries: u32,
}

/// What is asked, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A process in the container that ends with 0.
    Command(Vec<String>),
    /// A connection.
    Tcp(SocketAddr),
    /// An answer with a status of 200 to 399.
    Http { target: SocketAddr, host: String, path: String },
}

impl Check {
    /// Whether a process in the container is asked, and not its network.
    pub(super) fn is_process(&self) -> bool {
        matches!(self.ask, Ask::Command(_))
    }

    /// From what was asked for; `None` when there is nothing to check.
    ///
    /// # Errors
    /// A kind of check that there is none of, or a target that is none.
    pub(crate) fn parse(spec: &HealthSpec, config: &ImageConfig) -> Result<Option<Self>, EngineError> {
        let Some((kind, words)) = spec.test.split_first() else { return Ok(None) };
        let ask = match kind.as_str() {
            "NONE" => return Ok(None),
            "CMD" if !words.is_empty() => Ask::Command(words.to_vec()),
            "CMD-SHELL" if !words.is_empty() => {
                let shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
                Ask::Command(shell.into_iter().chain(words.iter().cloned()).collect())
            }
            "TCP" => Ask::Tcp(address(words.first().map_or("", String::as_str))?),
            "HTTP" => http(words.first().map_or("", String::as_str))?,
            "CMD" | "CMD-SHELL" => return Err(EngineError::invalid(format!("{kind} in Healthcheck needs a command"))),
            other => {
                return Err(EngineError::invalid(format!(
                    "unknown kind of health check {other:?}: CMD, CMD-SHELL, HTTP, TCP and NONE are known"
                )));
            }
        };
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos @ 1..) => Duration::from_nanos(nanos),
            _ => default,
        };
        Ok(Some(Self {
            ask,
            interval: or(spec.interval_ns, INTERVAL),
            timeout: or(spec.timeout_ns, TIMEOUT),
            start_period: or(spec.start_period_ns, Duration::ZERO),
            start_interval: or(spec.start_interval_ns, START_INTERVAL),
            retries: u32::try_from(spec.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES),
        }))
    }
}

/// Why a check will never be made, as a warning of `create`: Docker makes such a container, and never checks it.
pub(crate) fn warning(config: &ImageConfig) -> Option<String> {
    let spec = config.health.as_ref()?;
    Check::parse(spec, config).err().map(|error| format!("its health is not checked: {error}"))
}

/// Whether an unhealthy container is started again.
pub(crate) fn restarts(host: &HostSpec) -> bool {
    host.annotations.get(RESTART_ANNOTATION).is_some_and(|value| matches!(value.as_str(), "true" | "1" | ""))
}

/// `:8080/health`, `8080`, `http://127.0.0.1:8080/health`, `http://localhost/`.
fn http(text: &str) -> Result<Ask, EngineError> {
    if text.starts_with("https://") {
        return Err(EngineError::NotBuilt { text: "health checks by https are not built: use http or TCP".to_owned() });
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let (authority, path) = match rest.find('/') {
        Some(slash) => (&rest[..slash], &rest[slash..]),
        None => (rest, "/"),
    };
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(EngineError::invalid(format!("invalid health check path {path:?}: it has spaces in it")));
    }
    let with_port = if authority.parse::<IpAddr>().is_ok() || authority == "localhost" || authority.ends_with(']') {
        format!("{authority}:80")
    } else {
        authority.to_owned()
    };
    let target = address(&with_port)?;
    let host = if authority.starts_with(':') { format!("localhost{authority}") } else { authority.to_owned() };
    Ok(Ask::Http { target, host, path: path.to_owned() })
}

/// `:80`, `80`, `127.0.0.1:80`, `localhost:80`, `[::1]:80`: a name would have to be looked up by a process.
fn address(text: &str) -> Result<SocketAddr, EngineError> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let found = match text.rsplit_once(':') {
        None => port(text).map(|port| SocketAddr::new(local, port)),
        Some(("" | "localhost", number)) => port(number).map(|port| SocketAddr::new(local, port)),
        Some(_) => text.parse().ok().filter(|address: &SocketAddr| address.port() > 0),
    };
    found.ok_or_else(|| {
        EngineError::invalid(format!("invalid health check target {text:?}: expected [ADDRESS]:PORT, such as :8080"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &[&str], expected: &str) {
        let spec = HealthSpec { test: test.iter().map(|word| (*word).to_owned()).collect(), ..HealthSpec::default() };
        let got = match Check::parse(&spec, &ImageConfig::default()) {
            Ok(None) => "none".to_owned(),
            Ok(Some(check)) => match check.ask {
                Ask::Command(argv) => argv.join(" "),
                Ask::Tcp(target) => format!("tcp {target}"),
                Ask::Http { target, host, path } => format!("http {target} {host} {path}"),
            },
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected, "{test:?}");
    }

    #[test]
    fn checks_are_read_or_refused_by_name() {
        check(&[], "none");
        check(&["NONE"], "none");
        check(&["CMD", "true", "x"], "true x");
        check(&["CMD-SHELL", "exit 1"], "/bin/sh -c exit 1");
        check(&["CMD"], "CMD in Healthcheck needs a command");
        check(&["FOO", "x"], "unknown kind of health check \"FOO\": CMD, CMD-SHELL, HTTP, TCP and NONE are known");
        check(&["TCP", ":80"], "tcp 127.0.0.1:80");
        check(&["TCP", "localhost:80"], "tcp 127.0.0.1:80");
        check(&["TCP", "[::1]:80"], "tcp [::1]:80");
        check(&["TCP", "db:80"], "invalid health check target \"db:80\": expected [ADDRESS]:PORT, such as :8080");
        check(&["HTTP", ":8080/health"], "http 127.0.0.1:8080 localhost:8080 /health");
        check(&["HTTP", "http://127.0.0.1/"], "http 127.0.0.1:80 127.0.0.1 /");
        check(&["HTTP", "http://localhost:81"], "http 127.0.0.1:81 localhost:81 /");
        check(&["HTTP", ":80/a b"], "invalid health check path \"/a b\": it has spaces in it");
    }
}
