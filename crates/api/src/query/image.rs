//! Query strings of `/images` and `/commit`.

use crate::{Filters, query::query};

query! {
    /// Of `GET /images/json`.
    pub struct ImageListQuery {
        pub all: bool = "all",
        pub filters: Filters = "filters",
        pub shared_size: bool = "shared-size",
        pub digests: bool = "digests",
        pub manifests: bool = "manifests",
        /// The `docker images NAME` of clients before 1.25.
        pub filter: Option<String> = "filter",
    }

    /// Of `POST /images/create`: `pull` with `from_image`, `import` with `from_src`.
    pub struct ImageCreateQuery {
        pub from_image: String = "fromImage",
        /// `-` for the body, or a URL.
        pub from_src: String = "fromSrc",
        pub repo: String = "repo",
        pub tag: String = "tag",
        pub message: String = "message",
        pub changes: Vec<String> = "changes",
        pub platform: Option<String> = "platform",
    }

    /// Of `POST /images/{name}/push`.
    pub struct ImagePushQuery {
        /// Empty: every tag of the repository.
        pub tag: String = "tag",
        pub platform: Option<String> = "platform",
    }

    /// Of `GET /images/{name}/json`, since 1.49, and `GET /images/{name}/history`, since 1.48.
    pub struct ImagePlatformQuery {
        pub platform: Option<String> = "platform",
    }

    /// Of `GET /images/search`.
    pub struct ImageSearchQuery {
        pub term: String = "term",
        pub limit: Option<String> = "limit",
        pub filters: Filters = "filters",
    }

    /// Of `POST /images/{name}/tag`.
    pub struct ImageTagQuery {
        pub repo: String = "repo",
        pub tag: String = "tag",
    }

    /// Of `POST /hako/images/{name}/verify`.
    pub struct ImageVerifyQuery {
        pub repair: bool = "repair",
    }

    /// Of `GET /hako/images/{name}/diff`.
    pub struct ImageDiffQuery {
        pub with: String = "with",
    }

    /// Of `DELETE /images/{name}`.
    pub struct ImageRemoveQuery {
        pub force: bool = "force",
        pub no_prune: bool = "noprune",
        pub platforms: Vec<String> = "platforms",
    }

    /// Of `GET /images/get`.
    pub struct ImageSaveQuery {
        pub names: Vec<String> = "names",
        pub platform: Vec<String> = "platform",
        /// Layers to leave out, by diff id (hako's own).
        pub without: Vec<String> = "without",
    }

    /// Of `POST /images/load`.
    pub struct ImageLoadQuery {
        pub quiet: bool = "quiet",
        pub platform: Vec<String> = "platform",
    }

    /// Of `POST /commit`.
    pub struct ImageCommitQuery {
        pub container: String = "container",
        pub repo: String = "repo",
        pub tag: String = "tag",
        pub comment: String = "comment",
        pub author: String = "author",
        /// Pauses unless it says no.
        pub pause: Option<bool> = "pause",
        pub changes: Vec<String> = "changes",
    }
}
