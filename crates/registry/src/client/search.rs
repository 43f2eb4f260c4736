//! Search, by Docker Hub's protocol (`/v1/search`), which other registries speak as well.

use hyper::Method;
use serde::Deserialize;

use super::{Client, Credentials, HUB, HUB_INDEX, RegistryError, exchange::Ask};
use crate::limits;

/// One repository that was found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct SearchResult {
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    pub star_count: i64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Results {
    results: Vec<SearchResult>,
}

fn nullable<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

impl Client {
    /// Repositories that a term matches: on Docker Hub, or where the term begins with a host.
    ///
    /// # Errors
    /// When the registry does not answer, or has no search.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<SearchResult>, RegistryError> {
        let (host, words) = split(term);
        let origin = if host == HUB { self.origin(HUB_INDEX).await? } else { self.origin(host).await? };
        let address = origin.at("/v1/search").with("q", words).with("n", &limit.to_string());
        let mut answer = self.ask(&Ask::new(Method::GET, address.clone()).identity(credentials, &[])).await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(RegistryError::Refused {
                address: address.to_string(),
                status,
                why: format!("Unexpected status code {status}"),
            });
        }
        let bytes = answer.collect("the search results", limits::DOCUMENT_BYTES_MAX).await?;
        let found: Results = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
            what: "the search results",
            address: address.to_string(),
            why: error.to_string(),
        })?;
        Ok(found.results)
    }
}

// `localhost:5000/python` is searched for at localhost:5000.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, words)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" => (HUB, words),
            host => (host, words),
        },
        _ => (HUB, term),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_name_where_to_search() {
        assert_eq!(split("python"), (HUB, "python"));
        assert_eq!(split("library/python"), (HUB, "library/python"));
        assert_eq!(split("localhost:5000/python"), ("localhost:5000", "python"));
        assert_eq!(split("docker.io/python"), (HUB, "python"));
    }
}
