//! `container start`: starts containers, perhaps attached to one.

use hako_api::query::{ContainerAttachQuery, ContainerInspectQuery, ContainerStartQuery, ContainerWaitQuery};

use super::run::{detach_keys, exit_as_container, raw_mode};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::{CommandError, client_message},
    flag::FlagSet,
    signals::{self, Sized},
    stream::{self, Joined, Parted},
    terminal,
};

#[derive(Default)]
pub(crate) struct Start {
    attach: bool,
    interactive: bool,
    detach_keys: String,
    checkpoint: Option<String>,
    checkpoint_dir: Option<String>,
}

impl Command for Start {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container start", "start"],
        usage: "[OPTIONS] CONTAINER [CONTAINER...]",
        about: "Start containers that do not run",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.attach, "-a, --attach", "Attach to its output and pass signals on to it");
        set.add(&mut self.interactive, "-i, --interactive", "Attach to its input");
        set.add(&mut self.detach_keys, "--detach-keys", "Keys that leave it (default ctrl-p,ctrl-q)");
        set.add(&mut self.checkpoint, "--checkpoint", "Checkpoint to restore it from").hide();
        set.add(&mut self.checkpoint_dir, "--checkpoint-dir", "Where that checkpoint is").hide();
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        if self.attach || self.interactive {
            if names.len() > 1 {
                return Err(CommandError::Said("you cannot start and attach multiple containers at once".to_owned()));
            }
            return self.start_attached(cx, &names[0]).await;
        }
        let client = cx.client()?;
        let query = ContainerStartQuery {
            checkpoint: self.checkpoint,
            checkpoint_dir: self.checkpoint_dir,
            ..ContainerStartQuery::default()
        };
        let (mut failures, mut failed) = (Vec::new(), Vec::new());
        for name in names {
            match client.container_start(&name, &query).await {
                Ok(()) => cx.print_line(&name)?,
                Err(error) => {
                    failures.push(client_message(&error));
                    failed.push(name);
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        failures.push(format!("Error: failed to start containers: {}", failed.join(", ")));
        Err(CommandError::Several(failures))
    }
}

impl Start {
    async fn start_attached(self, cx: &mut Context, name: &str) -> Result<(), CommandError> {
        let client = cx.client()?;
        let keys = detach_keys(cx, &self.detach_keys)?;
        let container = client.container_inspect(name, &ContainerInspectQuery::default()).await?;
        let (id, tty) = (container.id, container.config.tty);
        let _signals = (!tty).then(|| signals::forward(client.clone(), id.clone())).transpose()?;
        let stdin = self.interactive && container.config.open_stdin;
        let query = ContainerAttachQuery {
            detach_keys: (!self.detach_keys.is_empty()).then(|| self.detach_keys.clone()),
            stream: true,
            stdin,
            stdout: true,
            stderr: true,
            logs: false,
        };
        let connection = client.container_attach(&id, &query).await?;
        let condition = if container.host_config.auto_remove { "removed" } else { "next-exit" };
        let waiting = client.container_wait(&id, &ContainerWaitQuery { condition: Some(condition.to_owned()) }).await?;
        client.container_start(&id, &ContainerStartQuery::default()).await?;
        let _size = (tty && terminal::stdout_is_terminal())
            .then(|| signals::follow_size(client.clone(), Sized::Container(id.clone())))
            .transpose()?;
        let parted = {
            let _raw = raw_mode(tty && stdin)?;
            let _leave = tty.then(signals::restore_terminal_and_leave).transpose()?;
            stream::join(connection, Joined { stdin, stdout: true, stderr: true, tty, keys }).await?
        };
        if parted == Parted::Detached {
            return Ok(());
        }
        exit_as_container(cx, waiting).await
    }
}
