//! How much each caller has under way: asked when a call is let in, given back when its answer has ended.
//!
//! Stands behind authentication, and before all that costs anything. tower's own limits would not do: theirs
//! end with the head of an answer, and a stream begins there; they are one for all callers; and what waits in
//! them is asked for, where we say when to come again. Must never: let a call wait.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::audit::Asked;
use super::authenticate::caller_in;
use super::idempotency::refused;
use super::{Services, methods};
use crate::access::quotas::Quotas;
use crate::service::audit::Audit;

#[derive(Clone)]
pub(super) struct QuotaLayer {
    quotas: Quotas,
    audit: Audit,
}

impl QuotaLayer {
    pub(super) fn new(services: &Services) -> Self {
        Self { quotas: services.quotas.clone(), audit: services.audit.clone() }
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = QuotaService<S>;

    fn layer(&self, inner: S) -> QuotaService<S> {
        QuotaService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct QuotaService<S> {
    inner: S,
    layer: QuotaLayer,
}

impl<S> Service<Request<Body>> for QuotaService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let demand = methods::demand(path);
        let QuotaLayer { quotas, audit } = &self.layer;
        let held = match quotas.begin(&caller_in(request.extensions()), demand) {
            Ok(held) => held,
            Err(refusal) => {
                // So few of one kind that a flood of calls is none of records.
                if let Some(method) = methods::changing_at(path) {
                    Asked::of(audit, method, &request).denied(audit, &refusal);
                }
                return Box::pin(async { Ok(refused(refusal)) });
            }
        };
        let inner = self.inner.call(request);
        Box::pin(async move {
            let mut response = inner.await?;
            // Whoever looks at the end of the answer holds it until then.
            response.extensions_mut().insert(held);
            Ok(response)
        })
    }
}
