//! `container logs`: what a container has printed, and what it prints from now on.

use hako_api::query::{ContainerInspectQuery, ContainerLogsQuery};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::FlagSet,
    follow,
    format::duration,
    stream,
};

pub(crate) struct Logs {
    details: bool,
    follow: bool,
    since: String,
    until: String,
    tail: String,
    timestamps: bool,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            details: false,
            follow: false,
            since: String::new(),
            until: String::new(),
            tail: "all".to_owned(),
            timestamps: false,
        }
    }
}

impl Command for Logs {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container logs", "logs"],
        usage: "[OPTIONS] CONTAINER",
        about: "Print what a container has written",
        arguments: Arguments::Exactly(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.details, "--details", "Show what else the log driver has noted");
        set.add(&mut self.follow, "-f, --follow", "Go on with what is written from now on");
        set.add(&mut self.since, "--since", "Begin at a time, or so long ago (\"42m\")");
        set.add(&mut self.until, "--until", "End at a time, or so long ago (\"42m\")");
        set.add(&mut self.tail, "-n, --tail", "Lines from the end (default \"all\")");
        set.add(&mut self.timestamps, "-t, --timestamps", "Show when each line was written");
    }

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        // Frames are told by their type of content since API 1.42; a terminal's output has none.
        let is_taken_up = self.follow && self.is_in_frames(cx, &names[0]).await?;
        let query = ContainerLogsQuery {
            follow: self.follow,
            stdout: true,
            stderr: true,
            since: instant("since", &self.since)?,
            until: instant("until", &self.until)?,
            // A log that is followed is taken up again by the time of its last line.
            timestamps: self.timestamps || is_taken_up,
            tail: self.tail,
            details: self.details,
        };
        let client = cx.client()?;
        let log = client.container_logs(&names[0], &query).await?;
        if is_taken_up && log.multiplexed == Some(true) {
            return follow::follow(&client, &names[0], query, log, self.timestamps).await;
        }
        // Daemons before API 1.42 do not say whether the output is in frames.
        let tty = match log.multiplexed {
            Some(_) => false,
            None => client.container_inspect(&names[0], &ContainerInspectQuery::default()).await?.config.tty,
        };
        stream::copy_log(log, tty).await
    }
}

impl Logs {
    async fn is_in_frames(&self, cx: &mut Context, name: &str) -> Result<bool, CommandError> {
        let client = cx.client()?;
        let container = client.container_inspect(name, &ContainerInspectQuery::default()).await?;
        Ok(!container.config.tty && client.version().await?.at_least(42))
    }
}

/// A time for the API; empty stays empty.
///
/// # Errors
/// When it is neither a time nor a span.
pub(crate) fn instant(flag: &str, text: &str) -> Result<String, CommandError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let now = hako_base::clock::now();
    duration::parse_instant(text, now, &jiff::tz::TimeZone::system())
        .map_err(|reason| CommandError::Said(format!("invalid value for {}: {reason}", crate::flag::go_quote(flag))))
}
