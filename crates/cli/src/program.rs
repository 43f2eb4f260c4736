//! From the words of a command line to a command that runs.
//!
//! Flags before the command concern the daemon's address; the address comes, in this order, from
//! `-H`, `-c`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of `config.json`, and the
//! default of the name the program was called by.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use hako_client::TlsFiles;

use crate::{
    commands::{self, ABSENT, GROUPS},
    compose,
    config::{self, Config},
    context::{Context, Endpoint},
    contexts::store::{DEFAULT, Store},
    error::{self, CommandError},
    flag::{FlagError, FlagSet},
    help, plugin, suggest, terminal,
};

const HAKO_SOCKET: &str = "unix:///run/hako.sock";
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

/// The flags before the command.
#[derive(Default)]
struct Globals {
    config: Option<String>,
    context: Option<String>,
    debug: bool,
    hosts: Vec<String>,
    log_level: String,
    tls: bool,
    tls_ca: String,
    tls_cert: String,
    tls_key: String,
    tls_verify: Option<bool>,
    version: bool,
}

impl Globals {
    fn bind<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.config, "--config", "Directory of config.json (default ~/.docker)");
        set.add(&mut self.context, "-c, --context", "Context whose daemon to talk to");
        set.add(&mut self.debug, "-D, --debug", "Say more about what goes wrong");
        set.add(&mut self.hosts, "-H, --host", "Address of the daemon").kind("string");
        set.add(&mut self.log_level, "-l, --log-level", "debug, info, warn, error or fatal (default \"info\")");
        set.add(&mut self.tls, "--tls", "Use TLS; implied by --tlsverify");
        set.add(&mut self.tls_ca, "--tlscacert", "Trust certificates signed by this CA alone");
        set.add(&mut self.tls_cert, "--tlscert", "Certificate to show");
        set.add(&mut self.tls_key, "--tlskey", "Key of that certificate");
        set.add(&mut self.tls_verify, "--tlsverify", "Use TLS and verify the daemon");
        set.add(&mut self.version, "-v, --version", "Print the version and leave");
    }
}

impl Globals {
    /// The files of TLS, where flags or variables ask for it; those of docker's usual names if they exist.
    fn tls_files(&self, directory: &Path) -> Option<TlsFiles> {
        let verify = self.tls_verify.unwrap_or_else(|| variable("DOCKER_TLS_VERIFY").is_some());
        if !self.tls && !verify && variable("DOCKER_TLS").is_none() {
            return None;
        }
        let directory = variable("DOCKER_CERT_PATH").map_or_else(|| directory.to_owned(), PathBuf::from);
        let file = |flag: &str, name: &str| match flag {
            "" => Some(directory.join(name)).filter(|path| path.exists()),
            path => Some(PathBuf::from(path)),
        };
        // A missing authority is told when it is read: to trust everybody instead would be the opposite of the wish.
        let authority = file(&self.tls_ca, "ca.pem").or_else(|| verify.then(|| directory.join("ca.pem")));
        let (certificate, key) = (file(&self.tls_cert, "cert.pem"), file(&self.tls_key, "key.pem"));
        Some(TlsFiles { authority, certificate, key, verify })
    }

    fn check(&self) -> Result<(), CommandError> {
        match self.log_level.as_str() {
            "" | "trace" | "debug" | "info" | "warn" | "warning" | "error" | "fatal" | "panic" => Ok(()),
            other => Err(CommandError::Said(format!("Unable to parse logging level: {other}"))),
        }
    }
}

/// Runs the command line `arguments`, whose first word is the name it was called by.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut words = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let program = program_name(&called);
    let words: Vec<String> = words.collect();
    let done = match is_compose(&called) {
        true if words.first().is_some_and(|word| word == plugin::METADATA) => print(&plugin::own_metadata()),
        true => run(program, &as_compose(words, variable(plugin::HOST).is_some())),
        false => run(program, &words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::restore();
            error::report(program, &error)
        }
    }
}

fn program_name(called: &str) -> &'static str {
    match Path::new(called).file_name().and_then(|name| name.to_str()) {
        Some("docker" | "docker-compose") => "docker",
        _ => "hako",
    }
}

// `docker-compose up` is `docker compose up`. As docker's plugin it gets docker's whole line, where `compose` is a word.
fn as_compose(words: Vec<String>, is_plugin: bool) -> Vec<String> {
    match is_plugin && words.iter().any(|word| word == "compose") {
        true => words,
        false => std::iter::once("compose".to_owned()).chain(words).collect(),
    }
}

