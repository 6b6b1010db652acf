//! Around the handlers of changing calls, within what does a call once under its key: each that is done,
//! refused or fails leaves its audit record; a repeat that gets a kept answer does not come here.
//!
//! The record of a call that was done is durable before its answer goes out: under a key it is written
//! together with the answer that is kept, else the answer waits for it. That of a call that failed holds
//! nobody up: it is written with what is written next.

pub(super) mod told;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fusion_core::id::CorrelationId;
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use fusion_proto::status::Refusal;
use fusion_store::Put;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::idempotency::{given_key, refused, whole, whole_request};
use super::layer::{code_name, code_of};
use super::{Services, methods};
use crate::service::audit::{Audit, EndedCall};
use crate::service::idempotency::{CallIdentity, GivenKey};
use told::Told;

#[derive(Clone)]
pub(super) struct AuditLayer {
    audit: Audit,
}

impl AuditLayer {
    pub(super) fn new(services: &Services) -> Self {
        Self { audit: services.audit.clone() }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> AuditService<S> {
        AuditService { inner, audit: self.audit.clone() }
    }
}

#[derive(Clone)]
pub(super) struct AuditService<S> {
    inner: S,
    audit: Audit,
}

impl<S> Service<Request<Body>> for AuditService<S>
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
        if let Err(refusal) = self.audit.room() {
            return Box::pin(async { Ok(refused(refusal)) });
        }
        // The one that is ready is the one that is called.
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(recorded(self.audit.clone(), method, request, inner))
    }
}

/// The record of a call under a key, to be written together with its answer: with the response.
#[derive(Clone)]
pub(super) struct Recorded(pub(super) Put);

/// Who makes a changing call, and how.
#[derive(Clone)]
pub(super) struct Asked {
    method: &'static str,
    at: ServerTime,
    pub(super) principal: Principal,
    correlation: Option<CorrelationId>,
    key_digest: String,
    call: Option<CallIdentity>,
}

impl Asked {
    pub(super) fn of(audit: &Audit, method: &'static str, request: &Request<Body>) -> Self {
        let extensions = request.extensions();
        let principal = principal_of(extensions);
        Self {
            method,
            at: audit.now(),
            correlation: extensions.get().cloned(),
            key_digest: key_digest(&principal, method, request.headers()),
            call: extensions.get().copied(),
            principal,
        }
    }

    /// Leaves the record of a call that was refused before it came to its handler.
    pub(super) fn refused(self, audit: &Audit, request: &[u8], refusal: &Refusal) {
        let told = Told::asked(self.method, &self.principal, request);
        let (code, reason) = (code_name(refusal.code()), refusal.reason().as_str().to_owned());
        let record = audit.record(self.ended(told, code, reason));
        audit.leave(record);
    }

    /// Leaves the record of a call that its principal may not make, or not so often, unless there were too many of its kind.
    /// What it asks for is not even read.
    pub(super) fn denied(self, audit: &Audit, refusal: &Refusal) {
        let Some(left_out) = audit.records_denial(&self.principal, self.method) else { return };
        let mut told = Told::default();
        if left_out > 0 {
            told.change("not_recorded", "", left_out.to_string());
        }
        let (code, reason) = (code_name(refusal.code()), refusal.reason().as_str().to_owned());
        audit.leave(audit.record(self.ended(told, code, reason)));
    }

    fn ended(self, told: Told, code: &'static str, reason: String) -> EndedCall {
        let Self { method, at: asked_at, principal, correlation, key_digest, call } = self;
        let Told { target, version, changes } = told;
        let resumed = call.is_some_and(|call| call.is_resumed);
        EndedCall {
            asked_at,
            principal,
            method,
            target,
            version,
            correlation,
            key_digest,
            resumed,
            code,
            reason,
            changes,
        }
    }
}

/// On whose account a call is: the one place that says so for its record.
fn principal_of(extensions: &http::Extensions) -> Principal {
    extensions.get().cloned().unwrap_or_else(Principal::anonymous)
}

/// What tells a key from others of the same caller and method, and does not tell the key.
fn key_digest(principal: &Principal, method: &str, headers: &HeaderMap) -> String {
    match given_key(headers) {
        Ok(Some(GivenKey::Chosen(key))) => digest_of(principal, method, &key),
        Ok(Some(GivenKey::Derived)) => "auto".to_owned(),
        Ok(None) | Err(_) => String::new(),
    }
}

fn digest_of(principal: &Principal, method: &str, key: &str) -> String {
    let digest = Sha256::digest(format!("{}\0{method}\0{key}", principal.as_str()));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A call whose handler is at work. Dropped by a caller that left or whose time is up, it is recorded as
/// CANCELLED: it may be done or not.
struct AtWork {
    audit: Audit,
    asked: Option<Asked>,
    request: Bytes,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            let told = Told::asked(asked.method, &asked.principal, &self.request);
            let cancelled = code_name(tonic::Code::Cancelled);
            let record = self.audit.record(asked.ended(told, cancelled, String::new()));
            self.audit.leave(record);
        }
    }
}

impl AtWork {
    /// The record of how the call ended.
    fn ended(mut self, answer: &[u8], status: &Status) -> Option<Put> {
        let asked = self.asked.take()?;
        let mut told = Told::asked(asked.method, &asked.principal, &self.request);
        let mut reason = String::new();
        match status.code() {
            tonic::Code::Ok => told.answered(asked.method, answer),
            _ => {
                let refusal = Refusal::from_status(status);
                reason = refusal.map(|it| it.reason().as_str().to_owned()).unwrap_or_default();
            }
        }
        Some(self.audit.record(asked.ended(told, code_name(status.code()), reason)))
    }
}

/// Has a call done, and leaves its record.
async fn recorded<S>(
    audit: Audit,
    method: &'static str,
    request: Request<Body>,
    mut inner: S,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let asked = Asked::of(&audit, method, &request);
    let is_under_key = asked.call.is_some();
    let (head, body) = request.into_parts();
    let body = match whole_request(body).await {
        Ok(body) => body,
        Err(refusal) => {
            asked.refused(&audit, &[], &refusal);
            return Ok(refused(refusal));
        }
    };
    let at_work = AtWork { audit: audit.clone(), asked: Some(asked), request: body.clone() };
    let response = inner.call(Request::from_parts(head, Body::new(Full::new(body)))).await?;
    let (mut head, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        // A handler of a unary call makes its whole answer before it gives any of it.
        return Ok(refused(Refusal::DeadlineExceeded));
    };
    let trailers = collected.trailers().cloned();
    let answer = collected.to_bytes();
    let status = status_of(&head.headers, trailers.as_ref());
    if let Some(record) = at_work.ended(&answer, &status) {
        if is_under_key {
            head.extensions.insert(Recorded(record));
        } else {
            let point = audit.leave(record);
            if status.code() == tonic::Code::Ok {
                audit.written(point).await;
            }
        }
    }
    Ok(Response::from_parts(head, whole(answer, trailers)))
}

/// How a call ended.
fn status_of(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Status {
    let with_code = if code_of(headers).is_some() { Some(headers) } else { trailers };
    with_code
        .and_then(Status::from_header_map)
        .unwrap_or_else(|| Status::unknown("the call ended without a code"))
}
