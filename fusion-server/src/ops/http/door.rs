//! Connections of the HTTP port: so many at once, and who has been there longest gives way.
//!
//! Who asks for metrics or probes is done in milliseconds, so a connection that is old only holds its place: it says
//! nothing, or a byte at a time, or is kept for the next scrape, which opens another. So no time limit is needed, and a
//! probe is let in whoever else is there. Must never: refuse the newest.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// Most connections at once.
pub(crate) const CONNECTIONS: usize = 256;
/// Between two tries while the system gives no connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections.
pub(crate) struct Door {
    listener: TcpListener,
    /// What ends each, the oldest first; some have ended.
    open: VecDeque<CancellationToken>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, open: VecDeque::new() }
    }

    fn let_in(&mut self, tcp: TcpStream) -> Connection {
        self.open.retain(|end| !end.is_cancelled());
        if self.open.len() >= CONNECTIONS
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.cancel();
        }
        let end = CancellationToken::new();
        self.open.push_back(end.clone());
        Connection { tcp, ended: Box::pin(end.clone().cancelled_owned()), _left: end.drop_guard() }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((tcp, from)) => return (self.let_in(tcp), from),
                // Gone before it was taken, or no descriptors: the library would try again at once.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, until it ends or gives way.
pub(crate) struct Connection {
    tcp: TcpStream,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _left: DropGuard,
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Who does not read its answer gives way, too.
        if this.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.tcp).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}
