//! `debian:SUITE`: a base system from Debian's archive, as it is signed.
//!
//! Three steps: a tree with the files of the essential packages and all packages beside them becomes an image; in a
//! container of it, without a network, `dpkg` installs them, so that no script of a package runs outside of a container;
//! what is left of that, with the archive's own time, is loaded as the finished image. The same archive gives the same
//! image, bit for bit.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read},
    path::{Path, PathBuf},
};

use hako_api::{
    container::{ContainerConfig, ContainerCreateRequest, HostConfig},
    query::{
        ContainerCreateQuery, ContainerLogsQuery, ContainerRemoveQuery, ContainerStartQuery, ContainerWaitQuery,
        ImageCreateQuery, ImageLoadQuery, ImageRemoveQuery,
    },
};
use hako_base::{clock, random};
use hako_client::{Client, RequestBody};
use hako_debian::{DebianError, choose, choose::Choice, limits, openpgp::Keyring, system, tree, tree::Tree};
use jiff::Timestamp;
use ring::digest;

use super::{
    Bootstrap,
    archive::{Archives, Suite},
};
use crate::{
    context::Context,
    error::CommandError,
    progress::{self, Place},
};

const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Search path of the image, and of what installs it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of the installation's output is shown when it fails.
const OUTPUT_LINES: &str = "30";
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// What installs the system, beside its packages.
const SCRIPT: &str = "install";

/// Services must not start while a package is installed in a container.
const NO_SERVICES: &[u8] = b"#!/bin/sh\n# No services in a container that installs a package.\nexit 101\n";

/// The error of a subject, with its causes.
pub(super) fn said(error: &DebianError) -> CommandError {
    CommandError::Said(hako_base::error::chain(error))
}

/// A folder that is gone in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn make(cx: &Context, flags: &Bootstrap, suite: &str) -> Result<(), CommandError> {
    let name = if suite.is_empty() { "stable" } else { suite };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err(CommandError::Said(format!("{name:?} is not the name of a suite")));
    }
    let tell = |text: &str| {
        if !flags.quiet {
            cx.remark(text);
        }
    };
    let client = cx.client()?;
    let architecture = architecture(&client.system_version().await?.arch)?;
    let mut archives = Archives::new(keyring(&flags.keyring)?);
    let main = Suite { mirror: mirror(&flags.mirror, MIRROR), name: name.to_owned() };
    let release = archives.release(&main).await?;
    for signer in &release.signers {
        tell(&format!("{name}: signed by {} {}", signer.fingerprint, signer.name));
    }
    archives.add(&main, &release, architecture).await?;
    let (mut suites, mut date) = (vec![main.clone()], release.date);
    for suite in further(flags, &main, &release.codename, release.is_stable()) {
        let release = archives.release(&suite).await?;
        archives.add(&suite, &release, architecture).await?;
        date = date.max(release.date);
        suites.push(suite);
    }
    let choice = choose::choose(&archives.index, &flags.include).map_err(|error| said(&error))?;
    let bytes: u64 = choice.packages.iter().map(|package| package.proof.size).sum();
    let size = crate::format::size::human(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
    tell(&format!("{name}: {} packages, {size}", choice.packages.len()));

    let folder = std::env::temp_dir().join(format!("hako-bootstrap-{}", random::hex(8)));
    std::fs::create_dir(&folder).map_err(CommandError::local(format!("make {}", folder.display())))?;
    let folder = Folder(folder);
    let files = archives.packages(&choice, &folder.0).await?;
    tell(&format!("{name}: installing"));
    let layer = folder.0.join("layer");
    let stage = stage(choice, files, sources(&suites), date);
    installed(&client, stage, date, &layer).await?;
    let tag = if flags.tag.is_empty() { format!("debian:{name}") } else { flags.tag.clone() };
    let archive = finished(&layer, &tag, architecture, date)?;
    let query = ImageLoadQuery { quiet: true, platform: Vec::new() };
    let stream = client.image_load(&query, archive).await?;
    progress::show(stream, if flags.quiet { Place::Nowhere } else { Place::Stdout }).await?;
    if flags.quiet { cx.print_line(&tag) } else { Ok(()) }
}

fn mirror(given: &str, default: &str) -> String {
    let text = if given.is_empty() { default } else { given };
    text.trim_end_matches('/').to_owned()
}

fn keyring(given: &str) -> Result<Keyring, CommandError> {
    let path = if given.is_empty() { KEYRING } else { given };
    let mut bytes = Vec::new();
    let hint = if given.is_empty() { "; --keyring FILE names another one" } else { "" };
    let failed = |why: String| CommandError::Said(format!("cannot read the keyring {path}: {why}{hint}"));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let read = file.take(limits::KEYRING_BYTES_MAX as u64).read_to_end(&mut bytes);
    read.map_err(|error| failed(error.to_string()))?;
    Keyring::parse(&bytes).map_err(|error| failed(error.to_string()))
}

