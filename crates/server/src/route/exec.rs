//! The rows of `/exec`.

use bytes::Bytes;
use hako_api::{
    container::{ExecCreateRequest, ExecInspect, ExecProcessConfig, ExecStartRequest},
    image::IdResponse,
    query::ResizeQuery,
    text,
};
use hako_engine::{
    EngineError,
    stdio::StdinWriter,
    view::{ExecSpec, ExecView, OutputChunk, OutputStream},
};
use tokio::sync::mpsc;

use crate::{
    call::Call,
    detach::DetachKeys,
    error::Failure,
    hijack::{self, Detach, Format, Session},
    reply::{self, Reply},
};

pub(super) async fn create(mut call: Call) -> Result<Reply, Failure> {
    let request: ExecCreateRequest = call.required_json("No exec command specified").await?;
    DetachKeys::parse(Some(&request.detach_keys))?;
    // The size came with 1.42.
    let console_size = request.console_size.filter(|_| call.version.at_least(42) && request.tty);
    let spec = ExecSpec {
        argv: request.cmd.unwrap_or_default().0,
        env: request.env.unwrap_or_default(),
        user: request.user,
        working_dir: request.working_dir,
        tty: request.tty,
        privileged: request.privileged,
        attach_stdin: request.attach_stdin,
        attach_stdout: request.attach_stdout,
        attach_stderr: request.attach_stderr,
        detach_keys: request.detach_keys,
        console_size: console_size.map(|[rows, columns]| (rows, columns)),
    };
    let id = call.engine().exec_create(call.name(), spec).await?;
    reply::created(&IdResponse { id: id.to_string() })
}

pub(super) async fn start(mut call: Call) -> Result<Reply, Failure> {
    let request: ExecStartRequest = call.json().await?.unwrap_or_default();
    let (engine, id) = (call.engine().clone(), call.name().to_owned());
    let size = request.console_size.filter(|_| call.version.at_least(42) && request.tty);
    let size = size.map(|[rows, columns]| (rows, columns));
    if request.detach {
        engine.exec_start(&id, true, size).await?;
        return Ok(reply::empty(hyper::StatusCode::OK));
    }
    let spec = engine.exec_inspect(&id)?.spec;
    let keys = DetachKeys::parse(Some(&spec.detach_keys))?;
    // Whether the process has a terminal was said at its creation; what is said now is how the client reads.
    let format = Format::new(request.tty);
    let detach = {
        let (engine, id) = (call.engine().clone(), id.clone());
        Detach { keys, tell: Box::new(move || engine.exec_detached(&id)) }
    };
    let mut session = Session::new(engine.exec_attach(&id)?, spec.attach_stdout || spec.attach_stderr, detach);
    session.format = format;
    let begin = async move {
        match engine.exec_start(&id, false, size).await {
            Ok(()) => session,
            // The client has its answer: it reads the reason as output and the exit code from `inspect`.
            Err(error) => told_as_output(&error, format),
        }
    };
    Ok(hijack::answer(call, format, begin).await)
}

fn told_as_output(error: &EngineError, format: Format) -> Session<StdinWriter> {
    let line = format!("{}\r\n", hako_base::error::chain(error));
    let (send, output) = mpsc::channel(1);
    // The channel is new and empty, so there is room.
    let _ = send.try_send(OutputChunk { stream: OutputStream::Stdout, bytes: Bytes::from(line) });
    Session { format, input: None, output, has_output: true, detach: None }
}

pub(super) async fn resize(call: Call) -> Result<Reply, Failure> {
    let query: ResizeQuery = call.query()?;
    call.engine().exec_resize(call.name(), query.rows, query.columns)?;
    Ok(reply::empty(hyper::StatusCode::OK))
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let view = call.engine().exec_inspect(call.name())?;
    reply::json(&exec_to_api(&view)?)
}

fn exec_to_api(view: &ExecView) -> Result<ExecInspect, Failure> {
    let spec = &view.spec;
    let (program, arguments) =
        spec.argv.split_first().map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
    let keys = (!spec.detach_keys.is_empty()).then(|| DetachKeys::parse(Some(&spec.detach_keys))).transpose()?;
    Ok(ExecInspect {
        id: view.id.to_string(),
        running: view.running,
        exit_code: view.exit_code.map(i64::from),
        process_config: ExecProcessConfig {
            tty: spec.tty,
            entrypoint: program,
            arguments,
            privileged: Some(spec.privileged),
            user: spec.user.clone(),
        },
        open_stdin: spec.attach_stdin,
        open_stderr: spec.attach_stderr,
        open_stdout: spec.attach_stdout,
        can_remove: view.can_remove,
        container_id: view.container.to_string(),
        detach_keys: Some(keys.map(|keys| text::base64_standard(keys.bytes())).unwrap_or_default()),
        pid: i64::from(view.pid),
    })
}
