//! `create` and `run`: from a bundle to a container whose process waits to be started, or runs.
//!
//! Read, decide, claim the name, then make things; whatever fails after the claim takes back what was made, in the
//! other order, and the hooks that clean up are run. A runtime killed on the way leaves a record by which `delete
//! --force` finds the rest.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use hako_sys::{executable::ReadOnly, process::Child};
use rustix::fs::{FileType, Mode, OFlags};

use super::{
    config::{Config, Resources},
    console, delegation,
    error::OciError,
    late,
    notify::{self, Notify},
    open,
    record::{CONFIG, Container, Containers, FILTER, OPENS, Process, Record, SAYS, Status, read_config},
    resources, state,
    translate::{self, Need, Translated},
};
use crate::{
    cgroup::{Cgroup, DeviceRules, Settings},
    extra::{Gate, Hooks, PID_PLACE},
    hook,
    launch::{self, Pending, Progress, Stdio},
    observe,
    seccomp::{self, OciFilter},
};

/// Where containers without a path of their own have their cgroups.
const CGROUP_PARENT: &str = "/hako";

/// What is asked for.
#[derive(Debug)]
pub struct Create<'a> {
    pub containers: &'a Containers,
    /// Where the container's process moves first of all (`init::protect_program`).
    pub program: Option<&'a ReadOnly>,
    pub id: &'a str,
    pub bundle: &'a Path,
    pub console_socket: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    /// Copies of descriptors that the program gets as 3, 4, ….
    pub handed_down: Vec<OwnedFd>,
    /// How many of them are sockets that the program shall serve, as systemd says it to programs.
    pub sockets: u32,
    /// Where somebody waits to hear that the program is ready (sd_notify(3)).
    pub notify_socket: Option<&'a Path>,
    /// Whether the caller relays a terminal itself, as `run` in the foreground does.
    pub relays: bool,
}

/// What there is afterwards.
#[derive(Debug)]
pub struct Created {
    pub container: Container,
    pub(super) config: Config,
    pub child: Child,
    /// The terminal's other side, for a caller who relays it.
    pub terminal: Option<OwnedFd>,
    /// What the program says of itself, where somebody waits to hear it; of a created one `start` hears it.
    pub notify: Option<Notify>,
    pub warnings: Vec<String>,
}

/// Makes the container; its process waits for `start`.
///
/// # Errors
/// As [`OciError`] tells; nothing is left then.
pub fn create(asked: Create<'_>) -> Result<Created, OciError> {
    make(asked, true)
}

/// Makes the container and runs its command at once.
///
/// # Errors
/// As [`create`].
pub fn run(asked: Create<'_>) -> Result<Created, OciError> {
    let created = make(asked, false)?;
    let Created { container, config, .. } = &created;
    super::start::after_start(container, config).inspect_err(|_| undo(container, config))?;
    Ok(created)
}

fn make(mut asked: Create<'_>, gated: bool) -> Result<Created, OciError> {
    let bundle = std::path::absolute(asked.bundle)
        .and_then(std::fs::canonicalize)
        .map_err(|source| OciError::Read { path: asked.bundle.to_owned(), source })?;
    let (mut config, text) = read_config(&bundle.join(CONFIG))?;
    if asked.notify_socket.is_some() {
        notify::show(&mut config, &asked.containers.directory(asked.id));
    }
    let mut translated = translate::translate(&config, &bundle)?;
    if asked.sockets > 0 {
        // It is the first process of its namespace, which is what they are for.
        let lines = [format!("LISTEN_FDS={}", asked.sockets), "LISTEN_PID=1".to_owned()];
        translated.plan.process.env.extend(lines);
    }
    check_terminal(&config, &asked)?;
    check_labels(&config)?;
    if !gated && config.process.is_none() {
        return Err(OciError::invalid("process", "there is none to run"));
    }
    let filter = config.linux.seccomp.as_ref().map(|text| seccomp::from_oci(text.get())).transpose()?;
    let cgroup = cgroup_of(&config, asked.id)?;
    let record = Record {
        id: asked.id.to_owned(),
        rootfs: root_of(&translated),
        bundle,
        created: hako_base::clock::now(),
        owner: rustix::process::geteuid().as_raw(),
        process: Process::default(),
        cgroup: cgroup.path(),
        cgroup_made: !cgroup.exists(),
    };
    let handed_down = std::mem::take(&mut asked.handed_down);
    let mut container = asked.containers.claim(record, &text)?;
    let mut job = Job { asked, config, translated, filter, cgroup, gated, handed_down };
    let made = job.carry_out(&mut container);
    match made {
        Ok((child, terminal, notify)) => {
            let Job { config, translated, .. } = job;
            Ok(Created { container, config, child, terminal, notify, warnings: translated.warnings })
        }
        Err(error) => {
            undo(&container, &job.config);
            Err(error)
        }
    }
}

