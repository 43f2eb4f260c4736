//! Chaos: the daemon is killed with -9 every few seconds, the keeper now and then, and clients go on working.
//!
//! A client that loses its connection asks again, as people and scripts do. What must hold in the end: every job that
//! ran has run with its own exit code and all of its output, containers that ran on are the same processes, their
//! logs are whole and without repetition, and nothing is left behind. `cargo x test chaos [SECONDS]` builds hako and
//! runs this as root; how many of everything there were is printed, for nothing is proved by a run without kills.
#![forbid(unsafe_code)]

mod client; // asks until it is answered
mod work; // what goes on meanwhile, and what must be true of it

use std::{
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use client::Client;
use hako_testkit::{Host, wait};
use work::{WORK, Watched};

/// How long it goes on, unless the command line says otherwise.
const SECONDS: u64 = 120;

/// Between two kills: from so long …
const PAUSE_MIN_MS: u64 = 700;
/// … to so long.
const PAUSE_MAX_MS: u64 = 4000;

/// Every so many deaths of the daemon the keeper dies instead.
const KEEPER_EVERY: usize = 4;

fn main() -> ExitCode {
    let seconds = match std::env::args().nth(1).map(|text| text.parse()) {
        None => SECONDS,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => {
            eprintln!("usage: chaos [SECONDS]");
            return ExitCode::from(2);
        }
    };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    println!("{seconds} s of chaos; the pauses follow from the seed {seed}");
    let host = Host::start();
    let watched = Watched::start(&Client::new(&host, Instant::now()));
    let (kills, failures) = rage(&host, Duration::from_secs(seconds), seed);
    println!("{kills}");
    let at_rest = Client::new(&host, Instant::now());
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        watched.check(&at_rest);
        work::nothing_is_left(&host);
    }));
    report("containers_ran_on_and_nothing_is_left", end.is_ok());
    if failures == 0 && end.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(name: &str, well: bool) {
    println!("test {name} ... {}", if well { "ok" } else { "FAILED" });
}

/// Lets everybody work and kills meanwhile. Answers what was done, and how many workers failed.
fn rage(host: &Host, length: Duration, seed: u64) -> (String, usize) {
    let deadline = Instant::now() + length;
    let (ended, ends) = mpsc::channel();
    std::thread::scope(|scope| {
        for (name, work) in WORK {
            let ended = ended.clone();
            scope.spawn(move || {
                let done = std::panic::catch_unwind(|| work(&Client::new(host, deadline)));
                // Whoever listens has seen a failure already, or hears of this one.
                let _ = ended.send((*name, done.ok()));
            });
        }
        drop(ended);
        let (mut daemons, mut keepers, mut failures) = (0, 0, 0);
        let mut random = seed;
        let mut told = Vec::new();
        // How a job ended whose keeper had died the kernel tells since 6.15; before that its code would be unknown.
        let keepers_too = hako_testkit::require::kernel(6, 15).is_ok();
        while Instant::now() < deadline && failures == 0 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pause = PAUSE_MIN_MS + (random >> 33) % (PAUSE_MAX_MS - PAUSE_MIN_MS);
            if let Ok(end) = ends.recv_timeout(Duration::from_millis(pause)) {
                failures += usize::from(end.1.is_none());
                told.push(end);
                continue;
            }
            if keepers_too && (daemons + keepers) % KEEPER_EVERY == KEEPER_EVERY - 1 {
                host.keeper_kill();
                // Both dead at once is another story, which `survival` tells.
                wait::until("the next keeper", || host.processes_of("keeper"), |keepers| !keepers.is_empty());
                host.run("docker run --rm busybox true");
                keepers += 1;
            } else {
                host.daemon_replace();
                daemons += 1;
            }
        }
        told.extend(ends.iter());
        failures = 0;
        let mut text = format!("killed: {daemons} daemons, {keepers} keepers");
        for (name, done) in told {
            report(name, done.is_some());
            failures += usize::from(done.is_none());
            text.push_str(&format!("; {name}: {}", done.unwrap_or_default()));
        }
        (text, failures)
    })
}