fn is_compose(called: &str) -> bool {
    let name = Path::new(called).file_name().and_then(|name| name.to_str());
    matches!(name, Some("docker-compose" | "hako-compose"))
}

fn run(program: &'static str, words: &[String]) -> Result<(), CommandError> {
    let mut globals = Globals::default();
    let mut set = FlagSet::default();
    globals.bind(&mut set);
    let parsed = set.parse(words, false);
    let rest = match parsed {
        Ok(rest) => rest,
        Err(FlagError::Help) => return print(&help::top(program, &set, &plugins())),
        Err(error) => {
            return Err(CommandError::Usage {
                message: format!(
                    "{error}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information"
                ),
                hint: None,
                code: 125,
            });
        }
    };
    if rest.is_empty() || rest[0] == "help" {
        let text = help_for(program, rest.get(1..).unwrap_or_default(), &set)?;
        drop(set);
        return if globals.version { print(&version(program)) } else { print(&text) };
    }
    drop(set);
    if globals.version {
        return print(&version(program));
    }
    globals.check()?;
    dispatch(program, &globals, &rest, words)
}

fn print(text: &str) -> Result<(), CommandError> {
    io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output)
}

fn version(program: &str) -> String {
    let own = env!("CARGO_PKG_VERSION");
    match program {
        // Programs read a Docker version from this line.
        "docker" => format!("Docker version {}, build hako-{own}\n", crate::system::version::DOCKER_VERSION),
        _ => format!("hako version {own}\n"),
    }
}

/// The commands that plugins add, for help; the folder of `--config` is not known that early.
fn plugins() -> Vec<(String, String)> {
    let directory = config::directory(None);
    let found = plugin::all(&directory, &settings(&directory)).into_iter().filter(|it| commands::is_free(&it.name));
    found.filter_map(|it| Some((format!("{}*", it.name), it.metadata()?.short_description))).collect()
}

fn help_for(program: &str, words: &[String], set: &FlagSet<'_>) -> Result<String, CommandError> {
    if words.is_empty() {
        return Ok(help::top(program, set, &plugins()));
    }
    match commands::resolve(words) {
        Some((entry, path, _)) => {
            let mut text = String::new();
            (entry.show_flags)(&mut |set| text = help::command(program, &path, entry.shape, set));
            Ok(text)
        }
        None => match GROUPS.iter().find(|(name, _)| *name == words[0]) {
            Some((name, about)) => Ok(help::group(program, name, about)),
            None => Err(unknown(program, words)),
        },
    }
}

fn settings(directory: &Path) -> Config {
    Config::read(directory).unwrap_or_else(|warning| {
        // Docker goes on with the defaults too; a closed standard error is no reason to stop.
        let _ = writeln!(io::stderr(), "WARNING: {warning}");
        Config::default()
    })
}

/// Runs the command of `words`; `line` is the whole line, flags before the command included.
fn dispatch(program: &'static str, globals: &Globals, words: &[String], line: &[String]) -> Result<(), CommandError> {
    let (compose, words) = compose::globals(program, words)?;
    let words = words.as_slice();
    let directory = config::directory(globals.config.as_deref());
    let config = settings(&directory);
    let Some((entry, path, used)) = commands::resolve(words) else {
        if commands::is_free(&words[0])
            && let Some(plugin) = plugin::find(&directory, &config, &words[0])
        {
            return Err(plugin.run(program, line, default_host(program)));
        }
        return no_command(program, words);
    };
    let endpoint = endpoint(program, globals, &directory, &config);
    let mut cx = Context::new(program, config, directory, endpoint);
    cx.compose = compose;
    cx.debug = globals.debug || variable("DEBUG").is_some();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CommandError::local("start the event loop"))?;
    let done = runtime.block_on((entry.run)(&mut cx, &path, words[used..].to_vec()));
    // A thread may still be waiting for input that nobody wants any more.
    runtime.shutdown_background();
    done
}

/// Where the daemon is when nobody says anything.
pub(crate) fn default_host(program: &str) -> &'static str {
    if program == "docker" { DOCKER_SOCKET } else { HAKO_SOCKET }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Which daemon flags, variables and contexts lead to.
