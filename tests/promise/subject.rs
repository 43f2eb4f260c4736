//! A daemon that is measured, and how to talk to it: through its command line, and over connections to its API.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use hako_testkit::{Host, Options, http::Connection, program};

use crate::memory;

/// hako on a machine of its own, or a peer.
pub(crate) struct Subject {
    pub(crate) name: String,
    command_line: PathBuf,
    socket: PathBuf,
    host: Option<Host>,
}

impl Subject {
    /// The hako that the environment names, with its data on a disk as in real life.
    pub(crate) fn hako() -> Self {
        let disk = std::env::temp_dir().join(format!("hako-bench-{}", std::process::id()));
        let host = Host::with(&Options { disk: Some(disk), ..Options::default() });
        let command_line = std::env::var_os("HAKO_TEST_BINARY").expect("cargo x bench says which hako to measure");
        let socket = host.daemon().socket();
        Self { name: "hako".to_owned(), command_line: command_line.into(), socket, host: Some(host) }
    }

    /// Somebody else's daemon; it gets the image busybox if it lacks it.
    pub(crate) fn peer(name: &str, address: &str) -> Self {
        let socket = address.trim_start_matches("unix://").into();
        let subject = Self { name: name.to_owned(), command_line: "docker".into(), socket, host: None };
        if !subject.succeeds(&["image", "inspect", "busybox"]) {
            let tar = hako_testkit::image::tar("busybox").expect("cargo x images busybox");
            subject.run(&["import", "--change", "CMD [\"sh\"]", &tar.display().to_string(), "busybox"]);
        }
        subject
    }

    /// Runs its command line and demands success.
    pub(crate) fn run(&self, arguments: &[&str]) {
        assert!(self.succeeds(arguments), "{} {} failed", self.command_line.display(), arguments.join(" "));
    }

    /// Runs its command line, which may fail.
    pub(crate) fn try_run(&self, arguments: &[&str]) {
        let _ = self.succeeds(arguments);
    }

    pub(crate) fn succeeds(&self, arguments: &[&str]) -> bool {
        self.command(arguments).status().is_ok_and(|status| status.success())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.command_line);
        command.args(arguments).env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// An open connection to its API.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.socket).unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name))
    }

    /// Removes containers by force.
    pub(crate) fn remove(&self, names: &[String]) {
        let mut connection = self.connect();
        for name in names {
            let _ = connection.send("DELETE", &format!("/v1.44/containers/{name}?force=1"), "");
        }
    }

    /// The processes that are the engine: daemon and keeper here, daemon, containerd and shims there.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.host {
            Some(host) => [host.processes_of("daemon"), host.processes_of("keeper")].concat(),
            None => memory::named(&["dockerd", "containerd", "containerd-shim-runc-v2"]),
        }
    }

    /// Those of one role of hako's.
    pub(crate) fn role(&self, role: &str) -> Vec<u32> {
        self.host.as_ref().map(|host| host.processes_of(role)).unwrap_or_default()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            drop(host);
            let _ = std::fs::remove_dir_all(std::env::temp_dir().join(format!("hako-bench-{}", std::process::id())));
        }
    }
}
