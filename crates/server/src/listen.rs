//! Sockets that main hands in, and the connections that come out of them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::limits;

/// How the head of an answer begins after which the connection is the client's and the process's.
const UPGRADED: &[u8] = b"HTTP/1.1 101 ";

/// A socket to accept from; who may connect is its owner's business.
#[derive(Debug)]
pub enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                // What a process prints must not wait for what it prints next.
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
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
            tcp @ Self::Tcp(_) => Ok(tcp),
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
