//! `image copy`: an image from this daemon to another one, without what that one has already.
//!
//! Any two daemons will do, also over `ssh://`. One that is not hako is sent (or sends) all of it.

use std::collections::{BTreeMap, BTreeSet};

use hako_api::query::{ImageListQuery, ImageLoadQuery, ImageSaveQuery};
use hako_client::{BodyReader, Client, ClientError, Host, RequestBody};
use hako_model::Reference;
use tokio::sync::mpsc;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    progress::{self, Place},
};

/// Pieces of the archive on their way.
const CHUNKS_AHEAD: usize = 4;

#[derive(Default)]
pub(crate) struct Copy {
    quiet: bool,
}

impl Command for Copy {
    const SHAPE: &'static Shape = &Shape {
        paths: &["image copy"],
        usage: "[OPTIONS] IMAGE HOST",
        about: "Bring an image to another daemon (ssh://, tcp://, unix://), and only the layers it lacks",
        arguments: Arguments::Exactly(2),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.quiet, "-q, --quiet", "Print nothing but the image's name");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let host = Host::parse(&words[1], false).map_err(ClientError::from)?;
        let (from, to) = (cx.client()?, Client::at(host, None, None, &BTreeMap::new())?);
        let image = from.image_inspect(&words[0]).await?;
        let layers = image.root_fs.layers;
        let there = layers_of(&to).await?;
        let without: Vec<String> = layers.iter().filter(|layer| there.contains(*layer)).cloned().collect();
        if !self.quiet {
            cx.remark(&format!("{} of {} layers are there already", without.len(), layers.len()));
        }
        let name = one_name(&words[0], &image.repo_tags);
        let query = ImageSaveQuery { names: vec![name], platform: Vec::new(), without };
        let archive = from.image_save(&query).await?;
        let query = ImageLoadQuery { quiet: true, platform: Vec::new() };
        let stream = to.image_load(&query, pump(archive)).await?;
        progress::show(stream, if self.quiet { Place::Nowhere } else { Place::Stdout }).await?;
        if self.quiet { cx.print_line(&words[0]) } else { Ok(()) }
    }
}

// The name of one image: to an archive, a repository without a tag means all its tags.
fn one_name(given: &str, tags: &[String]) -> String {
    let tagged = given.parse::<Reference>().ok().map(|name| name.with_default_tag().familiar());
    tagged.filter(|name| tags.contains(name)).unwrap_or_else(|| given.to_owned())
}

// All layers of all images of a daemon.
async fn layers_of(client: &Client) -> Result<BTreeSet<String>, CommandError> {
    let images = client.image_list(&ImageListQuery { all: true, ..ImageListQuery::default() }).await?;
    let mut layers = BTreeSet::new();
    for image in images {
        match client.image_inspect(&image.id).await {
            Ok(image) => layers.extend(image.root_fs.layers),
            // It has just been removed.
            Err(ClientError::Api { status: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(layers)
}

fn pump(mut archive: BodyReader) -> RequestBody {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(async move {
        loop {
            let piece = match archive.chunk().await {
                Ok(Some(piece)) => Ok(piece),
                Ok(None) => return,
                // The receiver must not take half an archive for a whole one.
                Err(error) => Err(std::io::Error::other(error.to_string())),
            };
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    RequestBody::Stream(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_without_a_tag_is_one_image() {
        let tags = ["box:1".to_owned(), "box:latest".to_owned()];
        assert_eq!(one_name("box", &tags), "box:latest");
        assert_eq!(one_name("docker.io/library/box:1", &tags), "box:1");
        // An id, also one that could be a name.
        assert_eq!(one_name("deadbeef", &tags), "deadbeef");
        assert_eq!(one_name("box", &[]), "box");
    }
}
