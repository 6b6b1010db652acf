//! The edge without its listener: every layer and handler, called in process.
//!
//! For tests and for fuzzing, which send it what no client library would. What a connection decides (TLS,
//! frames of HTTP/2, how many) is not part of it. Must never: differ from what is served: both are made of
//! the same layers and routes.

use std::convert::Infallible;

use bytes::Bytes;
use tonic::body::Body;
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _};

use super::health::Health;
use super::{EdgeError, Services, layers, routes};
use crate::app::Guards;

/// Takes calls in process. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    calls: BoxCloneService<http::Request<Body>, http::Response<Body>, Infallible>,
}

impl Edge {
    pub(crate) fn new(
        services: &Services,
        guards: Guards,
        health: &Health,
    ) -> Result<Self, EdgeError> {
        let whole = layers(services, guards.keyring)?.layer(routes(services, health)?);
        let calls = whole.map_response(|answer: http::Response<_>| answer.map(Body::new));
        Ok(Self { calls: BoxCloneService::new(calls) })
    }

    /// The answer to a request, as HTTP has both: its status is in the head or in the trailers.
    pub async fn call<B>(&self, request: http::Request<B>) -> http::Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        match self.calls.clone().oneshot(request.map(Body::new)).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}
