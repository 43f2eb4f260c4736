//! TCP: bytes go from socket to socket through a pipe (`splice`), so that none is copied to here.
//! Each direction ends by itself: a half-closed connection stays half-closed on the other side.

use std::{io, net::SocketAddr, time::Duration};

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// Connections of one port at a time; each is two sockets and two pipes.
const CONNECTIONS_MAX: usize = 4096;
/// A container on a local bridge answers in microseconds or not at all.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Pause when the process has no descriptors left, unless a connection ends before.
const RETRY: Duration = Duration::from_millis(50);
/// What one direction holds at a time: the most that the kernel gives anybody. Its default of 64 KiB costs a third of
/// the speed; the memory is used only while bytes are on their way.
const PIPE_BYTES: usize = 1 << 20;

/// Accepts for ever. Dropping the future ends every connection; one that is made stays with the target it had.
pub(super) async fn serve(listener: TcpListener, target: watch::Receiver<SocketAddr>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let target = *target.borrow();
                    connections.spawn(connection(client, target));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    let _ = timeout(RETRY, connections.join_next()).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, target: SocketAddr) {
    if let Err(error) = relay(&client, target).await {
        tracing::debug!(%target, %error, "a relayed connection broke");
        // The client learns that it broke rather than that it ended.
        let _ = client.set_zero_linger();
    }
}

async fn relay(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = timeout(CONNECT_TIME, TcpStream::connect(target)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::try_join!(pump(client, &server), pump(&server, client))?;
    Ok(())
}

async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Refused only where a limit of the host's is reached; smaller works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES);
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        // The pipe is empty here, so "would block" can only mean the socket.
        let fill = || Ok(rustix::pipe::splice(from, None, &writer, None, PIPE_BYTES, flags)?);
        let mut left = from.async_io(Interest::READABLE, fill).await?;
        if left == 0 {
            return match rustix::net::shutdown(to, rustix::net::Shutdown::Write) {
                // It is gone already; so nothing has to be told to it.
                Err(rustix::io::Errno::NOTCONN) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        while left > 0 {
            let empty = || Ok(rustix::pipe::splice(&reader, None, to, None, left, flags)?);
            left -= to.async_io(Interest::WRITABLE, empty).await?;
        }
    }
}
