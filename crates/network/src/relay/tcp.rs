//! TCP: bytes go from socket to socket through a pipe (`splice`), so that none is copied to here.
//! Each direction ends by itself: a half-closed connection stays half-closed on the other side.

use std::{io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::{
    net::{SocketFlags, acceptfrom_with},
    pipe::{PipeFlags, SpliceFlags},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::Targets;

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
pub(super) async fn serve(listener: AsyncFd<Arc<OwnedFd>>, mut targets: Targets) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        tokio::select! {
            accepted = accept(&listener) => match accepted {
                Ok((client, address)) => {
                    targets.have_changed();
                    // Without a target, its port of that family is being taken back: the connection ends here.
                    if let Some(target) = targets.of(address) {
                        connections.spawn(connection(client, target));
                    }
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

async fn accept(listener: &AsyncFd<Arc<OwnedFd>>) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let take = |socket: &Arc<OwnedFd>| Ok(acceptfrom_with(socket, flags)?);
    let (client, address) = listener.async_io(Interest::READABLE, take).await?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    Ok((TcpStream::from_std(client.into())?, address))
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
