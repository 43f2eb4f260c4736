//! A bundle to run, the runtime to run it with, and what came of it.

use std::{
    ffi::OsStr,
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use hako_sys::process::{self, Exit, Spawn};
use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";

/// Why nothing can be run here, if so.
pub(crate) fn why_not() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    (!Path::new(BUSYBOX).exists()).then_some("needs /bin/busybox (Debian package busybox-static)")
}

/// A bundle and a root for the runtime's records, gone at the end with all containers.
pub(crate) struct Bundle {
    pub(crate) directory: PathBuf,
    pub(crate) name: String,
    pub(crate) config: Value,
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) error: String,
}

impl Bundle {
    /// All namespaces new, no terminal, `sh -c script`.
    pub(crate) fn new(script: &str) -> Self {
        let name = format!("hkrt-{}", hako_base::random::hex(4));
        let directory = std::env::temp_dir().join(&name);
        let root = directory.join("rootfs");
        for inner in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
            fs::create_dir_all(root.join(inner)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "ls", "sleep", "id", "touch", "readlink", "hostname", "stat", "tty", "stty", "kill", "ps",
            "grep", "true", "echo", "mount", "mkdir", "pwd", "env", "head", "test", "ip", "uname", "chrt", "ionice",
            "umask",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/home/web:/bin/sh\n").unwrap();
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), directory.join("hako-runtime")).unwrap();
        let mut config = hako_runtime::oci::show::template(None);
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["process"]["env"] = json!(["PATH=/bin"]);
        config["root"]["readonly"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("/hako-runtime-test/{name}"));
        Self { directory, name, config }
    }

    /// Changes the configuration, by its path: `/process/cwd`.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[key] = value;
        self
    }

    /// Adds to a list of it.
    pub(crate) fn push(mut self, pointer: &str, value: Value) -> Self {
        self.config.pointer_mut(pointer).unwrap().as_array_mut().unwrap().push(value);
        self
    }

    pub(crate) fn write(&self) {
        fs::write(self.directory.join("config.json"), self.config.to_string()).unwrap();
    }

    /// Calls the runtime: `create`, the name of the container, and more.
    pub(crate) fn call(&self, command: &str, more: &[&str]) -> Ran {
        self.call_with(&[], command, more)
    }

    pub(crate) fn call_with(&self, flags: &[&str], command: &str, more: &[&str]) -> Ran {
        let program = self.directory.join("hako-runtime");
        let root = self.directory.join("records");
        let mut arguments: Vec<String> = vec!["--root".to_owned(), root.display().to_string()];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        arguments.push(command.to_owned());
        if matches!(command, "create" | "run") {
            arguments.extend(["--bundle".to_owned(), self.directory.display().to_string()]);
        }
        // Flags come before the name, what else there is behind it.
        let split = more.iter().position(|word| !word.starts_with('-')).unwrap_or(more.len());
        arguments.extend(more[..split].iter().map(|word| (*word).to_owned()));
        arguments.push(self.name.clone());
        arguments.extend(more[split..].iter().map(|word| (*word).to_owned()));
        run(program.as_os_str(), &arguments)
    }

    /// Writes the configuration and runs it in the foreground.
    pub(crate) fn run(&self) -> Ran {
        self.write();
        self.call("run", &[])
    }

    pub(crate) fn status(&self) -> String {
        let ran = self.call("state", &[]);
        let state: Value = serde_json::from_str(&ran.output).unwrap_or_else(|_| panic!("{ran:?}"));
        state["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        let state: Value = serde_json::from_str(&self.call("state", &[]).output).unwrap();
        state["pid"].as_u64().unwrap() as u32
    }

    /// Waits until a file of the root is there, and reads it.
    pub(crate) fn wait_for_file(&self, path: &str) -> String {
        let path = self.directory.join("rootfs").join(path);
        let found = hako_base::backoff::wait_for(std::time::Duration::from_secs(20), || {
            fs::read_to_string(&path).ok().filter(|text| !text.is_empty())
        });
        found.unwrap_or_else(|| panic!("{} did not appear", path.display()))
    }

    pub(crate) fn wait_for_status(&self, wanted: &str) {
        let found = hako_base::backoff::wait_for(std::time::Duration::from_secs(20), || {
            (self.status() == wanted).then_some(())
        });
        found.unwrap_or_else(|| panic!("it does not become {wanted} but {}", self.status()));
    }
}

/// Calls a program and takes what it says.
pub(crate) fn run(program: &OsStr, arguments: &[String]) -> Ran {
    let memory = || rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let (output, error) = (memory(), memory());
    let child = process::spawn(&Spawn {
        program,
        arguments: arguments.iter().map(Into::into).collect(),
        stdout: Some(output.as_fd()),
        stderr: Some(error.as_fd()),
        ..Spawn::default()
    })
    .unwrap();
    let exit = process::reap(child.pidfd.as_fd()).unwrap();
    let text = |memory: &std::os::fd::OwnedFd| {
        let mut bytes = vec![0; 256 << 10];
        let length = rustix::io::pread(memory, &mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    };
    Ran { code, output: text(&output), error: text(&error) }
}

impl Ran {
    #[track_caller]
    pub(crate) fn says(&self, expected: &str) {
        assert_eq!((self.code, self.output.as_str()), (0, expected), "{}", self.error);
    }

    #[track_caller]
    pub(crate) fn succeeds(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }

    #[track_caller]
    pub(crate) fn fails_with(&self, words: &str) {
        assert!(self.code != 0 && self.error.contains(words), "{self:?}");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.call("delete", &["--force"]);
        let _ = fs::remove_dir_all(&self.directory);
        // The parent of the groups, once it is empty.
        if let Ok(cgroup) = hako_runtime::cgroup::Cgroup::at("/hako-runtime-test")
            && cgroup.pids().is_ok_and(|pids| pids.is_empty())
            && cgroup_is_leaf()
        {
            let _ = cgroup.remove();
        }
    }
}

fn cgroup_is_leaf() -> bool {
    hako_runtime::observe::cgroup_children("/hako-runtime-test").is_empty()
}