/// A daemon's architecture, as Debian calls it.
fn architecture(daemon: &str) -> Result<&'static str, CommandError> {
    Ok(match daemon {
        "amd64" | "x86_64" => "amd64",
        "arm64" | "aarch64" => "arm64",
        "386" => "i386",
        "arm" => "armhf",
        "ppc64le" => "ppc64el",
        "riscv64" => "riscv64",
        "s390x" => "s390x",
        other => return Err(CommandError::Said(format!("Debian has no architecture {other:?}"))),
    })
}

/// Updates of a stable release, from where it is from; security updates, from where they are said to be, or from
/// Debian's own place if everything else is.
fn further(flags: &Bootstrap, main: &Suite, codename: &str, is_stable: bool) -> Vec<Suite> {
    let mut suites = Vec::new();
    if !is_stable {
        return suites;
    }
    suites.push(Suite { mirror: main.mirror.clone(), name: format!("{codename}-updates") });
    let is_known = !flags.security_mirror.is_empty() || flags.mirror.is_empty();
    if is_known {
        let mirror = mirror(&flags.security_mirror, SECURITY_MIRROR);
        suites.push(Suite { mirror, name: format!("{codename}-security") });
    }
    suites
}

/// Where the finished system's `apt` looks.
fn sources(suites: &[Suite]) -> String {
    let mut text = String::new();
    for suite in suites {
        let Suite { mirror, name } = suite;
        text.push_str(&format!(
            "Types: deb\nURIs: {mirror}\nSuites: {name}\nComponents: main\nSigned-By: {KEYRING}\n\n"
        ));
    }
    text
}

/// The tree in which the system installs itself, written while it is sent.
fn stage(choice: Choice, files: Vec<PathBuf>, sources: String, date: Timestamp) -> RequestBody {
    super::written(move |output| {
        let write = || -> Result<(), DebianError> {
            let open = |file: &Path| {
                let io = |source| DebianError::Io { what: format!("open {}", file.display()), source };
                File::open(file).map_err(io)
            };
            let mut tree = Tree::new(output, date.as_second())?;
            tree.file(&format!("{}/{SCRIPT}", tree::FOLDER), 0o700, script(&choice, &files).as_bytes())?;
            for (package, file) in choice.packages.iter().zip(&files) {
                if choice.first.contains(&package.name) {
                    tree.package(BufReader::with_capacity(128 << 10, open(file)?), &package.name)?;
                }
                let path = format!("{}/{}", tree::FOLDER, name_of(file));
                tree.stream(&path, 0o600, package.proof.size, open(file)?)?;
            }
            // What configures the package with the real one needs one already, as every Debian has it.
            if choice.first.contains("mawk") {
                tree.link("usr/bin/awk", "mawk")?;
            }
            tree.directory("etc/apt/sources.list.d", 0o755)?;
            tree.file("etc/apt/sources.list.d/debian.sources", 0o644, sources.as_bytes())?;
            tree.file("usr/sbin/policy-rc.d", 0o755, NO_SERVICES)?;
            tree.finish().map(drop)
        };
        write().map_err(|error| io::Error::other(hako_base::error::chain(&error)))
    })
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What installs the system: first what everything else needs, in one go, since these packages need each other.
fn script(choice: &Choice, files: &[PathBuf]) -> String {
    let list = |is_first: bool| -> String {
        let chosen =
            choice.packages.iter().zip(files).filter(|(package, _)| choice.first.contains(&package.name) == is_first);
        chosen.map(|(_, file)| format!(" '/{}/{}'", tree::FOLDER, name_of(file))).collect()
    };
    let (first, rest) = (list(true), list(false));
    let install = "dpkg --force-depends --force-unsafe-io --install";
    let second = if rest.is_empty() { String::new() } else { format!("{install}{rest}\n") };
    format!(
        "set -e\n{install}{first}\n{second}dpkg --configure -a\n\
         test -z \"$(dpkg --audit)\" || {{ dpkg --audit; exit 1; }}\n"
    )
}

/// Installs the system and leaves its tree, as it is to be, in a file. The daemon keeps nothing of it.
async fn installed(client: &Client, stage: RequestBody, date: Timestamp, layer: &Path) -> Result<(), CommandError> {
    let query = ImageCreateQuery { from_src: "-".to_owned(), ..ImageCreateQuery::default() };
    let mut stream = client.image_create(&query, None, stage).await?;
    let mut image = String::new();
    while let Some(message) = stream.next().await? {
        if let Some(error) = message.error_text() {
            return Err(CommandError::Said(error.to_owned()));
        }
        if message.status.starts_with("sha256:") {
            image = message.status;
        }
    }
    let done = run(client, &image, date, layer).await;
    // A failure here must not hide one above.
    let removed = client.image_remove(&image, &ImageRemoveQuery::default()).await;
    done.and(removed.map(drop).map_err(CommandError::from))
}

async fn run(client: &Client, image: &str, date: Timestamp, layer: &Path) -> Result<(), CommandError> {
    let script = format!("/{}/{SCRIPT}", tree::FOLDER);
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().into());
    let epoch = format!("SOURCE_DATE_EPOCH={}", date.as_second());
    let env =
        [PATH, "DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "LC_ALL=C", "HOME=/root", &epoch];
    let config = ContainerConfig {
        image: image.to_owned(),
        cmd: words(&["/bin/sh", &script]),
        env: Some(env.map(str::to_owned).to_vec()),
        // Its log is then one stream, without frames.
        tty: true,
        ..ContainerConfig::default()
    };
    let host_config = Some(HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() });
    let request = ContainerCreateRequest { config, host_config, networking_config: None };
    let id = client.container_create(&ContainerCreateQuery::default(), &request).await?.id;
    let done = container(client, &id, date, layer).await;
    let query = ContainerRemoveQuery { force: true, volumes: true, ..ContainerRemoveQuery::default() };
    let removed = client.container_remove(&id, &query).await;
    done.and(removed.map_err(CommandError::from))
}

