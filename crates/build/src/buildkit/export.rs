//! Results to where the client wants them: images here and in registries, or files and archives of the client's.
//!
//! One image without attestations goes the way of every image here. What needs an index (several platforms, attestations)
//! or manifests of its own is put together in `index.rs`, and leaves nothing in the store.

use std::{
    collections::HashMap,
    io::{self, Write},
    os::fd::AsFd,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard_buildkit_proto::moby::filesync::v1::{BytesMessage, file_send_client::FileSendClient};
use hako_archive::Packer;
use hako_base::{clock, error::chain};
use hako_model::{Digest, Platform, Reference};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::Status;

use super::{
    BuildKit, attributes,
    bridge::failed,
    files::{self, Outlet, Part},
    index::{Assembly, Document, Order},
    layout,
    news::{self, Teller},
    session::SessionSecrets,
    solves::Solve,
    target::{Compression, Form, Target},
};
use crate::{
    attest,
    event::{Event, Progress},
    limits,
    plan::platform_text,
    request::Secrets,
    solve::{Built, blocking},
};

type Answer = HashMap<String, String>;

/// Refuses what an output cannot carry, before anything is built.
pub(super) fn check(solve: &Solve, attributes: &HashMap<String, String>) -> Result<(), Status> {
    let is_attested = attributes::provenance(attributes).is_some_and(|wish| !wish.inline_only)
        || attributes::sbom(attributes).is_some();
    let is_several = attributes::platforms(attributes)?.len() > 1 || attributes::wants_index(attributes);
    for target in &solve.targets {
        match target {
            Target::Image { push: false, .. } if is_attested => {
                return Err(Status::invalid_argument(
                    "provenance and SBOMs are attached in registries and OCI archives; the image store keeps images alone: \
                     add --push or --output type=oci,dest=FILE, or leave the attestation out",
                ));
            }
            Target::Archive { for_docker: true, .. } if is_attested || is_several => {
                return Err(Status::invalid_argument(
                    "docker exporter does not currently support exporting manifest lists: use --output type=oci",
                ));
            }
            Target::Archive { form, .. } | Target::Image { form, .. }
                if form.compression == Some(Compression::Uncompressed)
                    && (is_attested || is_several || matches!(target, Target::Image { .. })) =>
            {
                return Err(Status::unimplemented(
                    "compression=uncompressed is for an OCI archive of one image without attestations",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

impl BuildKit {
    /// Exports results, one for each platform, everywhere; answers what clients want to know of them.
    pub(super) async fn export(&self, solve: &Solve, built: &[Arc<Built>]) -> Result<Answer, Status> {
        news::told(solve, Teller::default(), |progress| async move {
            let mut answer = HashMap::new();
            for (number, target) in solve.targets.iter().enumerate() {
                match target {
                    Target::Image { names, push, form } => {
                        answer.extend(self.image(solve, built, (names, *push), form, &progress).await?);
                    }
                    Target::Archive { names, for_docker, form } => {
                        let how = (names.as_slice(), *for_docker, form);
                        answer.extend(self.archive(solve, built, how, (number, &progress)).await?);
                    }
                    Target::Files { split } => self.files(solve, built, *split, (number, &progress)).await?,
                    Target::Tar { split } => self.tar(solve, built, *split, (number, &progress)).await?,
                }
            }
            Ok(answer)
        })
        .await
    }

    // The store keeps one image of a name: of several platforms, this machine's.
    async fn image(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        (names, push): (&[Reference], bool),
        form: &Form,
        progress: &Progress,
    ) -> Result<Answer, Status> {
        let host = Platform::host();
        let own = built.iter().find(|one| one.image.platform.architecture == host.architecture);
        let own = own.or(built.first()).ok_or_else(|| Status::not_found("there is no result"))?;
        let mut answer = self.store_image(own, names, progress).await?;
        if built.len() > 1 && !push {
            let kept = platform_text(&own.image.platform);
            let text = format!(
                "The image store keeps one platform of a name: {kept} is kept. All of them go by --push or --output type=oci"
            );
            progress.tell(Event::Warning { line: 0, text }).await;
        }
        match push {
            false => {}
            true if self.is_plain(solve, built, form) => self.push(solve, names, progress).await?,
            true => {
                answer.extend(self.push_assembly(solve, built, names, form, progress).await?);
                self.name_pushed(own, names, &answer).await?;
            }
        }
        Ok(answer)
    }

    // The image here is known by what it went out in, as one that was pulled is.
    async fn name_pushed(&self, own: &Arc<Built>, names: &[Reference], answer: &Answer) -> Result<(), Status> {
        let top = answer.get("containerimage.digest").and_then(|text| text.parse::<Digest>().ok());
        let Some(top) = top else { return Ok(()) };
        let (store, own) = (self.0.builder.engine().image_store().clone(), own.clone());
        let names: Vec<Reference> = names.iter().map(|name| name.with_digest(top)).collect();
        let named = blocking(move || {
            let id = store.built_id(&own.image);
            names.iter().try_for_each(|name| store.name_digest(id, name))
        });
        named.await.map_err(|error| Status::internal(chain(&error)))
    }

    // Whether a result is one image with the manifest that every push makes.
    fn is_plain(&self, solve: &Solve, built: &[Arc<Built>], form: &Form) -> bool {
        let wants_index = solve.asked(|asked| attributes::wants_index(&asked.attributes));
        let has_sbom = built.iter().any(|one| !one.sboms.is_empty());
        built.len() == 1
            && *form == Form::default()
            && !wants_index
            && !has_sbom
            && self.provenance(solve, true).is_none()
    }

    fn provenance(&self, solve: &Solve, in_image: bool) -> Option<attest::Wish> {
        let wish = solve.asked(|asked| attributes::provenance(&asked.attributes));
        wish.filter(|wish| in_image || !wish.inline_only)
    }

    async fn store_image(
        &self,
        built: &Arc<Built>,
        names: &[Reference],
        progress: &Progress,
    ) -> Result<Answer, Status> {
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
                pushed.map_err(|error| Status::unknown(format!("failed to push {name}: {}", chain(&error))))
            };
            news::around(progress, vertex, &format!("pushing {}", name.familiar()), work).await?;
        }
        Ok(())
    }

    // The documents of an image that goes elsewhere. What became gzip for them is kept for the next time.
    async fn assembled(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        names: &[Reference],
        form: &Form,
    ) -> Result<Arc<Assembly>, Status> {
        let (builder, built, form) = (self.0.builder.clone(), built.to_vec(), form.clone());
        let names: Vec<Reference> = names.iter().map(|name| name.clone().with_default_tag()).collect();
        let (wish, asked) = (self.provenance(solve, true), solve.asked(Clone::clone));
        let assembled = blocking(move || {
            let as_index = attributes::wants_index(&asked.attributes);
            let provenance = wish.as_ref().map(|wish| (wish, &asked));
            builder.assemble(&built, &Order { form: &form, names: &names, as_index, provenance })
        });
        Ok(Arc::new(assembled.await.map_err(|error| failed(&error))?))
    }

    fn settle(&self, assembly: Arc<Assembly>) {
        let store = self.0.builder.engine().image_store().clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.gzip_settle(&assembly.changed) {
                tracing::warn!(error = chain(&error), "layers that were compressed are not kept");
            }
        });
    }

    async fn push_assembly(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        names: &[Reference],
        form: &Form,
        progress: &Progress,
    ) -> Result<Answer, Status> {
        let assembly = self.assembled(solve, built, names, form).await?;
        for (number, name) in names.iter().enumerate() {
            let name = name.clone().with_default_tag();
            let work = async {
                for document in &assembly.manifests {
                    let (shown, digest) = (format!("pushing manifest {}", document.digest), document.digest);
                    news::status(progress, news::PUSH - number as u64, &shown, 0, true).await;
                    self.put(solve, &name.with_digest(digest), document).await?;
                }
                let top = if form.by_digest { name.with_digest(assembly.top.digest) } else { name.clone() };
                self.put(solve, &top, &assembly.top).await
            };
            let title = format!("pushing {}", name.familiar());
            news::around(progress, news::PUSH - number as u64, &title, work).await?;
        }
        let answer = answer_of(&assembly, names);
        self.settle(assembly);
        Ok(answer)
    }

    async fn put(&self, solve: &Solve, name: &Reference, document: &Document) -> Result<(), Status> {
        let credentials = self.credentials(solve, name).await?;
        let store = self.0.builder.engine().image_store();
        let blobs = document.blobs.iter().map(|piece| piece.artifact(store)).collect::<Result<Vec<_>, _>>();
        let blobs = blobs.map_err(|error| failed(&error))?;
        let (engine, name, document) = (self.0.builder.engine().clone(), name.clone(), document.clone());
        // A task of its own, as a push is.
        let mut pushing = JoinSet::new();
        pushing.spawn(async move {
            let put = engine.artifact_put(&name, blobs, (document.media_type, &document.bytes), &credentials).await;
            put.map_err(|error| Status::unknown(format!("failed to push {name}: {}", chain(&error))))
        });
        let pushed = pushing.join_next().await.and_then(Result::ok);
        pushed.unwrap_or_else(|| Err(Status::aborted("the push was cancelled"))).map(drop)
    }

    async fn archive(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        (names, for_docker, form): (&[Reference], bool, &Form),
        (number, progress): (usize, &Progress),
    ) -> Result<Answer, Status> {
        let plain =
            Form { compression: form.compression.filter(|one| *one != Compression::Uncompressed), ..form.clone() };
        let is_plain = if for_docker { plain == Form::default() } else { self.is_plain(solve, built, &plain) };
        if let (true, [built]) = (is_plain, built) {
            self.docker_archive(solve, built, names, (number, progress)).await?;
            return Ok(HashMap::new());
        }
        let work = async {
            let outlet = self.outlet(solve, number).await?;
            let assembly = self.assembled(solve, built, names, form).await?;
            let (store, held) = (self.0.builder.engine().image_store().clone(), assembly.clone());
            let names: Vec<Reference> = names.iter().map(|name| name.clone().with_default_tag()).collect();
            let answer = answer_of(&assembly, &names);
            let pack = move |output: &mut dyn Write| {
                layout::write(&store, &held, &names, output).map_err(|error| chain(&error))
            };
            send_file(&outlet, pack).await?;
            self.settle(assembly);
            Ok::<_, Status>(answer)
        };
        news::around(progress, news::EXPORT, "exporting to oci image format", work).await
    }

    // The image is in the store while it is packed, and stays only if it was there before.
    async fn docker_archive(
        &self,
        solve: &Solve,
        built: &Arc<Built>,
        names: &[Reference],
        (number, progress): (usize, &Progress),
    ) -> Result<(), Status> {
        let names: Vec<Reference> = names.iter().map(|name| name.clone().with_default_tag()).collect();
        let work = async {
            let outlet = self.outlet(solve, number).await?;
            let store = self.0.builder.engine().image_store().clone();
            let was_there = store.resolve(&store.built_id(&built.image).to_string()).is_ok();
            let id = self.0.builder.record(built, &[]).await.map_err(|error| failed(&error))?;
            let pack = move |output: &mut dyn Write| store.save_as(id, &names, output).map_err(|error| chain(&error));
            let sent = send_file(&outlet, pack).await;
            if !was_there {
                // Somebody may have named it meanwhile, and then it stays.
                let _ = self.0.builder.engine().image_remove(&id.to_string(), false, true).await;
            }
            sent
        };
        news::around(progress, news::EXPORT, "exporting to docker image format", work).await
    }

    // Trees of files: one, or one for each platform in a directory of its own, each with what is attested of it.
    async fn parts(&self, solve: &Solve, built: &[Arc<Built>], split: Option<bool>) -> Result<Vec<Part>, Status> {
        let wants_index = solve.asked(|asked| attributes::wants_index(&asked.attributes));
        let (wish, asked) = (self.provenance(solve, false), solve.asked(Clone::clone));
        let mut parts = Vec::new();
        for one in built {
            let view = self.0.builder.files(one).map_err(|error| failed(&error))?;
            let root = view.as_fd().try_clone_to_owned().map_err(|error| Status::internal(error.to_string()))?;
            let is_split = split.unwrap_or(built.len() > 1 || wants_index);
            let prefix = if is_split { platform_text(&one.image.platform).replace('/', "_") } else { String::new() };
            let (wish, asked, one) = (wish.clone(), asked.clone(), one.clone());
            let part = blocking(move || {
                if wish.is_none() && one.sboms.is_empty() {
                    return Ok(Part { prefix, root, beside: Vec::new() });
                }
                let subjects = files::digests(&root)?;
                let mut beside: Vec<attest::Statement> =
                    one.sboms.iter().map(|sbom| attest::packages(sbom, &subjects)).collect();
                beside.extend(wish.map(|wish| attest::provenance(&wish, &one.facts, &asked, &subjects, &[])));
                beside.sort_by(|a, b| a.file.cmp(&b.file));
                let beside = beside.into_iter().map(|statement| (statement.file, statement.bytes)).collect();
                Ok::<_, io::Error>(Part { prefix, root, beside })
            });
            parts.push(part.await.map_err(|error| Status::internal(format!("cannot read the result: {error}")))?);
        }
        Ok(parts)
    }

    // Where the client takes its output of this number.
    async fn outlet(&self, solve: &Solve, number: usize) -> Result<Outlet, Status> {
        Ok(Outlet { session: self.0.sessions.get(&solve.session).await?, number })
    }

    async fn files(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        split: Option<bool>,
        (number, progress): (usize, &Progress),
    ) -> Result<(), Status> {
        let work = async {
            let outlet = self.outlet(solve, number).await?;
            files::send(&outlet, self.parts(solve, built, split).await?).await
        };
        news::around(progress, news::EXPORT, "exporting to client directory", work).await
    }

    async fn tar(
        &self,
        solve: &Solve,
        built: &[Arc<Built>],
        split: Option<bool>,
        (number, progress): (usize, &Progress),
    ) -> Result<(), Status> {
        let work = async {
            let outlet = self.outlet(solve, number).await?;
            let parts = self.parts(solve, built, split).await?;
            send_file(&outlet, move |output: &mut dyn Write| pack(&parts, output).map_err(|error| error.to_string()))
                .await
        };
        news::around(progress, news::EXPORT, "exporting to client tarball", work).await
    }
}

fn pack(parts: &[Part], output: &mut dyn Write) -> Result<(), hako_archive::PackError> {
    use hako_archive::tar::{Entry, Kind};
    let mut packer = Packer::new(output);
    for part in parts {
        let prefix = if part.prefix.is_empty() { String::new() } else { format!("{}/", part.prefix) };
        if !prefix.is_empty() {
            packer.entry(&Entry { mode: 0o755, ..Entry::new(prefix.as_str(), Kind::Directory) })?;
        }
        packer.tree(part.root.as_fd(), prefix.as_bytes())?;
        for (name, bytes) in &part.beside {
            let entry = Entry { mode: 0o644, ..Entry::new(format!("{prefix}{name}"), Kind::File) };
            packer.whole(&entry, bytes)?;
        }
    }
    packer.finish().map(drop)
}

// What clients write into their metadata files.
fn answer_of(assembly: &Assembly, names: &[Reference]) -> Answer {
    let shown: Vec<String> = names.iter().map(|name| name.clone().with_default_tag().to_string()).collect();
    HashMap::from([
        ("containerimage.digest".to_owned(), assembly.top.digest.to_string()),
        ("containerimage.descriptor".to_owned(), STANDARD.encode(assembly.top.descriptor().to_string())),
        ("image.name".to_owned(), shown.join(",")),
    ])
}

// One file to the client, as `pack` writes it.
async fn send_file(
    outlet: &Outlet,
    pack: impl FnOnce(&mut dyn Write) -> Result<(), String> + Send + 'static,
) -> Result<(), Status> {
    let (send, receive) = mpsc::channel(limits::PACKETS_QUEUED);
    let packing = tokio::task::spawn_blocking(move || {
        let mut output = io::BufWriter::with_capacity(limits::DATA_BYTES, Messages(send));
        pack(&mut output)?;
        output.flush().map_err(|error| error.to_string())
    });
    let mut client = FileSendClient::new(outlet.session.channel.clone());
    let mut answers = client.diff_copy(outlet.request(receive)).await?.into_inner();
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
