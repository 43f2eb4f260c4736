//! What is asked by token: both protocols find, reserve and commit the same entries.

use serde_json::{Value, json};

use super::{Entry, GITHUB_TOKEN, Grant, State};
use crate::answer::{Reply, Request};

const READ: u64 = 1;
const WRITE: u64 = 2;

/// As the service's own clients have it.
const KEY_BYTES_MAX: usize = 512;

impl State {
    /// The older protocol.
    pub(super) fn artifacts(&mut self, rest: &str, grants: &[Grant], request: &Request) -> Reply {
        let said =
            |status: u16, kind: &str, text: &str| Reply::json(status, &json!({"typeKey": kind, "message": text}));
        if request.header("accept") != Some("application/json;api-version=6.0-preview.1") {
            return said(400, "VssVersionNotSpecifiedException", "the version of the API is missing");
        }
        let parts: Vec<&str> = rest.split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["cache"]) => {
                let keys = request.parameter("keys").unwrap_or_default().split(',').map(str::to_owned);
                let keys: Vec<String> = keys.collect();
                let version = request.parameter("version").unwrap_or_default().to_owned();
                match self.find(grants, &keys, &version) {
                    None => Reply::new(204),
                    Some(place) => Reply::json(
                        200,
                        &json!({
                            "cacheKey": self.entries[place].key,
                            "scope": self.entries[place].scope,
                            "archiveLocation": self.signed(place),
                        }),
                    ),
                }
            }
            ("POST", ["caches"]) => match self.reserve(grants, request) {
                Ok(place) => Reply::json(201, &json!({"cacheId": place + 1})),
                Err(409) => said(409, "ArtifactCacheItemAlreadyExistsException", "Cache already exists."),
                Err(status) => said(status, "InvalidOperation", "it cannot be reserved"),
            },
            (method @ ("PATCH" | "POST"), ["caches", number]) => {
                let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let Some(place) = place.filter(|place| self.may_write(grants, *place)) else {
                    return said(404, "ArtifactCacheItemNotFound", "there is no such cache");
                };
                let entry = &mut self.entries[place];
                let done = if method == "PATCH" { patch(entry, request) } else { commit_ranges(entry, request) };
                done.map_or_else(|text| said(400, "InvalidOperation", text), |()| Reply::new(204))
            }
            _ => Reply::new(404),
        }
    }

    /// The newer protocol.
    pub(super) fn results(&mut self, method: &str, grants: &[Grant], request: &Request) -> Reply {
        let said = |status: u16, code: &str, text: &str| Reply::json(status, &json!({"code": code, "msg": text}));
        if request.method != "POST" || request.header("content-type") != Some("application/json") {
            return said(404, "bad_route", "only POST of application/json");
        }
        let asked = request.json();
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        match method {
            "GetCacheEntryDownloadURL" => {
                let more = asked["restore_keys"].as_array().into_iter().flatten();
                let more = more.filter_map(|key| key.as_str().map(str::to_owned));
                let keys: Vec<String> = std::iter::once(text("key")).chain(more).collect();
                Reply::json(
                    200,
                    &match self.find(grants, &keys, &text("version")) {
                        None => json!({"ok": false, "signed_download_url": "", "matched_key": ""}),
                        Some(place) => json!({
                            "ok": true,
                            "signed_download_url": self.signed(place),
                            "matched_key": self.entries[place].key,
                        }),
                    },
                )
            }
            "CreateCacheEntry" => match self.reserve(grants, request) {
                Ok(place) => Reply::json(200, &json!({"ok": true, "signed_upload_url": self.signed(place)})),
                Err(409) => {
                    said(409, "already_exists", "cache entry with the same key, version, and scope already exists")
                }
                Err(403) => said(403, "permission_denied", "the token lets nothing be written"),
                Err(status) => said(status, "invalid_argument", "it cannot be reserved"),
            },
            "FinalizeCacheEntryUpload" => {
                let (key, version) = (text("key"), text("version"));
                let place = (0..self.entries.len()).find(|place| {
                    let entry = &self.entries[*place];
                    entry.key == key && entry.version == version && self.may_write(grants, *place)
                });
                let Some(place) = place else { return said(404, "not_found", "there is no such entry") };
                let entry = &mut self.entries[place];
                let size = asked["size_bytes"].as_u64().or_else(|| asked["size_bytes"].as_str()?.parse().ok());
                if entry.is_committed || !entry.has_blob || size != Some(entry.bytes.len() as u64) {
                    return said(400, "invalid_argument", "there is no blob of this size");
                }
                entry.is_committed = true;
                Reply::json(200, &json!({"ok": true, "entry_id": (place + 1).to_string()}))
            }
            _ => said(404, "bad_route", "no such method"),
        }
    }

    /// GitHub's REST API: a page of keys.
    pub(super) fn listed(&self, request: &Request) -> Reply {
        if request.header("authorization") != Some(&format!("Bearer {GITHUB_TOKEN}")) {
            return Reply::json(401, &json!({"message": "Bad credentials"}));
        }
        let text = |name: &str| request.parameter(name).unwrap_or_default();
        let number = |name: &str| text(name).parse::<usize>().ok().filter(|number| (1..=100).contains(number));
        let (Some(page), Some(_)) = (number("page"), number("per_page")) else { return Reply::new(422) };
        let wanted =
            |entry: &&Entry| entry.is_committed && entry.scope == text("ref") && entry.key.starts_with(text("key"));
        let all: Vec<Value> = self.entries.iter().filter(wanted).map(|entry| json!({"key": entry.key})).collect();
        let of_page: Vec<&Value> = all.iter().skip((page - 1) * 100).take(100).collect();
        Reply::json(200, &json!({"total_count": all.len(), "actions_caches": of_page}))
    }

    fn signed(&self, place: usize) -> String {
        format!("{}/blob/{}?sv=2025-01-05&sig={}", self.address, place + 1, self.signature)
    }

    fn may_write(&self, grants: &[Grant], place: usize) -> bool {
        let may = |entry: &Entry| grants.iter().any(|(scope, right)| *scope == entry.scope && right & WRITE != 0);
        self.entries.get(place).is_some_and(may)
    }

    // In each scope the key itself, then the newest that begins as one of them.
    fn find(&self, grants: &[Grant], keys: &[String], version: &str) -> Option<usize> {
        let readable = grants.iter().filter(|(_, right)| right & READ != 0);
        for (scope, _) in readable {
            let all = || {
                let all = self.entries.iter().enumerate().rev();
                all.filter(|(_, entry)| entry.is_committed && entry.scope == *scope && entry.version == version)
            };
            let exact = all().find(|(_, entry)| Some(&entry.key) == keys.first());
            let begins = || keys.iter().find_map(|key| all().find(|(_, entry)| entry.key.starts_with(key.as_str())));
            if let Some((place, _)) = exact.or_else(begins) {
                return Some(place);
            }
        }
        None
    }

    fn reserve(&mut self, grants: &[Grant], request: &Request) -> Result<usize, u16> {
        let asked: Value = request.json();
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains(',') || version.is_empty() {
            return Err(400);
        }
        let scope =
            grants.iter().find(|(_, right)| right & WRITE != 0).map(|(scope, _)| scope.clone()).ok_or(403_u16)?;
        if self.entries.iter().any(|entry| entry.key == key && entry.version == version && entry.scope == scope) {
            return Err(409);
        }
        self.entries.push(Entry { key, version, scope, ..Entry::default() });
        Ok(self.entries.len() - 1)
    }
}

