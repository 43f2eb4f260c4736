//! Root file systems that containers run, as `cargo x images` makes them.

use std::path::PathBuf;

/// The tar file of an image, if it was made.
pub fn tar(name: &str) -> Option<PathBuf> {
    let path = crate::settings::target_folder().join("images").join(format!("{name}.tar"));
    path.is_file().then_some(path)
}

/// How an image is to be configured when its tar is imported; Dockerfile instructions.
pub(crate) fn changes(name: &str) -> &'static [&'static str] {
    match name {
        "busybox" => &["CMD [\"sh\"]", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "hello-world" => &["CMD [\"/hello\"]"],
        "probe" => &["ENTRYPOINT [\"/probe\"]"],
        "debian" => &["CMD [\"bash\"]"],
        _ => &[],
    }
}

/// The name an image gets when it is loaded into a daemon.
pub(crate) fn reference(name: &str) -> &str {
    if name == "debian" { "debian:bookworm" } else { name }
}
