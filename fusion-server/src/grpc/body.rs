//! An answer's body that tells when its trailers pass, and that ends when its caller's time is up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fusion_proto::status::Refusal;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
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
    deadline: Option<Pin<Box<Sleep>>>,
}

impl WatchedBody {
    pub(super) fn new(
        inner: Body,
        ending: Box<dyn Ending>,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        Self { inner, ending, deadline }
    }
}

/// A body that ends before its end when something happens.
pub(super) struct CutBody {
    inner: Body,
    cut: Option<Pin<Box<dyn Future<Output = Refusal> + Send>>>,
}

impl CutBody {
    pub(super) fn new(inner: Body, cut: impl Future<Output = Refusal> + Send + 'static) -> Self {
        Self { inner, cut: Some(Box::pin(cut)) }
    }
}

impl http_body::Body for CutBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // First: an answer that always has more would go on for ever.
        if let Some(cut) = &mut self.cut
            && let Poll::Ready(refusal) = cut.as_mut().poll(context)
        {
            (self.inner, self.cut) = (Body::empty(), None);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers_of(refusal)))));
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn trailers_of(refusal: Refusal) -> HeaderMap {
    let status = refusal.into_status();
    let mut trailers = status.into_http::<()>().into_parts().0.headers;
    trailers.remove(http::header::CONTENT_TYPE);
    trailers
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_pending()
            && let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            // Whoever makes the answer learns that nobody takes it.
            (self.inner, self.deadline) = (Body::empty(), None);
            polled = Poll::Ready(Some(Ok(Frame::trailers(trailers_of(Refusal::DeadlineExceeded)))));
        }
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
