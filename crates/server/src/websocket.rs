//! Attach over a WebSocket, for browsers: what a container writes comes as binary messages, what is sent goes to its
//! input. Bytes are raw: no frames of Docker's own tell the two outputs apart, as with Docker.

use futures_util::{SinkExt, StreamExt};
use hako_engine::view::OutputChunk;
use hyper::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{
    call::Call,
    error::Failure,
    first_line::FirstLine,
    hijack::{Input, Session},
    limits,
    listen::Socket,
    reply::{self, Reply},
};

const VERSION: &str = "13";

/// Answers a handshake; the session goes on afterwards.
///
/// # Errors
/// A request that is none (RFC 6455, section 4.2.1).
pub(crate) fn answer<I: Input + 'static>(mut call: Call, session: Session<I>) -> Result<Reply, Failure> {
    let key = call.header("sec-websocket-key").to_owned();
    let upgrade = call.upgrade.take().filter(|_| !key.is_empty() && call.header("sec-websocket-version") == VERSION);
    let Some(upgrade) = upgrade else {
        return Err(Failure::invalid(
            "this is no handshake of a WebSocket: Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version: 13 are needed",
        ));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| Failure::invalid("the key of the WebSocket cannot be answered"))?;
    let stopped = call.daemon.stopped();
    tokio::spawn(async move {
        tokio::select! {
            () = take_over(upgrade, session) => {}
            () = stopped => {}
        }
    });
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(HeaderName::from_static("sec-websocket-accept"), accept);
    Ok(reply)
}

async fn take_over<I: Input>(upgrade: OnUpgrade, session: Session<I>) {
    let Some(parts) = upgrade.await.ok().and_then(|upgraded| upgraded.downcast::<TokioIo<FirstLine<Socket>>>().ok())
    else {
        tracing::debug!("the client left before it was upgraded");
        return;
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::WEBSOCKET_BYTES_MAX))
        .max_frame_size(Some(limits::WEBSOCKET_BYTES_MAX));
    let socket = parts.io.into_inner().into_inner();
    let socket =
        WebSocketStream::from_partially_read(socket, parts.read_buf.to_vec(), Role::Server, Some(config)).await;
    if let Err(error) = relay(socket, session).await {
        tracing::debug!(%error, "an attached client went away");
    }
}

/// Until the output ends or the client says that it leaves.
async fn relay<I: Input>(
    mut socket: WebSocketStream<Socket>,
    Session { mut input, mut output, has_output, .. }: Session<I>,
) -> tungstenite::Result<()> {
    loop {
        tokio::select! {
            message = socket.next() => match message.transpose()? {
                Some(Message::Binary(bytes)) => typed(&mut input, &bytes).await,
                Some(Message::Text(text)) => typed(&mut input, text.as_bytes()).await,
                // Pings are answered by the library.
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Some(Message::Close(_)) | None => break,
            },
            chunk = output.recv(), if has_output => match chunk {
                Some(OutputChunk { bytes, .. }) => socket.send(Message::Binary(bytes)).await?,
                None => {
                    socket.close(None).await?;
                    break;
                }
            },
        }
    }
    if let Some(mut input) = input {
        input.close().await;
    }
    Ok(())
}

/// A process that has closed its input is no reason to leave: its output says the rest.
async fn typed(input: &mut Option<impl Input>, bytes: &[u8]) {
    if let Some(open) = input
        && open.write(bytes).await.is_err()
    {
        *input = None;
    }
}
