//! The rows of `/containers/{id}/archive`: what `cp` is made of.

use hako_api::{
    archive::{HEADER, PathStat, mode},
    query::{ContainerArchivePutQuery, ContainerArchiveQuery},
};
use hako_base::clock;
use hako_engine::view::{ArchiveOptions, PathView};
use hyper::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};

use crate::{
    call::Call,
    error::Failure,
    reply::{self, Reply, ReplyBody},
};

pub(super) async fn stat(call: Call) -> Result<Reply, Failure> {
    let query: ContainerArchiveQuery = call.query()?;
    let view = call.engine().container_archive_stat(call.name(), required(&query.path)?).await?;
    with_stat(reply::empty(StatusCode::OK), &view)
}

pub(super) async fn get(call: Call) -> Result<Reply, Failure> {
    let query: ContainerArchiveQuery = call.query()?;
    let (view, tar) = call.engine().container_archive_get(call.name(), required(&query.path)?).await?;
    with_stat(reply::stream(reply::TAR, ReplyBody::channel(tar, |chunk| chunk)), &view)
}

pub(super) async fn put(call: Call) -> Result<Reply, Failure> {
    let query: ContainerArchivePutQuery = call.query()?;
    required(&query.path)?;
    let options = ArchiveOptions { keep_kind: query.no_overwrite_dir_non_dir, owner_of_user: query.copy_uid_gid };
    let (engine, name) = (call.engine().clone(), call.name().to_owned());
    engine.container_archive_put(&name, &query.path, options, call.into_reader()).await?;
    Ok(reply::empty(StatusCode::OK))
}

fn required(path: &str) -> Result<&str, Failure> {
    if path.is_empty() { Err(Failure::invalid("bad parameter: path cannot be empty")) } else { Ok(path) }
}

fn with_stat(mut reply: Reply, view: &PathView) -> Result<Reply, Failure> {
    let stat = PathStat {
        name: view.name.clone(),
        size: view.size.try_into().unwrap_or(i64::MAX),
        mode: go_mode(view.mode),
        mtime: clock::rfc3339_nano(view.modified),
        link_target: view.link_target.clone(),
    };
    let value = HeaderValue::from_str(&stat.encode()).map_err(|error| Failure::invalid(error.to_string()))?;
    reply.headers_mut().insert(HeaderName::from_static(HEADER), value);
    Ok(reply)
}

/// The mode of `stat(2)` with Go's bits.
fn go_mode(unix: u32) -> u32 {
    let kind = match unix & 0o170_000 {
        0o040_000 => mode::DIRECTORY,
        0o120_000 => mode::SYMLINK,
        0o060_000 => mode::DEVICE,
        0o020_000 => mode::DEVICE | mode::CHARACTER,
        0o010_000 => mode::PIPE,
        0o140_000 => mode::SOCKET,
        0o100_000 => 0,
        _ => mode::IRREGULAR,
    };
    let special = [(0o4000, mode::SET_UID), (0o2000, mode::SET_GID), (0o1000, mode::STICKY)];
    let special = special.iter().filter(|(bit, _)| unix & bit != 0).map(|(_, go)| go).sum::<u32>();
    kind | special | unix & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_that_docker_was_seen_to_send() {
        for (unix, go) in [
            (0o040_755, 2_147_484_141),
            (0o100_644, 420),
            (0o120_777, 134_218_239),
            (0o010_644, 33_554_852),
            (0o020_644, 69_206_436),
            (0o104_755, 8_389_101),
            (0o041_777, 2_148_532_735),
        ] {
            assert_eq!(go_mode(unix), go, "{unix:o}");
        }
    }
}
