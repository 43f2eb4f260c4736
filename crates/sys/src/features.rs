//! What this kernel can do: asked of the kernel itself, once, never guessed from a version.

use std::{os::fd::AsFd, path::Path, sync::OnceLock};

use crate::mount::{self, Filesystem, MountAttributes, open_directory};

/// Whether overlayfs takes its layers as descriptors (Linux 6.13).
pub fn overlay_layer_descriptors() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let probe = || {
            let filesystem = Filesystem::new("overlay")?;
            filesystem.option_descriptor("lowerdir+", open_directory(Path::new("/"))?.as_fd()).map(|_| ())
        };
        probe().is_ok()
    })
}

/// Whether a mount that is in no namespace can be copied (Linux 6.15).
pub fn copies_of_detached_mounts() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        mount::tmpfs(&[("nr_inodes", "2")], MountAttributes::default())
            .and_then(|detached| mount::clone_tree_of(detached.as_fd(), false))
            .is_ok()
    })
}

/// Whether a pidfd tells the exit status of a process that was reaped by somebody else (Linux 6.15).
pub fn exit_by_descriptor() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        crate::process::open_pidfd(std::process::id())
            .and_then(|pidfd| crate::process::exit_by_descriptor(pidfd.as_fd()))
            .is_ok()
    })
}

/// Whether the kernel has namespaces of time (Linux 5.6, a build option).
pub fn time_namespaces() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| Path::new("/proc/self/ns/time").exists())
}
