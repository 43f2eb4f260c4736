//! The keeper's process: from its command line to its loop.
//!
//! ```text
//! exec of a read-only clone of itself
//! lock ─ detach ─ place ─ listen ─ "ready" ─ loop: turn, turn, turn … ─ leave
//!                                              │ request  ─ launch ─ child ─ output ─ ending
//!                                              └ handover ─ exec of itself, and on in the loop
//! ```
//!
//! One thread, because every launch is a `clone` of this process; no call waits for anybody but the
//! kernel, because one container must not delay another.

mod child; // one process and all that is known of it
mod connection; // the daemon's connection, keeper's end
mod ending; // exits, the end of output, and forgetting
mod handover; // becoming another program in place
mod launching; // from a plan to a child
mod log; // keeper.log
mod output; // pipes and terminals into rings
mod placement; // session, cgroups, hardening
mod poll; // epoll and tokens
mod request; // what a daemon may ask
mod restore; // processes of a keeper that died
mod settings; // the command line
mod slots; // a list with keys that go stale
mod turn; // the loop

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

use hako_sys::{process::Cloned, seqpacket::Listener};
use rustix::fs::FlockOperation;

use self::{settings::Settings, turn::Loop};
use crate::start::socket_path;

/// The role `hako keeper`. `arguments` are those after the role's name:
/// `--exec-root DIR [--cgroup-parent PATH] [--stay] [--detach]`.
///
/// Must be called before the program has started a thread.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    placement::run_read_only();
    let outcome = Settings::parse(arguments).map_err(io::Error::other).and_then(|settings| match settings.resume {
        true => handover::resume(&settings)?.run(),
        false => start(&settings),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started us reads standard output, a person standard error.
            let _ = writeln!(io::stdout(), "{error}");
            log::say(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

fn start(settings: &Settings) -> io::Result<()> {
    let context = |what: &'static str| {
        let root = settings.exec_root.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("cannot {what} {root}: {error}"))
    };
    hako_base::file::make_dir(&settings.exec_root, 0o711).map_err(context("make"))?;
    let Some(lock) = lock(&settings.exec_root).map_err(context("lock"))? else {
        return say_ready();
    };
    if settings.detach {
        // The parent goes at once: whoever started it reaps it, and we are nobody's child.
        if let Cloned::Parent(_) = hako_sys::process::clone(&hako_sys::process::Clone::default())? {
            hako_sys::process::exit(0);
        }
        rustix::process::setsid()?;
        std::env::set_current_dir("/")?;
        log::redirect(&settings.exec_root).map_err(context("write keeper.log in"))?;
        let (parent, name) = settings.cgroup();
        placement::enter_cgroup(parent, &name);
    }
    placement::harden()?;
    let listener = Listener::bind(&socket_path(&settings.exec_root)).map_err(context("listen in"))?;
    let keeper = Loop::new(settings.clone(), listener, lock)?;
    say_ready()?;
    keeper.run()
}

/// The lock of this exec-root, or nothing if another keeper has it. It is held until the process ends.
fn lock(exec_root: &Path) -> io::Result<Option<File>> {
    let path = exec_root.join("keeper.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Tells whoever started us, and lets go of the pipe.
fn say_ready() -> io::Result<()> {
    let mut stdout = io::stdout();
    // Nobody may be listening, which is fine.
    let _ = stdout.write_all(b"ready\n").and_then(|()| stdout.flush());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(&null)?)
}
