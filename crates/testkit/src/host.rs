//! A machine of its own: namespaces, another machine beside it, a control group, and what is typed into it.
//!
//! ```text
//!   machine "here"                         machine "other"
//!   198.51.100.1  2001:db8:5::1  uplink ── uplink  198.51.100.2  2001:db8:5::2
//!   lo, the daemon's bridges               lo
//!   /run and /sys/fs/cgroup of its own     (a network namespace; files are those of "here")
//! ```
//!
//! Its process 1 waits for the end of a pipe that this process holds: however the test ends, the machine ends with it,
//! and the kernel takes processes, mounts, links and firewall along.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    cgroup::{self, Group},
    daemon::Daemon,
    http::Connection,
    image, program, saboteur,
    session::{Session, Terminal},
    settings::{self, Target},
    shown::Shown,
    wait, way_out,
};

/// Where everything of the test lies on its machine: memory, so that it vanishes with the machine.
pub(crate) const HOME: &str = "/run/test";

/// The address of the machine the daemon runs on, as the other one reaches it.
pub const ADDRESS: &str = "198.51.100.1";

/// Namespaces in which a daemon runs, or those somebody else's daemon runs in.
#[derive(Debug)]
pub(crate) struct Machine {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Own { unshare: Child, init: u32, _life: ChildStdin, _group: Group },
    Given { address: String, netns: Option<String>, folder: PathBuf },
}

/// How a host is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further flags of the daemon.
    pub flags: Vec<&'static str>,
    /// Images to load; busybox alone by default.
    pub images: Option<Vec<&'static str>>,
    /// Whether the daemon is started without flags for its roots and socket, as on a machine of its own.
    pub defaults: bool,
    /// Where the daemon's data lies on a disk instead of in memory: a folder of the real machine.
    pub disk: Option<PathBuf>,
}

/// A machine with a daemon; see the crate's page.
#[derive(Debug)]
pub struct Host {
    /// A socket that stands between command lines and the daemon, where a route is made to fail.
    between: bool,
    /// Sessions and connections that the death of the daemon would cut off each hold a copy.
    in_use: Arc<()>,
    killer: Option<Killer>,
    // Dropped in this order: a daemon ends before its machine does.
    daemon: Option<Daemon>,
    machine: Machine,
}

impl Host {
    /// A machine with a running daemon that has the image `busybox`.
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    /// A machine with a running daemon and these images.
    pub fn with_images(images: &[&'static str]) -> Self {
        Self::with(&Options { images: Some(images.to_vec()), ..Options::default() })
    }

    /// The same, made to measure.
    pub fn with(options: &Options) -> Self {
        let target = settings::target();
        let machine = match &target {
            Target::Own(binary) => Machine::start(binary, options.disk.as_deref()),
            Target::Given { address, netns } => Machine::given(address, netns.as_deref()),
        };
        let daemon = matches!(target, Target::Own(_)).then(|| {
            let daemon = match options.defaults {
                true => Daemon::with_defaults(&machine, &options.flags),
                false => Daemon::new(&machine, "hako", &options.flags),
            };
            daemon.start(&machine);
            daemon
        });
        let killer = Killer::from_environment().filter(|_| daemon.is_some() && !options.defaults);
        let mut host = Self { between: false, in_use: Arc::default(), killer, daemon, machine };
        host.between = saboteur::stand_between(&host.machine.root().join(&host.between()[1..]), &host.socket());
        if host.daemon.is_none() {
            host.empty();
        }
        for name in options.images.as_deref().unwrap_or(&["busybox"]) {
            host.load(name);
        }
        host
    }

    /// Types a command line, waits for its end and returns what it printed. Its input is empty.
    #[track_caller]
    pub fn run(&self, line: &str) -> Shown {
        self.run_with_input(line, b"")
    }

    /// The same, with something on its standard input.
    #[track_caller]
    pub fn run_with_input(&self, line: &str, input: &[u8]) -> Shown {
        self.perhaps_kill();
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        let stdin = child.stdin.take();
        let input = input.to_vec();
        // A command that does not read its input must not stop the test, nor one that prints before it reads.
        let typing = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"));
        let _ = typing.join();
        Shown::new(line, &output)
    }

    /// Types a command line on the machine beside this one.
    #[track_caller]
    pub fn run_elsewhere(&self, line: &str) -> Shown {
        self.run(&format!("nsenter --net=/run/netns/other sh -c {}", quoted(line)))
    }

    /// Starts a command that goes on.
    pub fn spawn(&self, line: &str) -> Session {
        Session::start(line, self.command(line), self.in_use.clone())
    }

    /// Starts a command on a terminal of 24 rows and 80 columns.
    pub fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(line, &self.command(line), (24, 80), self.in_use.clone())
    }

