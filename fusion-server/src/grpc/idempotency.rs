//! Around the handlers of changing unary calls: a repeat under the same key gets the first answer.
//!
//! A call under a key is done in a task of its own: whether its caller waits for the end decides
//! nothing. Calls without a key, and methods that repeat safely by their own rules, pass untouched.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fusion_core::session::Principal;
use fusion_proto::limits::{
    IDEMPOTENCY_AUTO_KEY, IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED_KEY, MESSAGE_BYTES,
};
use fusion_proto::status::Refusal;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::sync::oneshot;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt as _};

use super::audit::{Asked, Recorded, told};
use super::authenticate::caller_in;
use super::layer::code_of;
use super::{Services, draining, methods};
use crate::service::audit::Audit;
use crate::service::idempotency::{Begun, GivenKey, Idempotency, Turn};
use crate::spawn::Tasks;

/// Longest key in bytes.
const KEY_MAX: usize = 255;

/// A message on the wire begins with a flag and its length.
pub(super) const FRAME_HEAD: usize = 5;

#[derive(Clone)]
pub(super) struct IdempotencyLayer {
    calls: Idempotency,
    audit: Audit,
    tasks: Tasks,
}

impl IdempotencyLayer {
    pub(super) fn new(services: &Services) -> Self {
        let Services { idempotency: calls, audit, tasks, .. } = services.clone();
        Self { calls, audit, tasks }
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> IdempotencyService<S> {
        IdempotencyService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct IdempotencyService<S> {
    inner: S,
    layer: IdempotencyLayer,
}

impl<S> Service<Request<Body>> for IdempotencyService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(method) = methods::changing_at(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let given = match given_key(request.headers()) {
            Ok(None) => return Box::pin(self.inner.call(request)),
            Ok(Some(given)) => given,
            Err(refusal) => {
                let audit = &self.layer.audit;
                Asked::of(audit, method, &request).refused(audit, &[], &refusal);
                return Box::pin(async { Ok(refused(refusal)) });
            }
        };
        let (layer, inner) = (self.layer.clone(), self.inner.clone());
        let (answer, answered) = oneshot::channel();
        self.layer.tasks.spawn("call under a key", async move {
            let done = layer.once(method, &given, request, inner).await;
            // Who asked may be gone; the next who asks gets it.
            let _ = answer.send(done.unwrap_or_else(refused));
        });
        Box::pin(async { Ok(answered.await.unwrap_or_else(|_| refused(draining()))) })
    }
}

impl IdempotencyLayer {
    /// Does a call, or finds the answer that it got. What is refused here leaves its audit record here.
    async fn once<S>(
        &self,
        method: &'static str,
        given: &GivenKey,
        request: Request<Body>,
        inner: S,
    ) -> Result<Response<Body>, Refusal>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let asked = Asked::of(&self.audit, method, &request);
        let (head, body) = request.into_parts();
        let body = whole_request(body).await.inspect_err(|refusal| {
            asked.clone().refused(&self.audit, &[], refusal);
        })?;
        let begun = self.calls.begin(&asked.principal, method, given, &body).await;
        let turn = match begun.inspect_err(|refusal| {
            asked.refused(&self.audit, &body, refusal);
        })? {
            Begun::Done(answer) => {
                if told::shows(&caller_in(&head.extensions).reach, method, &body, &answer) {
                    return Ok(replayed(answer));
                }
                // It may not see any more what the answer tells: its handler says so, as to everybody.
                let request = Request::from_parts(head, Body::new(Full::new(body)));
                let Ok(response) = inner.oneshot(request).await;
                return Ok(response);
            }
            Begun::First(turn) => turn,
        };
        let mut request = Request::from_parts(head, Body::new(Full::new(body)));
        request.extensions_mut().insert(turn.identity());
        let Ok(response) = inner.oneshot(request).await;
        kept(&self.audit, turn, response).await
    }
}

/// The message of a unary call, as it came, if it is not too large.
pub(super) async fn whole_request(body: Body) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, MESSAGE_BYTES + FRAME_HEAD).collect().await;
    let body = body.map_err(|error| Refusal::invalid("request", error.to_string()))?;
    Ok(body.to_bytes())
}

