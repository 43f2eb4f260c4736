//! Front end attributes become a request; the files that it speaks of come over the session.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::Arc,
};

use base64::Engine as _;
use bollard_buildkit_proto::moby::upload::v1::upload_client::UploadClient;
use hako_model::{HostSpec, Limits, NetworkMode, Platform, PlatformError, Ulimit};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{
    BuildKit,
    bridge::failed,
    news,
    place::failed_in,
    receive,
    session::{Session, SessionSecrets},
    solves::Solve,
};
use crate::{
    attest::Wish,
    context::{Context, begin_filling, end_filling},
    error::BuildError,
    event::Progress,
    language::{Around, Dockerfile, Finding, Ignore, SyntaxError, lint},
    limits, outline,
    plan::{Plan, Wishes, plan},
    request::{BuildRequest, DeviceGrants, RemoteSource, Wanted, for_platform},
    sbom,
    solve::inputs,
};

/// The request to look for mistakes, and to build nothing.
const LINT: &str = "frontend.lint";
/// What the target takes.
const OUTLINE: &str = "frontend.outline";
/// Which targets there are.
const TARGETS: &str = "frontend.targets";
/// Which of these questions there are.
const DESCRIBE: &str = "frontend.subrequests.describe";

/// Whether a request asks about the Dockerfile, and builds nothing.
pub(super) fn is_question(attributes: &Attributes) -> bool {
    attributes.contains_key("requestid")
}

// What was found, for people, for programs, and as a code to end with.
fn findings(found: &[Finding], file: &str, source: &str) -> Vec<(&'static str, String)> {
    let warnings: Vec<serde_json::Value> = found.iter().map(|one| one.json(source)).collect();
    let json = serde_json::json!({
        "sources": [{ "filename": file, "language": "Dockerfile", "data": outline::in_base64(source) }],
        "warnings": warnings,
    });
    let json = serde_json::to_string_pretty(&json).unwrap_or_default();
    let count = match found.len() {
        0 => "no warnings found.\n".to_owned(),
        1 => "1 warning has been found!\n\n".to_owned(),
        several => format!("{several} warnings have been found!\n\n"),
    };
    let shown: Vec<String> = found.iter().map(|one| one.shown(file, source)).collect();
    let code = if found.is_empty() { "0" } else { "1" };
    vec![
        ("result.txt", format!("Check complete, {count}{}", shown.join("\n"))),
        ("result.json", json),
        ("result.statuscode", code.to_owned()),
        ("version", "1.0.0".to_owned()),
    ]
}

// The questions themselves.
fn described() -> Vec<(&'static str, String)> {
    let all = [
        (OUTLINE, "List all parameters current build target supports"),
        (TARGETS, "List all targets current build supports"),
        (LINT, "Lint Dockerfile"),
        (DESCRIBE, "List available subrequest types"),
    ];
    let text: Vec<String> = all.iter().map(|(name, what)| format!("{name:<30} 1.0.0   {what}\n")).collect();
    let one = |(name, what): (&str, &str)| serde_json::json!({ "name": name, "version": "1.0.0", "type": "rpc", "description": what });
    let json: Vec<serde_json::Value> = all.into_iter().map(one).collect();
    let json = serde_json::to_string_pretty(&json).unwrap_or_default();
    vec![("result.txt", text.concat()), ("result.json", json), ("version", "1.0.0".to_owned())]
}

/// Where a client has a tar that it uploads.
const UPLOADED: &str = "http://buildkit-session/";
/// How a context that is an image begins.
const IMAGE: &str = "docker-image://";
/// One that is an image in an OCI layout of the client's.
const LAYOUT: &str = "oci-layout://";
/// One that is what another build came to, by the client's name for it.
const INPUT: &str = "input:";

type Attributes = HashMap<String, String>;
/// The Dockerfile, the context, and what that is if it has an address.
type Found = (String, Context, Option<RemoteSource>);

