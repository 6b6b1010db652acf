//! Connections of the gRPC listener: taken, counted, and secured where TLS is configured.
//!
//! So many at most: one more is closed at once, which its client takes for a server that is not there, and
//! comes again. Handshakes run beside each other, each with a limit in time, and so many at most. When there
//! are more, the oldest is given up: an honest one takes milliseconds, so that is one that only holds the
//! place. Who connects and does not begin to speak HTTP/2 is cut off: the library would wait for ever. When
//! the system gives no more connections, we pause: the library would try again at once, without end and
//! without a word. Must never: let one handshake wait for another.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fusion_proto::tls::tokio_rustls::TlsAcceptor;
use fusion_proto::tls::tokio_rustls::server::TlsStream;
use futures_util::stream::{self, Stream, StreamExt as _};
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::ops::metrics::Metrics;
use crate::tls::{self, Tls};

/// Longest that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most handshakes at once.
const HANDSHAKES: usize = 256;
/// How long a client that was refused has to take the reason.
const FAREWELL: Duration = Duration::from_secs(1);
/// What it may still send meanwhile.
const FAREWELL_BYTES: u64 = 64 << 10;
/// How long a client has to say that it speaks HTTP/2, and the bytes in which it does.
const OPENING: Duration = Duration::from_secs(10);
const OPENING_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Between two tries while the system gives no connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection, for every call over it.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// What its certificate is for, if it has shown one; a CA that the server trusts has signed it.
    pub(super) names: Arc<[String]>,
}

/// One connection.
pub(super) struct Connection {
    stream: Secured,
    /// Until it has said what it speaks.
    opening: Option<Opening>,
    _place: Place,
}

enum Secured {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The begin of a connection.
struct Opening {
    read: usize,
    limit: Pin<Box<Sleep>>,
    silent: IntCounter,
}

/// A place among the connections, for as long as this lives.
struct Place {
    open: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(metrics: &Metrics, permit: OwnedSemaphorePermit) -> Self {
        let open = metrics.connections.with_label_values::<&str>(&[]);
        open.inc();
        Self { open, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// All connections, as they come: `max` at once.
pub(super) fn connections(
    incoming: TcpIncoming,
    tls: Option<Tls>,
    max: usize,
    metrics: Metrics,
) -> Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>> {
    let (running, order) = (JoinSet::new(), VecDeque::new());
    let room = Arc::new(Semaphore::new(max));
    let door = Door { incoming, tls, room, metrics, is_failing: false, running, order };
    Box::pin(stream::unfold(door, async |mut door| {
        let next = door.next().await?;
        Some((Ok(next), door))
    }))
}

/// Where connections come in, and handshakes run.
struct Door {
    incoming: TcpIncoming,
    tls: Option<Tls>,
    room: Arc<Semaphore>,
    metrics: Metrics,
    /// The system gave no connection when it was asked last.
    is_failing: bool,
    running: JoinSet<Option<Connection>>,
    /// The oldest first; some have ended.
    order: VecDeque<AbortHandle>,
}

impl Door {
    /// The next connection that is secured.
    async fn next(&mut self) -> Option<Connection> {
        loop {
            tokio::select! {
                accepted = self.incoming.next() => match accepted? {
                    Ok(tcp) => if let Some(connection) = self.let_in(tcp) {
                        return Some(connection);
                    },
                    Err(error) => self.failed(&error).await,
                },
                Some(ended) = self.running.join_next() => {
                    if let Ok(Some(connection)) = ended {
                        return Some(connection);
                    }
                }
            }
        }
    }

    /// Gives a connection that needs no handshake; begins that of another.
    fn let_in(&mut self, tcp: TcpStream) -> Option<Connection> {
        self.is_failing = false;
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            self.count("refused");
            return None;
        };
        self.count("taken");
        let place = Place::new(&self.metrics, permit);
        match &self.tls {
            None => return Some(Connection::new(Secured::Plain(tcp), place, &self.metrics)),
            Some(tls) => {
                let tls = tls.clone();
                self.begin(tls, tcp, place);
            }
        }
        None
    }

    fn begin(&mut self, tls: Tls, tcp: TcpStream, place: Place) {
        self.order.retain(|handshake| !handshake.is_finished());
        if self.order.len() >= HANDSHAKES
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
            tls.metrics().handshakes.with_label_values(&["displaced"]).inc();
        }
        self.order.push_back(self.running.spawn(handshake(tls, tcp, place)));
    }

    /// Goes on after a connection that was gone before it was taken; waits where there are no descriptors or
    /// no memory for one.
    async fn failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if let ConnectionAborted | ConnectionReset | Interrupted = error.kind() {
            return;
        }
        self.count("failed");
        if !self.is_failing {
            tracing::error!(%error, "no connection can be taken: tried again until one can");
        }
        self.is_failing = true;
        tokio::time::sleep(PAUSE).await;
    }

    fn count(&self, outcome: &str) {
        self.metrics.connections_taken.with_label_values(&[outcome]).inc();
    }
}

/// One handshake; nothing if it fails.
async fn handshake(tls: Tls, tcp: TcpStream, place: Place) -> Option<Connection> {
    let peer = tcp.peer_addr().ok();
    let accepting = TlsAcceptor::from(tls.in_force()).accept(tcp).into_fallible();
    let count = |outcome| tls.metrics().handshakes.with_label_values(&[outcome]).inc();
    match tokio::time::timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => {
            count("done");
            Some(Connection::new(Secured::Tls(Box::new(stream)), place, tls.metrics()))
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

impl Connection {
    fn new(stream: Secured, place: Place, metrics: &Metrics) -> Self {
        let silent = metrics.connections_taken.with_label_values(&["silent"]);
        let opening = Opening { read: 0, limit: Box::pin(tokio::time::sleep(OPENING)), silent };
        Self { stream, opening: Some(opening), _place: place }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let Secured::Tls(stream) = &self.stream else { return Peer::default() };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Peer { names: shown.map(|shown| tls::names_of(shown)).unwrap_or_default().into() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = match &mut this.stream {
            Secured::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Secured::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        };
        if let Some(opening) = &mut this.opening {
            opening.read += buffer.filled().len() - before;
            if opening.read >= OPENING_BYTES {
                this.opening = None;
            } else if opening.limit.as_mut().poll(context).is_ready() {
                opening.silent.inc();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Secured::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Secured::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Secured::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Secured::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Secured::Plain(tcp) => tcp.is_write_vectored(),
            Secured::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Secured::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Secured::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Secured::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Secured::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
