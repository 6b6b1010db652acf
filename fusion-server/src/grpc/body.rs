//! An answer's body that tells when its trailers pass.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Learns how a call ends; dropped with the body.
pub(super) trait Ending: Send {
    /// The trailers passed.
    fn trailers(&mut self, trailers: &HeaderMap);
}

/// A body that is looked at.
pub(super) struct WatchedBody {
    inner: Body,
    ending: Box<dyn Ending>,
}

impl WatchedBody {
    pub(super) fn new(inner: Body, ending: Box<dyn Ending>) -> Self {
        Self { inner, ending }
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.ending.trailers(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
