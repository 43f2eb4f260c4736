//! The speed budgets: measures them on a hako of one's own, and on another daemon beside it, in one run.
//!
//! A result is a ratio between neighbours; absolute times differ from machine to machine and hour to hour. Nothing here
//! is a test: a busy machine is no failure. `cargo x bench` builds the published binary and runs this as root.
#![forbid(unsafe_code)]

mod compose; // applications come up and go
mod health; // checks without a process
mod image; // load, push, pull
mod measure; // samples, percentiles, the table
mod memory; // proportional set size of daemons and keepers
mod names; // questions of a container's name service
mod network; // throughput, connecting, publishing
mod part; // what is measured
mod registry; // the registry server beside docker-registry
mod runtime; // hako runtime beside runc
mod subject; // a daemon and how to talk to it

use measure::Table;
use subject::Subject;

const USAGE: &str = "promise [--peer NAME=unix:///SOCKET] [--markdown] [--rounds N] [--many N] [PART…]";

/// What the command line asks for.
struct Wishes {
    peer: Option<(String, String)>,
    markdown: bool,
    /// Samples of hako for each part; a peer gets a tenth, since it takes a hundred times as long.
    rounds: usize,
    /// Containers that run at once in the part `many`.
    many: usize,
    parts: Vec<String>,
}

fn main() {
    let wishes = wishes(std::env::args().skip(1)).unwrap_or_else(|why| {
        eprintln!("{why}\nusage: {USAGE}");
        std::process::exit(2);
    });
    let own = Subject::hako();
    let peer = wishes.peer.as_ref().map(|(name, address)| Subject::peer(name, address));
    let mut table = Table::new(peer.as_ref().map(|peer| peer.name.clone()));
    for (name, measured) in part::PARTS {
        if wishes.parts.is_empty() || wishes.parts.iter().any(|part| part == name) {
            eprintln!("measuring {name}");
            measured(&mut table, &own, peer.as_ref(), wishes.rounds, wishes.many);
        }
    }
    print!("{}", if wishes.markdown { table.markdown() } else { table.plain() });
}

fn wishes(mut arguments: impl Iterator<Item = String>) -> Result<Wishes, String> {
    let mut wishes = Wishes { peer: None, markdown: false, rounds: 200, many: 500, parts: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text:?} is no number"));
        match argument.as_str() {
            "--peer" => {
                let text = value()?;
                let (name, address) = text.split_once('=').ok_or("--peer wants NAME=ADDRESS")?;
                wishes.peer = Some((name.to_owned(), address.to_owned()));
            }
            "--markdown" => wishes.markdown = true,
            "--rounds" => wishes.rounds = number(value()?)?,
            "--many" => wishes.many = number(value()?)?,
            part if part::PARTS.iter().any(|(name, _)| *name == part) => wishes.parts.push(argument),
            _ => {
                let parts: Vec<_> = part::PARTS.iter().map(|(name, _)| *name).collect();
                return Err(format!("{argument:?} is no part; there are {}", parts.join(", ")));
            }
        }
    }
    Ok(wishes)
}