    /// Looks until `good` likes what it sees; see [`wait::until`].
    #[track_caller]
    pub fn wait_until<T: std::fmt::Debug>(
        &self,
        what: &str,
        mut look: impl FnMut(&Self) -> T,
        good: impl FnMut(&T) -> bool,
    ) -> T {
        wait::until(what, || look(self), good)
    }

    /// Waits until a container is in this state (`running`, `exited`, …).
    #[track_caller]
    pub fn wait_for_state(&self, container: &str, state: &str) {
        let line = format!("docker inspect --format '{{{{.State.Status}}}}' {container}");
        self.wait_until(&format!("{container} to be {state}"), |host| host.run(&line), |shown| shown.text() == state);
    }

    /// The daemon; only where the test started it.
    ///
    /// # Panics
    /// Where the environment gave another one: say `needs!(require::own_daemon())`.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the test needs a daemon of its own")
    }

    /// A request to the daemon, over a connection of its own.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: &str) -> crate::http::Answer {
        self.connect().send(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A connection to the daemon.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        let socket = if self.between { self.machine.root().join(&self.between()[1..]) } else { self.socket() };
        let connection = Connection::open(&socket);
        connection
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", socket.display()))
            .in_use(self.in_use.clone())
    }

    /// Kills the daemon with -9 and starts the next one, if the environment wants that and it is time: between two
    /// command lines, while nothing is connected that people would have to connect again.
    fn perhaps_kill(&self) {
        let Some(killer) = &self.killer else { return };
        let runs = self.daemon.as_ref().is_some_and(Daemon::runs);
        if runs && Arc::strong_count(&self.in_use) == 1 && killer.is_time() {
            self.daemon_replace();
        }
    }

    /// The daemon's own socket as this process reaches it.
    fn socket(&self) -> PathBuf {
        match (&self.daemon, &self.machine.kind) {
            (Some(daemon), _) => daemon.socket(),
            (None, Kind::Given { address, .. }) => address.trim_start_matches("unix://").into(),
            (None, Kind::Own { .. }) => unreachable!("a machine of our own is made with a daemon"),
        }
    }

    /// An address of the daemon where every request that could change something is refused.
    pub fn read_only(&self) -> String {
        let name = format!("{}/read-only.sock", self.machine.work());
        saboteur::read_only(&self.machine.root().join(&name[1..]), &self.socket());
        format!("unix://{name}")
    }

    /// Where the saboteur listens, as programs on the machine see it.
    fn between(&self) -> String {
        format!("{}/between.sock", self.machine.work())
    }

    /// Kills the daemon, as the kernel would when memory runs out.
    pub fn daemon_kill(&mut self) {
        if let Some(daemon) = &self.daemon {
            daemon.end(&self.machine, "KILL");
        }
    }

    /// Asks the daemon to end.
    pub fn daemon_stop(&mut self) {
        if let Some(daemon) = &self.daemon {
            daemon.end(&self.machine, "TERM");
        }
    }

    /// Kills everything in the daemon's control group, as systemd does when it stops a unit.
    pub fn daemon_kill_unit(&mut self) {
        let script = format!(
            "for procs in {}; do cat $procs; done | sort -u | xargs -r kill -9",
            self.machine.units().join(" ")
        );
        let _ = self.machine.command(&script).status();
        if let Some(daemon) = &self.daemon {
            daemon.wait_for_end();
        }
    }

    /// Kills the keeper, and waits until it is gone.
    #[track_caller]
    pub fn keeper_kill(&self) {
        let keepers = self.processes_of("keeper");
        assert!(!keepers.is_empty(), "there is no keeper to kill");
        for pid in keepers.iter().filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let look = || self.processes_of("keeper");
        wait::until("the keeper to be gone", look, |now| keepers.iter().all(|pid| !now.contains(pid)));
    }

    /// Starts the daemon again and waits until it answers.
    pub fn daemon_start(&mut self) {
        if let Some(daemon) = &self.daemon {
            daemon.start(&self.machine);
        }
    }

    /// Kills the daemon and starts it again, while others use the host.
    pub fn daemon_replace(&self) {
        if let Some(daemon) = &self.daemon {
            daemon.end(&self.machine, "KILL");
            daemon.start(&self.machine);
        }
    }

    /// Another daemon on the same machine.
    pub fn second_daemon(&self, name: &str, flags: &[&str]) -> Daemon {
        let daemon = Daemon::new(&self.machine, name, flags);
        daemon.start(&self.machine);
        daemon
    }

    /// Sends another daemon a signal and waits for its end.
    pub fn daemon_end(&self, daemon: &Daemon, signal: &str) {
        daemon.end(&self.machine, signal);
    }

    /// The processes of this machine that are hako in a role: `daemon` or `keeper`. Ids are those of the real machine.
    pub fn processes_of(&self, role: &str) -> Vec<u32> {
        self.machine.processes_of(role)
    }

    /// A file of the machine as this process reaches it; relative names are in the folder command lines run in.
    pub fn path(&self, name: &str) -> PathBuf {
        let name = if name.starts_with('/') { name.to_owned() } else { format!("{}/{name}", self.machine.work()) };
        match &self.machine.kind {
            Kind::Own { .. } => self.machine.root().join(name.trim_start_matches('/')),
            Kind::Given { .. } => name.into(),
        }
    }

    /// A proxy on the machine that fetches from the real network: its URL. What never changes is kept in a folder.
    ///
    /// # Panics
    /// Where it cannot listen, or the daemon is somebody else's.
    pub fn way_out(&self, kept: &Path) -> String {
        let Kind::Own { init, .. } = &self.machine.kind else { panic!("the machine is somebody else's") };
        way_out::open(*init, ADDRESS, kept).unwrap_or_else(|error| panic!("no way out of the machine: {error}"))
    }

    /// Writes a file on the machine, with its folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, content))
            .unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
    }

    /// Imports an image that `cargo x images` made.
    #[track_caller]
    pub fn load(&self, name: &str) {
        self.load_into(name, "");
    }

    /// The same, into the daemon that these flags of the command line choose.
    #[track_caller]
    pub fn load_into(&self, name: &str, flags: &str) {
        let reference = image::reference(name);
        if self.daemon.is_none() && self.run(&format!("docker image inspect {reference}")).stderr().is_empty() {
            return;
        }
        let tar = image::tar(name).unwrap_or_else(|| panic!("there is no image {name}: cargo x images {name}"));
        let changes: Vec<String> =
            image::changes(name).iter().map(|change| format!("--change {}", quoted(change))).collect();
        self.run(&format!("docker {flags} import {} {} {reference}", changes.join(" "), tar.display())).success();
    }

    /// The whole command: enters the machine and hands the line to its shell.
    fn command(&self, line: &str) -> Command {
        let address = match (&self.daemon, &self.machine.kind) {
            _ if self.between => format!("unix://{}", self.between()),
            (Some(daemon), _) => daemon.address(),
            (None, Kind::Given { address, .. }) => address.clone(),
            (None, Kind::Own { .. }) => String::new(),
        };
        let work = self.machine.work();
        let bin = self.machine.bin();
        self.machine.command(&format!(
            "export PATH={bin}:$PATH:/usr/sbin:/sbin HOME={work}/home DOCKER_HOST={address} TERM=xterm LC_ALL=C; unset DOCKER_CONTEXT DOCKER_CONFIG; cd {work} && {line}"
        ))
    }

    /// Somebody else's daemon may have containers of an earlier test.
    fn empty(&self) {
        self.run("docker ps -aq | xargs -r docker rm -f");
    }
}

