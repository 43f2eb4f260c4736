//! `type=gha` caches, as their client completes them: what the runner of GitHub's Actions says of its cache service is in
//! the environment of the client, not in the daemon's.
//!
//! Outside of such a runner there is no cache to speak of. Files that name one are built on everybody's machine, so it is
//! left out there, as Buildx leaves it out, and that is said.

use hako_client::build::BuildOption;

use crate::parse::csv;

/// Completes a cache from variables; `false` where there is none.
pub(super) fn complete(option: &mut BuildOption, variable: impl Fn(&str) -> Option<String>) -> bool {
    let attributes = &mut option.attributes;
    let version = attributes.get("version").cloned();
    let is_newer = match version {
        Some(version) => version == "2",
        None => variable("ACTIONS_CACHE_SERVICE_V2").and_then(|text| csv::parse_bool(&text)) == Some(true),
    };
    let results = variable("ACTIONS_RESULTS_URL");
    let found = [
        ("token", variable("ACTIONS_RUNTIME_TOKEN")),
        ("url_v2", results.clone().filter(|_| is_newer)),
        ("url", variable("ACTIONS_CACHE_URL").or(results)),
    ];
    for (key, value) in found {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attributes.entry(key.to_owned()).or_insert(value);
        }
    }
    let has = |key: &str| attributes.get(key).is_some_and(|value| !value.is_empty());
    has("token") && (has("url") || has("url_v2"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(attributes: &[(&str, &str)], variables: &[(&str, &str)], expected: &str) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut option = BuildOption { kind: "gha".to_owned(), attributes };
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let is_there = complete(&mut option, find);
        let sorted: BTreeMap<_, _> = option.attributes.into_iter().collect();
        let shown: Vec<String> = sorted.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(format!("{} {is_there}", shown.join(",")), expected);
    }

    #[test]
    fn the_runners_variables_complete_what_is_not_said() {
        let token = ("ACTIONS_RUNTIME_TOKEN", "t");
        let (cache, results) = (("ACTIONS_CACHE_URL", "c"), ("ACTIONS_RESULTS_URL", "r"));
        let newer = ("ACTIONS_CACHE_SERVICE_V2", "True");
        check(&[], &[token, cache, results], "token=t,url=c true");
        check(&[], &[token, cache, results, newer], "token=t,url=c,url_v2=r true");
        check(&[("version", "1")], &[token, cache, results, newer], "token=t,url=c,version=1 true");
        check(&[("version", "2")], &[token, results], "token=t,url=r,url_v2=r,version=2 true");
        check(&[("token", "own"), ("url", "mine")], &[token, cache], "token=own,url=mine true");
        check(&[], &[cache], "url=c false");
        check(&[("url", "mine")], &[("ACTIONS_RUNTIME_TOKEN", "")], "url=mine false");
    }
}
