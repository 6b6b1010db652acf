//! Calls that nobody has seen, though they failed: their connection was ended in good order before they were taken.
//!
//! A server that goes down tells so on each connection, answers what it was asked before, and says which call is the
//! last of these. A call that is made in the same moment comes too late: it still waits for its turn, or it is on its way
//! behind that answer. It can be made again at once, whatever it does: "transparent retry", which other implementations of
//! gRPC have and this library has not. Must never: name a call that may have been acted on.

use std::error::Error;

use tonic::Status;

/// Whether a call that failed was not acted on and never will be, as the transport knows. In hyper's HTTP/2 only what is
/// still in its own queue is "canceled"; the server's GOAWAY without an error fails what came after the last call only.
pub(super) fn is_unseen(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_canceled() || came_too_late(error);
        }
        source = error.source();
    }
    false
}

fn came_too_late(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tonic::body::Body;

    use super::*;

    /// What a server says first: its settings, none.
    const HELLO: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    /// That it goes, the last call that it has taken, and why: for no error.
    const fn go_away(last: u8) -> [u8; 17] {
        [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]
    }

    /// How the first call on a connection ends, whose number is 1, when the server does this.
    async fn ends(server: impl AsyncFnOnce(&mut DuplexStream)) -> Status {
        let (stream, mut other) = tokio::io::duplex(4_096);
        let (executor, stream) = (TokioExecutor::new(), TokioIo::new(stream));
        let connected = hyper::client::conn::http2::handshake(executor, stream).await;
        let (mut requests, connection) = connected.unwrap();
        let request = http::Request::builder().uri("http://server/").body(Body::empty());
        let asked = requests.send_request(request.unwrap());
        let served = async {
            server(&mut other).await;
            drop(other);
        };
        let (answer, _, ()) = tokio::join!(asked, connection, served);
        Status::from_error(Box::new(answer.unwrap_err()))
    }

    /// The server says this once it has seen the call: a frame of headers, the first and last of it.
    async fn says_at_the_call(other: &mut DuplexStream, words: &[u8]) {
        other.write_all(&HELLO).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(6).any(|part| part == [1, 5, 0, 0, 0, 1]) {
            assert!(other.read_buf(&mut seen).await.unwrap() > 0);
        }
        other.write_all(words).await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_never_left() {
        let (stream, _other) = tokio::io::duplex(1_024);
        let (executor, stream) = (TokioExecutor::new(), TokioIo::new(stream));
        let connected = hyper::client::conn::http2::handshake(executor, stream).await;
        let (mut requests, connection) = connected.unwrap();
        let asked = requests.send_request(http::Request::new(Body::empty()));
        drop(connection);
        let status = Status::from_error(Box::new(asked.await.unwrap_err()));
        assert!(is_unseen(&status), "{status:?}");
    }

    #[tokio::test]
    async fn a_call_that_came_after_the_last() {
        let status = ends(async |other| says_at_the_call(other, &go_away(0)).await).await;
        assert!(is_unseen(&status), "{status:?}");
    }

    #[tokio::test]
    async fn what_may_have_been_acted_on() {
        // The last that was taken, and then no answer; and no word at all.
        let taken = ends(async |other| says_at_the_call(other, &go_away(1)).await).await;
        let silent = ends(async |other| says_at_the_call(other, &[]).await).await;
        for status in [taken, silent, Status::cancelled("by the server")] {
            assert!(!is_unseen(&status), "{status:?}");
        }
    }
}
