//! One handler for each built row of the route table, by family: parse, call the engine, render.

mod archive; // cp
mod build;
mod container;
mod exec;
mod image;
mod image_anatomy; // /hako/images
mod network;
mod registry;
mod stream; // attach, logs, wait: answers that go on
mod system;
mod volume;
mod volume_copy; // beyond Docker

use std::pin::Pin;

use hako_api::Operation;

use crate::{call::Call, error::Failure, reply::Reply};

/// The answer to come.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// Answers one row's requests.
pub(crate) type Handler = fn(Call) -> Handling;

macro_rules! handlers {
    ($( $row:ident => $handler:path, )*) => {
        /// The handler of a row that is built; a test holds this against the table.
        pub(crate) fn handler(operation: Operation) -> Option<Handler> {
            match operation {
                $( Operation::$row => {
                    let handler: Handler = |call| Box::pin($handler(call));
                    Some(handler)
                } )*
                _ => None,
            }
        }
    };
}

handlers! {
    ContainerList => container::list,
    ContainerCreate => container::create,
    ContainerInspect => container::inspect,
    ContainerTop => container::top,
    ContainerExposure => container::exposure,
    ContainerLogs => stream::logs,
    ContainerStats => stream::stats,
    ContainerChanges => container::changes,
    ContainerExport => container::export,
    ContainerResize => container::resize,
    ContainerStart => container::start,
    ContainerStop => container::stop,
    ContainerRestart => container::restart,
    ContainerKill => container::kill,
    ContainerUpdate => container::update,
    ContainerEdit => container::edit,
    ContainerRename => container::rename,
    ContainerPause => container::pause,
    ContainerUnpause => container::unpause,
    ContainerAttach => stream::attach,
    ContainerAttachWs => stream::attach_ws,
    ContainerWait => stream::wait,
    ContainerRemove => container::remove,
    ContainerPrune => container::prune,
    ExecCreate => exec::create,
    ExecStart => exec::start,
    ExecResize => exec::resize,
    ExecInspect => exec::inspect,
    BuildStart => build::start,
    BuildPrune => build::prune,
    GrpcStart => build::grpc,
    SessionStart => build::session,
    ImageList => image::list,
    ImageCreate => image::create,
    ImageInspect => image::inspect,
    ImageHistory => image::history,
    ImageTag => image::tag,
    ImageRemove => image::remove,
    ImagePrune => image::prune,
    ImageCommit => image::commit,
    ImageSave => image::save,
    ImageSaveOne => image::save_one,
    ImageLoad => image::load,
    ImagePush => registry::push,
    ImageSearch => registry::search,
    ImageVerify => image_anatomy::verify,
    ImageExplain => image_anatomy::explain,
    ImageDiff => image_anatomy::diff,
    SystemAuth => registry::auth,
    DistributionInspect => registry::distribution,
    NetworkList => network::list,
    NetworkInspect => network::inspect,
    NetworkRemove => network::remove,
    NetworkCreate => network::create,
    NetworkConnect => network::connect,
    NetworkDisconnect => network::disconnect,
    NetworkPrune => network::prune,
    PluginList => system::plugins,
    PluginInspect => system::plugin,
    VolumeList => volume::list,
    VolumeCreate => volume::create,
    VolumeInspect => volume::inspect,
    VolumeRemove => volume::remove,
    VolumePrune => volume::prune,
    SystemInfo => system::info,
    SystemVersion => system::version,
    SystemPing => system::ping,
    SystemPingHead => system::ping_head,
    SystemEvents => system::events,
    SystemDf => system::df,
    SystemOptions => system::options,
    ContainerArchiveStat => archive::stat,
    ContainerArchiveGet => archive::get,
    ContainerArchivePut => archive::put,
    VolumeSnapshotList => volume_copy::snapshots,
    VolumeSnapshotCreate => volume_copy::snapshot,
    VolumeSnapshotRemove => volume_copy::remove_snapshot,
    VolumeRestore => volume_copy::restore,
    VolumeClone => volume_copy::clone,
    VolumeExport => volume_copy::export,
    VolumeImport => volume_copy::import,
}

/// Seconds since 1970, perhaps with a fraction; nothing and `0` are no time.
fn time(name: &str, text: &str) -> Result<Option<jiff::Timestamp>, Failure> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let parsed = hako_api::text::parse_unix_time(text);
    parsed.map(Some).ok_or_else(|| Failure::invalid(format!("invalid value {text:?} for parameter {name}: not a time")))
}
