//! hako daemons on a host: started, killed and started again, each with roots and a socket of its own.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::{
    host::{HOME, Machine},
    http::Connection,
    wait,
};

/// A daemon on a [`crate::Host`], running or not.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    /// Everything after `hako daemon`.
    flags: String,
    data_root: String,
    exec_root: String,
    socket: String,
    child: Mutex<Option<Child>>,
    /// The machine's root directory as this process sees it.
    root: PathBuf,
}

impl Daemon {
    /// One with roots and a socket of its own; a data root among the flags wins.
    pub(crate) fn new(machine: &Machine, name: &str, flags: &[&str]) -> Self {
        let home = format!("{HOME}/{name}");
        let given = flags.iter().find_map(|flag| flag.strip_prefix("--data-root="));
        let data_root = given.map_or_else(|| format!("{home}/data"), str::to_owned);
        let (exec_root, socket) = (format!("{home}/run"), format!("{HOME}/{name}.sock"));
        // A test needs few, and there are many hosts at once.
        let pool = if flags.iter().any(|flag| flag.starts_with("--sandboxes")) { "" } else { "--sandboxes=4" };
        let own =
            format!("--data-root={data_root} --exec-root={exec_root} --pidfile={home}/hako.pid -H unix://{socket}");
        let others: Vec<&str> = flags.iter().copied().filter(|flag| !flag.starts_with("--data-root=")).collect();
        let flags = format!("{own} {pool} {}", others.join(" "));
        Self {
            name: name.to_owned(),
            flags,
            data_root,
            exec_root,
            socket,
            child: Mutex::new(None),
            root: machine.root(),
        }
    }

    /// The one of a machine that is told nothing about where things are.
    pub(crate) fn with_defaults(machine: &Machine, flags: &[&str]) -> Self {
        Self {
            name: "hako".to_owned(),
            flags: flags.join(" "),
            data_root: "/var/lib/hako".to_owned(),
            exec_root: "/run/hako".to_owned(),
            socket: "/run/hako.sock".to_owned(),
            child: Mutex::new(None),
            root: machine.root(),
        }
    }

    /// Its address as programs on the host write it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket)
    }

    /// Its socket as this process reaches it.
    pub fn socket(&self) -> PathBuf {
        self.root.join(self.socket.trim_start_matches('/'))
    }

    /// Its data directory as programs on the host see it.
    pub fn data_root(&self) -> &str {
        &self.data_root
    }

    /// Its run-time directory as programs on the host see it.
    pub fn exec_root(&self) -> &str {
        &self.exec_root
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// Where it ends or does not answer in time, with its log.
    pub(crate) fn start(&self, machine: &Machine) {
        self.launch(machine);
        let socket = self.socket();
        let ended = || self.child.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.try_wait().ok().flatten();
        let answers = || match Connection::open(&socket).and_then(|mut to| to.send("GET", "/_ping", "")) {
            Ok(answer) => Ok(answer.status),
            Err(error) => Err((error.to_string(), ended())),
        };
        let seen = hako_base::backoff::wait_for(wait::patience(), || match answers() {
            Err((_, None)) => None,
            other => Some(other),
        });
        assert!(matches!(seen, Some(Ok(200))), "the daemon does not answer: {seen:?}\n{}", self.log());
    }

    /// Starts it and does not wait.
    pub(crate) fn launch(&self, machine: &Machine) {
        let home = format!("{HOME}/{}", self.name);
        // Joining comes before exec: what the daemon starts must find itself in the daemon's unit.
        let script = format!(
            "mkdir -p {home} && for procs in {units}; do mkdir -p ${{procs%/*}}; echo $$ > $procs; done; \
             echo $$ > {home}/pid; exec {HOME}/bin/hako daemon {flags} >> {home}/log 2>&1",
            units = machine.units().join(" "),
            flags = self.flags,
        );
        let mut command: Command = machine.command(&script);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start the daemon: {error}"));
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    /// Whether it was started and has not been ended since.
    pub(crate) fn runs(&self) -> bool {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(&self, machine: &Machine, signal: &str) {
        let script = format!("kill -{signal} $(cat {HOME}/{}/pid)", self.name);
        let _ = machine.command(&script).stderr(Stdio::null()).status();
        self.wait_for_end();
    }

    /// Waits for its end, whatever brought it about.
    pub(crate) fn wait_for_end(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            wait::until("the daemon to end", || child.try_wait().ok().flatten(), Option::is_some);
        }
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        let file = self.root.join(format!("{HOME}/{}/log", self.name).trim_start_matches('/'));
        std::fs::read_to_string(&file).unwrap_or_else(|error| format!("no log at {}: {error}", file.display()))
    }

    /// A request of its own connection.
    ///
    /// # Panics
    /// Where there is no answer.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, body: &str) -> crate::http::Answer {
        self.connect()
            .send(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// A connection for requests one after another.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        let socket = self.socket();
        Connection::open(&socket).unwrap_or_else(|error| panic!("cannot connect to {}: {error}", socket.display()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if std::thread::panicking() && child.is_some() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of the log of the daemon {:?}:", self.name);
            for line in &lines[lines.len().saturating_sub(30)..] {
                eprintln!("  {line}");
            }
        }
        if let Some(mut child) = child {
            // This ends the program that entered the namespaces; the daemon itself goes with its host.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
