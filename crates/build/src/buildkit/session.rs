//! Sessions: connections on which the client is the server, and what it offers there.

use std::{collections::HashMap, path::PathBuf, sync::Mutex as StdMutex, time::Duration};

use bollard_buildkit_proto::{
    health::{HealthCheckRequest, health_client::HealthClient},
    moby::{
        buildkit::secrets::v1::{GetSecretRequest, secrets_client::SecretsClient},
        filesync::v1::auth_client::AuthClient,
        sshforward::v1::{BytesMessage, CheckAgentRequest, ssh_client::SshClient},
    },
};
use hako_archive::content::LAYOUT;
use hako_engine::view::Credentials;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

use super::{Connection, content::ContentStore, depots::ClientSource, held, receive::receive};
use crate::{
    context::Context,
    limits,
    request::{AgentFuture, AgentSocket, CredentialsFuture, DirectoryFuture, Layout, SecretFuture, Secrets, Wanted},
};

/// How long a build waits for the session that it names: the client opens both at once.
const SESSION_DEADLINE: Duration = Duration::from_secs(10);
/// How often a session is asked whether it is still there.
const HEALTH_PAUSE: Duration = Duration::from_secs(5);

/// What a client says about its session.
#[derive(Debug, Clone)]
pub struct SessionHead {
    pub id: String,
    pub shared_key: String,
}

/// A session that lasts.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) channel: Channel,
    /// The same for builds of the same directory.
    pub(super) shared_key: String,
}

/// All sessions by their id.
pub(super) struct Sessions(watch::Sender<HashMap<String, Session>>);

impl Default for Sessions {
    fn default() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }
}

impl Sessions {
    /// Keeps a session until its connection ends.
    pub(super) async fn hold(&self, head: SessionHead, connection: impl Connection) {
        let once = StdMutex::new(Some(connection));
        let connector = service_fn(move |_| {
            let connection = once.lock().ok().and_then(|mut slot| slot.take());
            async move { connection.ok_or_else(|| std::io::Error::other("the session has ended")) }
        });
        let endpoint = Endpoint::from_static("http://session");
        let endpoint = endpoint.initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES);
        let channel = match endpoint.connect_with_connector(connector).await {
            Ok(channel) => channel,
            Err(error) => {
                tracing::debug!(error = %hako_base::error::chain(&error), "a session could not be opened");
                return;
            }
        };
        let session = Session { channel: channel.clone(), shared_key: head.shared_key };
        self.0.send_modify(|all| drop(all.insert(head.id.clone(), session)));
        let mut health = HealthClient::new(channel);
        // A client that has gone answers with an error at once, since nothing connects anew.
        let mut pause = tokio::time::interval(HEALTH_PAUSE);
        loop {
            pause.tick().await;
            match health.check(HealthCheckRequest::default()).await {
                Ok(_) => {}
                Err(status) if status.code() == Code::Unimplemented => {}
                Err(_) => break,
            }
        }
        self.0.send_modify(|all| drop(all.remove(&head.id)));
    }

    /// The session with this id, as soon as it is there.
    pub(super) async fn get(&self, id: &str) -> Result<Session, Status> {
        let mut watch = self.0.subscribe();
        let found = watch.wait_for(|all| all.contains_key(id));
        let found = tokio::time::timeout(SESSION_DEADLINE, found).await;
        let session = match found {
            Ok(Ok(all)) => all.get(id).cloned(),
            _ => None,
        };
        session.ok_or_else(|| Status::not_found(format!("no active session for {id}")))
    }
}

/// Secrets as a session has them.
pub(super) struct SessionSecrets(pub(super) Option<Session>);

impl Secrets for SessionSecrets {
    fn secret(&self, id: &str) -> SecretFuture {
        let (session, id) = (self.0.clone(), id.to_owned());
        Box::pin(async move {
            let Some(session) = session else { return Ok(None) };
            let mut client = SecretsClient::new(session.channel);
            let asked = client.get_secret(GetSecretRequest { id, annotations: HashMap::new() }).await;
            match asked {
                Ok(answer) => Ok(Some(answer.into_inner().data)),
                Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
                Err(status) => Err(status.message().to_owned()),
            }
        })
    }

    fn agent(&self, id: &str, path: PathBuf) -> AgentFuture {
        let (session, id) = (self.0.clone(), id.to_owned());
        Box::pin(async move {
            let Some(session) = session else { return Ok(None) };
            let mut client = SshClient::new(session.channel);
            match client.check_agent(CheckAgentRequest { id: id.clone() }).await {
                Ok(_) => {}
                Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => return Ok(None),
                Err(status) => return Err(status.message().to_owned()),
            }
            let listener =
                UnixListener::bind(&path).map_err(|error| format!("cannot make the agent's socket: {error}"))?;
            Ok(Some(AgentSocket(tokio::spawn(forward_agent(listener, client, id)))))
        })
    }

    fn directory(&self, name: &str, wanted: Wanted, context: Context) -> DirectoryFuture {
        let (session, name) = (self.0.clone(), name.to_owned());
        Box::pin(async move {
            let session = session.ok_or_else(|| format!("the client offers no directory {name}"))?;
            let received = receive(&session, &name, &wanted, context).await;
            received.map(|(context, _)| context).map_err(|status| status.message().to_owned())
        })
    }

    fn layout(&self, store: &str) -> Option<Layout> {
        let session = self.0.as_ref()?;
        let store = ContentStore::new(session, &format!("{LAYOUT}{store}"));
        Some(Layout(Box::new(ClientSource(store))))
    }

    fn credentials(&self, registry: &str) -> CredentialsFuture {
        // Clients know Docker Hub by the name of its server.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry }.to_owned();
        let session = self.0.clone();
        Box::pin(async move {
            match session {
                Some(session) => held::credentials(AuthClient::new(session.channel), host).await,
                None => Credentials::default(),
            }
        })
    }
}

// Each connection to the socket becomes one to the client's agent.
async fn forward_agent(listener: UnixListener, client: SshClient<Channel>, id: String) {
    // Ended with this one: what a step has left open leads nowhere when it is over.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (mut client, id) = (client.clone(), id.clone());
        connections.spawn(async move {
            let (mut reader, mut writer) = stream.into_split();
            let (send, receive) = mpsc::channel(limits::PACKETS_QUEUED);
            let mut request = Request::new(ReceiverStream::new(receive));
            if let Ok(id) = id.parse() {
                request.metadata_mut().insert("buildkit.ssh.id", id);
            }
            let asking = async move {
                let mut buffer = vec![0; limits::DATA_BYTES];
                while let Ok(count) = reader.read(&mut buffer).await {
                    let message = BytesMessage { data: buffer[..count].to_vec() };
                    if count == 0 || send.send(message).await.is_err() {
                        return;
                    }
                }
            };
            let answering = async move {
                let Ok(answers) = client.forward_agent(request).await else { return };
                let mut answers = answers.into_inner();
                while let Ok(Some(message)) = answers.message().await {
                    if writer.write_all(&message.data).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(asking, answering);
        });
    }
}
