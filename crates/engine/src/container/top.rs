//! `container top`: the processes of a container, from the kernel's tables. No `ps` is executed.

use crate::{Engine, EngineError, view::TopView};

impl Engine {
    /// The processes of a running container in the columns of `ps -ef`, or those that `-o` names.
    ///
    /// # Errors
    /// No such container, one that does not run, or options that are not understood.
    pub async fn container_top(&self, name: &str, options: &str) -> Result<TopView, EngineError> {
        let container = self.containers.find(name)?;
        let columns = Column::choose(options)?;
        let record = container.record();
        let top = crate::blocking(move || {
            let pids = match container.live.lock().as_ref() {
                Some(live) => live.cgroup.pids().map_err(|error| EngineError::mechanism(error.kind(), &error))?,
                None => return Err(EngineError::conflict(format!("container {} is not running", container.id))),
            };
            let titles = columns.iter().map(|column| column.title().to_owned()).collect();
            let processes = pids
                .iter()
                .filter_map(|pid| hako_runtime::observe::stat(*pid).ok())
                .map(|stat| columns.iter().map(|column| column.value(&stat)).collect())
                .collect();
            Ok(TopView { titles, processes })
        })
        .await?;
        self.publish_container("top", &record, []);
        Ok(top)
    }
}

/// A column that can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Uid,
    Pid,
    Ppid,
    C,
    Stime,
    Tty,
    Time,
    Cmd,
    Comm,
    Rss,
    Vsz,
    Stat,
}

impl Column {
    const FULL: [Self; 8] = [Self::Uid, Self::Pid, Self::Ppid, Self::C, Self::Stime, Self::Tty, Self::Time, Self::Cmd];

    /// From the options of `ps`: nothing, `-ef`, `aux`, or `-o LIST`.
    fn choose(options: &str) -> Result<Vec<Self>, EngineError> {
        let refuse = |what: &str| {
            EngineError::invalid(format!("ps option {what:?} is not understood: -ef, aux and -o LIST are"))
        };
        let mut words = options.split_whitespace();
        match words.next() {
            None | Some("-ef" | "-e" | "-f" | "-A") => Ok(Self::FULL.to_vec()),
            Some("aux" | "-aux") => Ok(vec![
                Self::Uid,
                Self::Pid,
                Self::Vsz,
                Self::Rss,
                Self::Tty,
                Self::Stat,
                Self::Stime,
                Self::Time,
                Self::Cmd,
            ]),
            Some(word) if word.starts_with("-o") || word.starts_with("-eo") => {
                let list = word.trim_start_matches("-eo").trim_start_matches("-o");
                let list = if list.is_empty() { words.next().unwrap_or_default() } else { list };
                let columns: Result<Vec<Self>, _> =
                    list.split(',').map(|name| Self::named(name).ok_or_else(|| refuse(name))).collect();
                columns
            }
            Some(word) => Err(refuse(word)),
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "uid" | "user" | "euser" => Self::Uid,
            "pid" => Self::Pid,
            "ppid" => Self::Ppid,
            "c" => Self::C,
            "stime" | "start" => Self::Stime,
            "tty" | "tt" => Self::Tty,
            "time" => Self::Time,
            "cmd" | "args" | "command" => Self::Cmd,
            "comm" => Self::Comm,
            "rss" => Self::Rss,
            "vsz" => Self::Vsz,
            "stat" | "state" => Self::Stat,
            _ => return None,
        })
    }

    fn title(self) -> &'static str {
        match self {
            Self::Uid => "UID",
            Self::Pid => "PID",
            Self::Ppid => "PPID",
            Self::C => "C",
            Self::Stime => "STIME",
            Self::Tty => "TTY",
            Self::Time => "TIME",
            Self::Cmd => "CMD",
            Self::Comm => "COMMAND",
            Self::Rss => "RSS",
            Self::Vsz => "VSZ",
            Self::Stat => "STAT",
        }
    }

    fn value(self, stat: &hako_runtime::observe::ProcessStat) -> String {
        match self {
            Self::Uid if stat.uid == 0 => "root".to_owned(),
            Self::Uid => stat.uid.to_string(),
            Self::Pid => stat.pid.to_string(),
            Self::Ppid => stat.ppid.to_string(),
            Self::C => stat.cpu_percent.to_string(),
            Self::Stime => stat.started.strftime("%H:%M").to_string(),
            Self::Tty => {
                if stat.tty == 0 {
                    "?".to_owned()
                } else {
                    format!("pts/{}", stat.tty & 0xff)
                }
            }
            Self::Time => {
                let seconds = stat.cpu_seconds;
                format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
            Self::Cmd => stat.command_line.clone(),
            Self::Comm => stat.name.clone(),
            Self::Rss => (stat.rss_bytes / 1024).to_string(),
            Self::Vsz => (stat.virtual_bytes / 1024).to_string(),
            Self::Stat => stat.state.to_string(),
        }
    }
}
