//! Results to where the client wants them: an image here, or files and tars of the client's.

use std::{
    collections::HashMap,
    io::{self, Write},
    os::fd::AsFd,
    sync::Arc,
};

use bollard_buildkit_proto::moby::{
    buildkit::v1::SolveRequest,
    filesync::v1::{BytesMessage, file_send_client::FileSendClient},
};
use hako_archive::Packer;
use hako_model::Reference;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{
    BuildKit,
    bridge::failed,
    files,
    news::{self, Teller},
    solves::Solve,
};
use crate::{event::Progress, limits, solve::Built};

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An image in the store, under these names.
    Image(Vec<Reference>),
    /// Files in a directory of the client's.
    Files,
    /// The files as one tar.
    Tar,
}

impl Target {
    /// Everything that a request wants exported.
    pub(super) fn all(request: &SolveRequest) -> Result<Vec<Self>, Status> {
        let old = Some((request.exporter_deprecated.as_str(), &request.exporter_attrs_deprecated));
        let old = old.filter(|(kind, _)| !kind.is_empty() && request.exporters.is_empty());
        let new = request.exporters.iter().map(|exporter| (exporter.r#type.as_str(), &exporter.attrs));
        new.chain(old).map(|(kind, attributes)| Self::one(kind, attributes)).collect()
    }

    fn one(kind: &str, attributes: &HashMap<String, String>) -> Result<Self, Status> {
        let not_built = |what: &str| Err(Status::unimplemented(format!("{what} is not built yet")));
        match kind {
            "moby" | "image" => {
                if attributes.get("push").is_some_and(|push| push != "false") {
                    return not_built("--push");
                }
                let names = attributes.get("name").map_or("", String::as_str);
                let names = names.split(',').filter(|name| !name.is_empty()).map(|name| {
                    let parsed = name.parse::<Reference>();
                    parsed.map_err(|error| Status::invalid_argument(error.to_string()))
                });
                Ok(Self::Image(names.collect::<Result<_, _>>()?))
            }
            "local" => Ok(Self::Files),
            "tar" => Ok(Self::Tar),
            other => not_built(&format!("--output type={other}")),
        }
    }
}

impl BuildKit {
    /// Exports a result everywhere; answers what clients want to know of it.
    pub(super) async fn export(
        &self,
        solve: &Solve,
        built: &Arc<Built>,
        targets: &[Target],
    ) -> Result<HashMap<String, String>, Status> {
        let (progress, mut events) = Progress::channel();
        let telling = async {
            let mut teller = Teller::default();
            while let Some(event) = events.recv().await {
                teller.tell(solve, &event);
            }
        };
        let exporting = async move {
            let mut answer = HashMap::new();
            for target in targets {
                match target {
                    Target::Image(names) => answer.extend(self.image(built, names, &progress).await?),
                    Target::Files => self.files(solve, built, &progress).await?,
                    Target::Tar => self.tar(solve, built, &progress).await?,
                }
            }
            Ok(answer)
        };
        let (answer, ()) = tokio::join!(exporting, telling);
        answer
    }

    async fn image(
        &self,
        built: &Arc<Built>,
        names: &[Reference],
        progress: &Progress,
    ) -> Result<HashMap<String, String>, Status> {
        let work = async {
            let id = self.0.builder.record(built, names).await.map_err(|error| failed(&error))?;
            news::status(progress, news::EXPORT, &format!("writing image {id}"), 0, true).await;
            let mut shown = Vec::new();
            for name in names {
                let name = name.clone().with_default_tag().to_string();
                news::status(progress, news::EXPORT, &format!("naming to {name}"), 0, true).await;
                shown.push(name);
            }
            Ok::<_, Status>(HashMap::from([
                ("containerimage.digest".to_owned(), id.to_string()),
                ("containerimage.config.digest".to_owned(), id.to_string()),
                ("image.name".to_owned(), shown.join(",")),
            ]))
        };
        news::around(progress, news::EXPORT, "exporting to image", work).await
    }

    async fn files(&self, solve: &Solve, built: &Arc<Built>, progress: &Progress) -> Result<(), Status> {
        let work = async {
            let session = self.0.sessions.get(&solve.session).await?;
            let view = self.0.builder.files(built).map_err(|error| failed(&error))?;
            let root = view.as_fd().try_clone_to_owned().map_err(|error| Status::internal(error.to_string()))?;
            files::send(&session, root).await
        };
        news::around(progress, news::EXPORT, "exporting to client directory", work).await
    }

    async fn tar(&self, solve: &Solve, built: &Arc<Built>, progress: &Progress) -> Result<(), Status> {
        let work = async {
            let session = self.0.sessions.get(&solve.session).await?;
            let view = self.0.builder.files(built).map_err(|error| failed(&error))?;
            let (send, receive) = mpsc::channel(limits::PACKETS_QUEUED);
            let packing = tokio::task::spawn_blocking(move || {
                let output = io::BufWriter::with_capacity(limits::DATA_BYTES, Messages(send));
                let mut packer = Packer::new(output);
                packer.tree(view.as_fd(), b"").and_then(|()| packer.finish()).map_err(|error| error.to_string())?;
                Ok::<(), String>(())
            });
            let mut client = FileSendClient::new(session.channel);
            let mut answers = client.diff_copy(Request::new(ReceiverStream::new(receive))).await?.into_inner();
            while answers.message().await?.is_some() {}
            let packed = packing.await.map_err(|_| Status::internal("the builder ended"))?;
            packed.map_err(Status::internal)
        };
        news::around(progress, news::EXPORT, "exporting to client tarball", work).await
    }
}

/// Bytes as messages of a stream.
struct Messages(mpsc::Sender<BytesMessage>);

impl Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(BytesMessage { data: bytes.to_vec() });
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
