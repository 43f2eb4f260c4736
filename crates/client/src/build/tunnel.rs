//! A session within a call: bytes both ways in messages of `Control.Session`, which is how BuildKit by itself takes what
//! a daemon takes at `POST /session`.

use std::io;

use bollard_buildkit_proto::moby::buildkit::v1::{BytesMessage, control_client::ControlClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
    transport::Channel,
};

use super::{
    build_error,
    builder::{Connection, unavailable},
};
use crate::{ClientError, limits};

/// Opens a session; it lasts as long as what is given back.
pub(super) async fn open(
    mut control: ControlClient<Channel>,
    id: &str,
    shared_key: &str,
    methods: &[String],
) -> Result<Connection, ClientError> {
    let (send, messages) = mpsc::channel(limits::BUILD_PACKETS_QUEUED);
    let mut request = Request::new(ReceiverStream::new(messages));
    let mut announce = |name: &'static str, value: &str| -> Result<(), ClientError> {
        let value = AsciiMetadataValue::try_from(value)
            .map_err(|_| unavailable(format!("{value:?} cannot be said to a builder")))?;
        request.metadata_mut().append(AsciiMetadataKey::from_static(name), value);
        Ok(())
    };
    announce("x-docker-expose-session-uuid", id)?;
    announce("x-docker-expose-session-name", "build")?;
    announce("x-docker-expose-session-sharedkey", shared_key)?;
    methods.iter().try_for_each(|method| announce("x-docker-expose-session-grpc-method", method))?;
    let answers = control.session(request).await.map_err(|status| build_error(&status))?.into_inner();
    let (ours, theirs) = tokio::io::duplex(limits::BUILD_DATA_BYTES);
    let (reader, writer) = tokio::io::split(theirs);
    tokio::spawn(outward(reader, send));
    // The control client is kept: its connection carries the call.
    tokio::spawn(async move {
        let _ = inward(answers, writer).await;
        drop(control);
    });
    Ok(Box::new(ours))
}

async fn outward(mut from: ReadHalf<DuplexStream>, to: mpsc::Sender<BytesMessage>) {
    let mut buffer = vec![0; limits::BUILD_DATA_BYTES];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 || to.send(BytesMessage { data: buffer[..count].to_vec() }).await.is_err() {
            return;
        }
    }
}

// How the call ends is told by the build itself.
async fn inward(mut from: Streaming<BytesMessage>, mut to: WriteHalf<DuplexStream>) -> io::Result<()> {
    while let Ok(Some(message)) = from.message().await {
        to.write_all(&message.data).await?;
    }
    to.shutdown().await
}
