//! `BuildOp`: a graph within a graph. An operation has made a definition as a file; it is read and solved here.
//!
//! It is bytes that a build has made, perhaps by a process of its own: how many are within each other is limited
//! (`graph.rs`), and so is the file.

use std::os::fd::AsFd;

use bollard_buildkit_proto::pb;
use hako_archive::walk;
use hako_model::Digest;
use prost::Message as _;
use rustix::fs::OFlags;

use super::{
    Solving, blocking,
    graph::{Flow, input},
};
use crate::{error::BuildError, limits, llb::Graph};

/// The input that has the definition, and the file's name unless `llbbuild.filename` says another.
const DEFINITION: &str = "buildkit.llb.definition";

impl Solving {
    pub(super) async fn graph_within(
        &self,
        flow: &Flow,
        build: &pb::BuildOp,
        inputs: &[Option<Digest>],
    ) -> Result<Option<Digest>, BuildError> {
        if build.builder != -1 {
            return Err(BuildError::invalid("only LLB builder is currently allowed"));
        }
        let found = build.inputs.get(DEFINITION);
        let found = found.ok_or_else(|| BuildError::invalid(format!("no llb definition input {DEFINITION} found")))?;
        let view = self.store().stack_view(input(inputs, found.input)?)?;
        let name = build.attrs.get("llbbuild.filename").cloned().unwrap_or_else(|| DEFINITION.to_owned());
        let bytes = blocking(move || read(view.as_fd(), &name)).await?;
        let malformed = |why: String| BuildError::invalid(format!("the definition of a build is malformed: {why}"));
        let definition = pb::Definition::decode(&bytes[..]).map_err(|error| malformed(error.to_string()))?;
        self.within(flow, Graph::read(&definition).map_err(malformed)?).await
    }
}

fn read(root: std::os::fd::BorrowedFd<'_>, name: &str) -> Result<Vec<u8>, BuildError> {
    use std::io::Read as _;
    let failed = || BuildError::io(format!("open {name}"));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::File::from(walk::open_in_root(root, name.as_bytes(), flags).map_err(failed())?);
    let stat = rustix::fs::fstat(&file).map_err(|error| failed()(error.into()))?;
    if walk::file_type(&stat) != rustix::fs::FileType::RegularFile {
        return Err(BuildError::invalid(format!("{name} is not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(limits::GRAPH_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > limits::GRAPH_BYTES_MAX {
        let most = limits::GRAPH_BYTES_MAX;
        return Err(BuildError::invalid(format!("{name} has more than {most} bytes")));
    }
    Ok(bytes)
}
