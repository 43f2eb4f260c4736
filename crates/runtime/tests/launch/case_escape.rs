//! Ways out of a container that others have had, tried.
//!
//! Each case is a flaw of another runtime by its number. What a case looks for is the outcome: a descriptor, a file, a
//! capability of the host's that is in reach, not the call that would have given it away.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, symlink},
    },
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use hako_runtime::{
    Step,
    capability::CapSet,
    plan::{ExecPlan, Mount, MountFlags, MountSource},
};
use hako_sys::{executable, process};
use rustix::fs::{Mode, OFlags};

use crate::{
    Case,
    place::{Place, process_of, says},
};

pub(crate) const CASES: &[Case] = &[
    ("cve_2024_21626_no_descriptor_of_the_host_is_in_reach", leaked_descriptors),
    ("cve_2024_21626_a_working_directory_is_no_way_out", working_directory),
    ("cve_2016_9962_who_enters_brings_nothing_along", watched_entry),
    ("cve_2025_31133_what_masks_a_path_is_the_hosts_null_device", masked_path),
    ("cve_2025_52565_the_console_is_the_terminal_and_nothing_else", console),
    ("cve_2021_30465_a_mount_follows_symlinks_inside_the_root_only", mount_through_symlink),
    ("cve_2019_5736_a_running_program_moves_out_of_reach", program_out_of_reach),
    ("cve_2022_29162_no_capability_is_inheritable", inheritable),
];

/// A directory of the host that the container must not find, held open the worst way: without close-on-exec.
struct Secret {
    path: PathBuf,
    _held: OwnedFd,
}

