//! What a path of a container is: JSON in base64, in a header of `HEAD` and `GET /containers/{id}/archive`.

use serde::{Deserialize, Serialize};

use crate::text;

/// The header, in the lower case that HTTP libraries want.
pub const HEADER: &str = "x-docker-container-path-stat";

/// A path of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStat {
    pub name: String,
    pub size: i64,
    /// Permissions and kind as Go has them; see [`mode`].
    pub mode: u32,
    pub mtime: String,
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

/// Bits of Go's `fs.FileMode`; the lowest nine are permissions.
pub mod mode {
    pub const DIRECTORY: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const PIPE: u32 = 1 << 25;
    pub const SOCKET: u32 = 1 << 24;
    pub const SET_UID: u32 = 1 << 23;
    pub const SET_GID: u32 = 1 << 22;
    /// With [`DEVICE`]: a character device.
    pub const CHARACTER: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
    /// What is neither of these is a regular file.
    pub const IRREGULAR: u32 = 1 << 19;
}

impl PathStat {
    /// The header's value.
    pub fn encode(&self) -> String {
        text::base64_standard(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// From the header's value.
    pub fn decode(value: &str) -> Option<Self> {
        text::base64_url_decode(value).and_then(|json| serde_json::from_slice(&json).ok())
    }

    /// Whether it is a directory, not a link to one.
    pub fn is_directory(&self) -> bool {
        self.mode & mode::DIRECTORY != 0
    }

    /// Whether it is a link.
    pub fn is_symlink(&self) -> bool {
        self.mode & mode::SYMLINK != 0
    }
}
