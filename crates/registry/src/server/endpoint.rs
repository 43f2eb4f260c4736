//! What a request is about: its path and query as values. Pure, so that it is tested as text.

use super::error::ApiError;
use crate::{
    digest::{ContentDigest, DigestError},
    name::{Repository, Target},
};

/// A path of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/`: for those who look whether something is there.
    Root,
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    Tags(Repository),
    Manifest(Repository, Target),
    Blob(Repository, ContentDigest),
    /// `…/blobs/uploads/`
    Uploads(Repository),
    /// `…/blobs/uploads/UUID`
    Upload(Repository, String),
    Referrers(Repository, ContentDigest),
    /// `/v1/_ping`: docker looks there before it searches.
    Ping1,
    /// `/v1/search`
    Search,
}

impl Endpoint {
    /// What a path stands for.
    pub(crate) fn parse(path: &str) -> Result<Self, ApiError> {
        match path {
            "/" => return Ok(Self::Root),
            "/v2/" | "/v2" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/v1/_ping" => return Ok(Self::Ping1),
            "/v1/search" => return Ok(Self::Search),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(ApiError::not_found)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some((name, id)) = rest.rsplit_once("/blobs/uploads/").or_else(|| {
            let name = rest.strip_suffix("/blobs/uploads")?;
            Some((name, ""))
        }) {
            let name = repository(name)?;
            return match id {
                "" => Ok(Self::Uploads(name)),
                id if is_upload_id(id) => Ok(Self::Upload(name, id.to_owned())),
                _ => Err(ApiError::upload_unknown()),
            };
        }
        let (above, last) = rest.rsplit_once('/').ok_or_else(ApiError::not_found)?;
        if let Some(name) = above.strip_suffix("/manifests") {
            let target = || last.parse().map_err(|()| bad_target(last));
            return Ok(Self::Manifest(repository(name)?, target()?));
        }
        if let Some(name) = above.strip_suffix("/blobs") {
            return Ok(Self::Blob(repository(name)?, digest(last)?));
        }
        if let Some(name) = above.strip_suffix("/referrers") {
            return Ok(Self::Referrers(repository(name)?, digest(last)?));
        }
        Err(ApiError::not_found())
    }
}

fn repository(name: &str) -> Result<Repository, ApiError> {
    name.parse().map_err(|()| ApiError::name_invalid(name))
}

pub(crate) fn digest(text: &str) -> Result<ContentDigest, ApiError> {
    text.parse().map_err(|error: DigestError| ApiError::digest_invalid(error.to_string()))
}

fn bad_target(text: &str) -> ApiError {
    if let (true, Err(error)) = (text.contains(':'), text.parse::<ContentDigest>()) {
        return ApiError::digest_invalid(error.to_string());
    }
    // A tag that cannot be cannot be there either.
    ApiError::manifest_unknown(text)
}

// What `upload` makes, and what the reference registry makes: a UUID.
fn is_upload_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// For a value in a query.
pub(crate) use crate::client::encode;

/// `%2F` and `+` undone; what is no UTF-8 is no name of anything here.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex =
            |range: std::ops::Range<usize>| u8::from_str_radix(std::str::from_utf8(bytes.get(range)?).ok()?, 16).ok();
        match bytes[at] {
            b'%' => match hex(at + 1..at + 3) {
                Some(byte) => {
                    decoded.push(byte);
                    at += 2;
                }
                None => decoded.push(b'%'),
            },
            b'+' => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        let got = match Endpoint::parse(path) {
            Ok(endpoint) => format!("{endpoint:?}"),
            Err(error) => error.code.to_owned(),
        };
        assert!(got.starts_with(expected), "{path}: {got}");
    }

    #[test]
    fn paths_become_endpoints() {
        let digest = format!("sha256:{}", "a".repeat(64));
        check("/v2/", "Base");
        check("/v2/_catalog", "Catalog");
        check("/v2/a/b/tags/list", "Tags(Repository(\"a/b\"))");
        check("/v2/a/manifests/latest", "Manifest(Repository(\"a\"), Tag(\"latest\"))");
        check(&format!("/v2/a/manifests/{digest}"), "Manifest(Repository(\"a\"), Digest(");
        check(&format!("/v2/a/blobs/{digest}"), "Blob(");
        check("/v2/a/blobs/uploads/", "Uploads(");
        check("/v2/a/blobs/uploads/12345678-1234-1234-1234-123456789abc", "Upload(");
        check("/v2/a/blobs/uploads/../../x", "BLOB_UPLOAD_UNKNOWN");
        check("/v2/a/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN");
        check("/v2/blobs/blobs/uploads/", "Uploads(Repository(\"blobs\"))");
        check("/v2/A/tags/list", "NAME_INVALID");
        check("/v2/../tags/list", "NAME_INVALID");
        check("/v2/a/blobs/sha256:12", "DIGEST_INVALID");
        check("/v2/a/manifests/.x", "MANIFEST_UNKNOWN");
        check("/v2/x", "UNSUPPORTED");
        check("/nothing", "UNSUPPORTED");
    }

    #[test]
    fn queries_are_decoded() {
        let parameters = Parameters::parse("n=5&last=a%2Fb&q=x+y&tag=1&tag=2&bad=%zz");
        assert_eq!(parameters.get("last"), Some("a/b"));
        assert_eq!(parameters.get("q"), Some("x y"));
        assert_eq!(parameters.get("bad"), Some("%zz"));
        assert_eq!(parameters.all("tag").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(parameters.get("none"), None);
    }
}
