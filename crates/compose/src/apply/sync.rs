//! Changed files go into running containers, removed ones go from them; then whatever else `develop.watch` wants.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use hako_api::{
    StringList,
    container::{ExecCreateRequest, ExecStartRequest},
    query::ContainerArchivePutQuery,
};
use hako_client::RequestBody;

use super::{Actor, Deed, Phase, order};
use crate::{
    error::ApplyError,
    observe::{self, Seen},
    service::Hook,
    watch::Work,
};

/// Files are sent in archives of about this size, so that a tree of many files is never in memory as a whole.
const ARCHIVE_BYTES: u64 = 16 << 20;

impl Actor {
    /// Does to the running containers of a service what follows from changes, but for building.
    ///
    /// # Errors
    /// When one of them cannot take it.
    pub async fn sync(&self, service: &str, work: &Work) -> Result<(), ApplyError> {
        let list = observe::containers(&self.client, Some(&self.project.name), false).await?;
        let own = list.iter().map(Seen::from_summary).filter(|seen| !seen.one_off && seen.service == service).collect();
        let (this, work) = (self.clone(), Arc::new(work.clone()));
        order::together(own, move |seen| {
            let (this, work) = (this.clone(), work.clone());
            async move { this.sync_one(seen, &work).await }
        })
        .await
    }

    async fn sync_one(&self, seen: Seen, work: &Work) -> Result<(), ApplyError> {
        let failed = |error: io::Error| ApplyError::Said(format!("cannot copy into {}: {error}", seen.name));
        if !work.removals.is_empty() {
            let command = ["rm", "-rf", "--"].map(str::to_owned).into_iter().chain(work.removals.iter().cloned());
            self.exec(&seen, &Hook { command: command.collect(), user: "0".to_owned(), ..Hook::default() }).await?;
        }
        let mut rest: Vec<Copied> = work.copies.clone().into_iter().collect();
        while !rest.is_empty() {
            let packing = tokio::task::spawn_blocking(move || packed(rest));
            let (archive, left) = match packing.await {
                Ok(packed) => packed.map_err(failed)?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            rest = left;
            let query = ContainerArchivePutQuery { path: "/".to_owned(), ..ContainerArchivePutQuery::default() };
            self.client.container_archive_put(&seen.id, &query, RequestBody::Bytes(archive.into())).await?;
        }
        for hook in &work.hooks {
            self.exec(&seen, hook).await?;
        }
        if work.restart {
            self.clone().deed(seen, Deed::Restart(None)).await?;
        }
        Ok(())
    }

    /// Runs what a service wants after a start.
    pub(super) async fn after_start(&self, seen: &Seen) -> Result<(), ApplyError> {
        let Some(service) = self.project.services.get(&seen.service) else { return Ok(()) };
        for hook in &service.post_start {
            self.exec(seen, hook).await?;
        }
        Ok(())
    }

    /// Runs what a service wants before it is stopped; whatever comes of it, it is stopped then.
    pub(super) async fn before_stop(&self, seen: &Seen) {
        let Some(service) = self.project.services.get(&seen.service) else { return };
        for hook in service.pre_stop.iter().filter(|_| seen.state == "running" && !self.dry_run) {
            if let Err(error) = self.exec(seen, hook).await {
                self.say("Container", &seen.name, &format!("Warning: {error}"), Phase::Working);
            }
        }
    }

    /// Runs a command in a container to its end.
    async fn exec(&self, seen: &Seen, hook: &Hook) -> Result<(), ApplyError> {
        let variables: Vec<String> = hook
            .environment
            .iter()
            .map(|(name, value)| value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")))
            .collect();
        let request = ExecCreateRequest {
            user: hook.user.clone(),
            privileged: hook.privileged,
            attach_stdout: true,
            attach_stderr: true,
            env: (!variables.is_empty()).then_some(variables),
            working_dir: hook.working_dir.clone(),
            cmd: Some(StringList(hook.command.clone())),
            ..ExecCreateRequest::default()
        };
        let id = self.client.exec_create(&seen.id, &request).await?;
        let (mut output, _input) = self.client.exec_start(&id, &ExecStartRequest::default()).await?.split();
        let said = last_words(&mut output).await.map_err(|error| ApplyError::Said(error.to_string()))?;
        match self.client.exec_inspect(&id).await?.exit_code {
            None | Some(0) => Ok(()),
            Some(code) => {
                let command = hook.command.join(" ");
                Err(ApplyError::Said(format!("{command:?} in {} ended with code {code}: {said}", seen.name)))
            }
        }
    }
}

/// Of what a command says, this much is enough to tell why it failed.
const SAID_BYTES_MAX: usize = 4096;

async fn last_words(output: &mut hako_client::HijackedReader) -> io::Result<String> {
    use hako_api::multiplex::Decoder;
    use tokio::io::AsyncReadExt;
    let mut decoder = Decoder::default();
    let (mut said, mut buffer) = (Vec::new(), vec![0; 8192]);
    loop {
        let count = output.read(&mut buffer).await?;
        if count == 0 {
            return Ok(String::from_utf8_lossy(&said).trim().to_owned());
        }
        decoder
            .feed(&buffer[..count], |_, piece| said.extend_from_slice(piece))
            .map_err(|error| io::Error::other(error.to_string()))?;
        let surplus = said.len().saturating_sub(SAID_BYTES_MAX);
        said.drain(..surplus);
    }
}

/// A file of this machine, and its place in the container.
type Copied = (PathBuf, String);

/// An archive of the first of these files, and those that are left for the next one.
fn packed(mut files: Vec<Copied>) -> io::Result<(Vec<u8>, Vec<Copied>)> {
    let mut archive = tar::Builder::new(Vec::new());
    let (mut taken, mut bytes) = (0, 0);
    for (path, target) in &files {
        if bytes > ARCHIVE_BYTES {
            break;
        }
        taken += 1;
        // What has gone since is told by its own change.
        let Ok(found) = fs::symlink_metadata(path) else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_mode(found.mode() & 0o7777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(found.mtime()).unwrap_or(0));
        let name = target.trim_start_matches('/');
        if found.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, name, fs::read_link(path)?)?;
        } else if found.is_file() {
            let content = fs::read(path)?;
            bytes += content.len() as u64;
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_slice())?;
        }
    }
    let left = files.split_off(taken);
    Ok((archive.into_inner()?, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_root_and_keep_their_mode() {
        let file = std::env::temp_dir().join(format!("hako-packed-{}", std::process::id()));
        fs::write(&file, "content").unwrap();
        let mode = fs::metadata(&file).unwrap().mode() & 0o777;
        let gone = (PathBuf::from("/nowhere/at/all"), "/x".to_owned());
        let (bytes, left) = packed(vec![(file.clone(), "/app/deep/file".to_owned()), gone]).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(left.is_empty());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries: Vec<_> = archive.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 1);
        let header = entries[0].header();
        assert_eq!((header.uid().unwrap(), header.mode().unwrap()), (0, mode));
        assert_eq!(entries[0].path().unwrap().to_str(), Some("app/deep/file"));
    }
}
