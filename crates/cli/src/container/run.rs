//! `container run`: creates a container, attaches to it, starts it and gives its exit code.
//!
//! The order matters: attach and wait before start, so that neither the first line of output nor
//! the end of a short process can be missed.

use hako_api::query::{ContainerAttachQuery, ContainerRemoveQuery, ContainerStartQuery, ContainerWaitQuery};
use hako_client::{Client, ContainerWait, Hijacked};

use super::{
    create::{self, run_error},
    create_flags::CreateFlags,
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    detach::DetachKeys,
    error::CommandError,
    flag::FlagSet,
    signals::{self, Sized},
    stream::{self, Joined, Parted},
    terminal::{self, RawMode},
};

pub(crate) struct Run {
    create: CreateFlags,
    detach: bool,
    detach_keys: String,
    sig_proxy: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self { create: CreateFlags::default(), detach: false, detach_keys: String::new(), sig_proxy: true }
    }
}

impl Command for Run {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container run", "run"],
        usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        about: "Create a container from an image and run it",
        arguments: Arguments::AtLeast(1),
        interspersed: false,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.detach, "-d, --detach", "Leave it in the background and print its id");
        set.add(&mut self.detach_keys, "--detach-keys", "Keys that leave it (default ctrl-p,ctrl-q)");
        set.add(&mut self.sig_proxy, "--sig-proxy", "Pass signals on to it (default true)");
        self.create.bind(set);
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        create::check_pull(cx, &self.create.identity)?;
        let process = &self.create.process;
        if self.detach && !process.attach.is_empty() {
            let reason = "conflicting options: cannot specify both --attach and --detach";
            return Err(CommandError::Said(reason.to_owned()));
        }
        let request = create::request(cx, &self.create, &words, self.detach)?;
        let config = &request.config;
        if !self.detach && config.attach_stdin && config.tty && !terminal::stdin_is_terminal() {
            return Err(CommandError::Said("the input device is not a TTY".to_owned()));
        }
        let keys = detach_keys(cx, &self.detach_keys)?;
        let id = match create::create(cx, &self.create.identity, &request).await {
            Ok(id) => id,
            Err(error) => return Err(run_error(cx, error)),
        };
        let client = cx.client()?;
        let attached = [config.attach_stdin, config.attach_stdout, config.attach_stderr];
        if self.detach || !attached.contains(&true) {
            cx.print_line(&id)?;
            let started = client.container_start(&id, &ContainerStartQuery::default()).await;
            return started.map_err(|error| run_error(cx, error.into()));
        }
        let foreground = Foreground {
            client,
            id,
            attached,
            tty: config.tty,
            removed: self.create.identity.remove,
            sig_proxy: self.sig_proxy,
            key_text: self.detach_keys,
        };
        foreground.run(cx, keys).await
    }
}

/// The detach keys of the flag, else of `config.json`, else Docker's.
///
/// # Errors
/// When a key is none.
pub(crate) fn detach_keys(cx: &Context, flag: &str) -> Result<DetachKeys, CommandError> {
    match [flag, &cx.config.detach_keys].into_iter().find(|text| !text.is_empty()) {
        Some(text) => DetachKeys::parse(text)
            .map_err(|reason| CommandError::Said(format!("invalid detach keys ({text}): {reason}"))),
        None => Ok(DetachKeys::default()),
    }
}

/// A container whose streams are this program's.
pub(crate) struct Foreground {
    pub client: Client,
    pub id: String,
    /// Standard input, output, error.
    pub attached: [bool; 3],
    pub tty: bool,
    pub removed: bool,
    pub sig_proxy: bool,
    pub key_text: String,
}

impl Foreground {
    /// Starts it, stays with it and ends as it ends.
    ///
    /// # Errors
    /// When it cannot be started, or ends with another code than 0.
    pub(crate) async fn run(self, cx: &mut Context, keys: DetachKeys) -> Result<(), CommandError> {
        let _signals = self.sig_proxy.then(|| signals::forward(self.client.clone(), self.id.clone())).transpose()?;
        let mut connection = self.attach().await.map_err(|error| run_error(cx, error))?;
        let condition = if self.removed { "removed" } else { "next-exit" };
        let waiting = self
            .client
            .container_wait(&self.id, &ContainerWaitQuery { condition: Some(condition.to_owned()) })
            .await
            .map_err(|error| run_error(cx, error.into()))?;
        if connection.has_ended().await {
            // Another daemon has answered since. Started now, the container's output would go nowhere.
            if self.removed {
                let _ = self.client.container_remove(&self.id, &ContainerRemoveQuery::default()).await;
            }
            let lost = "error during connect: the daemon went away before the container was started".to_owned();
            return Err(run_error(cx, CommandError::Said(lost)));
        }
        let started = self.client.container_start(&self.id, &ContainerStartQuery::default()).await;
        if let Err(error) = started {
            drop(connection);
            if self.removed {
                // Let the daemon finish removing it, so that its name is free again.
                let _ = waiting.outcome().await;
            }
            return Err(run_error(cx, error.into()));
        }
        let parted = self.join(connection, keys).await?;
        if parted == Parted::Detached {
            return Ok(());
        }
        exit_as_container(cx, waiting).await
    }

    async fn attach(&self) -> Result<Hijacked, CommandError> {
        let query = ContainerAttachQuery {
            detach_keys: (!self.key_text.is_empty()).then(|| self.key_text.clone()),
            stream: true,
            stdin: self.attached[0],
            stdout: self.attached[1],
            stderr: self.attached[2],
            logs: false,
        };
        Ok(self.client.container_attach(&self.id, &query).await?)
    }

    async fn join(&self, connection: Hijacked, keys: DetachKeys) -> Result<Parted, CommandError> {
        let _size = (self.tty && terminal::stdout_is_terminal())
            .then(|| signals::follow_size(self.client.clone(), Sized::Container(self.id.clone())))
            .transpose()?;
        let _raw = raw_mode(self.tty && self.attached[0])?;
        let _leave = (self.tty && !self.sig_proxy).then(signals::restore_terminal_and_leave).transpose()?;
        let [stdin, stdout, stderr] = self.attached;
        stream::join(connection, Joined { stdin, stdout, stderr, tty: self.tty, keys }).await
    }
}

/// Raw mode, where it is wanted and standard input is a terminal.
///
/// # Errors
/// When the terminal refuses.
pub(crate) fn raw_mode(wanted: bool) -> Result<Option<RawMode>, CommandError> {
    if !wanted || !terminal::stdin_is_terminal() {
        return Ok(None);
    }
    RawMode::enter().map(Some).map_err(|error| CommandError::local("set the terminal to raw mode")(error.into()))
}

/// Ends as the container ended.
///
/// # Errors
/// Always, unless the container's exit code is 0.
pub(crate) async fn exit_as_container(cx: &Context, waiting: ContainerWait) -> Result<(), CommandError> {
    let ended = waiting.outcome().await?;
    if let Some(error) = ended.error {
        cx.remark(&format!("Error waiting for container: {}", error.message));
        return Err(CommandError::Exit(125));
    }
    match u8::try_from(ended.status_code & 0xff) {
        Ok(0) => Ok(()),
        Ok(code) => Err(CommandError::Exit(code)),
        Err(_) => Err(CommandError::Exit(125)),
    }
}
