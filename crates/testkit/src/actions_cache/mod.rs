//! A stand-in of the cache service of GitHub's Actions, which cannot be reached from here, in both of its protocols.
//!
//! ```text
//!   v1   /_apis/artifactcache/…        by the token: find, reserve, ranges, commit
//!   v2   /twirp/…CacheService/…        by the token: find, reserve, commit
//!   both /blob/N?sig=…                 by the signature alone: Azure's blobs, blocks, ranges of them
//!   REST /repos/own/app/actions/caches by [`GITHUB_TOKEN`]: which keys are saved
//! ```
//! It is strict where the real one is, and where a client that is lax would not be noticed: tokens and what they may do,
//! the order of things, ranges without gaps, sizes, kinds of content. It can be told to misbehave ([`Fault`]).

mod blob; // what signed addresses are for
mod service; // what is asked by token

use std::{
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    Host,
    answer::{Connection, Reply, Request},
    namespace,
};

/// By this GitHub's REST API tells the keys of the repository `own/app`.
pub const GITHUB_TOKEN: &str = "ghs_of_the_test";

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// So many requests are told to come back after a second, or without a word of when.
    Busy(usize),
    /// Nobody answers after so many more requests.
    Gone(usize),
    /// So many downloads end in their middle.
    Cut(usize),
    /// So many signed addresses are not good any more when they are read.
    Stale(usize),
    /// A byte of each download is another one.
    Spoiled,
}

/// The service; it ends with the test's process.
#[derive(Debug)]
pub struct ActionsCache {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    address: String,
    /// Only tokens that end so were made here.
    secret: String,
    /// What signed addresses carry.
    signature: String,
    entries: Vec<Entry>,
    faults: Vec<Fault>,
    seen: Vec<String>,
}

/// A key that was taken, and what has come for it.
#[derive(Debug, Default)]
struct Entry {
    key: String,
    version: String,
    scope: String,
    bytes: Vec<u8>,
    /// Which ranges have come, by the older protocol.
    ranges: Vec<(usize, usize)>,
    /// Which blocks have come and are in no list yet, by the newer one.
    blocks: Vec<(String, Vec<u8>)>,
    has_blob: bool,
    is_committed: bool,
}

/// A scope and what may be done in it: 1 to read, 2 to write.
type Grant = (String, u64);

impl ActionsCache {
    /// Listens where the daemons of a host can reach it.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn open(host: &Host) -> Self {
        let inside = host.processes_of("daemon").first().copied().expect("a daemon runs");
        let listener = namespace::in_network_of(inside, || TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("it has an address"));
        let state = State {
            address: address.clone(),
            secret: hako_base::random::hex(16),
            signature: hako_base::random::hex(16),
            entries: Vec::new(),
            faults: Vec::new(),
            seen: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                // A client that is not served sees its connection end.
                thread::spawn(move || drop(serve(&client, &state)));
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A token for these scopes (1 to read, 2 to write) that is good for an hour, or was until an hour ago.
    pub fn token(&self, grants: &[(&str, u64)], is_live: bool) -> String {
        let controls: Vec<_> =
            grants.iter().map(|(scope, right)| serde_json::json!({"Scope": scope, "Permission": right})).collect();
        let now = hako_base::clock::now().as_second();
        let claims = serde_json::json!({
            "ac": serde_json::Value::from(controls).to_string(),
            "nbf": now - 7200,
            "exp": if is_live { now + 3600 } else { now - 3600 },
        });
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"none"}"#), part(&claims.to_string()), part(&self.state().secret))
    }

