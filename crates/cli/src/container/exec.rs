//! `container exec`: runs a further process in a container and gives its exit code.

use hako_api::{
    StringList,
    container::{ExecCreateRequest, ExecStartRequest},
};
use hako_client::Client;

use super::{
    attach::DETACHED,
    run::{detach_keys, raw_mode},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    parse::{env_file, name::Variable},
    signals::{self, Sized},
    stream::{self, Joined, Parted},
    terminal,
};

#[derive(Default)]
pub(crate) struct Exec {
    detach: bool,
    detach_keys: String,
    environment: Vec<Variable>,
    environment_files: Vec<String>,
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: String,
    workdir: String,
}

impl Command for Exec {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container exec", "exec"],
        usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
        about: "Run a command in a running container",
        arguments: Arguments::AtLeast(2),
        interspersed: false,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.detach, "-d, --detach", "Leave it in the background");
        set.add(&mut self.detach_keys, "--detach-keys", "Keys that leave it (default ctrl-p,ctrl-q)");
        set.add(&mut self.environment, "-e, --env", "Variable (NAME=value, or NAME to pass it on)");
        set.add(&mut self.environment_files, "--env-file", "File of variables, one a line");
        set.add(&mut self.interactive, "-i, --interactive", "Keep standard input open");
        set.add(&mut self.privileged, "--privileged", "Give it nearly all rights of the host's root");
        set.add(&mut self.tty, "-t, --tty", "Give it a terminal");
        set.add(&mut self.user, "-u, --user", "User to run as (user[:group], by name or number)");
        set.add(&mut self.workdir, "-w, --workdir", "Working directory");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let attach_stdin = self.interactive && !self.detach;
        if self.tty && attach_stdin && !terminal::stdin_is_terminal() {
            return Err(CommandError::Said("the input device is not a TTY".to_owned()));
        }
        let keys = detach_keys(cx, &self.detach_keys)?;
        let console_size =
            (self.tty && !self.detach).then(terminal::size).flatten().map(|(rows, columns)| [rows, columns]);
        let request = ExecCreateRequest {
            user: self.user.clone(),
            privileged: self.privileged,
            tty: self.tty,
            console_size,
            attach_stdin,
            attach_stderr: !self.detach,
            attach_stdout: !self.detach,
            detach_keys: if self.detach { String::new() } else { self.detach_keys.clone() },
            env: self.environment()?,
            working_dir: self.workdir.clone(),
            cmd: Some(StringList(words[1..].to_vec())),
        };
        let client = cx.client()?;
        let id = client.exec_create(&words[0], &request).await?;
        let start = ExecStartRequest { detach: self.detach, tty: self.tty, console_size };
        if self.detach {
            return Ok(client.exec_start_detached(&id, &start).await?);
        }
        let connection = client.exec_start(&id, &start).await?;
        let joined = Joined { stdin: attach_stdin, stdout: true, stderr: true, tty: self.tty, keys };
        let parted = {
            let _size = (self.tty && terminal::stdout_is_terminal())
                .then(|| signals::follow_size(client.clone(), Sized::Exec(id.clone())))
                .transpose()?;
            let _raw = raw_mode(self.tty && attach_stdin)?;
            let _leave = self.tty.then(signals::restore_terminal_and_leave).transpose()?;
            stream::join(connection, joined).await?
        };
        match parted {
            Parted::Detached => Err(CommandError::Said(DETACHED.to_owned())),
            Parted::Ended => exit_as_exec(&client, &id).await,
        }
    }
}

impl Exec {
    fn environment(&self) -> Result<Option<Vec<String>>, CommandError> {
        let mut variables = Vec::new();
        for path in &self.environment_files {
            variables.extend(env_file::read(path, |name| std::env::var(name).ok()).map_err(CommandError::Said)?);
        }
        variables.extend(self.environment.iter().map(|variable| variable.0.clone()));
        Ok((!variables.is_empty()).then_some(variables))
    }
}

pub(crate) async fn exit_as_exec(client: &Client, id: &str) -> Result<(), CommandError> {
    let ended = client.exec_inspect(id).await?;
    match ended.exit_code.unwrap_or_default() {
        0 => Ok(()),
        code => Err(CommandError::Exit(u8::try_from(code & 0xff).unwrap_or(1))),
    }
}
