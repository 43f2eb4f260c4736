//! Images.

use hako_api::image::{ImageDeleteItem, ImageHistoryItem, ImageInspect, ImageMetadata, ImageSummary, RootFs};
use hako_base::clock;
use hako_engine::view::{ImageRemoved, ImageView};
use hako_model::ImageHistory;
use jiff::Timestamp;

use crate::convert::{config, inspect::storage, signed, some_list, some_map};

/// One image of a list: how many containers use it, and how much of it others have too, where that is asked for.
pub(crate) fn summary(view: &ImageView, count: bool, shared: bool) -> ImageSummary {
    ImageSummary {
        containers: if count { signed(view.containers as u64) } else { -1 },
        created: view.created.map_or(0, Timestamp::as_second),
        id: view.id.to_string(),
        labels: some_map(&view.config.labels),
        parent_id: view.parent.map_or_else(String::new, |parent| parent.to_string()),
        repo_digests: view.digests.clone(),
        repo_tags: view.tags.clone(),
        shared_size: if shared { signed(view.shared) } else { -1 },
        size: signed(view.size),
        virtual_size: None,
    }
}

pub(crate) fn inspect(view: &ImageView) -> ImageInspect {
    ImageInspect {
        id: view.id.to_string(),
        repo_tags: view.tags.clone(),
        repo_digests: view.digests.clone(),
        parent: view.parent.map_or_else(String::new, |parent| parent.to_string()),
        comment: view.comment.clone(),
        created: view.created.map_or_else(String::new, clock::rfc3339_nano),
        docker_version: view.docker_version.clone(),
        author: view.author.clone(),
        config: config::image_config_to_api(&view.config),
        architecture: view.architecture.clone(),
        variant: view.variant.clone(),
        os: view.os.clone(),
        os_version: String::new(),
        size: signed(view.size),
        virtual_size: None,
        graph_driver: storage(&view.places),
        root_fs: RootFs { kind: "layers".to_owned(), layers: view.layers.iter().map(ToString::to_string).collect() },
        metadata: ImageMetadata { last_tag_time: clock::rfc3339_or_zero(view.last_tagged) },
        container: None,
        container_config: None,
    }
}

pub(crate) fn history(line: &ImageHistory) -> ImageHistoryItem {
    ImageHistoryItem {
        comment: line.comment.clone(),
        created: line.created.map_or(0, Timestamp::as_second),
        created_by: line.created_by.clone(),
        id: line.image.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
        size: signed(line.size),
        tags: some_list(&line.tags),
    }
}

pub(crate) fn removed(from: ImageRemoved) -> ImageDeleteItem {
    match from {
        ImageRemoved::Untagged(untagged) => ImageDeleteItem { untagged, ..ImageDeleteItem::default() },
        ImageRemoved::Deleted(deleted) => ImageDeleteItem { deleted, ..ImageDeleteItem::default() },
    }
}