// The process is gone already (a launch that fails kills it), or is in the cgroup.
fn undo(container: &Container, config: &Config) {
    let _ = super::end::destroy(container, config);
}

fn root_of(translated: &Translated) -> PathBuf {
    let root = |need: &Need| if let Need::Root { path, .. } = need { Some(path.clone()) } else { None };
    translated.needs.iter().find_map(root).unwrap_or_default()
}

fn check_terminal(config: &Config, asked: &Create<'_>) -> Result<(), OciError> {
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
    match (terminal, asked.console_socket.is_some()) {
        (true, false) if !asked.relays => {
            Err(OciError::state("cannot allocate tty if runc will detach without setting console socket"))
        }
        (false, true) => Err(OciError::state("cannot use console socket if runc will not detach or allocate tty")),
        _ => Ok(()),
    }
}

// A label that nobody enforces would be a promise that is not kept.
pub(super) fn check_labels(config: &Config) -> Result<(), OciError> {
    let process = config.process.as_ref();
    if process.is_some_and(|process| !process.apparmor_profile.is_empty()) && !observe::has_apparmor() {
        return Err(OciError::state("apparmor profile is specified in config but apparmor is not enabled on the host"));
    }
    let labelled = process.is_some_and(|process| !process.selinux_label.is_empty());
    let selinux = || Path::new("/sys/fs/selinux/enforce").exists();
    if (labelled || !config.linux.mount_label.is_empty()) && !selinux() {
        return Err(OciError::state("selinux label is specified in config, but selinux is disabled or not supported"));
    }
    Ok(())
}

// Two containers in one group would share their limits, and killing one would kill the other. Who joins a frozen one
// does nothing more, not even tell about it.
fn check_free(cgroup: &Cgroup) -> Result<(), OciError> {
    if cgroup.is_frozen() {
        return Err(OciError::state("container's cgroup unexpectedly frozen"));
    }
    match cgroup.own_pids() {
        0 => Ok(()),
        count => Err(OciError::state(format!("container's cgroup is not empty: {count} process(es) found"))),
    }
}

fn cgroup_of(config: &Config, id: &str) -> Result<Cgroup, OciError> {
    let path = config.linux.cgroups_path.as_str();
    if path.contains(':') && !path.contains('/') {
        let reason = "it names a unit of systemd, whose cgroup driver this runtime does not have";
        return Err(OciError::unsupported("linux.cgroupsPath", reason));
    }
    let path = match path {
        "" => format!("{CGROUP_PARENT}/{id}"),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{CGROUP_PARENT}/{relative}"),
    };
    Ok(Cgroup::at(&path)?)
}

struct Job<'a> {
    asked: Create<'a>,
    config: Config,
    translated: Translated,
    filter: Option<OciFilter>,
    cgroup: Cgroup,
    gated: bool,
    handed_down: Vec<OwnedFd>,
}

