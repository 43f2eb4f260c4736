//! `manifest inspect`: a list that is put together here, or what a registry has under a name.

use hako_model::Reference;
use hako_registry::Manifest;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    format::json,
    registry::{Place, named},
};

use super::store::{Kept, List, Lists, present};

#[derive(Default)]
pub(crate) struct Inspect {
    insecure: bool,
    verbose: bool,
}

impl Command for Inspect {
    const SHAPE: &'static Shape = &Shape {
        paths: &["manifest inspect"],
        usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
        about: "Show a manifest, or a list of manifests",
        arguments: Arguments::Between(1, 2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.insecure, "--insecure", "The registry may be without TLS, or with any certificate");
        set.add(&mut self.verbose, "-v, --verbose", "With layers and platform");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let lists = Lists::below(&cx.directory);
        if let [list, name] = &words[..] {
            let name = named(name)?;
            let found = lists.find(&named(list)?, &name)?;
            let kept = found.ok_or_else(|| CommandError::Said(format!("No such manifest: {name}")))?;
            return self.show_one(cx, &kept);
        }
        let name = named(&words[0])?;
        let list = lists.read(&name)?;
        if !list.is_empty() {
            return self.show_list(cx, &list);
        }
        let place = Place::of(cx, &name, self.insecure)?;
        let manifest = present(&place, &name).await?;
        if !manifest.is_index {
            let platform = place.platform(&name, &manifest).await?;
            return self.show_one(cx, &Kept::new(name.to_string(), &manifest, platform)?);
        }
        let index: List = parsed(&manifest)?;
        if !self.verbose {
            return cx.print_line(&index.text());
        }
        let mut all = Vec::new();
        for entry in index.manifests {
            let digest = entry.digest.parse().map_err(|error| CommandError::Said(format!("{error}")))?;
            let part: Reference = name.with_digest(digest);
            let manifest = present(&place, &part).await?;
            all.push(Kept::new(format!("{name}@{digest}"), &manifest, entry.platform)?);
        }
        self.show_list(cx, &all)
    }
}

impl Inspect {
    fn show_one(&self, cx: &Context, kept: &Kept) -> Result<(), CommandError> {
        if self.verbose {
            return cx.print_line(&kept.text());
        }
        cx.print_line(&json::indent(&String::from_utf8_lossy(&kept.bytes()?), "\t"))
    }

    fn show_list(&self, cx: &Context, list: &[Kept]) -> Result<(), CommandError> {
        if !self.verbose {
            return cx.print_line(&List::of(list).text());
        }
        cx.print_line(&json::indent(&serde_json::to_string(list).unwrap_or_default(), "\t"))
    }
}

fn parsed(manifest: &Manifest) -> Result<List, CommandError> {
    let mut list: List = serde_json::from_slice(&manifest.bytes)
        .map_err(|error| CommandError::Said(format!("the list is malformed: {error}")))?;
    if list.media_type.is_empty() {
        list.media_type.clone_from(&manifest.media_type);
    }
    Ok(list)
}