/// Refuses what would be built differently from what was asked for.
pub(super) fn check(frontend: &str, attributes: &Attributes) -> Result<(), Status> {
    let not_built = |what: String| Err(Status::unimplemented(format!("{what} is not built yet")));
    let source = attributes.get("source").map_or("", String::as_str);
    match frontend {
        "dockerfile.v0" => {}
        // Its language is the one that is built in.
        "gateway.v0" if source.trim_start_matches("docker.io/").starts_with("docker/dockerfile") => {}
        "gateway.v0" => return not_built(format!("the front end image {source}")),
        other => return not_built(format!("the front end {other}")),
    }
    let known = [LINT, OUTLINE, TARGETS, DESCRIBE];
    if let Some(request) = attributes.get("requestid").filter(|request| !known.contains(&request.as_str())) {
        return not_built(format!("the request {request} (--call)"));
    }
    for (kind, value) in with_prefix(attributes, "attest:") {
        match kind.as_str() {
            "provenance" => drop(Wish::parse(&value).map_err(Status::invalid_argument)?),
            "sbom" => drop(sbom::Wish::parse(&value).map_err(Status::invalid_argument)?),
            other => return not_built(format!("the attestation {other}")),
        }
    }
    platforms(attributes).map(drop)
}

/// The provenance that a client wants, if it wants one.
pub(super) fn provenance(attributes: &Attributes) -> Option<Wish> {
    attributes.get("attest:provenance").and_then(|text| Wish::parse(text).ok().flatten())
}

/// The SBOM that a client wants, if it wants one.
pub(super) fn sbom(attributes: &Attributes) -> Option<sbom::Wish> {
    attributes.get("attest:sbom").and_then(|text| sbom::Wish::parse(text).ok().flatten())
}

/// The platforms that a client names, each once.
pub(super) fn platforms(attributes: &Attributes) -> Result<Vec<Platform>, Status> {
    let mut found = Vec::new();
    for text in attributes.get("platform").map_or("", String::as_str).split(',').filter(|text| !text.is_empty()) {
        let read = text.trim().parse();
        let platform: Platform = read.map_err(|error: PlatformError| Status::invalid_argument(error.to_string()))?;
        if !found.contains(&platform) {
            found.push(platform);
        }
    }
    Ok(found)
}

/// Whether the result is an index even if it is for one platform.
pub(super) fn wants_index(attributes: &Attributes) -> bool {
    let is_true = |key: &str| attributes.get(key).is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    is_true("multi-platform") || is_true("build-arg:BUILDKIT_MULTI_PLATFORM")
}

fn with_prefix(attributes: &Attributes, prefix: &str) -> BTreeMap<String, String> {
    let found = attributes.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
    found.map(|(key, value)| (key.to_owned(), value.clone())).collect()
}

fn host(attributes: &Attributes) -> Result<HostSpec, Status> {
    let text = |key: &str| attributes.get(key).map_or("", String::as_str);
    let mut host = HostSpec {
        network_mode: match text("force-network-mode") {
            "" | "sandbox" | "default" => NetworkMode::Default,
            "host" => NetworkMode::Host,
            "none" => NetworkMode::None,
            other => NetworkMode::parse(other),
        },
        cgroup_parent: text("cgroup-parent").to_owned(),
        ..HostSpec::default()
    };
    for pair in text("add-hosts").split(',').filter(|pair| !pair.is_empty()) {
        let (name, address) = pair.split_once('=').unwrap_or((pair, ""));
        host.extra_hosts.push(format!("{name}:{address}"));
    }
    if let Some(size) = attributes.get("shm-size") {
        host.shm_size_bytes = size.parse().map_err(|_| Status::invalid_argument(format!("invalid shm-size {size}")))?;
    }
    let mut limits = Limits::default();
    for limit in text("ulimit").split(',').filter(|limit| !limit.is_empty()) {
        let invalid = || Status::invalid_argument(format!("invalid ulimit {limit}"));
        let (name, values) = limit.split_once('=').ok_or_else(invalid)?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |text: &str| text.parse().map_err(|_| invalid());
        limits.ulimits.push(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? });
    }
    let number = |key: &str| match text(key) {
        "" => Ok(0_i64),
        said => said.parse().map_err(|_| Status::invalid_argument(format!("invalid {key} {said}"))),
    };
    let unsigned = |key: &str| {
        let said = number(key)?;
        u64::try_from(said).map_err(|_| Status::invalid_argument(format!("{key} cannot be negative: {said}")))
    };
    limits.memory_bytes = unsigned("hako.memory")?;
    limits.memory_swap_bytes = number("hako.memory-swap")?;
    limits.cpu_shares = unsigned("hako.cpu-shares")?;
    limits.cpu_period_us = unsigned("hako.cpu-period")?;
    limits.cpu_quota_us = number("hako.cpu-quota")?;
    limits.cpuset_cpus = text("hako.cpuset-cpus").to_owned();
    limits.cpuset_mems = text("hako.cpuset-mems").to_owned();
    host.limits = limits;
    Ok(host)
}