impl Secret {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("hako-secret-{}", hako_base::random::hex(8)));
        fs::create_dir(&path).unwrap();
        let held = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Self { path, _held: held }
    }

    fn name(&self) -> &str {
        self.path.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

// In a child, so that the other cases have the program as it was.
fn program_out_of_reach() {
    static WRITTEN: AtomicU32 = AtomicU32::new(1);
    WRITTEN.store(7, Ordering::SeqCst);
    let place = executable::ReadOnly::prepare().unwrap();
    let check = || -> std::io::Result<bool> {
        let was = executable::is_read_only()?;
        place.enter()?;
        // By its own link, and by every mapping of that file.
        let own = fs::metadata("/proc/self/exe")?;
        let mut paths = vec![PathBuf::from("/proc/self/exe")];
        for mapping in fs::read_dir("/proc/self/map_files")? {
            let path = mapping?.path();
            let file = fs::metadata(&path)?;
            paths.extend(((file.dev(), file.ino()) == (own.dev(), own.ino())).then_some(path));
        }
        // As long as it runs nobody could write to it: what counts is the mount.
        let unwritable = |path: &PathBuf| {
            let mount = rustix::fs::statvfs(path);
            mount.is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        };
        let moved = paths.len() > 2 && paths.iter().all(unwritable) && executable::is_read_only()?;
        Ok(!was && moved && WRITTEN.load(Ordering::SeqCst) == 7)
    };
    match process::clone(&process::Clone::default()).unwrap() {
        process::Cloned::Child => process::exit(i32::from(!matches!(check(), Ok(true)))),
        process::Cloned::Parent(child) => {
            assert_eq!(process::reap(child.pidfd.as_fd()).unwrap(), process::Exit::Code(0));
        }
    }
}

fn leaked_descriptors() {
    let place = Place::new();
    let _secret = Secret::new();
    // Three streams, and the one by which `ls` reads the list.
    says(place.run(&place.plan("ls /proc/self/fd | wc -l")), "4\n");
    let running = place.start(&place.plan("sleep 100")).unwrap();
    let plan = exec("ls /proc/self/fd | wc -l");
    says(running.exec(&plan, false), "4\n");
    running.kill();
}

fn exec(script: &str) -> ExecPlan {
    ExecPlan { target: 0, process: process_of(&["sh", "-c", script]), ..ExecPlan::default() }
}

fn working_directory() {
    let place = Place::new();
    let _secret = Secret::new();
    symlink("/proc/self/fd", place.root.join("descriptors")).unwrap();
    let running = place.start(&place.plan("sleep 100")).unwrap();
    for number in 3..48 {
        for base in ["/proc/self/fd", "/proc/thread-self/fd", "/descriptors"] {
            let cwd = format!("{base}/{number}");
            let mut plan = place.plan("true");
            plan.process.cwd.clone_from(&cwd);
            assert_eq!(place.run(&plan).unwrap_err().step, Step::WorkingDirectory, "{cwd}");
            let mut plan = exec("true");
            plan.process.cwd.clone_from(&cwd);
            assert_eq!(running.exec(&plan, false).unwrap_err().step, Step::WorkingDirectory, "{cwd}");
        }
    }
    running.kill();
}

// A process of the container that may look into every other one of it does so all the time while others enter.
fn watched_entry() {
    let place = Place::new();
    let secret = Secret::new();
    let mut plan = place.plan(
        "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do \
         [ $p = /proc/1 ] || readlink $p/root $p/cwd $p/fd/* >> /seen 2>/dev/null; done; done",
    );
    plan.process.capabilities = CapSet::all();
    let running = place.start(&plan).unwrap();
    for _ in 0..40 {
        assert_eq!(running.exec(&exec("true"), false).unwrap().code, 0);
    }
    fs::write(place.root.join("stop"), "").unwrap();
    running.finish();
    let seen = fs::read_to_string(place.root.join("seen")).unwrap_or_default();
    for forbidden in [secret.name(), "hako-runtime-", "/root/", "eventpoll"] {
        let found = seen.lines().find(|line| line.contains(forbidden));
        assert_eq!(found, None, "{forbidden} was in reach");
    }
}

fn masked_path() {
    let place = Place::new();
    fs::write(place.root.join("etc/target"), "target").unwrap();
    fs::write(place.root.join("masked"), "secret").unwrap();
    fs::remove_dir(place.root.join("dev")).unwrap();
    fs::create_dir(place.root.join("dev")).unwrap();
    symlink("/etc/target", place.root.join("dev/null")).unwrap();
    // The image's own /dev stays visible, as with a bind over it.
    let mut plan = place.plan("stat -c '%F %t:%T' /masked; cat /masked; cat /etc/target");
    plan.mounts.retain(|mount| mount.target == "/proc");
    plan.devices.clear();
    plan.masked_paths = vec!["/masked".to_owned()];
    says(place.run(&plan), "character special file 1:3\ntarget");
}

fn console() {
    let place = Place::new();
    fs::write(place.root.join("etc/target"), "target").unwrap();
    symlink("/etc/target", place.root.join("dev/console")).unwrap();
    let ran = place.start_in_terminal(&place.plan("tty; stat -c %t:%T /dev/console; cat /etc/target")).unwrap();
    assert_eq!(ran.finish().output.replace('\r', ""), "/dev/pts/0\n88:0\ntarget");
    // A /dev that leads into procfs: nothing is made there.
    fs::remove_dir_all(place.root.join("dev")).unwrap();
    symlink("/proc/sys/kernel", place.root.join("dev")).unwrap();
    let error = place.start_in_terminal(&place.plan("true")).err().expect("it is refused");
    assert_eq!((error.step, error.subject.as_str()), (Step::Mount, "/dev"));
}

fn mount_through_symlink() {
    let place = Place::new();
    let secret = Secret::new();
    let outside = format!("/../../../../../../..{}/made", secret.path.display());
    symlink(&outside, place.root.join("way-out")).unwrap();
    let mut plan = place.plan("cat /proc/self/mountinfo | grep -c tmpfs.made");
    for target in ["/way-out", "/way-out/deeper"] {
        let source = MountSource::Tmpfs(vec![("size".to_owned(), "64k".to_owned())]);
        plan.mounts.push(Mount { target: target.to_owned(), source, flags: MountFlags::default() });
    }
    assert!(place.run(&plan).is_ok());
    assert!(fs::read_dir(&secret.path).unwrap().next().is_none(), "something was made on the host");
    assert!(place.root.join(secret.path.strip_prefix("/").unwrap()).join("made").is_dir());
}

fn inheritable() {
    const SETS: &str = "grep -E 'Cap(Inh|Amb)' /proc/self/status";
    const NONE: &str = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    let place = Place::new();
    let mut plan = place.plan(SETS);
    plan.process.capabilities = CapSet::all();
    says(place.run(&plan), NONE);
    plan.process.user.uid = 33;
    says(place.run(&plan), NONE);
    let running = place.start(&place.plan("sleep 100")).unwrap();
    says(running.exec(&exec(SETS), false), NONE);
    running.kill();
}