type Make = fn(&Cgroup, &Settings<'_, OciError>, Option<&DeviceRules>) -> Result<(), OciError>;
type Made = (Child, Option<OwnedFd>, Option<Notify>);

impl Job<'_> {
    fn carry_out(&mut self, container: &mut Container) -> Result<Made, OciError> {
        let notify = self.notify(container)?;
        let none = Resources::default();
        let resources = self.config.linux.resources.as_ref().unwrap_or(&none);
        check_controllers(resources, &self.cgroup)?;
        if !container.record.cgroup_made {
            check_free(&self.cgroup)?;
        }
        self.make_cgroup(container, Cgroup::make_v2_with)?;
        if let Some(user) = delegation::owner(&self.config).filter(|_| container.record.cgroup_made) {
            self.cgroup.give_to(user)?;
        }
        let Translated { plan, needs, .. } = &mut self.translated;
        let mut descriptors = open::open_all(needs)?;
        late::plan(plan, &self.cgroup);
        if !plan.extra.late_cgroups {
            self.make_cgroup(container, Cgroup::make_v1_with)?;
        }
        self.add_descriptors(container, &mut descriptors)?;
        self.prepare_plan(container)?;
        let plan = &self.translated.plan;
        let pending = launch::begin(plan, &descriptors, self.stdio()?, self.asked.program);
        let mut pending = pending.map_err(OciError::Launch)?;
        drop(descriptors);
        late::carry_out(plan, &pending, || self.make_cgroup(container, Cgroup::make_v1_with))?;
        self.follow(&mut pending, container)?;
        let terminal = pending.take_terminal();
        let gone = || OciError::state("the container's process is gone");
        let child = pending.into_child().ok_or_else(gone)?;
        let terminal = match (terminal, self.asked.console_socket) {
            (Some(terminal), Some(socket)) => console::send(socket, &terminal).map(|()| None)?,
            (terminal, _) => terminal,
        };
        if let Some(path) = self.asked.pid_file {
            write_pid_file(path, child.pid)?;
        }
        Ok((child, terminal, notify))
    }

    fn make_cgroup(&self, container: &Container, make: Make) -> Result<(), OciError> {
        let none = Resources::default();
        let resources = self.config.linux.resources.as_ref().unwrap_or(&none);
        let rules = resources::device_rules(&resources.devices)?;
        // Somebody else's group that exists keeps its rules when none are asked for.
        let governed = container.record.cgroup_made || self.config.linux.resources.is_some();
        make(&self.cgroup, &settings(resources), Some(&rules).filter(|_| governed))
    }

    fn notify(&self, container: &Container) -> Result<Option<Notify>, OciError> {
        let Some(host) = self.asked.notify_socket else { return Ok(None) };
        notify::make_place(container)?;
        if self.gated { Ok(None) } else { notify::listen(container, host) }
    }

    // Behind those that the plan needs, those that this operation adds.
    fn add_descriptors(&mut self, container: &Container, descriptors: &mut Vec<OwnedFd>) -> Result<(), OciError> {
        let plan = &mut self.translated.plan;
        for descriptor in std::mem::take(&mut self.handed_down) {
            plan.process.special.handed_down.push(descriptors.len());
            descriptors.push(descriptor);
        }
        if let Some(filter) = &self.filter {
            plan.process.seccomp = Some(descriptors.len());
            descriptors.push(keep_filter(container, filter)?);
        }
        if self.gated {
            plan.extra.gate = Some(Gate { opens: descriptors.len(), says: descriptors.len() + 1 });
            for name in [OPENS, SAYS] {
                descriptors.push(make_pipe(&container.directory.join(name))?);
            }
        }
        Ok(())
    }

    fn prepare_plan(&mut self, container: &Container) -> Result<(), OciError> {
        let plan = &mut self.translated.plan;
        plan.cgroup = self.cgroup.join_plan();
        let hooks = &self.config.hooks;
        let text = state::of(&container.record, Status::Created, 0, &self.config.annotations);
        let state = text.replacen("\"pid\":0", &format!("\"pid\":{PID_PLACE}"), 1);
        let (create_container, start_container) =
            (translate::hooks(&hooks.create_container)?, translate::hooks(&hooks.start_container)?);
        let parent_waits = !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty();
        // Read now, so that a hook that cannot be is an error before there is anything.
        for list in [&hooks.prestart, &hooks.create_runtime, &hooks.poststart, &hooks.poststop] {
            translate::hooks(list)?;
        }
        if parent_waits || !create_container.is_empty() || !start_container.is_empty() {
            plan.extra.hooks = Some(Hooks { parent_waits, create_container, start_container, state });
        }
        Ok(())
    }

    fn stdio(&self) -> Result<Stdio, OciError> {
        let process = self.config.process.as_ref();
        let Some(process) = process.filter(|process| process.terminal) else { return console::own_streams() };
        let size = process.console_size;
        let (rows, columns) = size.map_or_else(console::own_size, |size| (size.height, size.width));
        Ok(Stdio::Terminal { rows, columns, lines_as_written: self.asked.relays && !console::is_terminal() })
    }

    fn follow(&self, pending: &mut Pending, container: &mut Container) -> Result<(), OciError> {
        loop {
            let progress = pending.advance().map_err(OciError::Launch)?;
            if let Some(pid) = pending.pid().filter(|pid| *pid != container.record.process.pid) {
                container.set_process(pid)?;
            }
            if let Some(listener) = pending.take_listener() {
                self.send_listener(&listener, &container.record)?;
            }
            match progress {
                Progress::Waiting => console::wait_readable(pending.channel())?,
                Progress::Ending => match pending.ending() {
                    Some(ending) => console::wait_readable(ending)?,
                    None => return Err(OciError::state("the container's process is gone")),
                },
                Progress::Hooks => {
                    self.runtime_hooks(&container.record)?;
                    pending.go().map_err(OciError::Launch)?;
                }
                Progress::Ready | Progress::Running => return Ok(()),
            }
        }
    }

    fn runtime_hooks(&self, record: &Record) -> Result<(), OciError> {
        let state = state::of(record, Status::Creating, record.process.pid, &self.config.annotations);
        let hooks = &self.config.hooks;
        for (moment, list) in [("prestart", &hooks.prestart), ("createRuntime", &hooks.create_runtime)] {
            hook::run_all(moment, &translate::hooks(list)?, &state).map_err(OciError::Hook)?;
        }
        Ok(())
    }

    fn send_listener(&self, listener: &OwnedFd, record: &Record) -> Result<(), OciError> {
        let Some(whom) = self.filter.as_ref().and_then(|filter| filter.listener.as_ref()) else { return Ok(()) };
        let state = state::of(record, Status::Creating, record.process.pid, &self.config.annotations);
        console::send_process_state(whom, listener, record.process.pid, &state)
    }
}

