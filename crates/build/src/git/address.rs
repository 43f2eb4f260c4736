//! What people write to name a repository: `https://host/repo.git#ref:directory`, or with a query. Pure.

use crate::error::BuildError;

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GitAddress {
    /// Where it is, for HTTP.
    pub(crate) url: String,
    /// A branch, a tag or a commit; empty: what the repository's `HEAD` is.
    pub(crate) reference: String,
    /// The directory of it that is meant.
    pub(crate) directory: String,
    /// The commit that it must be, or the beginning of its id.
    pub(crate) checksum: String,
    pub(crate) keep_git: bool,
    pub(crate) submodules: bool,
}

impl GitAddress {
    /// Reads an address; `None`: it names no repository.
    ///
    /// # Errors
    /// A repository that cannot be asked, or a directory that leads out of it.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, BuildError> {
        let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (bare, query) = place.split_once('?').unwrap_or((place, ""));
        let is_http = bare.starts_with("http://") || bare.starts_with("https://");
        let is_named = bare.trim_end_matches('/').ends_with(".git");
        let url = if is_http && is_named {
            bare.to_owned()
        } else if bare.starts_with("github.com/") {
            format!("https://{bare}")
        } else if let Some(scheme) = other_transport(bare) {
            return Err(BuildError::NotBuilt {
                text: format!("{bare}: git over {scheme} is not built yet: use the repository's https address"),
            });
        } else {
            return Ok(None);
        };
        if bare.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(BuildError::invalid(format!("{bare:?} is no address of a git repository")));
        }
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut address = Self {
            url: url.trim_end_matches('/').to_owned(),
            reference: reference.to_owned(),
            directory: directory.to_owned(),
            submodules: true,
            ..Self::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            address.option(pair)?;
        }
        address.check(text)?;
        Ok(Some(address))
    }

    /// With the commit that it must be.
    pub(crate) fn with_checksum(mut self, commit: &str) -> Result<Self, BuildError> {
        commit.clone_into(&mut self.checksum);
        self.check(&self.url)?;
        Ok(self)
    }

    fn option(&mut self, pair: &str) -> Result<(), BuildError> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_true = !matches!(value, "0" | "false");
        match key {
            "ref" | "branch" | "commit" if self.reference.is_empty() => value.clone_into(&mut self.reference),
            "tag" if self.reference.is_empty() => self.reference = format!("refs/tags/{value}"),
            "ref" | "branch" | "tag" | "commit" => {
                return Err(BuildError::invalid(format!("{key}={value}: another reference is named already")));
            }
            "subdir" => value.clone_into(&mut self.directory),
            "checksum" => value.clone_into(&mut self.checksum),
            "keep-git-dir" => self.keep_git = is_true,
            "submodules" => self.submodules = is_true,
            other => return Err(BuildError::invalid(format!("unexpected query {other:?} of a git address"))),
        }
        Ok(())
    }

    fn check(&self, text: &str) -> Result<(), BuildError> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
        if self.reference.starts_with('-') || self.reference.contains("..") || self.reference.contains(is_odd) {
            return Err(BuildError::invalid(format!("{text}: {:?} is no name of a branch or tag", self.reference)));
        }
        if self.directory.split('/').any(|part| part == "..") {
            return Err(BuildError::invalid(format!("{text}: the directory {:?} leads out", self.directory)));
        }
        let is_hex = self.checksum.len() <= 40 && self.checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || (1..7).contains(&self.checksum.len()) {
            return Err(BuildError::invalid(format!("{text}: the checksum is no commit: {:?}", self.checksum)));
        }
        Ok(())
    }
}

fn other_transport(place: &str) -> Option<&'static str> {
    if place.starts_with("git@") || place.starts_with("ssh://") {
        Some("SSH")
    } else {
        place.starts_with("git://").then_some("its own port")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match GitAddress::parse(text) {
            Ok(None) => "none".to_owned(),
            Ok(Some(found)) => format!("{} {:?} {:?} {}", found.url, found.reference, found.directory, found.checksum),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn addresses() {
        check("https://host/me/it.git", r#"https://host/me/it.git "" "" "#);
        check("https://host/me/it.git#main:a/b", r#"https://host/me/it.git "main" "a/b" "#);
        check(
            "https://host/it.git?tag=v1&subdir=x&checksum=0123456",
            r#"https://host/it.git "refs/tags/v1" "x" 0123456"#,
        );
        check("github.com/me/it#:x", r#"https://github.com/me/it "" "x" "#);
        check("https://host/it.tar.gz", "none");
        check(
            "git@host:me/it.git",
            "error: git@host:me/it.git: git over SSH is not built yet: use the repository's https address",
        );
    }

    #[test]
    fn tricks() {
        check(
            "https://host/it.git#--upload-pack=touch",
            r#"error: https://host/it.git#--upload-pack=touch: "--upload-pack=touch" is no name of a branch or tag"#,
        );
        check(
            "https://host/it.git#main:../../etc",
            r#"error: https://host/it.git#main:../../etc: the directory "../../etc" leads out"#,
        );
        check("https://host/it.git?exec=x", r#"error: unexpected query "exec" of a git address"#);
        check("file:///etc/it.git", "none");
    }
}
