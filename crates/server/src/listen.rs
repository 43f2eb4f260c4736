//! Sockets that main hands in, and the connections that come out of them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{Tls, limits};

/// How HTTP/2 begins (RFC 9113, section 3.4), as far as no request of HTTP/1 does.
const HTTP2: &[u8] = b"PRI ";

/// How the head of an answer begins after which the connection is the client's and the process's.
const UPGRADED: &[u8] = b"HTTP/1.1 101 ";

/// A socket to accept from; who may connect is its owner's business.
#[derive(Debug)]
pub enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
    /// TCP with TLS, which says which clients are let in.
    Tls(TcpListener, Tls),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener) => Ok(Accepted::Ready(Socket::Unix(listener.accept().await?.0))),
            Self::Tcp(listener) => Ok(Accepted::Ready(Socket::Tcp(accept_tcp(listener).await?))),
            Self::Tls(listener, tls) => Ok(Accepted::Handshaking(accept_tcp(listener).await?, tls.acceptor())),
        }
    }
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<TcpStream> {
    let stream = listener.accept().await?.0;
    // What a process prints must not wait for what it prints next.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection before anything has been said on it.
pub(crate) enum Accepted {
    Ready(Socket),
    /// Which is why accepting never waits for a client.
    Handshaking(TcpStream, TlsAcceptor),
}

/// How a TLS record that opens a connection begins (RFC 8446, section 5.1: handshake).
const TLS_HANDSHAKE: u8 = 22;

/// What a client reads that speaks plain HTTP here; Go's sentence, which people search for.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

impl Accepted {
    /// The connection, after the handshake where there is one.
    pub(crate) async fn socket(self) -> io::Result<Socket> {
        match self {
            Self::Ready(socket) => Ok(socket),
            Self::Handshaking(stream, acceptor) => {
                let handshake = handshake(stream, &acceptor);
                tokio::time::timeout(limits::HANDSHAKE_DEADLINE, handshake)
                    .await
                    .map_err(|_| io::ErrorKind::TimedOut)?
            }
        }
    }
}

async fn handshake(mut stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Socket> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        // Closed with something unread, the client would see a reset instead of the answer.
        while stream.read(&mut [0; 4096]).await? > 0 {}
        return Err(io::Error::other("a client speaks plain HTTP where TLS is expected"));
    }
    Ok(Socket::Tls(Box::new(acceptor.accept(stream).await?)))
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Whether the client speaks HTTP/2 from the beginning, as those of gRPC do. Its first bytes are looked at and stay.
    pub(crate) async fn speaks_http2(&self) -> io::Result<bool> {
        let mut first = [0; HTTP2.len()];
        let count = match self {
            Self::Unix(stream) => loop {
                stream.readable().await?;
                let look = || Ok(rustix::net::recv(stream, &mut first, rustix::net::RecvFlags::PEEK)?.0);
                match stream.try_io(Interest::READABLE, look) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => break other?,
                }
            },
            Self::Tcp(stream) => stream.peek(&mut first).await?,
            // Chosen while TLS was set up.
            Self::Tls(stream) => return Ok(stream.get_ref().1.alpn_protocol() == Some(b"h2")),
        };
        Ok(first[..count] == *HTTP2)
    }

    /// Waits until the client has read the head of an upgraded answer, which was the last thing written.
    ///
    /// Clients that read the head through a buffer and then throw the buffer away would lose what
    /// comes with it: docker-py is one. Over TCP nothing tells what a client has read.
    pub(crate) async fn head_taken(self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => match tokio::time::timeout(limits::HEAD_READ_DEADLINE, stream.writable()).await {
                Ok(taken) => taken.map(|()| Self::Unix(stream)),
                // Registered anew, it counts as writable again.
                Err(_late) => Ok(Self::Unix(UnixStream::from_std(stream.into_std()?)?)),
            },
            tcp @ (Self::Tcp(_) | Self::Tls(_)) => Ok(tcp),
        }
    }
}

/// Writes so that the stream is writable again only once its peer has read something.
///
/// `WouldBlock` makes tokio forget what it knew of the stream before the write; the kernel tells
/// (`EPOLLOUT`, edge-triggered) whenever the peer of a Unix socket takes bytes off it. That counts
/// also when it comes before this function returns.
fn write_and_forget_room(stream: &UnixStream, bytes: &[u8]) -> Option<io::Result<usize>> {
    let mut written = None;
    let _ = stream.try_io(Interest::WRITABLE, || {
        written = Some(stream.try_write(bytes));
        Err::<(), _>(io::ErrorKind::WouldBlock.into())
    });
    written.filter(|result| !matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => {
                if bytes.starts_with(UPGRADED)
                    && let Some(written) = write_and_forget_room(stream, bytes)
                {
                    return Poll::Ready(written);
                }
                Pin::new(stream).poll_write(cx, bytes)
            }
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head, ..] = slices
            && head.starts_with(UPGRADED)
        {
            return self.poll_write(cx, head);
        }
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's socket after it has sent the head of an upgraded answer, and its client's.
    async fn upgraded() -> (UnixStream, Socket) {
        let (client, server) = UnixStream::pair().unwrap();
        // The reactor's first word about a new socket is not about what is written.
        tokio::task::yield_now().await;
        let mut server = Socket::Unix(server);
        server.write_all(b"HTTP/1.1 101 UPGRADED\r\n\r\n").await.unwrap();
        (client, server)
    }

    #[tokio::test]
    async fn after_an_upgrade_the_client_reads_the_head_before_anything_is_added() {
        let (mut client, server) = upgraded().await;
        let taken = tokio::spawn(server.head_taken());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!taken.is_finished());
        let mut bytes = [0; 100];
        assert_eq!(client.read(&mut bytes).await.unwrap(), 25);
        let mut server = taken.await.unwrap().unwrap();
        server.write_all(b"output").await.unwrap();
        assert_eq!(client.read(&mut bytes).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn a_client_that_never_reads_the_head_is_not_waited_for_long() {
        let (mut client, server) = upgraded().await;
        let mut server = server.head_taken().await.unwrap();
        server.write_all(b"output").await.unwrap();
        drop(server);
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "HTTP/1.1 101 UPGRADED\r\n\r\noutput");
    }
}
