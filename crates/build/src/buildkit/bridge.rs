//! `LLBBridge`: the client drives a build that `Control.Solve` has begun.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
};

use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptionsEntry,
    apicaps::ApiCap,
    frontend::{
        EvaluateRequest, EvaluateResponse, ExecMessage, InputsRequest, InputsResponse, NewContainerRequest,
        NewContainerResponse, PingRequest, PongResponse, ReadDirRequest, ReadDirResponse, ReadFileRequest,
        ReadFileResponse, Ref, RefMap, ReleaseContainerRequest, ReleaseContainerResponse, ResolveImageConfigRequest,
        ResolveImageConfigResponse, ResolveSourceMetaRequest, ResolveSourceMetaResponse, Result as WireResult,
        ReturnRequest, ReturnResponse, SolveRequest, SolveResponse, StatFileRequest, StatFileResponse, WarnRequest,
        WarnResponse, llb_bridge_server::LlbBridge, result,
    },
};
use bollard_buildkit_proto::pb;
use hako_image::StackView;
use hako_model::Platform;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    BuildKit, attributes,
    depots::Export,
    export, look,
    news::{self, Teller},
    place::{failed_in, with_details},
    solves::Solve,
};
use crate::{
    error::BuildError, event::Progress, llb::definition_of, plan::platform_text, request::BuildRequest, solve::Built,
    solve::blocking,
};

/// Which build a call speaks of.
const BUILD_ID: &str = "buildkit-controlapi-buildid";

/// What the bridge can do, by the names that clients look for.
const CAPABILITIES: [&str; 16] = [
    "solve.base",
    "readfile",
    "readdir",
    "statfile",
    "solve.inlinereturn",
    "resolveimage",
    "return",
    "returnmap",
    "proto.refarray",
    "reference.output",
    "frontend.caps",
    "frontend.inputs",
    "gateway.evaluate",
    "gateway.evaluate.solve",
    "gateway.solve.metadata",
    "gateway.warnings",
];

/// What graphs and exports can have, by the names that clients look for (one of them has a slip of the pen).
const LLB_CAPABILITIES: [&str; 59] = [
    "cache.gha",
    "cache.s3",
    "exporter.image.annotations",
    "exporter.image.attestations",
    "exporter.multiple",
    "exporter.sourcedateepoch",
    "source.image",
    "source.image.checksum",
    "source.imageblob",
    "source.ocilayout",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.http",
    "source.http.checksum",
    "source.http.perm",
    "soruce.http.uidgid",
    "source.buildop.llbfilename",
    "exec.meta.base",
    "exec.meta.cdi",
    "exec.meta.cgroup.parent",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.meta.removemountstubs.recursive",
    "exec.meta.security",
    "exec.meta.setsdefaultpath",
    "exec.meta.ulimit",
    "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput",
    "exec.mount.cache",
    "exec.mount.cache.content",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "exec.mount.secret",
    "exec.mount.ssh",
    "exec.secretenv",
    "exec.validexitcode",
    "file.base",
    "file.rm.wildcard",
    "file.copy.includeexcludepatterns",
    "file.copy.modestring",
    "file.symlink.create",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
    "mergeop",
    "diffop",
    "passthroughop",
];

fn not_built(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not built yet"))
}

/// An error in the words that BuildKit's users search for.
pub(super) fn failed(error: &BuildError) -> Status {
    match error {
        BuildError::Step { source, .. } => failed(source),
        BuildError::NotBuilt { text } => Status::unimplemented(text),
        BuildError::Cancelled => Status::cancelled("the build was cancelled"),
        other => Status::unknown(other.modern()),
    }
}

impl BuildKit {
    async fn solve_of<T>(&self, request: &Request<T>) -> Result<Arc<Solve>, Status> {
        let name = request.metadata().get(BUILD_ID).and_then(|value| value.to_str().ok());
        let name = name.ok_or_else(|| Status::invalid_argument(format!("the call has no {BUILD_ID}")))?;
        self.0.solves.get(name).await
    }

