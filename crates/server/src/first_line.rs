//! The first line of a connection, made readable for hyper.
//!
//! People type `curl --unix-socket … 'http://d/containers/json?filters={"status":["running"]}'`, as Docker's own pages
//! show it. A quote may not stand in an address, and hyper refuses the whole request for it, without a word; Go takes
//! it. Here it becomes `%22` on its way in. Only the first request of a connection is looked at: clients that use a
//! connection twice are programs, and those encode.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once while the line lasts; three times as many bytes may come out.
const PIECE_BYTES_MAX: usize = 1024;

/// A connection whose first line may have quotes in it.
#[derive(Debug)]
pub(crate) struct FirstLine<S> {
    socket: S,
    is_over: bool,
}

impl<S> FirstLine<S> {
    pub(crate) fn of(socket: S) -> Self {
        Self { socket, is_over: false }
    }

    pub(crate) fn into_inner(self) -> S {
        self.socket
    }
}

/// Encodes the quotes of what is the first line, and tells whether it has ended.
fn encode(piece: &[u8], put: &mut impl FnMut(&[u8])) -> bool {
    let end = piece.iter().position(|byte| *byte == b'\n');
    let (line, rest) = piece.split_at(end.unwrap_or(piece.len()));
    for (at, part) in line.split(|byte| *byte == b'"').enumerate() {
        if at > 0 {
            put(b"%22");
        }
        put(part);
    }
    put(rest);
    end.is_some()
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstLine<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // With this little room the line is at its end anyway: hyper gives kilobytes.
        this.is_over |= buffer.remaining() < 3;
        if this.is_over {
            return Pin::new(&mut this.socket).poll_read(cx, buffer);
        }
        let mut bytes = [0; PIECE_BYTES_MAX];
        let mut piece = ReadBuf::new(&mut bytes[..(buffer.remaining() / 3).min(PIECE_BYTES_MAX)]);
        ready!(Pin::new(&mut this.socket).poll_read(cx, &mut piece))?;
        this.is_over = encode(piece.filled(), &mut |part| buffer.put_slice(part));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstLine<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn quotes_of_the_first_line_are_encoded_and_no_others() {
        let (mut client, server) = tokio::io::duplex(64);
        let request = "GET /json?filters={\"a\":[\"b\"]} HTTP/1.1\r\nX: \"y\"\r\n\r\n{\"z\"}";
        tokio::spawn(async move { client.write_all(request.as_bytes()).await });
        let mut read = String::new();
        FirstLine::of(server).read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "GET /json?filters={%22a%22:[%22b%22]} HTTP/1.1\r\nX: \"y\"\r\n\r\n{\"z\"}");
    }
}
