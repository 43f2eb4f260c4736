//! Which bucket is meant, and who we are there: from the attributes of `type=s3`.

use std::{collections::HashMap, time::Duration};

use hako_base::duration;

use super::super::web::Secret;
use crate::limits;

/// The attributes of `--cache-to` that are read here.
pub(crate) const ATTRIBUTES: &[&str] = &[
    "bucket",
    "region",
    "prefix",
    "manifests_prefix",
    "blobs_prefix",
    "name",
    "touch_refresh",
    "endpoint_url",
    "use_path_style",
    "upload_parallelism",
    "access_key_id",
    "secret_access_key",
    "session_token",
];

/// A cache in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct S3Place {
    /// `SCHEME://HOST[:PORT]`, in which the bucket is named or not.
    pub(super) origin: String,
    /// The host and the port that a request names; a port that goes without saying is left out.
    pub(super) host: String,
    pub(super) bucket: String,
    /// What comes before a key: `/`, or the bucket as well.
    pub(super) root: String,
    pub(super) region: String,
    blobs: String,
    manifests: String,
    /// The first is read, all are written.
    pub(crate) names: Vec<String>,
    /// What was not used for so long is used anew, lest a rule of the bucket's takes it away.
    pub(super) refresh: Duration,
    pub(super) at_once: usize,
    pub(super) identity: Option<Identity>,
}

/// Who asks; without, what is there for everybody can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) key: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
}

impl S3Place {
    /// Reads the attributes that BuildKit's clients send.
    ///
    /// # Errors
    /// What is missing or makes no sense; no word of a secret.
    pub(crate) fn parse(attributes: &HashMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| attributes.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let bucket = text("bucket").ok_or("bucket ($AWS_BUCKET) not set for s3 cache")?;
        let region = text("region").ok_or("region ($AWS_REGION) not set for s3 cache")?;
        let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_word(bucket) || !is_word(region) || bucket.starts_with('.') {
            return Err(format!("invalid bucket {bucket:?} or region {region:?} of the s3 cache"));
        }
        let path_style = match text("use_path_style") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                return Err(format!("invalid use_path_style={other} of the s3 cache: expected true or false"));
            }
        };
        let endpoint = text("endpoint_url").map_or_else(|| format!("https://s3.{region}.amazonaws.com"), str::to_owned);
        let (scheme, authority) = endpoint
            .trim_end_matches('/')
            .split_once("://")
            .filter(|(scheme, host)| {
                matches!(*scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '@', '?'])
            })
            .ok_or("invalid endpoint_url of the s3 cache: expected http://HOST[:PORT] or https://HOST[:PORT]")?;
        let host = if path_style { authority.to_owned() } else { format!("{bucket}.{authority}") };
        let implied = if scheme == "http" { ":80" } else { ":443" };
        let prefix = text("prefix").unwrap_or_default();
        let below =
            |key: &str, default: &str| format!("{prefix}{}", attributes.get(key).map_or(default, String::as_str));
        let at_once = match text("upload_parallelism").map(str::parse::<usize>) {
            None => limits::S3_BLOBS_AT_ONCE,
            Some(Ok(count)) if count > 0 => count.min(limits::S3_BLOBS_AT_ONCE_MAX),
            Some(_) => return Err("upload_parallelism must be a positive integer".to_owned()),
        };
        let refresh = match text("touch_refresh").map(duration::parse_go) {
            None => limits::S3_REFRESH,
            Some(Ok(nanos)) if nanos >= 0 => Duration::from_nanos(nanos.unsigned_abs()),
            Some(_) => return Err("invalid touch_refresh of the s3 cache: expected 24h or the like".to_owned()),
        };
        Ok(Self {
            origin: format!("{scheme}://{host}"),
            host: host.strip_suffix(implied).unwrap_or(&host).to_owned(),
            bucket: bucket.to_owned(),
            root: if path_style { format!("/{bucket}/") } else { "/".to_owned() },
            region: region.to_owned(),
            blobs: below("blobs_prefix", "blobs/"),
            manifests: below("manifests_prefix", "manifests/"),
            names: text("name").unwrap_or("buildkit").split(';').map(str::to_owned).collect(),
            refresh,
            at_once,
            identity: identity(text("access_key_id"), text("secret_access_key"), text("session_token"))?,
        })
    }

    pub(super) fn blob_key(&self, digest: hako_model::Digest) -> String {
        format!("{}{digest}", self.blobs)
    }

    pub(super) fn manifest_key(&self, name: &str) -> String {
        format!("{}{name}", self.manifests)
    }
}

fn identity(key: Option<&str>, secret: Option<&str>, session: Option<&str>) -> Result<Option<Identity>, String> {
    let (key, secret) = match (key, secret) {
        (Some(key), Some(secret)) => (key, secret),
        (None, None) => return Ok(None),
        _ => return Err("access_key_id and secret_access_key of the s3 cache belong together".to_owned()),
    };
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if ![key, session.unwrap_or_default()].into_iter().all(is_word) || key.contains(['/', ',']) {
        return Err("the credentials of the s3 cache are malformed".to_owned());
    }
    let hidden = |text: &str| Secret(text.to_owned());
    Ok(Some(Identity { key: key.to_owned(), secret: hidden(secret), session: session.map(hidden) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(attributes: &[(&str, &str)], expected: &str) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let got = match S3Place::parse(&attributes) {
            Ok(place) => {
                let digest = crate::cache::digest(b"");
                let blob = place.blob_key(digest).replace(&digest.to_string(), "DIGEST");
                let names = place.names.iter().map(|name| place.manifest_key(name)).collect::<Vec<_>>().join(" ");
                format!("{}{}{blob} {} {names}", place.origin, place.root, place.host)
            }
            Err(error) => error,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn a_place_is_read_from_what_clients_send() {
        let (bucket, region) = (("bucket", "b"), ("region", "eu-1"));
        check(
            &[bucket, region],
            "https://b.s3.eu-1.amazonaws.com/blobs/DIGEST b.s3.eu-1.amazonaws.com manifests/buildkit",
        );
        check(
            &[
                bucket,
                region,
                ("endpoint_url", "http://host:9000/"),
                ("use_path_style", "true"),
                ("name", "a;b"),
                ("prefix", "p/"),
            ],
            "http://host:9000/b/p/blobs/DIGEST host:9000 p/manifests/a p/manifests/b",
        );
        check(
            &[bucket, region, ("endpoint_url", "https://host:443"), ("blobs_prefix", ""), ("manifests_prefix", "m-")],
            "https://b.host:443/DIGEST b.host m-buildkit",
        );
        check(&[region], "bucket ($AWS_BUCKET) not set for s3 cache");
        check(&[bucket], "region ($AWS_REGION) not set for s3 cache");
        check(&[region, ("bucket", "a/b")], "invalid bucket \"a/b\" or region \"eu-1\" of the s3 cache");
        check(
            &[bucket, region, ("access_key_id", "a")],
            "access_key_id and secret_access_key of the s3 cache belong together",
        );
        check(
            &[bucket, region, ("endpoint_url", "host")],
            "invalid endpoint_url of the s3 cache: expected http://HOST[:PORT] or https://HOST[:PORT]",
        );
        check(&[bucket, region, ("upload_parallelism", "0")], "upload_parallelism must be a positive integer");
    }
}