    // The files of a result; an empty file system has no name.
    fn view(&self, solve: &Solve, name: &str) -> Result<StackView, Status> {
        let results = solve.results(&[name.to_owned()])?;
        let built = results.first().ok_or_else(|| Status::not_found(format!("no such ref: {name}")))?;
        self.0.builder.files(built).map_err(|error| failed(&error))
    }

    /// Answers a question about a Dockerfile.
    pub(super) async fn ask(
        &self,
        solve: &Solve,
        frontend: &str,
        attributes: &HashMap<String, String>,
    ) -> Result<HashMap<String, String>, Status> {
        attributes::check(frontend, attributes)?;
        solve.ask(frontend, attributes);
        let asking = |progress| async move { self.question(solve, attributes, &progress).await };
        news::told(solve, Teller::default(), asking).await
    }

    /// Builds a Dockerfile, for each platform that is asked for, telling the solve's listeners.
    pub(super) async fn build(
        &self,
        solve: &Solve,
        frontend: &str,
        attributes: &HashMap<String, String>,
        imports: &[CacheOptionsEntry],
        inputs: &HashMap<String, pb::Definition>,
    ) -> Result<Vec<Built>, Status> {
        attributes::check(frontend, attributes)?;
        export::check(solve, attributes)?;
        solve.ask(frontend, attributes);
        let teller = Teller::new(attributes.contains_key("hako.why"));
        news::told(solve, teller, |progress| async move {
            // Boxed, each: all of them in one future would overflow the stack of a thread.
            let mut request = Box::pin(self.request(solve, attributes, &progress)).await?;
            request.inputs = Box::pin(self.inputs(solve, attributes, inputs, &progress)).await?;
            // Whoever drives a build through the bridge names them twice, here without what Solve has found out.
            let more = imports.iter().filter(|one| !solve.imports.iter().any(|known| is_same(known, one)));
            let imports: Vec<CacheOptionsEntry> = solve.imports.iter().chain(more).cloned().collect();
            request.depots = Box::pin(self.depots(solve, &imports, &progress)).await?;
            request.complete = solve.exports.iter().any(Export::is_complete);
            request.rewrite_times |= solve.rewrites_times;
            let (file, text) = (request.dockerfile_name.clone(), request.dockerfile.clone());
            let built = Box::pin(self.for_each_platform(request, attributes::platforms(attributes)?, progress)).await;
            let mut built = built.map_err(|error| failed_in(&error, &file, &text))?;
            if solve.exports.iter().any(Export::is_inline) {
                built.iter_mut().for_each(|built| self.carry_inline(built));
            }
            Ok(built)
        })
        .await
    }
}

impl BuildKit {
    // Side by side. The first that fails ends the others.
    async fn for_each_platform(
        &self,
        request: BuildRequest,
        platforms: Vec<Platform>,
        progress: Progress,
    ) -> Result<Vec<Built>, BuildError> {
        let builder = &self.0.builder;
        if platforms.len() < 2 {
            let request = match platforms.into_iter().next() {
                Some(platform) => request.for_platform(platform),
                None => BuildRequest { platform: None, ..request.for_platform(Platform::host()) },
            };
            return Ok(vec![Box::pin(builder.build(request, progress)).await?]);
        }
        let mut building = JoinSet::new();
        for (place, platform) in (0_u64..).zip(platforms) {
            let request = BuildRequest { place: Some(place), ..request.clone().for_platform(platform) };
            let (builder, progress) = (builder.clone(), progress.clone());
            building.spawn(async move { (place, builder.build(request, progress).await) });
        }
        let mut all = BTreeMap::new();
        while let Some(done) = building.join_next().await {
            let (place, built) = done.map_err(|_| BuildError::Cancelled)?;
            all.insert(place, built?);
        }
        Ok(all.into_values().collect())
    }

    // An image to which nothing was done is its base, which carries nothing.
    fn carry_inline(&self, built: &mut Built) {
        if !built.image.lines.is_empty() {
            let document = self.0.builder.depot_inline(built);
            built.image.inline_cache = Some(base64::engine::general_purpose::STANDARD.encode(document));
        }
    }
}

// A result that a client may name, also as the input of another build.
fn kept(solve: &Solve, built: Built) -> Ref {
    let def = Some(definition_of(built.image.stack));
    Ref { id: solve.keep(built), def }
}

