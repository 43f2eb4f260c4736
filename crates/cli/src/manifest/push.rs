//! `manifest push`: a list goes to its registry, after what it names.

use hako_model::Reference;
use hako_registry::Manifest;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    registry::{Place, named},
};

use super::store::{Kept, List, Lists};

#[derive(Default)]
pub(crate) struct Push {
    insecure: bool,
    purge: bool,
}

impl Command for Push {
    const SHAPE: &'static Shape = &Shape {
        paths: &["manifest push"],
        usage: "[OPTIONS] MANIFEST_LIST",
        about: "Send a list to its registry",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.insecure, "--insecure", "The registry may be without TLS, or with any certificate");
        set.add(&mut self.purge, "-p, --purge", "Throw the list away here once it is there");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let list = named(&words[0])?;
        let lists = Lists::below(&cx.directory);
        let kept = lists.read(&list)?;
        if kept.is_empty() {
            return Err(CommandError::Said(format!("No such manifest: {list}")));
        }
        let place = Place::of(cx, &list, self.insecure)?;
        for one in &kept {
            if let Some(digest) = bring(&place, &list, one).await? {
                cx.print_line(&format!("Pushed ref {digest} with digest: {}", one.descriptor.digest))?;
            }
        }
        let whole = List::of(&kept);
        let digest = place.put(&list, &whole.media_type, whole.text().as_bytes()).await?;
        if self.purge {
            lists.remove(&list)?;
        }
        cx.print_line(&digest.to_string())
    }
}

// What lies in another repository is made known in the list's; answers its name there.
async fn bring(place: &Place, list: &Reference, one: &Kept) -> Result<Option<Reference>, CommandError> {
    let from = named(&one.name)?;
    if from.domain() != list.domain() {
        return Err(CommandError::Said(format!(
            "cannot use source images from a different registry than the target image: {} != {}",
            from.domain(),
            list.domain()
        )));
    }
    if from.path() == list.path() {
        return Ok(None);
    }
    let digest = one.descriptor.digest.parse().map_err(|error| CommandError::Said(format!("{error}")))?;
    let (media_type, bytes) = (one.descriptor.media_type.clone(), one.bytes()?.into());
    let manifest = Manifest { media_type, digest, bytes, is_index: false };
    let target = list.with_digest(digest);
    place.copy(&manifest, (&from, place), &target).await?;
    place.put(&target, &manifest.media_type, &manifest.bytes).await?;
    Ok(Some(target))
}
