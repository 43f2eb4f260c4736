//! Fixtures for the tests that look at hako from outside.
//!
//! A [`Host`] is a machine of its own: network, mount, process, IPC, UTS and cgroup namespaces, another machine beside
//! it, and a daemon that is started, killed and swept away with it. A test types command lines into it and compares
//! what a person would see. Nothing here knows how hako works inside; the same tests run against a Docker daemon:
//!
//! | variable | meaning |
//! |---|---|
//! | `HAKO_TEST_CLI` | what `docker` means on a command line: `hako` (default), `docker` from the PATH, or a path |
//! | `HAKO_TEST_BINARY` | the hako to test; default: beside the test program |
//! | `HAKO_TEST_DAEMON` | an address such as `unix:///run/docker.sock`: test that daemon instead of starting hako |
//! | `HAKO_TEST_FAIL` | a route, such as `POST /containers/{name}/stop`, that is made to fail |
//! | `HAKO_TEST_NETNS` | the network namespace (a name below /run/netns) of that daemon |
#![forbid(unsafe_code)]

mod actions_cache; // GitHub's cache service, played
mod answer; // requests and answers of services that tests play
mod bucket; // Amazon's S3, played
pub mod cgroup; // a control group of the host's own in every hierarchy, and the sweep
mod daemon; // hako daemons on a host: start, kill, start again
pub mod emulator; // programs of another machine
mod host; // a machine of its own, and what is typed into it
pub mod http; // requests as bytes, for answers that a client library would hide
pub mod image; // root file systems that containers run
pub mod namespace; // sockets in somebody else's network namespace
pub mod require; // skipping with a reason
mod saboteur; // makes one route of the API fail, from outside
mod session; // commands that go on: followed output, typed input, terminals
mod settings; // what the environment says about the daemon and the command line to test
mod shown; // what a command printed, with ids replaced, and how to expect it
pub mod wait; // waiting for a condition, by a deadline
pub mod way_out; // a proxy to archives of packages, for a machine that reaches nothing

pub use actions_cache::{ActionsCache, Fault, GITHUB_TOKEN};
pub use bucket::{Bucket, KEY, SECRET, SESSION};
pub use daemon::Daemon;
pub use host::{ADDRESS, Host, Options};
pub use rustix::process::Signal;
pub use session::{Session, Terminal};
pub use shown::{Shown, normalised};

/// Ends the test, counted as skipped, where something it needs is missing: `needs!(require::root());`
#[macro_export]
macro_rules! needs {
    ($requirement:expr) => {
        if let Err(reason) = $requirement {
            $crate::require::skip(&reason);
            return;
        }
    };
}

/// The binary under test.
pub fn binary() -> std::path::PathBuf {
    settings::binary()
}

/// A program to be run by a test.
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
    #[expect(clippy::disallowed_methods, reason = "tests run programs; the product does not")]
    std::process::Command::new(name)
}