    /// From now on this goes wrong as well.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Nothing goes wrong any more.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// What was asked since the last time: `POST caches 201`.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state().seen)
    }

    /// The keys of what is saved, with the scope of each.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state();
        let mut keys: Vec<String> = state
            .entries
            .iter()
            .filter(|entry| entry.is_committed)
            .map(|entry| format!("{} {}", entry.scope, entry.key))
            .collect();
        keys.sort();
        keys
    }

    /// Changes a byte of everything that is saved under keys that begin so; the second time it is as it was.
    pub fn spoil(&self, key: &str) {
        for entry in self.state().entries.iter_mut().filter(|entry| entry.is_committed && entry.key.starts_with(key)) {
            if let Some(last) = entry.bytes.last_mut() {
                *last ^= 1;
            }
        }
    }

    /// Replaces what is saved under a key that begins so; answers what it was.
    ///
    /// # Panics
    /// Where there is none.
    pub fn replace(&self, key: &str, bytes: &[u8]) -> Vec<u8> {
        let mut state = self.state();
        let found = state.entries.iter_mut().rev().find(|entry| entry.is_committed && entry.key.starts_with(key));
        let entry = found.unwrap_or_else(|| panic!("nothing is saved as {key}"));
        std::mem::replace(&mut entry.bytes, bytes.to_vec())
    }
}

impl State {
    /// Whether a fault is due; those that are counted are spent by it.
    fn is_due(&mut self, of: impl Fn(&mut Fault) -> Option<bool>) -> bool {
        let due = self.faults.iter_mut().find_map(of);
        self.faults.retain(|fault| !matches!(fault, Fault::Busy(0) | Fault::Cut(0) | Fault::Stale(0)));
        due.unwrap_or(false)
    }

    fn is_gone(&mut self) -> bool {
        self.is_due(|fault| match fault {
            Fault::Gone(0) => Some(true),
            Fault::Gone(left) => {
                *left -= 1;
                Some(false)
            }
            _ => None,
        })
    }

    /// Whether one of a counted fault is left, which is spent then.
    fn spend(&mut self, left: impl Fn(&mut Fault) -> Option<&mut usize>) -> bool {
        self.is_due(|fault| left(fault).map(|left| *left -= 1).map(|()| true))
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path.clone();
        if let Some(rest) = path.strip_prefix("/blob/") {
            return self.blob(rest, request);
        }
        let asked = |name: &str| format!("{} {name}", request.method);
        if self.spend(|fault| if let Fault::Busy(left) = fault { Some(left) } else { None }) {
            self.seen.push(asked("busy"));
            return Reply::new(429).header("Retry-After", "1");
        }
        if path == "/repos/own/app/actions/caches" {
            let reply = self.listed(request);
            self.seen.push(format!("GET keys {}", reply.status));
            return reply;
        }
        let Some(grants) = self.grants(request) else {
            return Reply::json(401, &serde_json::json!({"message": "the token is none of ours"}));
        };
        let reply = if let Some(rest) = path.strip_prefix("/_apis/artifactcache/") {
            self.artifacts(rest, &grants, request)
        } else if let Some(method) = path.strip_prefix("/twirp/github.actions.results.api.v1.CacheService/") {
            self.results(method, &grants, request)
        } else {
            Reply::new(404)
        };
        let name = path.rsplit('/').find(|part| part.parse::<u64>().is_err()).unwrap_or_default();
        self.seen.push(format!("{} {}", asked(name), reply.status));
        reply
    }

    /// What the token of a request lets it do.
    fn grants(&self, request: &Request) -> Option<Vec<Grant>> {
        let token = request.header("authorization")?.strip_prefix("Bearer ")?;
        let mut parts = token.split('.').skip(1);
        let (claims, secret) = (parts.next()?, parts.next()?);
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        if decoded(secret)? != self.secret.as_bytes() || parts.next().is_some() {
            return None;
        }
        let claims: serde_json::Value = serde_json::from_slice(&decoded(claims)?).ok()?;
        if claims["exp"].as_i64()? < hako_base::clock::now().as_second() {
            return None;
        }
        let controls: serde_json::Value = serde_json::from_str(claims["ac"].as_str()?).ok()?;
        let grant = |one: &serde_json::Value| Some((one["Scope"].as_str()?.to_owned(), one["Permission"].as_u64()?));
        controls.as_array()?.iter().map(grant).collect()
    }
}

fn serve(client: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut connection = Connection::new(client)?;
    while let Some(request) = connection.read()? {
        let request = match request {
            Ok(request) => request,
            Err(refusal) => return connection.write(refusal),
        };
        let reply = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_gone() {
                return Ok(());
            }
            state.answer(&request)
        };
        connection.write(reply)?;
    }
    Ok(())
}