impl BuildKit {
    /// The whole request, but for one platform: the Dockerfile and the context are fetched on the way.
    pub(super) async fn request(
        &self,
        solve: &Solve,
        attributes: &Attributes,
        progress: &Progress,
    ) -> Result<BuildRequest, Status> {
        let text = |key: &str| attributes.get(key).map_or("", String::as_str);
        let session = self.0.sessions.get(&solve.session).await?;
        let named = |key: &str, default: &str| match text(key) {
            "" => default.to_owned(),
            name => name.to_owned(),
        };
        let file = named("filename", "Dockerfile");
        let (dockerfile, context, source) = match text("context") {
            "" => self.sent(&session, &file, &named, attributes, progress).await?,
            local if local.starts_with("local:") => self.sent(&session, &file, &named, attributes, progress).await?,
            address if address.starts_with(UPLOADED) => self.uploaded(&session, &file, address, progress).await?,
            address => Box::pin(self.elsewhere(&session, &file, address, attributes, progress)).await?,
        };
        let contexts = self.contexts(&session, attributes, progress).await?;
        let arguments = with_prefix(attributes, "build-arg:");
        let epoch = arguments.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()).map(|text| {
            let seconds = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            seconds.ok_or_else(|| Status::invalid_argument(format!("SOURCE_DATE_EPOCH is no time: {text:?}")))
        });
        let mut epoch = epoch.transpose()?;
        let is_reproducible = attributes.contains_key("hako.reproducible");
        if epoch.is_none() && is_reproducible {
            // A client knows the commit of its own directory; that of a repository is known here.
            let time = source.as_ref().and_then(|source| source.time).unwrap_or(0);
            epoch = jiff::Timestamp::from_second(time).ok();
        }
        let fresh = attributes.get("no-cache");
        Ok(BuildRequest {
            dockerfile,
            dockerfile_name: file,
            context: Arc::new(context),
            contexts,
            images: images(attributes),
            inputs: BTreeMap::new(),
            arguments: arguments.into_iter().map(|(name, value)| (name, Some(value))).collect(),
            labels: with_prefix(attributes, "label:"),
            target: attributes.get("target").cloned(),
            names: Vec::new(),
            no_cache: fresh.is_some_and(String::is_empty),
            no_cache_stages: fresh.map_or("", String::as_str).split(',').map(str::to_owned).collect(),
            platform: None,
            place: None,
            pull: attributes.get("image-resolve-mode").is_some_and(|mode| mode == "pull"),
            host: host(attributes)?,
            secrets: Arc::new(SessionSecrets(Some(session))),
            allow_host_network: solve.entitlements.iter().any(|entitlement| entitlement == "network.host"),
            devices: DeviceGrants::of(&solve.entitlements),
            allow_insecure: solve.entitlements.iter().any(|entitlement| entitlement == "security.insecure"),
            classic: false,
            epoch,
            rewrite_times: is_reproducible,
            flatten: attributes.contains_key("hako.flatten"),
            depots: Vec::new(),
            complete: false,
            source,
            sbom: sbom(attributes),
        })
    }

    /// Answers a question about a Dockerfile: what `--check` finds, its targets, or what one of them takes.
    pub(super) async fn question(
        &self,
        solve: &Solve,
        attributes: &Attributes,
        progress: &Progress,
    ) -> Result<HashMap<String, String>, Status> {
        let file = attributes.get("filename").map_or("Dockerfile", String::as_str);
        let (text, ignore) = self.asked_of(solve, attributes, file, progress).await?;
        let wrong = |error| failed_in(&BuildError::from((error, file, text.as_str())), file, &text);
        let mut read = Dockerfile::parse(&text).map_err(wrong)?;
        read.directives.overridden(|name| attributes.get(&format!("build-arg:{name}")).cloned());
        read.directives.front_end().map_err(Status::unimplemented)?;
        let kind = attributes.get("requestid").map_or("", String::as_str);
        let answer = if kind == DESCRIBE {
            described()
        } else if kind == LINT {
            let environment = |name: &str| self.0.builder.environment(name);
            let around = Around { source: &text, ignore: Some(&ignore), environment: Some(&environment) };
            findings(&lint(&read, around), file, &text)
        } else {
            let made = planned(&read, attributes).map_err(wrong)?;
            let answer =
                if kind == TARGETS { outline::targets(&made, &text) } else { outline::outline(&read, &made, &text) };
            vec![("result.txt", answer.text), ("result.json", answer.json), ("version", "1.0.0".to_owned())]
        };
        Ok(answer.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    // The Dockerfile, and what is left out of the context, wherever they are.
    async fn asked_of(
        &self,
        solve: &Solve,
        attributes: &Attributes,
        file: &str,
        progress: &Progress,
    ) -> Result<(String, Ignore), Status> {
        let session = self.0.sessions.get(&solve.session).await?;
        let address = attributes.get("context").map_or("", String::as_str);
        if is_elsewhere(address) && !address.starts_with(UPLOADED) {
            let (text, context, _) = self.elsewhere(&session, file, address, attributes, progress).await?;
            return Ok((text, context.ignore().clone()));
        }
        let name = attributes.get("dockerfilekey").map_or("dockerfile", String::as_str);
        let (text, own) = self.definition(&session, name, file, progress).await?;
        let ignore = match own {
            Some(own) => own,
            // A client that sends no context has nothing to leave out.
            None => self.ignore_of(&session, "context", progress).await.unwrap_or_default(),
        };
        Ok((text, Ignore::parse(&ignore).unwrap_or_default()))
    }

    // Dockerfile and context as directories of the client's.
    async fn sent(
        &self,
        session: &Session,
        file: &str,
        named: &impl Fn(&str, &str) -> String,
        attributes: &Attributes,
        progress: &Progress,
    ) -> Result<Found, Status> {
        let context_name = named("contextkey", "context");
        let definition_name = named("dockerfilekey", "dockerfile");
        let (dockerfile, own_ignore) = self.definition(session, &definition_name, file, progress).await?;
        // A Dockerfile that makes no sense is told before the files come, which may take long.
        let wrong = |error| failed_in(&BuildError::from((error, file, dockerfile.as_str())), file, &dockerfile);
        let read = Dockerfile::parse(&dockerfile).map_err(wrong)?;
        planned(&read, attributes).map_err(wrong)?;
        let ignore = match own_ignore {
            Some(text) => text,
            None => self.ignore_of(session, &context_name, progress).await?,
        };
        let ignore = Ignore::parse(&ignore)
            .map_err(|error| Status::invalid_argument(format!("failed to parse .dockerignore: {error}")))?;
        let context = self.context(session, &context_name, &ignore, progress, news::CONTEXT).await?;
        Ok((dockerfile, context.with_ignore(ignore), None))
    }

    // Both in one tar, which the client has under an address that only it knows.
    async fn uploaded(
        &self,
        session: &Session,
        file: &str,
        address: &str,
        progress: &Progress,
    ) -> Result<Found, Status> {
        let id = address.trim_start_matches(UPLOADED);
        let work = async {
            let root = self.0.builder.root().to_owned();
            let context = upload(session, id, root).await?;
            let text = context.text(file).map_err(|error| failed(&error))?;
            let text = text.ok_or_else(|| {
                Status::not_found(format!("failed to read dockerfile: open {file}: no such file or directory"))
            })?;
            let ignore = context.read_ignore(file).map_err(|error| failed(&error))?;
            Ok((text, context.with_ignore(ignore), None))
        };
        news::around(progress, news::CONTEXT, "[internal] load remote build context", work).await
    }

    // A repository, a tar or a Dockerfile at an address. The Dockerfile may be the client's all the same.
    async fn elsewhere(
        &self,
        session: &Session,
        file: &str,
        address: &str,
        attributes: &Attributes,
        progress: &Progress,
    ) -> Result<Found, Status> {
        let keep_git = attributes.get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR").is_some_and(|value| value == "1");
        let secrets = SessionSecrets(Some(session.clone()));
        let title = "[internal] load remote build context";
        let fetching = Box::pin(self.0.builder.remote_context(address, keep_git, &secrets));
        let found = news::around(progress, news::CONTEXT, title, fetching).await.map_err(|error| failed(&error))?;
        let (context, mut dockerfile) = (found.context, found.dockerfile);
        let mut own_ignore = None;
        if let Some(key) = attributes.get("dockerfilekey") {
            let (text, ignore) = self.definition(session, key, file, progress).await?;
            (dockerfile, own_ignore) = (Some(text), ignore);
        }
        let ignore = match own_ignore {
            Some(text) => Ignore::parse(&text).map_err(|error| Status::invalid_argument(error.to_string()))?,
            None => context.read_ignore(file).map_err(|error| failed(&error))?,
        };
        let text = match dockerfile {
            Some(text) => Some(text),
            None => context.text(file).map_err(|error| failed(&error))?,
        };
        let text = text.ok_or_else(|| {
            Status::not_found(format!("failed to read dockerfile: open {file}: no such file or directory"))
        })?;
        Ok((text, context.with_ignore(ignore), found.source))
    }

    // The Dockerfile, and its own ignore file if it has one.
    async fn definition(
        &self,
        session: &Session,
        name: &str,
        file: &str,
        progress: &Progress,
    ) -> Result<(String, Option<String>), Status> {
        let ignore = format!("{file}.dockerignore");
        let title = format!("[internal] load build definition from {file}");
        let work = async {
            let wanted = Wanted { include: vec![file.to_owned(), ignore.clone()], ..Wanted::default() };
            let context = Context::empty(self.0.builder.root()).map_err(|error| failed(&error))?;
            let (context, bytes) = receive::receive(session, name, &wanted, context).await?;
            news::status(progress, news::DEFINITION, "transferring dockerfile:", bytes, true).await;
            let text = context.text(file).map_err(|error| failed(&error))?;
            let text = text.ok_or_else(|| {
                Status::not_found(format!("failed to read dockerfile: open {file}: no such file or directory"))
            })?;
            Ok((text, context.text(&ignore).map_err(|error| failed(&error))?))
        };
        news::around(progress, news::DEFINITION, &title, work).await
    }

    async fn ignore_of(&self, session: &Session, name: &str, progress: &Progress) -> Result<String, Status> {
        let work = async {
            let wanted = Wanted { include: vec![".dockerignore".to_owned()], ..Wanted::default() };
            let context = Context::empty(self.0.builder.root()).map_err(|error| failed(&error))?;
            let (context, bytes) = receive::receive(session, name, &wanted, context).await?;
            news::status(progress, news::IGNORE, "transferring context:", bytes, true).await;
            Ok(context.text(".dockerignore").map_err(|error| failed(&error))?.unwrap_or_default())
        };
        news::around(progress, news::IGNORE, "[internal] load .dockerignore", work).await
    }

    async fn context(
        &self,
        session: &Session,
        name: &str,
        ignore: &Ignore,
        progress: &Progress,
        vertex: u64,
    ) -> Result<Context, Status> {
        let work = async {
            let wanted = Wanted { exclude: ignore.patterns(), ..Wanted::default() };
            let key = format!("{} {name}", session.shared_key);
            let context = self.0.builder.context(&key).map_err(|error| failed(&error))?;
            let own = crate::cache::digest(key.as_bytes()).hex();
            let note = context.is_lasting().then(|| (self.0.builder.root().to_owned(), own));
            if let Some((root, own)) = &note {
                begin_filling(root, own);
            }
            let received = receive::receive(session, name, &wanted, context).await;
            if received.is_err() {
                // Half a directory serves nobody, least of all on a disk that is full.
                self.0.builder.forget_context(&key);
            }
            if let Some((root, own)) = &note {
                end_filling(root, own);
            }
            let (context, bytes) = received?;
            news::status(progress, vertex, "transferring context:", bytes, true).await;
            Ok(context)
        };
        let title = if vertex == news::CONTEXT {
            "[internal] load build context".to_owned()
        } else {
            format!("[context {name}] load from client")
        };
        news::around(progress, vertex, &title, work).await
    }

    // `--build-context name=…`
    async fn contexts(
        &self,
        session: &Session,
        attributes: &Attributes,
        progress: &Progress,
    ) -> Result<BTreeMap<String, Arc<Context>>, Status> {
        let mut contexts = BTreeMap::new();
        for (number, (name, place)) in with_prefix(attributes, "context:").into_iter().enumerate() {
            if is_image(&place) {
                continue;
            }
            let vertex = news::EXPORT - 1 - number as u64;
            let context = match place.strip_prefix("local:") {
                Some(local) => self.context(session, local, &Ignore::default(), progress, vertex).await?,
                None if is_elsewhere(&place) => {
                    let secrets = SessionSecrets(Some(session.clone()));
                    let fetching = Box::pin(self.0.builder.remote_context(&place, false, &secrets));
                    let title = format!("[context {name}] load remote context");
                    let found = news::around(progress, vertex, &title, fetching).await;
                    found.map_err(|error| failed(&error))?.context
                }
                None => {
                    return Err(Status::unimplemented(format!("the build context {name}={place} is not built yet")));
                }
            };
            contexts.insert(name.to_lowercase(), Arc::new(context));
        }
        Ok(contexts)
    }
}

impl crate::Builder {
    /// The directory that the files of a client's directory are kept in from build to build; another one while a build
    /// uses it.
    pub(super) fn context(&self, key: &str) -> Result<Context, BuildError> {
        let name = crate::cache::digest(key.as_bytes()).hex();
        Context::lasting(self.root(), &name)
    }

    /// Removes it, unless a build uses it.
    pub(super) fn forget_context(&self, key: &str) {
        Context::forget(self.root(), &crate::cache::digest(key.as_bytes()).hex());
    }
}

// The stages that attributes ask for.
fn planned(file: &Dockerfile, attributes: &Attributes) -> Result<Plan, SyntaxError> {
    let arguments = with_prefix(attributes, "build-arg:");
    let arguments = arguments.into_iter().map(|(name, value)| (name, Some(value))).collect();
    let named = platforms(attributes).unwrap_or_default();
    let platform = named.into_iter().next().unwrap_or_else(Platform::host);
    let places = for_platform(&with_prefix(attributes, "context:"), &platform).into_iter();
    let wishes = Wishes {
        arguments: &arguments,
        target: attributes.get("target").map(String::as_str),
        platform: &platform,
        contexts: places.filter(|(_, place)| !is_image(place)).map(|(name, _)| name.to_lowercase()).collect(),
        images: &for_platform(&images(attributes), &platform),
    };
    plan(file, &wishes)
}

// Named contexts that are images.
fn images(attributes: &Attributes) -> BTreeMap<String, String> {
    let named = with_prefix(attributes, "context:").into_iter();
    let images = named.filter(|(_, place)| is_image(place));
    let place_of = |place: &str| match (place.strip_prefix(IMAGE), place.strip_prefix(INPUT)) {
        (Some(image), _) => image.to_owned(),
        (_, Some(input)) => format!("{}{input}", inputs::PREFIX),
        _ => place.to_owned(),
    };
    images.map(|(name, place)| (name.to_lowercase(), place_of(&place))).collect()
}

fn is_image(place: &str) -> bool {
    [IMAGE, LAYOUT, INPUT].iter().any(|start| place.starts_with(start))
}

/// The configuration that a client has for an input, as it was told when that was built.
pub(super) fn input_configuration(attributes: &Attributes, input: &str) -> Result<Option<Vec<u8>>, Status> {
    let Some(text) = attributes.get(&format!("input-metadata:{input}")) else { return Ok(None) };
    let wrong = |why: String| Status::invalid_argument(format!("failed to parse input metadata of {input}: {why}"));
    let all: HashMap<String, String> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let Some(text) = all.get("containerimage.config") else { return Ok(None) };
    let read = base64::engine::general_purpose::STANDARD.decode(text);
    read.map(Some).map_err(|error| wrong(error.to_string()))
}

fn is_elsewhere(place: &str) -> bool {
    ["http://", "https://", "git@", "git://", "ssh://", "github.com/"].iter().any(|start| place.starts_with(start))
}

// Unpacks a tar that the client uploads.
async fn upload(session: &Session, id: &str, root: PathBuf) -> Result<Context, Status> {
    // The client ends its side when all is sent; ours stays open and empty until then.
    let (_open, receive) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(receive));
    let path = id.parse().map_err(|_| Status::invalid_argument("the upload's address is none"))?;
    request.metadata_mut().insert("urlpath", path);
    let mut client = UploadClient::new(session.channel.clone());
    let mut messages = client.pull(request).await?.into_inner();
    let (send, chunks) = mpsc::channel(limits::PACKETS_QUEUED);
    let unpacking = tokio::task::spawn_blocking(move || {
        let input = Chunks { chunks, current: Vec::new(), at: 0 };
        Context::unpack(&root, io::BufReader::new(input)).map_err(|error| failed(&error))
    });
    loop {
        let chunk = match messages.message().await {
            Ok(Some(message)) => Ok(message.data),
            Ok(None) => break,
            // A tar that ends half-way must not look whole.
            Err(status) => Err(status.message().to_owned()),
        };
        let is_end = chunk.is_err();
        if send.send(chunk).await.is_err() || is_end {
            break;
        }
    }
    drop(send);
    unpacking.await.map_err(|_| Status::internal("the builder ended"))?
}

/// Messages as something to read from.
struct Chunks {
    chunks: mpsc::Receiver<Result<Vec<u8>, String>>,
    current: Vec<u8>,
    at: usize,
}

impl io::Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => (self.current, self.at) = (chunk.map_err(io::Error::other)?, 0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
