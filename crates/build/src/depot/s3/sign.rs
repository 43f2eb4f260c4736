//! Signatures of requests, version 4, as Amazon documents them. Pure.
//!
//! What is signed is the request in one spelling: method, path, query, headers, and the hash of what is sent.

use hako_base::random::encode_hex;
use jiff::Timestamp;
use ring::hmac;

use super::place::Identity;
use crate::cache::digest;

/// In the place of the hash of what is sent, where nobody wants to read that twice.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request before it is signed.
pub(super) struct Unsigned<'r> {
    pub(super) method: &'r str,
    pub(super) host: &'r str,
    /// As it is sent.
    pub(super) path: &'r str,
    /// As it is sent, in the order of its names.
    pub(super) query: &'r str,
    pub(super) hash: &'r str,
    /// Further headers that are signed; names in lower case.
    pub(super) headers: Vec<(&'static str, String)>,
}

/// The headers that a request is sent with, and its `Authorization`.
pub(super) fn signed(
    request: Unsigned<'_>,
    identity: &Identity,
    region: &str,
    now: Timestamp,
) -> (Vec<(&'static str, String)>, String) {
    let (day, time) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
    let mut headers = request.headers;
    headers.push(("x-amz-content-sha256", request.hash.to_owned()));
    headers.push(("x-amz-date", time.clone()));
    headers.extend(identity.session.iter().map(|session| ("x-amz-security-token", session.0.clone())));
    let mut all: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.trim())).collect();
    all.push(("host", request.host));
    all.sort_unstable();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let Unsigned { method, path, query, hash, .. } = request;
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{hash}");
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", digest(canonical.as_bytes()).hex());
    let first = format!("AWS4{}", identity.secret.0).into_bytes();
    let key = [day.as_str(), region, "s3", "aws4_request"].iter().fold(first, |key, word| mac(&key, word));
    let signature = encode_hex(&mac(&key, &text));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", identity.key);
    (headers, authorization)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// In the one spelling; slashes of paths stay.
pub(super) fn encoded(text: &str, keeps_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b'/' if keeps_slashes => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{super::super::web::Secret, *};

    // The examples of Amazon's documentation of S3 ("Signature Calculations for the Authorization Header").
    fn check(unsigned: Unsigned<'_>, expected: &str) {
        let identity = Identity {
            key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session: None,
        };
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        let (_, authorization) = signed(unsigned, &identity, "us-east-1", now);
        assert!(authorization.ends_with(expected), "{authorization}");
    }

    #[test]
    fn signatures_are_those_of_the_documentation() {
        let empty = digest(b"").hex();
        let host = "examplebucket.s3.amazonaws.com";
        let get = |path, query, headers| Unsigned { method: "GET", host, path, query, hash: &empty, headers };
        check(
            get("/test.txt", "", vec![("range", "bytes=0-9".to_owned())]),
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        check(
            get("/", "lifecycle=", Vec::new()),
            "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
        check(
            get("/", "max-keys=2&prefix=J", Vec::new()),
            "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
        assert_eq!(encoded("a b/$+~", true), "a%20b/%24%2B~");
    }
}
