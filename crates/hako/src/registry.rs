//! `hako registry serve`: a registry of one's own, over a directory that the reference registry reads as well.
//!
//! Flags win over the `REGISTRY_*` variables that people set for the reference registry's image.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Parser;
use hako_registry::server::{Authorization, Server, Settings};
use hako_tls::{Pair, ServerFiles};
use tokio::signal::unix::{SignalKind, signal};

/// hako's registry: keeps images and serves them to every client of the distribution protocol
#[derive(Debug, Clone, Parser)]
#[command(name = "hako registry", bin_name = "hako registry", version, args_override_self = true)]
enum Role {
    /// Serve a directory of images until told to stop
    Serve(ServeFlags),
}

#[derive(Debug, Clone, clap::Args)]
struct ServeFlags {
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
    /// Level of the log: debug, info, warn, error
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// The role; `arguments` begin with the program's name.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let Role::Serve(flags) = match Role::try_parse_from(arguments) {
        Ok(role) => role,
        Err(error) => error.exit(),
    };
    hako_base::telemetry::start(&flags.log_level);
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match settings(flags, &variables).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("hako registry: {why}");
            ExitCode::FAILURE
        }
    }
}

fn settings(flags: ServeFlags, variables: &[(String, String)]) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for remark in settings.apply(variables).map_err(|error| error.to_string())? {
        tracing::warn!("{remark}");
    }
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
