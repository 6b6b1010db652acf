//! Tells callers of what they use that is deprecated, and until when it is served: a trailer of the answer.
//!
//! What is deprecated says the contract itself (`deprecated = true` of a method or field), until when [`SUNSETS`].
//! A call of a method that has nothing of the kind passes untouched; of the others the request is read beside
//! the handler, field by field and no deeper than deprecated fields lie. Must never: refuse or change a call.
//! The policy is docs/api.md.

mod contract;
mod wire;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use fusion_proto::limits::DEPRECATED_KEY;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use prometheus::IntCounterVec;
use tonic::body::Body;
use tower::{Layer, Service};

use contract::Contract;
use wire::Reader;

/// What is deprecated, by its full name, with the last day on which it is served at least (YYYY-MM-DD).
const SUNSETS: &[(&str, &str)] = &[];

/// Puts the trailer on answers.
#[derive(Clone)]
pub(super) struct DeprecatedLayer {
    contract: Arc<Contract>,
    calls: IntCounterVec,
}

impl DeprecatedLayer {
    /// Of our own contract.
    ///
    /// # Errors
    /// The descriptor that is built in cannot be read: a bug.
    pub(super) fn new(calls: IntCounterVec) -> Result<Self, prost::DecodeError> {
        Self::of(fusion_proto::FILE_DESCRIPTOR_SET, SUNSETS, calls)
    }

    fn of(
        descriptor: &[u8],
        sunsets: &[(&str, &str)],
        calls: IntCounterVec,
    ) -> Result<Self, prost::DecodeError> {
        Ok(Self { contract: Arc::new(Contract::read(descriptor, sunsets)?), calls })
    }
}

impl<S> Layer<S> for DeprecatedLayer {
    type Service = DeprecatedService<S>;

    fn layer(&self, inner: S) -> DeprecatedService<S> {
        DeprecatedService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct DeprecatedService<S> {
    inner: S,
    layer: DeprecatedLayer,
}

impl<S> Service<Request<Body>> for DeprecatedService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().trim_start_matches('/');
        let Some(deprecated) = self.layer.contract.method(method).cloned() else {
            return Box::pin(self.inner.call(request));
        };
        let DeprecatedLayer { contract, calls } = self.layer.clone();
        let used = Used { contract: Arc::clone(&contract), calls, items: Arc::default() };
        used.add(deprecated.itself);
        let request = match deprecated.request {
            None => request,
            Some(message) => {
                let (mut reader, used) = (Reader::new(contract, message), used.clone());
                request.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let read = frame.data_ref().map(|bytes| reader.read(bytes));
                        used.add(read.into_iter().flatten());
                        frame
                    }))
                })
            }
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if super::layer::code_of(response.headers()).is_some() {
                // There is no body; the head is the trailers.
                used.tell(response.headers_mut());
                return Ok(response);
            }
            let told = move |mut frame: Frame<Bytes>| {
                frame.trailers_mut().into_iter().for_each(|trailers| used.tell(trailers));
                frame
            };
            Ok(response.map(|body| Body::new(body.map_frame(told))))
        })
    }
}

/// What a call was seen to use.
#[derive(Clone)]
struct Used {
    contract: Arc<Contract>,
    calls: IntCounterVec,
    /// Locked for one step; nothing is locked under it.
    items: Arc<Mutex<BTreeSet<usize>>>,
}

impl Used {
    fn items(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, items: impl IntoIterator<Item = usize>) {
        for item in items {
            if self.items().insert(item) {
                self.calls.with_label_values(&[self.contract.item(item).name.as_str()]).inc();
            }
        }
    }

    fn tell(&self, trailers: &mut HeaderMap) {
        for item in self.items().iter() {
            trailers.append(DEPRECATED_KEY, self.contract.item(*item).told.clone());
        }
    }
}

#[cfg(test)]
mod tests;