/// Keeps the answer of a call that was done, forgets one that failed. One that may have been done stays
/// noted as begun. The record of the call is written with that.
async fn kept(
    audit: &Audit,
    turn: Turn,
    response: Response<Body>,
) -> Result<Response<Body>, Refusal> {
    let (mut head, body) = response.into_parts();
    let record = head.extensions.remove::<Recorded>().map(|Recorded(record)| record);
    let Ok(collected) = body.collect().await else {
        // A handler of a unary call makes its whole answer before it gives any of it.
        return Err(Refusal::DeadlineExceeded);
    };
    let trailers = collected.trailers().cloned();
    let code = code_of(&head.headers).or_else(|| trailers.as_ref().and_then(code_of));
    let answer = collected.to_bytes();
    match code {
        Some(tonic::Code::Ok) => {
            let is_recorded = record.is_some();
            let kept = turn.keep(answer.clone(), record).await;
            if is_recorded {
                audit.left();
            }
            kept?;
        }
        code => {
            if let Some(record) = record {
                audit.leave(record);
            }
            if code.is_some_and(|code| !may_be_done(code)) {
                turn.forget().await;
            }
        }
    }
    Ok(Response::from_parts(head, whole(answer, trailers)))
}

/// Whether a failure leaves it open if the call was done.
fn may_be_done(code: tonic::Code) -> bool {
    use tonic::Code::{Cancelled, DeadlineExceeded, Internal, Unavailable, Unknown};
    matches!(code, Cancelled | DeadlineExceeded | Internal | Unavailable | Unknown)
}

/// An answer that was kept.
fn replayed(answer: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert(IDEMPOTENCY_REPLAYED_KEY, HeaderValue::from_static("true"));
    let mut response = Response::new(whole(answer, Some(trailers)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

pub(super) fn whole(answer: Bytes, trailers: Option<HeaderMap>) -> Body {
    let answer = Full::new(answer);
    match trailers {
        None => Body::new(answer),
        Some(trailers) => Body::new(answer.with_trailers(async move { Some(Ok(trailers)) })),
    }
}

pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    refusal.into_status().into_http()
}

/// The key that came with a call.
pub(super) fn given_key(headers: &HeaderMap) -> Result<Option<GivenKey>, Refusal> {
    let derived = match headers.get(IDEMPOTENCY_AUTO_KEY).map(HeaderValue::as_bytes) {
        None | Some(b"false") => false,
        Some(b"true") => true,
        Some(_) => return Err(Refusal::invalid(IDEMPOTENCY_AUTO_KEY, "must be true or false")),
    };
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(derived.then_some(GivenKey::Derived));
    };
    if derived {
        let problem = "cannot be given together with a key of your own";
        return Err(Refusal::invalid(IDEMPOTENCY_AUTO_KEY, problem));
    }
    check_key(IDEMPOTENCY_KEY, value.as_bytes()).map(GivenKey::Chosen).map(Some)
}

/// Forgets the key of a call of this principal; whether there was one.
pub(super) async fn delete(
    calls: &Idempotency,
    principal: &Principal,
    method: &str,
    key: &str,
) -> Result<bool, Refusal> {
    // Under a key a call of this method holds that key itself: it would wait for its own end.
    let deletable = || methods::changing().filter(|method| *method != DELETE);
    let Some(method) = deletable().find(|changing| *changing == method) else {
        let all = deletable().collect::<Vec<_>>().join(", ");
        return Err(Refusal::invalid("method", format!("must be one of {all}")));
    };
    let key = check_key("key", key.as_bytes())?;
    calls.delete(principal, method, key).await
}

/// The method that forgets keys.
const DELETE: &str = "fusion.v1.AdminService/DeleteIdempotencyKey";

/// A key as the contract allows it.
fn check_key(field: &str, key: &[u8]) -> Result<String, Refusal> {
    let is_visible = key.iter().all(|byte| (0x21..=0x7e).contains(byte));
    match std::str::from_utf8(key) {
        Ok(key) if is_visible && (1..=KEY_MAX).contains(&key.len()) => Ok(key.to_owned()),
        _ => {
            Err(Refusal::invalid(field, format!("must be 1 to {KEY_MAX} visible ASCII characters")))
        }
    }
}
