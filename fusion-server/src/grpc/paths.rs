//! Who may see a path only: what lies elsewhere is refused before anything looks whether it is there.
//!
//! Stands behind authentication and quotas, and before repeats: what is asked for is read out of the message as
//! it came, for all methods alike, by what [`methods`] says of each. What has an id instead of a path is left
//! out by its use case. Must never: let a call pass whose path it cannot read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use fusion_proto::convert::stat::path_from_text;
use fusion_proto::status::Refusal;
use futures_util::future::Either;
use http::{Request, Response};
use http_body_util::Full;
use prost::Message;
use tonic::body::Body;
use tower::{Layer, Service};

use super::Services;
use super::audit::Asked;
use super::idempotency::{FRAME_HEAD, refused, whole_request};
use super::methods::{self, Of};
use crate::access::{Caller, Reach};
use crate::ops::metrics::Metrics;
use crate::service::audit::Audit;

#[derive(Clone)]
pub(super) struct PathLayer {
    audit: Audit,
    metrics: Metrics,
}

impl PathLayer {
    pub(super) fn new(services: &Services) -> Self {
        Self { audit: services.audit.clone(), metrics: services.metrics.clone() }
    }

    /// A call that was refused is counted, and recorded if it would have changed something.
    fn denied(&self, request: &Request<Body>, refusal: Refusal) -> Response<Body> {
        if let Refusal::PermissionDenied { .. } = refusal {
            self.metrics.denied.with_label_values(&["path"]).inc();
            if let Some(method) = methods::changing_at(request.uri().path()) {
                Asked::of(&self.audit, method, request).denied(&self.audit, &refusal);
            }
        }
        refused(refusal)
    }
}

impl<S> Layer<S> for PathLayer {
    type Service = PathService<S>;

    fn layer(&self, inner: S) -> PathService<S> {
        PathService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct PathService<S> {
    inner: S,
    layer: PathLayer,
}

impl<S> Service<Request<Body>> for PathService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Checked>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reach = request.extensions().get::<Caller>().map(|caller| &caller.reach);
        // Nearly all see all of their views, and pay for no more than this look.
        let Some(reach) = reach.filter(|reach| reach.below.is_some()).cloned() else {
            return Either::Left(self.inner.call(request));
        };
        match methods::of(request.uri().path()) {
            Of::Nothing | Of::Things => Either::Left(self.inner.call(request)),
            Of::Whole => {
                let permission = "a scope without a path".to_owned();
                let refusal = Refusal::PermissionDenied { permission };
                let answer = self.layer.denied(&request, refusal);
                Either::Right(Box::pin(async { Ok(answer) }))
            }
            Of::Path => {
                // The one that is ready is the one that is called.
                let ready = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, ready);
                Either::Right(Box::pin(within(self.layer.clone(), reach, request, inner)))
            }
        }
    }
}

type Checked = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Lets a call pass if the path that it asks for is within its caller's reach.
async fn within<S>(
    layer: PathLayer,
    reach: Reach,
    request: Request<Body>,
    mut inner: S,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let (head, body) = request.into_parts();
    let body = match whole_request(body).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let admitted = admit(&reach, &body);
    let request = Request::from_parts(head, Body::new(Full::new(body)));
    match admitted {
        Ok(()) => inner.call(request).await,
        Err(refusal) => Ok(layer.denied(&request, refusal)),
    }
}

/// The path of any request that has one.
#[derive(Message)]
struct Asks {
    #[prost(string, tag = "2")]
    path: String,
}

fn admit(reach: &Reach, body: &[u8]) -> Result<(), Refusal> {
    let broken = || Refusal::invalid("request", "must be one message, not compressed");
    let (head, message) = body.split_first_chunk::<FRAME_HEAD>().ok_or_else(broken)?;
    let [is_compressed, length @ ..] = head;
    if *is_compressed != 0 || u32::from_be_bytes(*length) as usize != message.len() {
        return Err(broken());
    }
    let Asks { path } = Asks::decode(message).map_err(|_| broken())?;
    reach.admit(path_from_text("path", &path)?.as_ref())
}
