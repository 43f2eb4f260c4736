//! BuildKit's messages as plain values, which the command line shows and `rawjson` prints.

use bollard_buildkit_proto::{google::protobuf::Timestamp as WireTime, moby::buildkit::v1::StatusResponse};
use hako_api::build::{BuildLog, BuildNews, BuildStatus, BuildVertex, BuildWarning};

pub(super) fn time(at: Option<WireTime>) -> Option<String> {
    let at = at?;
    let stamp = jiff::Timestamp::new(at.seconds, at.nanos).ok()?;
    Some(hako_base::clock::rfc3339_nano(stamp))
}

/// The message, read.
pub(super) fn read(message: StatusResponse) -> BuildNews {
    let vertexes = message.vertexes.into_iter().map(|vertex| BuildVertex {
        digest: vertex.digest,
        inputs: vertex.inputs,
        name: vertex.name,
        started: time(vertex.started),
        completed: time(vertex.completed),
        cached: vertex.cached,
        error: vertex.error,
    });
    let statuses = message.statuses.into_iter().map(|status| BuildStatus {
        id: status.id,
        vertex: status.vertex,
        name: status.name,
        total: status.total,
        current: status.current,
        timestamp: time(status.timestamp).unwrap_or_default(),
        started: time(status.started),
        completed: time(status.completed),
    });
    let logs = message.logs.into_iter().map(|log| BuildLog {
        vertex: log.vertex,
        stream: log.stream,
        data: log.msg,
        timestamp: time(log.timestamp).unwrap_or_default(),
    });
    let warnings = message.warnings.into_iter().map(|warning| BuildWarning {
        vertex: warning.vertex,
        level: warning.level,
        short: String::from_utf8_lossy(&warning.short).into_owned(),
        detail: warning.detail.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
        url: warning.url,
        line: warning.ranges.first().and_then(|range| range.start).map_or(0, |start| start.line),
    });
    BuildNews {
        vertexes: vertexes.collect(),
        statuses: statuses.collect(),
        logs: logs.collect(),
        warnings: warnings.collect(),
    }
}
