//! What every command gets: the daemon to talk to, the person's settings, and a way to print.

use std::{
    cell::OnceCell,
    io::{self, Write},
    path::PathBuf,
};

use hako_api::ApiVersion;
use hako_client::{Client, ClientError, Host, Tls, TlsFiles};

use crate::{
    config::Config,
    contexts::store::{DEFAULT, Store},
    error::{CommandError, client_message},
};

/// The surroundings of one command.
pub(crate) struct Context {
    /// `hako`, or `docker` when called by that name.
    pub program: &'static str,
    /// The words by which the command was called: `container ls`.
    pub path: String,
    /// The person's `config.json`.
    pub config: Config,
    /// The directory of `config.json` and the contexts.
    pub directory: PathBuf,
    /// The name of the context that the daemon's address comes from.
    pub context_name: String,
    /// The files of TLS, if it is spoken.
    pub tls: Option<TlsFiles>,
    /// `--debug`, or the variable `DEBUG`.
    pub debug: bool,
    /// The flags between `compose` and its command.
    pub compose: crate::compose::Globals,
    host: Result<String, String>,
    client: OnceCell<Client>,
}

/// Which daemon to talk to.
pub(crate) struct Endpoint {
    /// The name of the context that said so.
    pub context_name: String,
    /// The address, or the reason why there is none.
    pub host: Result<String, String>,
    pub tls: Option<TlsFiles>,
}

impl Context {
    /// The surroundings of a command that talks to `endpoint`.
    pub(crate) fn new(program: &'static str, config: Config, directory: PathBuf, endpoint: Endpoint) -> Self {
        let Endpoint { context_name, host, tls } = endpoint;
        let compose = crate::compose::Globals::default();
        Self {
            program,
            path: String::new(),
            config,
            directory,
            context_name,
            tls,
            debug: false,
            compose,
            host,
            client: OnceCell::new(),
        }
    }

    /// Where the daemon is when nobody says anything.
    pub(crate) fn default_host(&self) -> &'static str {
        crate::program::default_host(self.program)
    }

    /// The daemon's address as text.
    ///
    /// # Errors
    /// When flags, variables and context do not lead to one.
    pub(crate) fn host(&self) -> Result<&str, CommandError> {
        self.host.as_deref().map_err(|reason| CommandError::Said(reason.clone()))
    }

    /// The daemon. Nothing is connected before the first request.
    ///
    /// # Errors
    /// When its address makes no sense.
    pub(crate) fn client(&self) -> Result<Client, CommandError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = self.client_of(self.host()?, self.tls.as_ref())?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// The daemon of a context, or at an address: what nodes of builders are made with.
    ///
    /// # Errors
    /// When there is no such context, or its address makes no sense.
    pub(crate) fn client_at(&self, endpoint: &str) -> Result<Client, CommandError> {
        if endpoint == self.context_name || self.host().is_ok_and(|host| host == endpoint) {
            return self.client();
        }
        let store = Store::new(&self.directory);
        let (host, tls) = match endpoint {
            DEFAULT => (std::env::var("DOCKER_HOST").unwrap_or_else(|_| self.default_host().to_owned()), None),
            address if address.contains("://") => (address.to_owned(), None),
            name => {
                let document = store.get(name)?;
                (document.endpoint().host, store.tls_files(&document))
            }
        };
        self.client_of(&host, tls.as_ref())
    }

    fn client_of(&self, host: &str, tls: Option<&TlsFiles>) -> Result<Client, CommandError> {
        let host = Host::parse(host, tls.is_some()).map_err(ClientError::from)?;
        let tls = tls.map(Tls::new).transpose().map_err(|error| {
            CommandError::Said(format!(
                "Failed to initialize: unable to resolve docker endpoint: {}",
                hako_base::error::chain(&error)
            ))
        })?;
        Ok(Client::at(host, tls, fixed_version()?, &self.config.http_headers)?)
    }

    /// Prints to standard output.
    ///
    /// # Errors
    /// When nobody reads it.
    pub(crate) fn print(&self, text: &str) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::Output)
    }

    /// Prints one line to standard output.
    ///
    /// # Errors
    /// When nobody reads it.
    pub(crate) fn print_line(&self, text: &str) -> Result<(), CommandError> {
        self.print(&format!("{text}\n"))
    }

    /// Tells the person something beside the output.
    pub(crate) fn remark(&self, text: &str) {
        // A closed standard error is no reason to stop.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

fn fixed_version() -> Result<Option<ApiVersion>, CommandError> {
    match std::env::var("DOCKER_API_VERSION") {
        Ok(text) if !text.is_empty() => {
            text.trim_start_matches('v').parse().map(Some).map_err(|error| CommandError::Said(format!("{error}")))
        }
        _ => Ok(None),
    }
}

/// At most so many requests are under way at once when a command is given many names.
const AT_ONCE: usize = 50;

/// Does the same to many names at once; prints each that went well, in the order given, and tells
/// all failures at the end.
///
/// # Errors
/// When any of them failed.
pub(crate) async fn for_each_name<F, Doing>(cx: &mut Context, names: Vec<String>, act: F) -> Result<(), CommandError>
where
    F: Fn(Client, String) -> Doing,
    Doing: Future<Output = Result<(), ClientError>> + Send + 'static,
{
    let failures = failures_of_each(cx, names, act).await?;
    if failures.is_empty() {
        return Ok(());
    }
    Err(CommandError::Several(failures.iter().map(client_message).collect()))
}

/// The same, for a command that knows failures which are none; gives all of them.
///
/// # Errors
/// When there is no daemon, or nobody reads the output.
pub(crate) async fn failures_of_each<F, Doing>(
    cx: &mut Context,
    names: Vec<String>,
    act: F,
) -> Result<Vec<ClientError>, CommandError>
where
    F: Fn(Client, String) -> Doing,
    Doing: Future<Output = Result<(), ClientError>> + Send + 'static,
{
    let client = cx.client()?;
    // The version is asked for once, not by every request at the same time.
    client.version().await?;
    let mut failures = Vec::new();
    for batch in names.chunks(AT_ONCE) {
        let doing: Vec<_> = batch.iter().map(|name| tokio::spawn(act(client.clone(), name.clone()))).collect();
        for (name, task) in batch.iter().zip(doing) {
            match task.await {
                Ok(Ok(())) => cx.print_line(name)?,
                Ok(Err(error)) => failures.push(error),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
    Ok(failures)
}
