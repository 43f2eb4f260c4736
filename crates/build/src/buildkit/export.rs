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
use hako_base::clock;
use hako_model::Reference;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{
    BuildKit,
    bridge::failed,
    files,
    news::{self, Teller},
    session::{Session, SessionSecrets},
    solves::Solve,
};
use crate::{
    event::{Event, Progress},
    limits,
    request::Secrets,
    solve::Built,
};

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An image in the store, under these names.
    Image { names: Vec<Reference>, push: bool },
    /// An image as an archive that Docker and OCI tools read, under these names.
    Archive(Vec<Reference>),
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
                if let Some(key) = attributes.keys().find(|key| !IMAGE_KEYS.contains(&key.as_str())) {
                    return not_built(&format!("--output type=image with {key}"));
                }
                if is_true(attributes, "push-by-digest") {
                    return not_built("--output type=image with push-by-digest");
                }
                Ok(Self::Image { names: names(attributes)?, push: is_true(attributes, "push") })
            }
            "docker" | "oci" => {
                if attributes.get("tar").is_some_and(|tar| tar == "false") {
                    return not_built(&format!("--output type={kind} as a directory"));
                }
                if let Some(key) = attributes.keys().find(|key| !ARCHIVE_KEYS.contains(&key.as_str())) {
                    return not_built(&format!("--output type={kind} with {key}"));
                }
                Ok(Self::Archive(names(attributes)?))
            }
            "local" => Ok(Self::Files),
            "tar" => Ok(Self::Tar),
            other => not_built(&format!("--output type={other}")),
        }
    }
}

/// What an image's output may say; `unpack`, `store` and `load` (docker compose says it) are as they are here anyway.
const IMAGE_KEYS: &[&str] = &["name", "push", "push-by-digest", "unpack", "store", "load", "dangling-name-prefix"];
const ARCHIVE_KEYS: &[&str] = &["name", "tar"];

fn is_true(attributes: &HashMap<String, String>, key: &str) -> bool {
    attributes.get(key).is_some_and(|value| !matches!(value.as_str(), "false" | "0"))
}

fn names(attributes: &HashMap<String, String>) -> Result<Vec<Reference>, Status> {
    let names = attributes.get("name").map_or("", String::as_str);
    let names = names.split(',').filter(|name| !name.is_empty()).map(|name| {
        let parsed = name.parse::<Reference>();
        parsed.map_err(|error| Status::invalid_argument(error.to_string()))
    });
    names.collect()
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
                    Target::Image { names, push } => {
                        answer.extend(self.image(built, names, &progress).await?);
                        if *push {
                            self.push(solve, names, &progress).await?;
                        }
                    }
                    Target::Archive(names) => self.archive(solve, built, names, &progress).await?,
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

    // To the registries that the names begin with, with the client's credentials.
    async fn push(&self, solve: &Solve, names: &[Reference], progress: &Progress) -> Result<(), Status> {
        let secrets = SessionSecrets(Some(self.0.sessions.get(&solve.session).await?));
        let engine = self.0.builder.engine();
        for (number, name) in names.iter().enumerate() {
            let name = name.clone().with_default_tag();
            let vertex = news::PUSH - number as u64;
            let work = async {
                let credentials = secrets.credentials(name.domain()).await;
                let (send, mut steps) = mpsc::channel(limits::PACKETS_QUEUED);
                let telling = async {
                    while let Some(step) = steps.recv().await {
                        progress.tell(Event::Pull { id: vertex, step, at: clock::now() }).await;
                    }
                };
                let (repository, tag) = (name.familiar_name(), name.tag().unwrap_or_default().to_owned());
                let engine = engine.clone();
                // A task of its own, as a pull is; it ends with the set.
                let mut pushing = JoinSet::new();
                pushing.spawn(async move { engine.image_push(&repository, &tag, credentials, send).await });
                let (pushed, ()) = tokio::join!(pushing.join_next(), telling);
                let pushed = pushed.and_then(Result::ok).ok_or_else(|| Status::aborted("the push was cancelled"))?;
                pushed.map_err(|error| {
                    Status::unknown(format!("failed to push {name}: {}", hako_base::error::chain(&error)))
                })
            };
            news::around(progress, vertex, &format!("pushing {}", name.familiar()), work).await?;
        }
        Ok(())
    }

    // The image is in the store while it is packed, and stays only if it was there before.
    async fn archive(
        &self,
        solve: &Solve,
        built: &Arc<Built>,
        names: &[Reference],
        progress: &Progress,
    ) -> Result<(), Status> {
        let names: Vec<Reference> = names.iter().map(|name| name.clone().with_default_tag()).collect();
        let work = async {
            let session = self.0.sessions.get(&solve.session).await?;
            let store = self.0.builder.engine().image_store().clone();
            let was_there = store.resolve(&store.built_id(&built.image).to_string()).is_ok();
            let id = self.0.builder.record(built, &[]).await.map_err(|error| failed(&error))?;
            let pack = move |output: &mut dyn Write| {
                store.save_as(id, &names, output).map_err(|error| hako_base::error::chain(&error))
            };
            let sent = send_file(&session, pack).await;
            if !was_there {
                // Somebody may have named it meanwhile, and then it stays.
                let _ = self.0.builder.engine().image_remove(&id.to_string(), false, true).await;
            }
            sent
        };
        news::around(progress, news::EXPORT, "exporting to docker image format", work).await
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
            let pack = move |output: &mut dyn Write| {
                let mut packer = Packer::new(output);
                packer
                    .tree(view.as_fd(), b"")
                    .and_then(|()| packer.finish())
                    .map(drop)
                    .map_err(|error| error.to_string())
            };
            send_file(&session, pack).await
        };
        news::around(progress, news::EXPORT, "exporting to client tarball", work).await
    }
}

// One file to the client, as `pack` writes it.
async fn send_file(
    session: &Session,
    pack: impl FnOnce(&mut dyn Write) -> Result<(), String> + Send + 'static,
) -> Result<(), Status> {
    let (send, receive) = mpsc::channel(limits::PACKETS_QUEUED);
    let packing = tokio::task::spawn_blocking(move || {
        let mut output = io::BufWriter::with_capacity(limits::DATA_BYTES, Messages(send));
        pack(&mut output)?;
        output.flush().map_err(|error| error.to_string())
    });
    let mut client = FileSendClient::new(session.channel.clone());
    let mut answers = client.diff_copy(Request::new(ReceiverStream::new(receive))).await?.into_inner();
    while answers.message().await?.is_some() {}
    let packed = packing.await.map_err(|_| Status::internal("the builder ended"))?;
    packed.map_err(Status::internal)
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
