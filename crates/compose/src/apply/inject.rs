//! Files of secrets and configs that have no file here (`content:`, `environment:`): a tar copied into a container
//! before it starts.

use std::io;

use hako_api::query::ContainerArchivePutQuery;
use hako_client::RequestBody;

use super::Actor;
use crate::{
    error::ApplyError,
    request::{Creation, Injected},
};

impl Actor {
    /// Copies a new container's files into it.
    pub(super) async fn inject(&self, id: &str, creation: &Creation) -> Result<(), ApplyError> {
        if creation.injected.is_empty() {
            return Ok(());
        }
        let seconds = u64::try_from(hako_base::clock::now().as_second()).unwrap_or(0);
        let tar = packed(&creation.injected, seconds)
            .map_err(|error| ApplyError::Said(format!("cannot pack the files of {}: {error}", creation.name)))?;
        let query = ContainerArchivePutQuery { path: "/".to_owned(), ..ContainerArchivePutQuery::default() };
        Ok(self.client.container_archive_put(id, &query, RequestBody::Bytes(tar.into())).await?)
    }
}

fn packed(files: &[Injected], seconds: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(file.uid.into());
        header.set_gid(file.gid.into());
        header.set_mtime(seconds);
        archive.append_data(&mut header, file.target.trim_start_matches('/'), file.content.as_bytes())?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_owner_and_mode() {
        let file = Injected { target: "/run/secrets/key".into(), content: "word".into(), uid: 7, gid: 8, mode: 0o400 };
        let bytes = packed(&[file], 1).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!(entry.path().unwrap().to_str(), Some("run/secrets/key"));
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap()), (7, 8, 0o400));
    }
}
