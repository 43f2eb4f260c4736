//! `type=s3` caches, as their client completes them: who is asking, as Amazon's own tools find out. The environment is
//! the client's; what the daemon's has is nobody's business here.

use std::path::{Path, PathBuf};

use hako_client::build::BuildOption;

const KEYS: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];

/// Completes a cache from variables, and from the file of credentials that they name.
pub(super) fn complete(
    option: &mut BuildOption,
    variable: impl Fn(&str) -> Option<String>,
    read: impl Fn(&Path) -> Option<String>,
) {
    let attributes = &mut option.attributes;
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    for (key, names) in [("bucket", &["AWS_BUCKET"][..]), ("region", &["AWS_REGION", "AWS_DEFAULT_REGION"])] {
        if let Some(value) = names.iter().find_map(|name| variable(name)) {
            attributes.entry(key.to_owned()).or_insert(value);
        }
    }
    // Whoever says both has said all: a session of somebody else's would not fit.
    if attributes.contains_key(KEYS[0]) || attributes.contains_key(KEYS[1]) {
        return;
    }
    let said = KEYS.map(|key| variable(&format!("AWS_{}", key.to_uppercase())));
    let found = if said[0].is_some() && said[1].is_some() {
        said
    } else {
        let home = || variable("HOME").map(|home| Path::new(&home).join(".aws/credentials"));
        let file = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home);
        let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let text = file.and_then(|file| read(&file)).unwrap_or_default();
        KEYS.map(|key| of_profile(&text, &profile, &format!("aws_{key}")))
    };
    if found[0].is_some() && found[1].is_some() {
        for (key, value) in KEYS.into_iter().zip(found) {
            attributes.extend(value.map(|value| (key.to_owned(), value)));
        }
    }
}

// A value of a file of sections: `[PROFILE]`, `KEY = VALUE`.
fn of_profile(text: &str, profile: &str, key: &str) -> Option<String> {
    let mut is_ours = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_ours = name.trim() == profile;
        } else if let Some((found, value)) = line.split_once('=').filter(|_| is_ours)
            && found.trim() == key
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FILE: &str = "# mine\n[default]\naws_access_key_id = d\naws_secret_access_key=ds\n\n\
                        [ other ]\naws_access_key_id=o\naws_secret_access_key = os\naws_session_token = t=\n";

    fn check(attributes: &[(&str, &str)], variables: &[(&str, &str)], expected: &str) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut option = BuildOption { kind: "s3".to_owned(), attributes };
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let read = |path: &Path| (path == Path::new("/me/.aws/credentials")).then(|| FILE.to_owned());
        complete(&mut option, find, read);
        let sorted: BTreeMap<_, _> = option.attributes.into_iter().collect();
        assert_eq!(sorted.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","), expected);
    }

    #[test]
    fn who_asks_is_found_where_amazons_tools_find_it() {
        let (key, secret) = (("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"));
        let home = ("HOME", "/me");
        check(&[], &[key, secret, home], "access_key_id=k,secret_access_key=s");
        check(&[("access_key_id", "x"), ("secret_access_key", "y")], &[key, secret, ("AWS_SESSION_TOKEN", "t")], {
            "access_key_id=x,secret_access_key=y"
        });
        check(&[], &[key, home], "access_key_id=d,secret_access_key=ds");
        check(&[], &[home, ("AWS_PROFILE", "other")], "access_key_id=o,secret_access_key=os,session_token=t=");
        check(&[], &[home, ("AWS_PROFILE", "none")], "");
        check(&[("region", "r")], &[("AWS_BUCKET", "b"), ("AWS_REGION", "x")], "bucket=b,region=r");
    }
}
