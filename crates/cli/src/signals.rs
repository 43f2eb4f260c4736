//! Signals: passed on to a container, or obeyed with the terminal put right first; and the one that
//! says the terminal has another size.

use hako_api::query::{ContainerKillQuery, ResizeQuery};
use hako_client::Client;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{error::CommandError, terminal};

/// What people and service managers send. Not among them: CHLD and PIPE, which concern this
/// process, WINCH, which some servers take for "stop gracefully", and KILL and STOP.
const FORWARDED: [(i32, &str); 10] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (30, "PWR"),
];
/// After so many of these a person means it (Docker's number and words).
const INSISTING: [i32; 2] = [2, 15];
const INSISTED_MAX: usize = 3;

const DEADLY: [i32; 4] = [1, 2, 3, 15];

/// Passes signals on for as long as it lives.
pub(crate) struct Forwarding(tokio::task::JoinHandle<()>);

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to pass signals on to `container`.
///
/// # Errors
/// When the kernel does not let this process catch them.
pub(crate) fn forward(client: Client, container: String) -> Result<Forwarding, CommandError> {
    let mut caught = catch(FORWARDED.iter().map(|(number, _)| *number))?;
    Ok(Forwarding(tokio::spawn(async move {
        let mut insisted = 0;
        while let Some(number) = caught.recv().await {
            insisted += usize::from(INSISTING.contains(&number));
            if insisted == INSISTED_MAX {
                // What does not heed its signals (a process 1 without a handler) does not hold the terminal for ever.
                terminal::restore();
                eprintln!("\ngot {INSISTED_MAX} SIGTERM/SIGINTs, forcefully exiting");
                std::process::exit(1);
            }
            let name = FORWARDED.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
            // A process that has just ended takes no signals, and that is no news.
            let _ = client.container_kill(&container, &ContainerKillQuery { signal: name }).await;
        }
    })))
}

/// Restores the terminal and leaves when a signal asks for it; for raw mode without forwarding.
///
/// # Errors
/// When the kernel does not let this process catch them.
pub(crate) fn restore_terminal_and_leave() -> Result<Forwarding, CommandError> {
    let mut caught = catch(DEADLY.into_iter())?;
    Ok(Forwarding(tokio::spawn(async move {
        if let Some(number) = caught.recv().await {
            terminal::restore();
            std::process::exit(128 + number);
        }
    })))
}

fn catch(numbers: impl Iterator<Item = i32>) -> Result<mpsc::UnboundedReceiver<i32>, CommandError> {
    let (send, receive) = mpsc::unbounded_channel();
    for number in numbers {
        let mut caught: Signal =
            signal(SignalKind::from_raw(number)).map_err(CommandError::local(format!("catch signal {number}")))?;
        let send = send.clone();
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                if send.send(number).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
}

/// What has a terminal of its own whose size follows ours.
#[derive(Debug, Clone)]
pub(crate) enum Sized {
    Container(String),
    Exec(String),
}

/// Tells the size now and whenever it changes, for as long as the answer lives.
///
/// # Errors
/// When the kernel does not let this process catch the signal.
pub(crate) fn follow_size(client: Client, what: Sized) -> Result<Forwarding, CommandError> {
    let mut changed = signal(SignalKind::window_change()).map_err(CommandError::local("watch the terminal's size"))?;
    Ok(Forwarding(tokio::spawn(async move {
        loop {
            if let Some((rows, columns)) = terminal::size() {
                let query = ResizeQuery { rows, columns };
                // It may have ended, or not quite begun; the next change tells the size again.
                let _ = match &what {
                    Sized::Container(id) => client.container_resize(id, &query).await,
                    Sized::Exec(id) => client.exec_resize(id, &query).await,
                };
            }
            if changed.recv().await.is_none() {
                return;
            }
        }
    })))
}
