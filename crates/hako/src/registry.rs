//! `hako registry serve`: a registry of one's own, over a directory that the reference registry reads as well.
//!
//! Flags win over the `REGISTRY_*` variables that people set for the reference registry's image.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use hako_base::telemetry::LogFormat;
use hako_registry::server::{self, Authorization, Server, Settings};
use hako_tls::{Pair, ServerFiles};
use tokio::signal::unix::{SignalKind, signal};

/// hako's registry: keeps images and serves them to every client of the distribution protocol
#[derive(Debug, Clone, Parser)]
#[command(name = "hako registry", bin_name = "hako registry", version, args_override_self = true)]
enum Role {
    /// Serve a directory of images until told to stop
    Serve(ServeFlags),
    /// Remove what no manifest needs; a server may go on meanwhile
    #[command(name = "garbage-collect")]
    GarbageCollect(CollectFlags),
}

#[derive(Debug, Clone, clap::Args)]
struct CollectFlags {
    /// The reference registry's configuration file, if there is one
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Directory of the content [default: as for serve]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Remove manifests without a tag, too
    #[arg(short = 'm', long)]
    delete_untagged: bool,
    /// Only tell what would go
    #[arg(short, long)]
    dry_run: bool,
    /// Leave what came within this time: a push may still need it
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    grace: Duration,
}

#[derive(Debug, Clone, clap::Args)]
struct ServeFlags {
    /// The reference registry's configuration file; REGISTRY_* variables and flags win over it
    #[arg(value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on [default: REGISTRY_HTTP_ADDR, else 0.0.0.0:5000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Directory of the content [default: REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY, else /var/lib/registry]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Let in only the users of this htpasswd file (htpasswd -B)
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// What clients show when they ask for a password
    #[arg(long, value_name = "TEXT", default_value = "Registry Realm")]
    realm: String,
    /// Certificate to serve TLS with (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let clients delete manifests, tags and blobs
    #[arg(long)]
    allow_delete: bool,
    /// Keep nothing of one's own, but fetch from this registry and remember
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Remove what no manifest needs so often (24h); else only when told by "hako registry garbage-collect"
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    collect_every: Option<Duration>,
    /// Level of the log: debug, info, warn, error
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// The role; `arguments` begin with the program's name.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let done = match Role::try_parse_from(arguments) {
        Ok(Role::Serve(flags)) => {
            hako_base::telemetry::start(&flags.log_level, LogFormat::Text);
            settings(flags).and_then(run)
        }
        Ok(Role::GarbageCollect(flags)) => collect(&flags),
        Err(error) => error.exit(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("hako registry: {why}");
            ExitCode::FAILURE
        }
    }
}

// What the file says, and over it what the environment says.
fn told(config: Option<&Path>) -> Result<Settings, String> {
    let mut variables = Vec::new();
    if let Some(path) = config {
        match std::fs::read_to_string(path) {
            Ok(text) => variables = server::variables(&text).map_err(|error| error.to_string())?,
            // The image names its usual place, and most people have none there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == Path::new(USUAL_CONFIG) => {}
            Err(error) => {
                let why = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
                return Err(format!("cannot read {}: {why}", path.display()));
            }
        }
    }
    let ours =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.extend(ours);
    let mut settings = Settings::default();
    for remark in settings.apply(&variables).map_err(|error| error.to_string())? {
        tracing::warn!("{remark}");
    }
    Ok(settings)
}

/// Where the reference registry's image has its file.
const USUAL_CONFIG: &str = "/etc/docker/registry/config.yml";

fn duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = hako_base::duration::parse_go(text).map_err(|error| error.to_string())?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| "less than nothing".to_owned())
}

fn collect(flags: &CollectFlags) -> Result<(), String> {
    let settings = told(flags.config.as_deref())?;
    let root = flags.root.as_ref().unwrap_or(&settings.root);
    if !root.join("docker/registry/v2").is_dir() {
        return Err(format!("{} holds no registry: name its directory with --root", root.display()));
    }
    let CollectFlags { grace, delete_untagged: untagged, dry_run, .. } = *flags;
    let collected = server::collect(root, server::CollectOptions { grace, untagged, dry_run });
    let collected = collected.map_err(|error| format!("cannot collect in {}: {error}", root.display()))?;
    let verb = if dry_run { "would remove" } else { "removed" };
    println!("{verb} {} manifests and {} blobs, {} bytes", collected.manifests, collected.blobs, collected.bytes);
    Ok(())
}

fn settings(flags: ServeFlags) -> Result<Settings, String> {
    let mut settings = told(flags.config.as_deref())?;
    if let Some(url) = flags.upstream {
        let variable = ("REGISTRY_PROXY_REMOTEURL".to_owned(), url);
        let mut alone = Settings::default();
        alone.apply(&[variable]).map_err(|error| format!("--upstream: {}", error.why))?;
        settings.proxy = alone.proxy;
    }
    settings.collect_every = flags.collect_every.filter(|span| !span.is_zero());
    if let Some(listen) = flags.listen {
        settings.listen = if listen.starts_with(':') { format!("[::]{listen}") } else { listen };
    }
    if let Some(root) = flags.root {
        settings.root = root;
    }
    if let Some(path) = flags.htpasswd {
        settings.authorization = Authorization::Htpasswd { realm: flags.realm, path };
    }
    if let (Some(certificate), Some(key)) = (flags.tls_cert, flags.tls_key) {
        settings.tls = Some(ServerFiles { own: Pair { certificate, key }, clients: Vec::new() });
    }
    settings.delete |= flags.allow_delete;
    Ok(settings)
}

fn run(settings: Settings) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(1 << 20)
        .build()
        .map_err(|error| format!("cannot start the reactor: {error}"))?;
    let root = settings.root.clone();
    runtime.block_on(async {
        // Heard from the first moment on; process 1 of a container gets no signal that it does not listen to.
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen to signals: {error}"));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let server = Server::open(settings).await.map_err(|error| hako_base::error::chain(&error))?;
        let address = server.address().map_err(|error| format!("cannot tell the address: {error}"))?;
        tracing::info!(%address, root = %root.display(), "ready");
        server
            .run(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await;
        Ok(())
    })
}