async fn container(client: &Client, id: &str, date: Timestamp, layer: &Path) -> Result<(), CommandError> {
    let waiting = ContainerWaitQuery { condition: Some("next-exit".to_owned()) };
    let waiting = client.container_wait(id, &waiting).await?;
    client.container_start(id, &ContainerStartQuery::default()).await?;
    let status = waiting.outcome().await?.status_code;
    if status != 0 {
        let query = ContainerLogsQuery { stdout: true, tail: OUTPUT_LINES.to_owned(), ..ContainerLogsQuery::default() };
        let output = client.container_logs(id, &query).await?.body.collect(OUTPUT_BYTES_MAX).await?;
        let output = String::from_utf8_lossy(&output).replace('\r', "");
        return Err(CommandError::Said(format!(
            "the system did not install (exit status {status}):\n{}",
            output.trim_end()
        )));
    }
    let mut export = client.container_export(id).await?;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(super::CHUNKS_AHEAD);
    let file = File::create_new(layer).map_err(CommandError::local(format!("make {}", layer.display())))?;
    let writing = tokio::task::spawn_blocking(move || {
        let input = hako_base::chunks::ChunkReader::new(|| receiver.blocking_recv().map(io::Result::Ok));
        system::finish(BufReader::with_capacity(128 << 10, input), BufWriter::new(file), date.as_second())
    });
    while let Some(chunk) = export.chunk().await? {
        if sender.send(chunk).await.is_err() {
            // The other end has failed, and says why.
            break;
        }
    }
    drop(sender);
    let written =
        writing.await.map_err(|error| CommandError::Said(format!("writing the system broke off: {error}")))?;
    written.map_err(|error| said(&error))
}

/// The finished image as an archive, as `docker save` would write it.
fn finished(layer: &Path, tag: &str, architecture: &str, date: Timestamp) -> Result<RequestBody, CommandError> {
    let failed = || CommandError::local(format!("read {}", layer.display()));
    let (mut file, mut context) = (File::open(layer).map_err(failed())?, digest::Context::new(&digest::SHA256));
    let (mut buffer, mut size) = (vec![0; 256 << 10], 0);
    loop {
        match file.read(&mut buffer).map_err(failed())? {
            0 => break,
            count => {
                context.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
    let diff_id = random::encode_hex(context.finish().as_ref());
    let config = config(&diff_id, architecture, date).to_string();
    let id = random::encode_hex(digest::digest(&digest::SHA256, config.as_bytes()).as_ref());
    let (config_name, layer_name) = (format!("{id}.json"), format!("{diff_id}/layer.tar"));
    let manifest =
        serde_json::json!([{ "Config": config_name, "RepoTags": [tag], "Layers": [layer_name] }]).to_string();
    let file = File::open(layer).map_err(failed())?;
    Ok(super::written(move |output| {
        let mut archive = Tree::bare(output, date.as_second());
        let written = archive
            .file("manifest.json", 0o644, manifest.as_bytes())
            .and_then(|()| archive.file(&config_name, 0o644, config.as_bytes()))
            .and_then(|()| archive.stream(&layer_name, 0o644, size, file))
            .and_then(|()| archive.finish().map(drop));
        written.map_err(|error| io::Error::other(hako_base::error::chain(&error)))
    }))
}

fn config(diff_id: &str, architecture: &str, date: Timestamp) -> serde_json::Value {
    let created = clock::rfc3339_nano(date);
    let (architecture, variant) = match architecture {
        "i386" => ("386", None),
        "armhf" => ("arm", Some("v7")),
        "ppc64el" => ("ppc64le", None),
        other => (other, None),
    };
    let mut config = serde_json::json!({
        "architecture": architecture,
        "config": { "Cmd": ["bash"], "Env": [PATH] },
        "created": created,
        "history": [{ "created": created, "created_by": "hako image bootstrap", "comment": "Debian's archive, as signed" }],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
    });
    if let Some(variant) = variant {
        config["variant"] = variant.into();
    }
    config
}