/// What `resources` become on each hierarchy.
pub(super) fn settings(resources: &Resources) -> Settings<'_, OciError> {
    Settings {
        v1: Box::new(|controllers| Ok(resources::settings_v1(resources, controllers))),
        v2: Box::new(|controllers| resources::settings_v2(resources, controllers)),
    }
}

// What nobody can enforce is an error, not a container without the limit.
pub(super) fn check_controllers(resources: &Resources, cgroup: &Cgroup) -> Result<(), OciError> {
    let layout = cgroup.layout();
    for controller in resources::wanted(resources) {
        let v1 = layout.hierarchies.iter().any(|one| one.has(resources::name_v1(controller)));
        let v2 = layout.unified_controllers.iter().any(|one| one == controller);
        if !v1 && !v2 {
            let what = format!("linux.resources for the controller {controller}");
            return Err(OciError::unsupported(what, "this host does not have it"));
        }
    }
    if !resources.unified.is_empty() && layout.version() != 2 {
        let text =
            "invalid configuration: linux.resources.unified needs cgroup v2 alone, which this host does not have";
        return Err(OciError::state(text));
    }
    match resources.unified.keys().find(|file| !has_controller(file, &layout.unified_controllers)) {
        Some(file) => Err(OciError::unsupported(
            format!("linux.resources.unified {file:?}"),
            "this host does not have the controller",
        )),
        None => Ok(()),
    }
}

// `cgroup.max.depth` is no controller's.
fn has_controller(file: &str, controllers: &[String]) -> bool {
    let name = file.split('.').next().unwrap_or_default();
    name == "cgroup" || controllers.iter().any(|controller| controller == name)
}

fn keep_filter(container: &Container, filter: &OciFilter) -> Result<OwnedFd, OciError> {
    let path = container.directory.join(FILTER);
    let failed = |source| OciError::Write { path: path.clone(), source };
    // The listener of the first process is not that of processes which join later.
    hako_base::file::write_atomic(&path, &filter.program.to_bytes(), 0o600, hako_base::file::Durability::Process)
        .map_err(failed)?;
    filter.program.memfd().and_then(|memfd| memfd.try_clone_to_owned()).map_err(failed)
}

// Open for both directions, so that neither side waits for the other to open it.
fn make_pipe(path: &Path) -> Result<OwnedFd, OciError> {
    let failed = |errno: rustix::io::Errno| OciError::Write { path: path.to_owned(), source: errno.into() };
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(failed)?;
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)
}

/// Writes a process's number where somebody waits for it: the file is there whole or not at all.
pub(super) fn write_pid_file(path: &Path, pid: u32) -> Result<(), OciError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    hako_base::file::write_atomic(&path, pid.to_string().as_bytes(), 0o644, hako_base::file::Durability::Process)
        .map_err(|source| OciError::Write { path, source })
}
