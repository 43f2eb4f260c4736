//! What signed addresses are for: Azure's block blobs, written as one or as blocks with a list, and read from any byte.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Entry, Fault, State};
use crate::answer::{Reply, Request};

/// An id is at most so long, before it is written in base64.
const BLOCK_ID_BYTES_MAX: usize = 64;

impl State {
    pub(super) fn blob(&mut self, rest: &str, request: &Request) -> Reply {
        let reply = self.blob_answer(rest, request);
        let part = request.parameter("comp").map(|part| format!(" {part}")).unwrap_or_default();
        self.seen.push(format!("{} blob{part} {}", request.method, reply.status));
        reply
    }

    fn blob_answer(&mut self, rest: &str, request: &Request) -> Reply {
        let place = rest.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let Some(place) = place.filter(|place| *place < self.entries.len()) else { return Reply::new(404) };
        // Two proofs at once are refused, and so is one that was good for another time.
        if request.header("authorization").is_some() || request.parameter("sig") != Some(&self.signature) {
            return Reply::new(403);
        }
        match request.method.as_str() {
            "PUT" => match put(&mut self.entries[place], request) {
                Ok(()) => Reply::new(201),
                Err(status) => Reply::new(status),
            },
            "GET" => self.get(place, request.header("range")),
            _ => Reply::new(405),
        }
    }

    fn get(&mut self, place: usize, range: Option<&str>) -> Reply {
        if self.spend(|fault| if let Fault::Stale(left) = fault { Some(left) } else { None }) {
            return Reply::new(403);
        }
        let entry = &self.entries[place];
        if !entry.is_committed {
            return Reply::new(404);
        }
        let size = entry.bytes.len();
        let start =
            match range.map(|text| text.strip_prefix("bytes=").and_then(|text| text.strip_suffix('-')?.parse().ok())) {
                None => 0,
                Some(Some(start)) if start < size => start,
                Some(_) => return Reply::new(416),
            };
        let mut bytes = entry.bytes[start..].to_vec();
        let is_spoiled = self.is_due(|fault| (*fault == Fault::Spoiled).then_some(true));
        if let Some(last) = bytes.last_mut().filter(|_| is_spoiled) {
            *last ^= 1;
        }
        let is_cut = self.spend(|fault| if let Fault::Cut(left) = fault { Some(left) } else { None });
        let reply = match range {
            None => Reply::new(200).body(bytes),
            Some(_) => {
                let range = format!("bytes {start}-{}/{size}", size - 1);
                Reply::new(206).header("Content-Range", range).body(bytes)
            }
        };
        if is_cut { reply.cut() } else { reply }
    }
}

fn put(entry: &mut Entry, request: &Request) -> Result<(), u16> {
    if entry.is_committed || !entry.ranges.is_empty() {
        return Err(403);
    }
    match request.parameter("comp") {
        None if request.header("x-ms-blob-type") == Some("BlockBlob") => {
            entry.bytes.clone_from(&request.body);
            entry.has_blob = true;
            Ok(())
        }
        Some("block") => {
            let id = request.parameter("blockid").unwrap_or_default();
            let length = BASE64_STANDARD.decode(id).map_err(|_| 400_u16)?.len();
            let is_odd = entry.blocks.iter().any(|(other, _)| other.len() != id.len());
            if length == 0 || length > BLOCK_ID_BYTES_MAX || is_odd || request.body.is_empty() {
                return Err(400);
            }
            entry.blocks.retain(|(other, _)| other != id);
            entry.blocks.push((id.to_owned(), request.body.clone()));
            Ok(())
        }
        Some("blocklist") => {
            let text = std::str::from_utf8(&request.body).map_err(|_| 400_u16)?;
            let (_, list) = text.split_once("<BlockList>").ok_or(400_u16)?;
            let list = list.strip_suffix("</BlockList>").ok_or(400_u16)?;
            let mut bytes = Vec::new();
            for id in list.split("<Latest>").skip(1) {
                let id = id.strip_suffix("</Latest>").ok_or(400_u16)?;
                let block = entry.blocks.iter().find(|(other, _)| other == id).ok_or(400_u16)?;
                bytes.extend_from_slice(&block.1);
            }
            (entry.bytes, entry.has_blob) = (bytes, true);
            entry.blocks.clear();
            Ok(())
        }
        _ => Err(400),
    }
}