/// Says when it is time for the daemon to die: `HAKO_TEST_KILL` is a number of seconds, 0 for every command line.
#[derive(Debug)]
struct Killer {
    pause: Duration,
    last: Mutex<Instant>,
}

impl Killer {
    fn from_environment() -> Option<Self> {
        let seconds = std::env::var("HAKO_TEST_KILL").ok()?.parse().ok()?;
        Some(Self { pause: Duration::from_secs_f64(seconds), last: Mutex::new(Instant::now()) })
    }

    fn is_time(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.elapsed() >= self.pause;
        if due {
            *last = Instant::now();
        }
        due
    }
}

impl Machine {
    fn start(binary: &Path, disk: Option<&Path>) -> Self {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        assert!(binary.is_file(), "there is no {}: cargo build -p hako, or set HAKO_TEST_BINARY", binary.display());
        let group = Group::create(SERIAL.fetch_add(1, Ordering::Relaxed));
        let enter = "for procs; do echo $$ > \"$procs\"; done; exec unshare --net --mount --pid --ipc --uts --cgroup --propagation private \
             --fork --kill-child --mount-proc sh -ec \"$SETUP\"";
        let mut shell = program("sh");
        shell.args(["-ec", enter, "sh"]).args(group.joins());
        shell.env("SETUP", setup(binary, disk)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut unshare = shell.spawn().unwrap_or_else(|error| panic!("cannot run sh: {error}"));
        let life = unshare.stdin.take().expect("it is piped");
        let mut ready = String::new();
        let mut stdout = BufReader::new(unshare.stdout.take().expect("it is piped"));
        stdout.read_line(&mut ready).unwrap_or_else(|error| panic!("cannot hear from the machine: {error}"));
        if ready != "ready\n" {
            let mut why = String::new();
            drop(life);
            let _ = unshare.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
            let _ = unshare.wait();
            panic!("cannot make a machine: {why}");
        }
        let init = child_of(unshare.id()).expect("unshare has a child");
        leave_the_top(&group, &[unshare.id(), init]);
        Self { kind: Kind::Own { unshare, init, _life: life, _group: group } }
    }

    fn given(address: &str, netns: Option<&str>) -> Self {
        let folder = std::env::temp_dir().join(format!("hako-test-{}", std::process::id()));
        let make = || -> std::io::Result<()> {
            fs::create_dir_all(folder.join("bin"))?;
            fs::create_dir_all(folder.join("home"))?;
            let docker = folder.join("bin/docker");
            if docker.is_symlink() { Ok(()) } else { std::os::unix::fs::symlink(settings::command_line(), docker) }
        };
        make().unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        Self { kind: Kind::Given { address: address.to_owned(), netns: netns.map(str::to_owned), folder } }
    }

    /// Enters the namespaces and runs a shell script there.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = program("nsenter");
        match &self.kind {
            Kind::Own { init, .. } => {
                command.arg("--target").arg(init.to_string());
                command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "sh", "-c", script]);
            }
            Kind::Given { netns: Some(netns), .. } => {
                command.arg(format!("--net=/run/netns/{netns}")).args(["sh", "-c", script]);
            }
            Kind::Given { netns: None, .. } => {
                command = program("sh");
                command.args(["-c", script]);
            }
        }
        command
    }

    /// The machine's root directory as this process reaches it.
    pub(crate) fn root(&self) -> PathBuf {
        match &self.kind {
            Kind::Own { init, .. } => Path::new("/proc").join(init.to_string()).join("root"),
            Kind::Given { .. } => "/".into(),
        }
    }

    fn work(&self) -> String {
        match &self.kind {
            Kind::Own { .. } => format!("{HOME}/work"),
            Kind::Given { folder, .. } => folder.display().to_string(),
        }
    }

    fn bin(&self) -> String {
        match &self.kind {
            Kind::Own { .. } => format!("{HOME}/bin"),
            Kind::Given { folder, .. } => folder.join("bin").display().to_string(),
        }
    }

    fn processes_of(&self, role: &str) -> Vec<u32> {
        let Kind::Own { init, .. } = &self.kind else { return Vec::new() };
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let home = namespace(*init);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
            .filter(|pid| namespace(*pid) == home && home.is_some())
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                // The shell that starts a daemon mentions the word too, but not as its first argument.
                line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
            })
            .collect()
    }

    /// The files of the daemon's unit, one in each hierarchy, as the machine sees them.
    pub(crate) fn units(&self) -> Vec<String> {
        cgroup::hierarchies()
            .iter()
            .map(|hierarchy| format!("{}/unit/cgroup.procs", hierarchy.place.display()))
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Own { unshare, .. } => {
                // Its child dies with it, being process 1 of the namespace, and everything else with that.
                let _ = unshare.kill();
                let _ = unshare.wait();
            }
            Kind::Given { folder, .. } => drop(fs::remove_dir_all(folder)),
        }
    }
}

