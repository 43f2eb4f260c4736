//! `container attach`: joins this terminal to a running container.

use hako_api::query::{ContainerAttachQuery, ContainerInspectQuery, ContainerWaitQuery, ResizeQuery};
use hako_client::Client;

use super::run::{detach_keys, exit_as_container, raw_mode};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    signals::{self, Sized},
    stream::{self, Joined, Parted},
    terminal,
};

/// What is said, as an error, when the detach keys end `attach` or `exec`; `run` and `start` are
/// silent then.
pub(crate) const DETACHED: &str = "read escape sequence";

pub(crate) struct Attach {
    detach_keys: String,
    no_stdin: bool,
    sig_proxy: bool,
}

impl Default for Attach {
    fn default() -> Self {
        Self { detach_keys: String::new(), no_stdin: false, sig_proxy: true }
    }
}

impl Attach {
    /// The command with its flags given.
    pub(crate) fn of(detach_keys: String, no_stdin: bool, sig_proxy: bool) -> Self {
        Self { detach_keys, no_stdin, sig_proxy }
    }
}

impl Command for Attach {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container attach", "attach"],
        usage: "[OPTIONS] CONTAINER",
        about: "Attach to the input and output of a running container",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.detach_keys, "--detach-keys", "Keys that leave it (default ctrl-p,ctrl-q)");
        set.add(&mut self.no_stdin, "--no-stdin", "Do not attach to its input");
        set.add(&mut self.sig_proxy, "--sig-proxy", "Pass signals on to it (default true)");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        let client = cx.client()?;
        let keys = detach_keys(cx, &self.detach_keys)?;
        let container = client.container_inspect(&names[0], &ContainerInspectQuery::default()).await?;
        if !container.state.running {
            return Err(CommandError::Said("You cannot attach to a stopped container, start it first".to_owned()));
        }
        if container.state.paused {
            return Err(CommandError::Said("You cannot attach to a paused container, unpause it first".to_owned()));
        }
        if container.state.restarting {
            return Err(CommandError::Said(
                "You cannot attach to a restarting container, wait until it is running".to_owned(),
            ));
        }
        let (id, tty) = (container.id, container.config.tty);
        let stdin = !self.no_stdin && container.config.open_stdin;
        if stdin && tty && !terminal::stdin_is_terminal() {
            return Err(CommandError::Said("the input device is not a TTY".to_owned()));
        }
        let waiting = client.container_wait(&id, &ContainerWaitQuery::default()).await?;
        let query = ContainerAttachQuery {
            detach_keys: (!self.detach_keys.is_empty()).then(|| self.detach_keys.clone()),
            stream: true,
            stdin,
            stdout: true,
            stderr: true,
            logs: false,
        };
        let forward = self.sig_proxy && !tty;
        let _signals = forward.then(|| signals::forward(client.clone(), id.clone())).transpose()?;
        let connection = client.container_attach(&id, &query).await?;
        if tty {
            redraw(&client, &id).await;
        }
        let _size = (tty && terminal::stdout_is_terminal())
            .then(|| signals::follow_size(client.clone(), Sized::Container(id.clone())))
            .transpose()?;
        let parted = {
            let _raw = raw_mode(tty && stdin)?;
            let _leave = tty.then(signals::restore_terminal_and_leave).transpose()?;
            stream::join(connection, Joined { stdin, stdout: true, stderr: true, tty, keys }).await?
        };
        if parted == Parted::Detached {
            return Err(CommandError::Said(DETACHED.to_owned()));
        }
        exit_as_container(cx, waiting).await
    }
}

// A program on a terminal paints itself anew when the size changes: give it another one first.
async fn redraw(client: &Client, id: &str) {
    if let Some((rows, columns)) = terminal::size() {
        let query = ResizeQuery { rows: rows.saturating_add(1), columns: columns.saturating_add(1) };
        // It may have just ended, and what follows will say so.
        let _ = client.container_resize(id, &query).await;
    }
}
