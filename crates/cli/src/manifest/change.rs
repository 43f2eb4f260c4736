//! `manifest create`, `annotate`, `rm`: a list is put together, changed, thrown away. Nothing is sent.

use hako_model::Reference;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    registry::{Place, named},
};

use super::store::{Kept, Lists};

#[derive(Default)]
pub(crate) struct Create {
    amend: bool,
    insecure: bool,
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["manifest create"],
        usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
        about: "Put a list of images together, to annotate and push it",
        arguments: Arguments::AtLeast(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.amend, "-a, --amend", "Add to a list that is there");
        set.add(&mut self.insecure, "--insecure", "The registry may be without TLS, or with any certificate");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let list = named(&words[0]).map_err(|error| {
            CommandError::Said(format!("error parsing name for manifest list {}: {error}", words[0]))
        })?;
        let lists = Lists::below(&cx.directory);
        if !self.amend && !lists.read(&list)?.is_empty() {
            return Err(CommandError::Said(
                "refusing to amend an existing manifest list with no --amend flag".to_owned(),
            ));
        }
        let mut found: Vec<(Reference, Kept)> = Vec::new();
        for word in &words[1..] {
            let name = named(word)?;
            let kept = match lists.find(&list, &name)? {
                Some(kept) => kept,
                None => Kept::fetch(&Place::of(cx, &name, self.insecure)?, &name).await?,
            };
            found.push((name, kept));
        }
        // All of them, or none.
        for (name, kept) in &found {
            lists.keep(&list, name, kept)?;
        }
        cx.print_line(&format!("Created manifest list {list}"))
    }
}

#[derive(Default)]
pub(crate) struct Annotate {
    arch: String,
    os: String,
    os_features: Vec<String>,
    os_version: String,
    variant: String,
}

impl Command for Annotate {
    const SHAPE: &'static Shape = &Shape {
        paths: &["manifest annotate"],
        usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
        about: "Say more about an image of a list",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.arch, "--arch", "Architecture");
        set.add(&mut self.os, "--os", "Operating system");
        set.add(&mut self.os_features, "--os-features", "Features of the operating system").kind("strings");
        set.add(&mut self.os_version, "--os-version", "Version of the operating system");
        set.add(&mut self.variant, "--variant", "Variant of the architecture");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let (list, name) = (named(&words[0])?, named(&words[1])?);
        let lists = Lists::below(&cx.directory);
        let mut kept = lists.find(&list, &name)?.ok_or_else(|| {
            CommandError::Said(format!("manifest for image {} does not exist in {}", words[1], words[0]))
        })?;
        let mut platform = kept.descriptor.platform.take().unwrap_or_default();
        for (said, into) in [
            (&self.arch, &mut platform.architecture),
            (&self.os, &mut platform.os),
            (&self.os_version, &mut platform.os_version),
            (&self.variant, &mut platform.variant),
        ] {
            if !said.is_empty() {
                into.clone_from(said);
            }
        }
        for feature in self.os_features.iter().flat_map(|text| text.split(',')) {
            if !platform.os_features.iter().any(|known| known == feature) {
                platform.os_features.push(feature.to_owned());
            }
        }
        if !is_supported(&platform.os, &platform.architecture) {
            return Err(CommandError::Said(format!(
                "manifest entry for image has unsupported os/arch combination: {}/{}",
                self.os, self.arch
            )));
        }
        kept.descriptor.platform = Some(platform);
        lists.keep(&list, &name, &kept)
    }
}

/// The systems and architectures that there are images for.
const SUPPORTED: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];

fn is_supported(os: &str, architecture: &str) -> bool {
    SUPPORTED.iter().any(|(known, architectures)| *known == os && architectures.contains(&architecture))
}

#[derive(Default)]
pub(crate) struct Remove;

impl Command for Remove {
    const SHAPE: &'static Shape = &Shape {
        paths: &["manifest rm"],
        usage: "MANIFEST_LIST [MANIFEST_LIST...]",
        about: "Throw away lists that were put together here",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let lists = Lists::below(&cx.directory);
        let mut failed = Vec::new();
        for word in &words {
            match named(word).and_then(|list| Ok((lists.remove(&list)?, list))) {
                Ok((true, _)) => {}
                Ok((false, list)) => failed.push(format!("No such manifest: {list}")),
                Err(error) => failed.push(error.to_string()),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(CommandError::Several(failed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_can_be_annotated() {
        assert!(is_supported("linux", "arm64"));
        assert!(!is_supported("linux", "x"));
        assert!(!is_supported("foo", "arm64"));
    }
}
