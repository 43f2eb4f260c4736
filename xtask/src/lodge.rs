//! A throw-away daemon on this machine's own network, for the demo and for `cargo x dev`.
//!
//! Its roots are in a folder of their own. When it goes, so does everything it made, which is `sweep`'s work. Other
//! daemons on the machine, hako's and Docker's, are not touched.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{dist, images, run, sweep, wait::wait_for};

/// Tells ourselves as root where the hako is that the caller has built.
const BUILT: &str = "HAKO_X_BUILT";

/// A running daemon.
pub(crate) struct Lodge {
    binary: PathBuf,
    folder: PathBuf,
    daemon: Child,
    /// Waits in a process of its own for the end of its input, and then takes everything away: however we end, ^C
    /// included, nothing stays.
    sweeper: Child,
}

/// Runs `inside` as root, with the path of a hako that was just built; building itself happens as the caller.
pub(crate) fn as_root(arguments: &[&str], inside: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    let binary = match std::env::var_os(BUILT) {
        Some(binary) => PathBuf::from(binary),
        None => {
            println!("building hako");
            images::prepare(&["busybox", "hello-world"]);
            dist::build_unoptimised()?
        }
    };
    if run::is_root() {
        return inside(&binary);
    }
    let ourselves = std::env::current_exe().map_err(|error| format!("cannot find ourselves: {error}"))?;
    let mut command = run::program(ourselves);
    command.args(arguments).env(BUILT, &binary);
    if let Ok(terminal) = std::env::var("TERM") {
        command.env("TERM", terminal);
    }
    println!("containers need root: going on through sudo");
    run::succeed(run::rooted(command))
}

/// `cargo x dev`
pub(crate) fn dev(arguments: &[String]) -> Result<(), String> {
    let mut all = vec!["dev"];
    all.extend(arguments.iter().map(String::as_str));
    as_root(&all, |binary| {
        let lodge = Lodge::start(binary)?;
        for name in ["busybox", "hello-world"] {
            lodge.import(name)?;
        }
        println!(
            "DOCKER_HOST={}; `hako` and `docker` mean this build; its log: {}",
            lodge.address(),
            lodge.log().display()
        );
        let mut shell = run::program(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()));
        lodge.equip(&mut shell);
        // How the shell ends is nobody's failure.
        let _ = shell.status();
        Ok(())
    })
}

impl Lodge {
    /// Starts a daemon and waits until it answers.
    pub(crate) fn start(binary: &Path) -> Result<Self, String> {
        let folder = PathBuf::from(format!("/var/tmp/hako-x-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let fails = |what: &str, error: std::io::Error| format!("cannot {what} in {}: {error}", folder.display());
        fs::create_dir_all(folder.join("root")).map_err(|error| fails("make a folder", error))?;
        fs::create_dir_all(folder.join("bin")).map_err(|error| fails("make a folder", error))?;
        for name in ["hako", "docker"] {
            symlink(binary, folder.join("bin").join(name)).map_err(|error| fails("make a link", error))?;
        }
        let sweeper = sweep::begin(&folder)?;
        let log = fs::File::create(folder.join("log")).map_err(|error| fails("write", error))?;
        let duplicate = log.try_clone().map_err(|error| fails("write", error))?;
        let mut command = start_command(binary, &folder);
        // A group of its own: ^C is meant for us, and the sweeper ends the daemon in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(duplicate);
        let daemon = command.spawn().map_err(|error| format!("cannot start the daemon: {error}"))?;
        let mut lodge = Self { binary: binary.to_path_buf(), folder, daemon, sweeper };
        lodge.wait_for_answer()?;
        Ok(lodge)
    }

    /// Its address, for DOCKER_HOST.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("hako.sock")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Makes a command talk to this daemon, and mean this build by `hako` and `docker`.
    pub(crate) fn equip(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        command.env("DOCKER_HOST", self.address()).env_remove("DOCKER_CONTEXT").env_remove("DOCKER_CONFIG");
    }

    /// Imports one of the images of `cargo x images`.
    pub(crate) fn import(&self, name: &str) -> Result<(), String> {
        let (reference, change) = match name {
            "hello-world" => (name, "CMD [\"/hello\"]"),
            "debian" => ("debian:bookworm", "CMD [\"bash\"]"),
            _ => (name, "CMD [\"sh\"]"),
        };
        let mut command = run::program(&self.binary);
        command.args(["import", "--change", change]).arg(images::image(name)?).arg(reference);
        self.equip(&mut command);
        run::output(command).map(drop)
    }

    /// Connecting is the sign of life: the daemon listens once it has recovered.
    fn wait_for_answer(&mut self) -> Result<(), String> {
        let socket = self.socket();
        let daemon = &mut self.daemon;
        let answered = wait_for(Duration::from_secs(20), || match UnixStream::connect(&socket) {
            Ok(_) => Some(Ok(())),
            Err(_) => daemon.try_wait().ok().flatten().map(Err),
        });
        if let Some(Ok(())) = answered {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Err(format!("the daemon does not answer ({answered:?}):\n{log}"))
    }
}

impl Drop for Lodge {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        let _ = self.daemon.wait();
        let _ = self.sweeper.wait();
    }
}

/// The daemon itself, or where overlay needs another file system below it, the daemon on a tmpfs that only it sees.
fn start_command(binary: &Path, folder: &Path) -> Command {
    let root = folder.join("root");
    let daemon = [
        binary.display().to_string(),
        "daemon".to_owned(),
        format!("--data-root={}", root.join("data").display()),
        format!("--exec-root={}", root.join("run").display()),
        format!("--pidfile={}", folder.join("pid").display()),
        format!("--host=unix://{}", folder.join("hako.sock").display()),
        format!("--cgroup-parent=/{}", sweep::name(folder)),
    ];
    if overlay_works(&root) {
        let mut command = run::program(&daemon[0]);
        command.args(&daemon[1..]);
        return command;
    }
    println!(
        "the file system of {} cannot carry an overlay (are we in a container?): using memory instead",
        root.display()
    );
    let mut command = run::program("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", "mount -t tmpfs tmpfs \"$0\"; exec \"$@\""]);
    command.arg(&root).args(&daemon);
    command
}

fn overlay_works(root: &Path) -> bool {
    let script =
        "cd \"$0\"; mkdir l u w m; mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m && touch m/file";
    let mut unshare = run::program("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-ec", script]).arg(root);
    let works = unshare.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    for name in ["l", "u", "w", "m"] {
        let _ = fs::remove_dir_all(root.join(name));
    }
    works
}
