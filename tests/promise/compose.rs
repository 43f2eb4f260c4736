//! Applications: twenty services come up and go, what is unchanged is looked at, fifty are planned.
//!
//! hako's own Compose against docker's plugin (found where `DOCKER_CONFIG` says), each on its own daemon.

use std::{fmt::Write, path::PathBuf};

use crate::{
    measure::{Samples, Table},
    subject::Subject,
};

/// Rounds with a whole application each; a peer gets fewer, since it takes seconds for each.
const ROUNDS: usize = 10;
const PEERS_ROUNDS: usize = 3;

pub(crate) fn compose(table: &mut Table, own: &Subject, peer: Option<&Subject>, rounds: usize, _: usize) {
    let peer = peer.filter(|peer| {
        let there = peer.succeeds(&["compose", "version"]);
        if !there {
            eprintln!("{} is not measured: it has no compose command (DOCKER_CONFIG names its plugins)", peer.name);
        }
        there
    });
    let twenty = Application::new("bench-twenty", 20);
    let owns = twenty.live(own, rounds.min(ROUNDS));
    let peers = peer.map(|peer| twenty.live(peer, rounds.min(PEERS_ROUNDS)));
    let rows = [
        ("compose up -d of 20 services", "≥ 10×"),
        ("compose up -d of 20 unchanged services", "≤ 50 ms"),
        ("compose down of 20 services", "≥ 10×"),
    ];
    for (at, (what, budget)) in rows.into_iter().enumerate() {
        table.times(what, budget, &owns[at], peers.as_ref().map(|peers| &peers[at]));
    }
    let fifty = Application::new("bench-fifty", 50);
    own.run(&fifty.words(&["up", "-d"]));
    let mut samples = Samples::default();
    for _ in 0..rounds.min(5 * ROUNDS) {
        // Its exit code says that nothing would change.
        samples.time(|| own.run(&fifty.words(&["plan"])));
    }
    own.run(&fifty.words(&["down"]));
    table.times("compose plan of 50 unchanged services", "≤ 100 ms", &samples, None);
}

/// A file that describes services which only wait, and end at once when they are told to.
struct Application {
    file: PathBuf,
    path: String,
}

impl Application {
    fn new(name: &str, services: usize) -> Self {
        let mut text = format!("name: {name}\nservices:\n");
        for at in 0..services {
            let _ = writeln!(text, "  s{at}: {{image: busybox, command: sleep 100000, stop_signal: SIGKILL}}");
        }
        let file = std::env::temp_dir().join(format!("{name}-{}.yaml", std::process::id()));
        std::fs::write(&file, text).expect("a file of a project can be written");
        Self { path: file.display().to_string(), file }
    }

    fn words<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [&["compose", "-f", &self.path], words].concat()
    }

    /// Up, up again, down.
    fn live(&self, subject: &Subject, rounds: usize) -> [Samples; 3] {
        let mut times = [Samples::default(), Samples::default(), Samples::default()];
        for _ in 0..rounds {
            for (samples, words) in times.iter_mut().zip([&["up", "-d"][..], &["up", "-d"], &["down"]]) {
                samples.time(|| subject.run(&self.words(words)));
            }
        }
        times
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It lies among other passing files.
        let _ = std::fs::remove_file(&self.file);
    }
}