fn endpoint(program: &str, globals: &Globals, directory: &Path, config: &Config) -> Endpoint {
    let default = |host: Result<String, String>| Endpoint {
        context_name: DEFAULT.to_owned(),
        host,
        tls: globals.tls_files(directory),
    };
    let refused = |why: &str| default(Err(why.to_owned()));
    match globals.hosts.as_slice() {
        [] => {}
        // Given and empty is not given.
        [host] if host.is_empty() => {}
        [host] if globals.context.is_none() => return default(Ok(with_scheme(host))),
        [_] => return refused("conflicting options: cannot specify both --host and --context"),
        _ => return refused("Specify only one -H"),
    }
    let host = variable("DOCKER_HOST");
    let name = match (&globals.context, &host) {
        (Some(name), _) => name.clone(),
        (None, Some(host)) => return default(Ok(with_scheme(host))),
        (None, None) => variable("DOCKER_CONTEXT").unwrap_or_else(|| config.current_context.clone()),
    };
    if name.is_empty() || name == DEFAULT {
        return default(Ok(host.map_or_else(|| default_host(program).to_owned(), |host| with_scheme(&host))));
    }
    let store = Store::new(directory);
    match store.get(&name) {
        Ok(document) => {
            let host = Some(document.endpoint().host).filter(|host| !host.is_empty());
            Endpoint {
                host: host.ok_or_else(|| format!("context \"{name}\" has no address of a daemon")),
                tls: store.tls_files(&document),
                context_name: name,
            }
        }
        Err(error) => {
            let why = error.message().unwrap_or_default();
            Endpoint {
                host: Err(format!("Failed to initialize: unable to resolve docker endpoint: {why}")),
                tls: None,
                context_name: name,
            }
        }
    }
}

// A bare `server:2375` means TCP, `:2375` this machine.
fn with_scheme(host: &str) -> String {
    let host = host.trim();
    match host.strip_prefix(':') {
        Some(port) => format!("tcp://localhost:{port}"),
        None if host == "tcp://" => "tcp://localhost".to_owned(),
        None if host.contains("://") => host.to_owned(),
        None => format!("tcp://{host}"),
    }
}

// A group without a command, a command that hako does not have, or a word that is none.
fn no_command(program: &str, words: &[String]) -> Result<(), CommandError> {
    let line = words.join(" ");
    let called = |name: &str| line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    if let Some((name, why)) = ABSENT.iter().find(|(name, _)| called(name)) {
        return Err(CommandError::Said(format!("{program}: '{program} {name}' is not there yet: hako {why}")));
    }
    let Some((name, about)) = GROUPS.iter().find(|(name, _)| *name == words[0]) else {
        return Err(unknown(program, words));
    };
    match words.get(1).map(String::as_str) {
        None | Some("--help" | "-h") => print(&help::group(program, name, about)),
        Some(_) => Err(unknown(program, words)),
    }
}

fn unknown(program: &str, words: &[String]) -> CommandError {
    let group = GROUPS.iter().map(|(name, _)| *name).find(|name| *name == words[0] && words.len() > 1);
    let (place, usage) = match group {
        Some(name) => (format!("{program} {name}"), format!("Usage:  {program} {name}\n\n")),
        None => (program.to_owned(), String::new()),
    };
    let typed = &words[usize::from(group.is_some())];
    let members = commands::paths().filter_map(|path| match group {
        Some(group) => path.strip_prefix(group)?.strip_prefix(' '),
        None => (!path.contains(' ')).then_some(path),
    });
    let groups = GROUPS.iter().map(|(name, _)| *name).filter(|_| group.is_none());
    CommandError::Usage {
        message: format!(
            "{program}: unknown command: {place} {typed}\n\n{usage}Run '{place} --help' for more information"
        ),
        hint: otherwise(program, group, typed).or_else(|| elsewhere(program, group, typed)).or_else(|| {
            suggest::nearest(typed, members.chain(groups)).map(|name| format!("Did you mean \"{place} {name}\"?"))
        }),
        // docker compose's code for a line that makes no sense.
        code: if group == Some("compose") { 16 } else { 1 },
    }
}

// What other programs call it.
fn otherwise(program: &str, group: Option<&str>, typed: &str) -> Option<String> {
    let name = match (typed, group) {
        ("delete" | "del" | "remove", _) => "rm",
        ("list" | "ls", None) => "ps",
        ("list", _) => "ls",
        ("show" | "get" | "describe", _) => "inspect",
        _ => return None,
    };
    let path = group.map_or_else(|| name.to_owned(), |group| format!("{group} {name}"));
    commands::paths().any(|known| known == path).then(|| format!("Did you mean \"{program} {path}\"?"))
}

// `image commit` is in books, and there is a `container commit`.
fn elsewhere(program: &str, group: Option<&str>, typed: &str) -> Option<String> {
    group?;
    let found = commands::paths().find(|path| path.split_once(' ').is_some_and(|(_, name)| name == typed))?;
    Some(format!("Did you mean \"{program} {found}\"?"))
}
