//! `compose exec`: a further process in a service's container.

use hako_api::{
    StringList,
    container::{ExecCreateRequest, ExecStartRequest},
};

use super::{one_container, project_or_name};
use crate::{
    command::{Arguments, Command, Shape},
    container::{exec::exit_as_exec, run::raw_mode},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    parse::name::Variable,
    signals::{self, Sized},
    stream::{self, Joined},
    terminal,
};

#[derive(Default)]
pub(crate) struct Exec {
    detach: bool,
    environment: Vec<Variable>,
    index: i64,
    interactive: bool,
    no_tty: bool,
    privileged: bool,
    tty: bool,
    user: String,
    workdir: String,
}

impl Command for Exec {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose exec"],
        usage: "[OPTIONS] SERVICE COMMAND [ARGS...]",
        about: "Run a command in a running container of a service",
        arguments: Arguments::AtLeast(2),
        interspersed: false,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.detach, "-d, --detach", "Leave it in the background");
        set.add(&mut self.environment, "-e, --env", "Variable (NAME=value, or NAME to pass it on)");
        set.add(&mut self.index, "--index", "Number of the container");
        set.add(&mut self.interactive, "-i, --interactive", "Tolerated; standard input is always open").hide();
        set.add(&mut self.no_tty, "-T, --no-TTY", "Give it no terminal");
        set.also("no-tty", "no-TTY");
        set.add(&mut self.privileged, "--privileged", "Give it nearly all rights of the host's root");
        set.add(&mut self.tty, "-t, --tty", "Tolerated; it has a terminal where there is one").hide();
        set.add(&mut self.user, "-u, --user", "User to run as");
        set.add(&mut self.workdir, "-w, --workdir", "Working directory");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        super::refuse_dry_run(cx, "exec")?;
        let project = project_or_name(cx, &words[..1])?;
        let client = cx.client()?;
        let seen = one_container(&client, &project, &words[0], self.index, false).await?;
        let tty = !self.no_tty && !self.detach && terminal::stdin_is_terminal() && terminal::stdout_is_terminal();
        let console_size = tty.then(terminal::size).flatten().map(|(rows, columns)| [rows, columns]);
        let variables: Vec<String> = self.environment.iter().map(|variable| variable.0.clone()).collect();
        let request = ExecCreateRequest {
            user: self.user,
            privileged: self.privileged,
            tty,
            console_size,
            attach_stdin: !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            env: (!variables.is_empty()).then_some(variables),
            working_dir: self.workdir,
            cmd: Some(StringList(words[1..].to_vec())),
            ..ExecCreateRequest::default()
        };
        let id = client.exec_create(&seen.id, &request).await?;
        let start = ExecStartRequest { detach: self.detach, tty, console_size };
        if self.detach {
            return Ok(client.exec_start_detached(&id, &start).await?);
        }
        let connection = client.exec_start(&id, &start).await?;
        {
            let _size = tty.then(|| signals::follow_size(client.clone(), Sized::Exec(id.clone()))).transpose()?;
            let _raw = raw_mode(tty)?;
            let _leave = tty.then(signals::restore_terminal_and_leave).transpose()?;
            let keys = crate::container::run::detach_keys(cx, "")?;
            stream::join(connection, Joined { stdin: true, stdout: true, stderr: true, tty, keys }).await?;
        }
        exit_as_exec(&client, &id).await
    }
}
