//! `images --tree`: every image once, with its names above each other, as docker draws it.
//!
//! A daemon with one platform an image has no branches to show; what docker draws for those is its own daemon's store of
//! several.

use hako_api::image::ImageSummary;

use crate::{
    context::Context,
    error::CommandError,
    format::{size, text},
};

/// Flags that docker refuses beside `--tree`, and whether they were given.
pub(super) fn refuse(given: &[(&str, bool)]) -> Result<(), CommandError> {
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(CommandError::Said(format!("--{flag} is not yet supported with --tree"))),
        None => Ok(()),
    }
}

pub(super) fn show(cx: &Context, images: &[ImageSummary]) -> Result<(), CommandError> {
    cx.remark("WARNING: This is an experimental feature. The output may change and shouldn't be depended on.");
    cx.print(&format!("{:>80}\n\n{}", "Info ->  U In Use ", table(images)))
}

fn table(images: &[ImageSummary]) -> String {
    let named: Vec<_> = images.iter().filter(|image| !image.repo_tags.is_empty()).collect();
    let widest = named.iter().flat_map(|image| &image.repo_tags).map(|name| name.chars().count()).max();
    let width = widest.unwrap_or(0).max("IMAGE".len());
    let mut lines = line(width, "IMAGE", ["ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"]);
    for image in named {
        // The last of the names is on the line with the figures.
        let mut names = image.repo_tags.iter().rev().peekable();
        while let Some(name) = names.next() {
            if names.peek().is_some() {
                lines.push_str(&format!("{name}\n"));
                continue;
            }
            let used = if image.containers > 0 { "U" } else { "" };
            // What is unpacked is counted; archives beside it are the store's own business.
            let figures = [text::short_id(&image.id), &size::human(image.size, 3), &size::human(0, 3), used];
            lines.push_str(&line(width, name, figures));
        }
    }
    lines
}

fn line(width: usize, name: &str, [id, disk, content, extra]: [&str; 4]) -> String {
    format!("{name:<width$}   {id:<12}   {disk:>10}   {content:>12}   {extra:^5}").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_image_stand_above_each_other() {
        let image = |id: &str, names: &[&str], containers| ImageSummary {
            id: format!("sha256:{id}0123456789"),
            repo_tags: names.iter().map(|name| (*name).to_owned()).collect(),
            size: 1_982_296,
            containers,
            ..ImageSummary::default()
        };
        let images = [image("aaa", &["mine:1", "box:1"], -1), image("bbb", &["other:2"], 1), image("ccc", &[], 0)];
        assert_eq!(
            table(&images),
            "IMAGE     ID             DISK USAGE   CONTENT SIZE   EXTRA\n\
             box:1\n\
             mine:1    aaa012345678       1.98MB             0B\n\
             other:2   bbb012345678       1.98MB             0B     U\n"
        );
    }

    #[test]
    fn flags_that_do_not_go_with_it_are_refused() {
        assert!(refuse(&[("quiet", false)]).is_ok());
        let refused = refuse(&[("quiet", false), ("show-digest", true)]).unwrap_err();
        assert_eq!(refused.to_string(), "--show-digest is not yet supported with --tree");
    }
}
