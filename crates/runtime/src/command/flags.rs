//! The flags of `hako runtime`: runc's own names and meanings.
//!
//! What is taken without an effect is said so beside it; what would be a lie is refused in `act.rs`.

use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand};

/// Run containers from OCI bundles
#[derive(Debug, Parser)]
#[command(
    name = "hako runtime",
    bin_name = "hako runtime",
    version = concat!(env!("CARGO_PKG_VERSION"), "\nspec: 1.2.1"),
    args_override_self = true
)]
pub(super) struct Flags {
    /// Directory of what is remembered of containers
    #[arg(long, default_value = crate::oci::USUAL_ROOT)]
    pub(super) root: PathBuf,
    /// File for messages, beside standard error
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// How messages in the file look: text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub(super) log_format: String,
    /// Say more
    #[arg(long)]
    pub(super) debug: bool,
    /// Refused: hako has no driver for systemd
    #[arg(long)]
    pub(super) systemd_cgroup: bool,
    /// Taken without an effect: hako finds out by itself
    #[arg(long = "rootless", value_name = "auto|true|false", num_args = 1, hide = true)]
    pub(super) rootless_mode: Option<String>,
    /// Taken without an effect: nothing is checkpointed
    #[arg(long, hide = true)]
    pub(super) criu: Option<String>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What `clap::Subcommand` derives, but of the commands that are named and with the flags of the one that is called: all of
/// them take as long as the rest of a short command.
macro_rules! commands {
    ($($word:literal $name:ident($flags:ty): $about:literal,)*) => {
        #[derive(Debug)]
        #[expect(dead_code, reason = "what follows a command that is refused is not looked at")]
        pub(super) enum Command {
            $(#[doc = $about] $name($flags),)*
        }

        impl Subcommand for Command {
            fn augment_subcommands(all: clap::Command) -> clap::Command {
                let wanted = wanted(&[$($word),*]);
                all.subcommand_required(true).arg_required_else_help(true).subcommands(
                    [$(($word, $about, <$flags>::augment_args as Augment)),*]
                        .into_iter()
                        .filter(|(word, ..)| wanted.contains(word))
                        .map(|(word, about, flags)| clap::Command::new(word).about(about).defer(flags)),
                )
            }

            fn augment_subcommands_for_update(all: clap::Command) -> clap::Command {
                Self::augment_subcommands(all)
            }

            fn has_subcommand(name: &str) -> bool {
                [$($word),*].contains(&name)
            }
        }

        impl FromArgMatches for Command {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                match matches.subcommand() {
                    $(Some(($word, flags)) => <$flags>::from_arg_matches(flags).map(Self::$name),)*
                    _ => Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand)),
                }
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

commands! {
    "create" Create(CreateFlags): "Create a container, whose process then waits to be started",
    "start" Start(IdFlags): "Start the process of a created container",
    "run" Run(RunFlags): "Create and start a container",
    "exec" Exec(ExecFlags): "Run one more process in a container",
    "state" State(IdFlags): "Print the state of a container",
    "list" List(ListFlags): "List containers",
    "kill" Kill(KillFlags): "Send a signal to a container's process",
    "delete" Delete(DeleteFlags): "Take away what was created for a container",
    "ps" Ps(PsFlags): "Show the processes of a container",
    "pause" Pause(IdFlags): "Stop all processes of a container where they are",
    "resume" Resume(IdFlags): "Let the processes of a paused container go on",
    "update" Update(UpdateFlags): "Change what a container may use",
    "events" Events(EventsFlags): "Print events of a container: its numbers and when memory ran out",
    "spec" Spec(SpecFlags): "Write a configuration to begin with",
    "features" Features(NoFlags): "Print what this runtime can do",
    "checkpoint" Checkpoint(AnythingFlags): "Refused: hako has no checkpoints",
    "restore" Restore(AnythingFlags): "Refused: hako has no checkpoints",
}

type Augment = fn(clap::Command) -> clap::Command;

// The commands that this process is called with, also where such a word is something else; all where help is asked for, or
// none of them is there.
fn wanted(known: &[&'static str]) -> Vec<&'static str> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let is_there = |asked: &str| words.iter().any(|word| word == asked);
    let named: Vec<_> = known.iter().copied().filter(|word| is_there(word)).collect();
    let helps = ["-h", "--help", "help"].into_iter().any(is_there);
    if named.is_empty() || helps { known.to_vec() } else { named }
}

#[derive(Debug, Args)]
pub(super) struct NoFlags {}

#[derive(Debug, Args)]
pub(super) struct IdFlags {
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct AnythingFlags {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) rest: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct CreateFlags {
    /// Directory of the bundle
    #[arg(short, long, default_value = ".")]
    pub(super) bundle: PathBuf,
    /// Socket that the terminal's other side is sent to
    #[arg(long, value_name = "PATH")]
    pub(super) console_socket: Option<PathBuf>,
    /// File for the process's number
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that the process gets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// Taken without an effect: the way into the root depends on what the old one is
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Taken without an effect: each process has a session keyring of its own, or there are none
    #[arg(long)]
    pub(super) no_new_keyring: bool,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct RunFlags {
    /// Do not stay with the process
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Do not delete the container when its process has ended
    #[arg(long)]
    pub(super) keep: bool,
    /// Do not adopt what the container's process leaves behind
    #[arg(long)]
    pub(super) no_subreaper: bool,
    #[command(flatten)]
    pub(super) create: CreateFlags,
}

#[derive(Debug, Args)]
pub(super) struct ExecFlags {
    #[arg(long, value_name = "PATH")]
    pub(super) console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long)]
    pub(super) cwd: Option<String>,
    /// Environment variables
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// With a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// UID[:GID]
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// Further groups
    #[arg(short = 'g', long, value_name = "GID")]
    pub(super) additional_gids: Vec<u32>,
    /// File with the whole process in JSON
    #[arg(short, long, value_name = "FILE")]
    pub(super) process: Option<PathBuf>,
    #[arg(short, long)]
    pub(super) detach: bool,
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(super) process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) apparmor: Option<String>,
    #[arg(long)]
    pub(super) no_new_privs: bool,
    /// Capabilities to add
    #[arg(short, long, value_name = "CAPABILITY")]
    pub(super) cap: Vec<String>,
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// Cgroup below the container's own, on v1 also of some controllers
    #[arg(long, value_name = "[CONTROLLER,…:]PATH")]
    pub(super) cgroup: Vec<String>,
    /// Also in a paused container, where the process waits
    #[arg(long)]
    pub(super) ignore_paused: bool,
    /// Taken without an effect, as runc takes it
    #[arg(long, hide = true)]
    pub(super) no_subreaper: bool,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListFlags {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    pub(super) format: String,
    /// Names only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct KillFlags {
    /// To all processes of the container
    #[arg(short, long)]
    pub(super) all: bool,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
    #[arg(default_value = "SIGTERM")]
    pub(super) signal: String,
}

#[derive(Debug, Args)]
pub(super) struct DeleteFlags {
    /// Kill it if it runs; one that is not there is no error
    #[arg(short, long)]
    pub(super) force: bool,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct PsFlags {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    pub(super) format: String,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
    /// Taken without an effect: options of ps(1), which is not run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(super) rest: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct EventsFlags {
    /// How often numbers are printed
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    pub(super) interval: String,
    /// Print the numbers once and end
    #[arg(long)]
    pub(super) stats: bool,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct SpecFlags {
    /// Directory of the bundle
    #[arg(short, long, default_value = ".")]
    pub(super) bundle: PathBuf,
    /// For a person without rights
    #[arg(long)]
    pub(super) rootless: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpdateFlags {
    /// File with resources in JSON; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(super) resources: Option<PathBuf>,
    #[arg(long)]
    pub(super) blkio_weight: Option<u16>,
    #[arg(long)]
    pub(super) cpu_period: Option<u64>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) cpu_quota: Option<i64>,
    #[arg(long)]
    pub(super) cpu_burst: Option<u64>,
    #[arg(long)]
    pub(super) cpu_rt_period: Option<u64>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) cpu_rt_runtime: Option<i64>,
    #[arg(long, visible_alias = "cpu-shares")]
    pub(super) cpu_share: Option<u64>,
    #[arg(long)]
    pub(super) cpu_idle: Option<i64>,
    #[arg(long)]
    pub(super) cpuset_cpus: Option<String>,
    #[arg(long)]
    pub(super) cpuset_mems: Option<String>,
    /// Bytes, also as 64m or 1.5GiB; -1: unlimited
    #[arg(long, allow_hyphen_values = true, value_parser = bytes)]
    pub(super) memory: Option<i64>,
    #[arg(long, allow_hyphen_values = true, value_parser = bytes)]
    pub(super) memory_reservation: Option<i64>,
    #[arg(long, allow_hyphen_values = true, value_parser = bytes)]
    pub(super) memory_swap: Option<i64>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) pids_limit: Option<i64>,
    #[arg(value_name = "CONTAINER")]
    pub(super) id: String,
}

// As runc takes sizes: a number, perhaps with a fraction, and a unit of 1024 (`b` and `iB` may follow it).
fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?} is no size");
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
    let power = "kmgtp".find(unit).filter(|_| unit.len() <= 1).ok_or_else(wrong)?;
    let factor = if unit.is_empty() { 1 } else { 1_i64 << (10 * (power + 1)) };
    match number.parse::<i64>() {
        Ok(whole) => whole.checked_mul(factor).ok_or_else(wrong),
        Err(_) => number.parse::<f64>().map(|number| (number * factor as f64) as i64).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_taken_as_runc_takes_them() {
        for (text, expected) in [
            ("-1", Ok(-1)),
            ("67108864", Ok(64 << 20)),
            ("50M", Ok(50 << 20)),
            ("50mb", Ok(50 << 20)),
            ("1.5GiB", Ok(3 << 29)),
            ("7 k", Ok(7 << 10)),
            ("", Err("\"\" is no size".to_owned())),
            ("5x", Err("\"5x\" is no size".to_owned())),
            ("99999999999p", Err("\"99999999999p\" is no size".to_owned())),
        ] {
            assert_eq!(super::bytes(text), expected, "{text}");
        }
    }
}