/// On v2 a group that hands controllers down may hold no processes itself.
fn leave_the_top(group: &Group, pids: &[u32]) {
    for procs in group.joins() {
        let folder = procs.parent().expect("a file lies in a folder").join("idle");
        if fs::metadata(folder.with_file_name("cgroup.controllers")).is_err() {
            continue;
        }
        let moved = fs::create_dir_all(&folder)
            .and_then(|()| pids.iter().try_for_each(|pid| fs::write(folder.join("cgroup.procs"), pid.to_string())));
        moved.unwrap_or_else(|error| panic!("cannot move processes to {}: {error}", folder.display()));
    }
}

/// The one child of a program that enters namespaces, if it is of that kind.
pub(crate) fn child_of(parent: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// What process 1 does: lays the machine out, says so, and waits for its end, reaping.
fn setup(binary: &Path, disk: Option<&Path>) -> String {
    let mut script = String::from(
        "resolver=$(readlink -m /etc/resolv.conf)\n\
         mount -t tmpfs -o mode=755 tmpfs /run\n",
    );
    script.push_str(&format!("mkdir -p {HOME}/bin {HOME}/work/home /run/netns /run/lock\n"));
    if let Some(disk) = disk {
        let disk = disk.display();
        script.push_str(&format!("mkdir -p {HOME}/hako {disk}\nmount --bind {disk} {HOME}/hako\n"));
    }
    script.push_str(
        "case $resolver in /run/*) mkdir -p ${resolver%/*}; echo nameserver 198.51.100.2 > $resolver;; esac\n",
    );
    for (name, program) in [("hako", binary), ("docker", &settings::command_line())] {
        script.push_str(&format!("ln -s {} {HOME}/bin/{name}\n", program.display()));
    }
    if let Some(probe) = image::tar("probe") {
        script.push_str(&format!("tar -C {HOME}/bin -xf {} ./probe\n", probe.display()));
    }
    // The folder of a daemon with default roots, which the real machine need not have: made in a layer over /var/lib,
    // and memory of its own, since a layer cannot carry the daemon's layers.
    script.push_str(&format!("mkdir -p {HOME}/lib/upper {HOME}/lib/work\n"));
    script.push_str(&format!(
        "mount -t overlay -o lowerdir=/var/lib,upperdir={HOME}/lib/upper,workdir={HOME}/lib/work overlay /var/lib\n"
    ));
    script.push_str("mkdir -p /var/lib/hako\nmount -t tmpfs tmpfs /var/lib/hako\n");
    script.push_str(&control_groups());
    script.push_str(NETWORK);
    script.push_str("exec 3<&0\necho ready\ncat <&3 >/dev/null &\nwait $!\n");
    script
}

/// The same hierarchies at the same places, rooted at the machine's own group by the cgroup namespace.
fn control_groups() -> String {
    let hierarchies = cgroup::hierarchies();
    // Where the host has security modules, their files are there as well.
    let mut script = String::from(
        "mount -t sysfs sysfs /sys\n[ -d /sys/kernel/security ] && mount -t securityfs securityfs /sys/kernel/security 2>/dev/null\n",
    );
    if !hierarchies.iter().any(|hierarchy| hierarchy.place == Path::new("/sys/fs/cgroup")) {
        script.push_str("mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup\n");
    }
    for hierarchy in &hierarchies {
        let place = hierarchy.place.display();
        let options = match hierarchy.options.split(',').find(|option| option.starts_with("name=")) {
            Some(name) => format!("none,{name}"),
            None => hierarchy.options.clone(),
        };
        if hierarchy.kind == "cgroup2" {
            script.push_str(&format!("mkdir -p {place}; mount -t cgroup2 cgroup2 {place}\n"));
        } else {
            script.push_str(&format!("mkdir -p {place}; mount -t cgroup -o {options} cgroup {place}\n"));
        }
    }
    script
}

const NETWORK: &str = "\
PATH=$PATH:/usr/sbin:/sbin
hostname here
ip link set lo up
ip netns add other
ip link add uplink type veth peer name uplink netns other
ip address add 198.51.100.1/24 dev uplink
ip address add 2001:db8:5::1/64 dev uplink nodad
ip link set uplink up
ip -n other link set lo up
ip -n other address add 198.51.100.2/24 dev uplink
ip -n other address add 2001:db8:5::2/64 dev uplink nodad
ip -n other link set uplink up
ip route add default via 198.51.100.2
ip -6 route add default via 2001:db8:5::2
";

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
