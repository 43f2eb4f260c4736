//! What the environment says: which daemon to test, and what `docker` means on a command line.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The daemon under test.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// hako, started by the test from this binary.
    Own(PathBuf),
    /// Somebody else's, at this address, in this network namespace.
    Given { address: String, netns: Option<String> },
}

pub(crate) fn target() -> Target {
    match env::var("HAKO_TEST_DAEMON") {
        Ok(address) if !address.is_empty() => Target::Given { address, netns: env::var("HAKO_TEST_NETNS").ok() },
        _ => Target::Own(binary()),
    }
}

/// The hako to test: what the environment says, else what cargo built beside this test program.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = env::var_os("HAKO_TEST_BINARY") {
        return path.into();
    }
    let here = env::current_exe().expect("a program knows its path");
    let profile = here.parent().and_then(Path::parent).expect("tests lie in deps/ of a profile's folder");
    profile.join("hako")
}

/// What cargo builds into.
pub(crate) fn target_folder() -> PathBuf {
    if let Some(path) = env::var_os("HAKO_TARGET_DIR") {
        return path.into();
    }
    let here = env::current_exe().expect("a program knows its path");
    here.ancestors().nth(3).expect("tests lie in target/PROFILE/deps").to_path_buf()
}

/// The program that `docker` on a command line stands for.
pub(crate) fn command_line() -> PathBuf {
    match env::var("HAKO_TEST_CLI").as_deref() {
        Err(_) | Ok("" | "hako") => binary(),
        Ok("docker") => {
            let path = env::var("PATH").unwrap_or_default();
            path.split(':')
                .map(|folder| Path::new(folder).join("docker"))
                .find(|file| file.is_file())
                .expect("HAKO_TEST_CLI=docker wants a docker on the PATH")
        }
        Ok(path) => path.into(),
    }
}