fn patch(entry: &mut Entry, request: &Request) -> Result<(), &'static str> {
    if entry.is_committed || entry.has_blob {
        return Err("it is committed");
    }
    if request.header("content-type") != Some("application/octet-stream") {
        return Err("only application/octet-stream");
    }
    let range = request.header("content-range").and_then(|text| text.strip_prefix("bytes ")?.strip_suffix("/*"));
    let range = range.and_then(|text| text.split_once('-'));
    let range = range.and_then(|(start, end)| Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?)));
    let Some((start, end)) = range.filter(|(start, end)| start <= end) else { return Err("the range is malformed") };
    if end - start + 1 != request.body.len() {
        return Err("the range has another length than what is sent");
    }
    if entry.ranges.iter().any(|(from, to)| (*from, *to) != (start, end) && start <= *to && *from <= end) {
        return Err("the range overlaps another one");
    }
    entry.bytes.resize(entry.bytes.len().max(end + 1), 0);
    entry.bytes[start..=end].copy_from_slice(&request.body);
    entry.ranges.push((start, end));
    Ok(())
}

fn commit_ranges(entry: &mut Entry, request: &Request) -> Result<(), &'static str> {
    let size = request.json()["size"].as_u64().and_then(|size| usize::try_from(size).ok());
    entry.ranges.sort_unstable();
    entry.ranges.dedup();
    let whole = entry.ranges.iter().try_fold(0, |at, (start, end)| (*start == at).then_some(end + 1));
    if entry.is_committed || size.is_none() || whole != size || whole == Some(0) {
        return Err("what was sent is not what is committed");
    }
    entry.is_committed = true;
    Ok(())
}
