//! Questions about a Dockerfile: what it takes, which targets it has, what in it is likely not meant.
//!
//! A build is begun that has no front end of its own and is driven from here: one `LLBBridge.Solve` asks the Dockerfile
//! front end, which answers in the metadata of an empty result; `Return` ends the build.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::{
    SolveRequest,
    control_client::ControlClient,
    frontend::{self, ReturnRequest, llb_bridge_client::LlbBridgeClient},
};
use tonic::{Request, Status, metadata::AsciiMetadataValue, transport::Channel};

use super::ImageBuild;

/// The attribute that is the question.
const QUESTION: &str = "requestid";
/// What a front end must be able to do: without it, one that does not know the question would build.
const CAPABILITY: &str = "moby.buildkit.frontend.subrequests+forward";
/// Of which build a call is.
const BUILD_ID: &str = "buildkit-controlapi-buildid";

pub(super) fn is_one(build: &ImageBuild) -> bool {
    build.attributes.contains_key(QUESTION)
}

/// Asks; the answer is what a build would have told of its result.
pub(super) async fn ask(
    mut control: ControlClient<Channel>,
    mut bridge: LlbBridgeClient<Channel>,
    request: SolveRequest,
) -> Result<HashMap<String, String>, Status> {
    let mut options = request.frontend_attrs.clone();
    options.insert("frontend.caps".to_owned(), CAPABILITY.to_owned());
    let asked = frontend::SolveRequest {
        frontend: request.frontend,
        frontend_opt: options,
        allow_result_return: true,
        allow_result_array_ref: true,
        ..frontend::SolveRequest::default()
    };
    let id =
        AsciiMetadataValue::try_from(request.r#ref.as_str()).map_err(|_| Status::internal("a build has no name"))?;
    let begun = SolveRequest { r#ref: request.r#ref, session: request.session, ..SolveRequest::default() };
    let begun = SolveRequest { entitlements: request.entitlements, cache: request.cache, ..begun };
    let asking = async {
        let answer = bridge.solve(of(asked, &id)).await;
        let told = ReturnRequest {
            result: answer.is_ok().then(frontend::Result::default),
            error: answer.as_ref().err().map(rpc),
        };
        bridge.r#return(of(told, &id)).await?;
        answer
    };
    let solving = control.solve(begun);
    tokio::pin!(solving, asking);
    let answer = tokio::select! {
        answer = &mut asking => {
            let answer = answer?;
            solving.await?;
            answer
        }
        // It may be over before we have heard that it was ended.
        over = &mut solving => {
            over?;
            asking.await?
        }
    };
    let metadata = answer.into_inner().result.unwrap_or_default().metadata;
    Ok(metadata.into_iter().filter_map(|(key, value)| Some((key, String::from_utf8(value).ok()?))).collect())
}

fn of<T>(message: T, id: &AsciiMetadataValue) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(BUILD_ID, id.clone());
    request
}

fn rpc(status: &Status) -> bollard_buildkit_proto::google::rpc::Status {
    let (code, message) = (status.code().into(), status.message().to_owned());
    bollard_buildkit_proto::google::rpc::Status { code, message, ..Default::default() }
}