// Results as a client gets them: one, or one for each platform, and what their images are.
fn results(solve: &Solve, attributes: &HashMap<String, String>, built: Vec<(Vec<u8>, Built)>) -> WireResult {
    let is_one = built.len() == 1 && !attributes::wants_index(attributes);
    let mut platforms = Vec::new();
    let (mut refs, mut metadata) = (HashMap::new(), HashMap::new());
    let mut only = None;
    for (configuration, built) in built {
        let platform = built.image.platform.clone();
        let id = platform_text(&platform);
        platforms.push(json!({ "ID": id, "Platform": platform }));
        let of_one = if is_one { String::new() } else { format!("/{id}") };
        metadata.insert(format!("containerimage.config{of_one}"), configuration);
        let kept = kept(solve, built);
        only = Some(kept.clone());
        refs.insert(id, kept);
    }
    metadata.insert("refs.platforms".to_owned(), json!({ "Platforms": platforms }).to_string().into());
    let result = if is_one { only.map(result::Result::Ref) } else { Some(result::Result::Refs(RefMap { refs })) };
    WireResult { result, metadata, ..WireResult::default() }
}

#[tonic::async_trait]
impl LlbBridge for BuildKit {
    async fn resolve_image_config(
        &self,
        request: Request<ResolveImageConfigRequest>,
    ) -> Result<Response<ResolveImageConfigResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        Ok(Response::new(Box::pin(self.meta_of_image(&solve, request.get_ref())).await?))
    }

    async fn resolve_source_meta(
        &self,
        request: Request<ResolveSourceMetaRequest>,
    ) -> Result<Response<ResolveSourceMetaResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        Ok(Response::new(Box::pin(self.meta_of_source(&solve, request.into_inner())).await?))
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        let request = request.into_inner();
        let result = match request.frontend.as_str() {
            "" if request.definition.as_ref().is_none_or(|graph| graph.def.is_empty()) => WireResult::default(),
            "" => {
                let definition = request.definition.unwrap_or_default();
                let built = Box::pin(self.build_graph(&solve, &definition)).await?;
                WireResult { result: Some(result::Result::Ref(kept(&solve, built))), ..WireResult::default() }
            }
            frontend if attributes::is_question(&request.frontend_opt) => {
                let found = self.ask(&solve, frontend, &request.frontend_opt).await?;
                let metadata = found.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
                WireResult { metadata, ..WireResult::default() }
            }
            frontend => {
                let imports: Vec<CacheOptionsEntry> = request.cache_imports.iter().map(controls).collect();
                let inputs = &request.frontend_inputs;
                let built = self.build(&solve, frontend, &request.frontend_opt, &imports, inputs).await?;
                let built = built.into_iter().map(|built| (self.0.builder.configuration(&built), built));
                results(&solve, &request.frontend_opt, built.collect())
            }
        };
        Ok(Response::new(SolveResponse { r#ref: String::new(), result: Some(result) }))
    }

    async fn read_file(&self, request: Request<ReadFileRequest>) -> Result<Response<ReadFileResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        let request = request.into_inner();
        let view = self.view(&solve, &request.r#ref)?;
        let data = blocking(move || look::read(view.as_fd(), &request.file_path, request.range.as_ref())).await?;
        Ok(Response::new(ReadFileResponse { data }))
    }

    async fn read_dir(&self, request: Request<ReadDirRequest>) -> Result<Response<ReadDirResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        let request = request.into_inner();
        let view = self.view(&solve, &request.r#ref)?;
        let entries = blocking(move || look::list(view.as_fd(), &request.dir_path, &request.include_pattern)).await?;
        Ok(Response::new(ReadDirResponse { entries }))
    }

    async fn stat_file(&self, request: Request<StatFileRequest>) -> Result<Response<StatFileResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        let request = request.into_inner();
        let view = self.view(&solve, &request.r#ref)?;
        let stat = blocking(move || look::stat(view.as_fd(), &request.path)).await?;
        Ok(Response::new(StatFileResponse { stat: Some(stat) }))
    }

    // Results are built when they are solved.
    async fn evaluate(&self, request: Request<EvaluateRequest>) -> Result<Response<EvaluateResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        solve.results(&[request.into_inner().r#ref])?;
        Ok(Response::new(EvaluateResponse {}))
    }

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        let capability = |name: &&str| ApiCap { id: (*name).to_owned(), enabled: true, ..ApiCap::default() };
        Ok(Response::new(PongResponse {
            frontend_api_caps: CAPABILITIES.iter().map(capability).collect(),
            llb_caps: LLB_CAPABILITIES.iter().map(capability).collect(),
            workers: vec![self.worker()],
        }))
    }

    async fn r#return(&self, request: Request<ReturnRequest>) -> Result<Response<ReturnResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        let request = request.into_inner();
        let result = match request.error {
            Some(error) => Err(with_details(&error)),
            None => {
                let result = request.result.unwrap_or_default();
                solve.configure(&result.metadata);
                Ok(names_of(result.result))
            }
        };
        solve.give_back(result);
        Ok(Response::new(ReturnResponse {}))
    }

    async fn inputs(&self, _: Request<InputsRequest>) -> Result<Response<InputsResponse>, Status> {
        Ok(Response::new(InputsResponse::default()))
    }

    async fn new_container(&self, _: Request<NewContainerRequest>) -> Result<Response<NewContainerResponse>, Status> {
        Err(not_built("NewContainer"))
    }

    async fn release_container(
        &self,
        _: Request<ReleaseContainerRequest>,
    ) -> Result<Response<ReleaseContainerResponse>, Status> {
        Err(not_built("ReleaseContainer"))
    }

    type ExecProcessStream = Pin<Box<dyn Stream<Item = Result<ExecMessage, Status>> + Send>>;

    async fn exec_process(
        &self,
        _: Request<Streaming<ExecMessage>>,
    ) -> Result<Response<Self::ExecProcessStream>, Status> {
        Err(not_built("ExecProcess"))
    }

    async fn read_file_container(&self, _: Request<ReadFileRequest>) -> Result<Response<ReadFileResponse>, Status> {
        Err(not_built("ReadFileContainer"))
    }

    async fn read_dir_container(&self, _: Request<ReadDirRequest>) -> Result<Response<ReadDirResponse>, Status> {
        Err(not_built("ReadDirContainer"))
    }

    async fn stat_file_container(&self, _: Request<StatFileRequest>) -> Result<Response<StatFileResponse>, Status> {
        Err(not_built("StatFileContainer"))
    }

    async fn warn(&self, request: Request<WarnRequest>) -> Result<Response<WarnResponse>, Status> {
        let solve = self.solve_of(&request).await?;
        let text = String::from_utf8_lossy(&request.into_inner().short).into_owned();
        news::Teller::default().tell(&solve, &crate::event::Event::Warning { line: 0, text });
        Ok(Response::new(WarnResponse {}))
    }
}

// The same words, once as the bridge has them and once as Control has them.
fn controls(entry: &bollard_buildkit_proto::moby::buildkit::v1::frontend::CacheOptionsEntry) -> CacheOptionsEntry {
    CacheOptionsEntry { r#type: entry.r#type.clone(), attrs: entry.attrs.clone() }
}

// Whether two speak of one place: a client may have found out the digest of one of them.
fn is_same(one: &CacheOptionsEntry, other: &CacheOptionsEntry) -> bool {
    let same = |key: &str| one.attrs.get(key) == other.attrs.get(key);
    one.r#type == other.r#type && same("ref") && same("src")
}

// Which results are to be exported.
fn names_of(result: Option<result::Result>) -> Vec<String> {
    let names: Vec<String> = match result {
        None => Vec::new(),
        Some(result::Result::RefDeprecated(id)) => vec![id],
        Some(result::Result::RefsDeprecated(several)) => several.refs.into_values().collect(),
        Some(result::Result::Ref(one)) => vec![one.id],
        Some(result::Result::Refs(several)) => several.refs.into_values().map(|one| one.id).collect(),
    };
    names.into_iter().filter(|id| !id.is_empty()).collect()
}
