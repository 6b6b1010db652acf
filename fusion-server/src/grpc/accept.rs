//! Connections of the gRPC listener: taken, and secured where TLS is configured.
//!
//! Handshakes run beside each other, each with a limit in time, and so many at most. When there are
//! more, the oldest is given up: an honest one takes milliseconds, so that is one that only holds the
//! place. Must never: let one handshake wait for another.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fusion_proto::tls::tokio_rustls::TlsAcceptor;
use fusion_proto::tls::tokio_rustls::server::TlsStream;
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::tls::Tls;

/// Longest that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most handshakes at once.
const HANDSHAKES: usize = 256;
/// How long a client that was refused has to take the reason.
const FAREWELL: Duration = Duration::from_secs(1);
/// What it may still send meanwhile.
const FAREWELL_BYTES: u64 = 64 << 10;

/// One connection.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// All connections, as they come.
pub(super) fn connections(
    incoming: TcpIncoming,
    tls: Option<Tls>,
) -> Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>> {
    match tls {
        None => Box::pin(incoming.map(|accepted| accepted.map(Connection::Plain))),
        Some(tls) => {
            let door = Door { incoming, tls, running: JoinSet::new(), order: VecDeque::new() };
            Box::pin(stream::unfold(door, async |mut door| {
                let next = door.next().await?;
                Some((next, door))
            }))
        }
    }
}

/// Where handshakes run.
struct Door {
    incoming: TcpIncoming,
    tls: Tls,
    running: JoinSet<Option<Connection>>,
    /// The oldest first; some have ended.
    order: VecDeque<AbortHandle>,
}

impl Door {
    /// The next connection that is secured, or the next error of the listener.
    async fn next(&mut self) -> Option<io::Result<Connection>> {
        loop {
            tokio::select! {
                accepted = self.incoming.next() => match accepted? {
                    Ok(tcp) => self.begin(tcp),
                    Err(error) => return Some(Err(error)),
                },
                Some(ended) = self.running.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return Some(Ok(connection));
                    }
                }
            }
        }
    }

    fn begin(&mut self, tcp: TcpStream) {
        self.order.retain(|handshake| !handshake.is_finished());
        if self.order.len() >= HANDSHAKES
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
            self.tls.metrics().handshakes.with_label_values(&["displaced"]).inc();
        }
        self.order.push_back(self.running.spawn(handshake(self.tls.clone(), tcp)));
    }
}

/// One handshake; nothing if it fails.
async fn handshake(tls: Tls, tcp: TcpStream) -> Option<Connection> {
    let peer = tcp.peer_addr().ok();
    let accepting = TlsAcceptor::from(tls.in_force()).accept(tcp).into_fallible();
    let count = |outcome| tls.metrics().handshakes.with_label_values(&[outcome]).inc();
    match tokio::time::timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => {
            count("done");
            Some(Connection::Tls(Box::new(stream)))
        }
        Ok(Err((error, tcp))) => {
            count("failed");
            tracing::debug!(peer = ?peer, %error, "TLS handshake failed");
            let _ = tokio::time::timeout(FAREWELL, farewell(tcp)).await;
            None
        }
        Err(_) => {
            count("timed_out");
            tracing::debug!(peer = ?peer, "TLS handshake took too long");
            None
        }
    }
}

/// Lets the client read why: a socket that is closed with bytes unread is reset, and what was written
/// to it last is lost with that.
async fn farewell(mut tcp: TcpStream) {
    if tcp.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut tcp.take(FAREWELL_BYTES), &mut tokio::io::sink()).await;
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match self {
            Self::Plain(tcp) => tcp.connect_info(),
            Self::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
