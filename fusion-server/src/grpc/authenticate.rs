//! Who calls, and whether the method is theirs: before anything else is done for a call.
//!
//! Puts the caller into the request, where handlers and the layers below find it. What a caller may
//! see of what it asks for is asked of [`Caller`] by the handlers. Must never: let a method pass that
//! is for others ([`methods`]), or say what a token is.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fusion_core::session::Principal;
use fusion_core::time::Clock;
use fusion_proto::status::Refusal;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tonic::body::Body;
use tower::{Layer, Service};

use super::accept::Peer;
use super::audit::Asked;
use super::body::CutBody;
use super::{Services, methods};
use crate::access::tokens::{NotGood, Tokens};
use crate::access::{Caller, Least};
use crate::ops::metrics::Metrics;
use crate::service::audit::Audit;
use crate::tokens::Keyring;

/// The token that came with a call, for who sends it on.
#[derive(Clone)]
pub(super) struct Credentials(pub(super) HeaderValue);

/// Who makes a call.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
}

/// The same, of a request that has not come to its handler.
pub(super) fn caller_in(extensions: &http::Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
}

#[derive(Clone)]
pub(super) struct AuthenticateLayer {
    /// Absent: no token is asked for.
    keyring: Option<Keyring>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    audit: Audit,
}

/// A call that goes no further.
struct Denied {
    refusal: Refusal,
    /// Who calls, where that is known: the method is not theirs.
    known: Option<Principal>,
}

impl AuthenticateLayer {
    pub(super) fn new(services: &Services, keyring: Option<Keyring>) -> Self {
        let Services { clock, metrics, audit, .. } = services.clone();
        Self { keyring, clock, metrics, audit }
    }

    /// Who calls, if the method is theirs.
    fn admit(&self, path: &str, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Denied> {
        let Some(keyring) = &self.keyring else { return Ok(Caller::anonymous()) };
        let least = methods::least(path);
        let tokens = keyring.in_force();
        let token = match bearer(headers) {
            Ok(Some(token)) => Some(token),
            Ok(None) if tokens.certified(&peer.names).is_some() => None,
            Ok(None) if least == Least::Anyone => return Ok(Caller::nobody()),
            Ok(None) => return Err(self.unauthenticated("no_token", "a bearer token is needed")),
            Err(()) => {
                let problem = "authorization must be `Bearer TOKEN`, once";
                return Err(self.unauthenticated("malformed", problem));
            }
        };
        let caller = match (token, tokens.certified(&peer.names)) {
            (None, Some(caller)) => Ok(caller.clone()),
            (token, _) => tokens.caller(token.unwrap_or_default(), self.clock.now()),
        };
        let caller = caller.map_err(|not_good| match not_good {
            NotGood::Unknown => self.unauthenticated("unknown_token", "the token is not known"),
            NotGood::Expired => self.unauthenticated("expired_token", "the token has expired"),
        })?;
        if !caller.role.is_some_and(|role| least.is_met_by(role)) {
            self.metrics.denied.with_label_values(&["role"]).inc();
            let refusal = Refusal::PermissionDenied { permission: least.as_str().to_owned() };
            return Err(Denied { refusal, known: Some(caller.principal) });
        }
        Ok(caller)
    }

    /// What ends a call of this token while its answer stands, if such a call may stand for long.
    fn stands(
        &self,
        request: &Request<Body>,
        caller: &Caller,
    ) -> Option<impl Future<Output = Refusal> + Send + use<>> {
        let keyring = self.keyring.clone().filter(|_| methods::stands(request.uri().path()))?;
        // Nobody in particular has nothing that could be taken away.
        caller.role?;
        let shown = match bearer(request.headers()).ok().flatten() {
            Some(token) => Tokens::standing(token, caller),
            None => Tokens::standing_by(peer(request).names, caller),
        };
        let over = keyring.over(shown, Arc::clone(&self.clock));
        let ended = self.metrics.denied.with_label_values(&["revoked_token"]);
        Some(async move {
            over.await;
            ended.inc();
            let problem = "the token was revoked, has expired or is for something else by now";
            Refusal::Unauthenticated { problem: problem.to_owned() }
        })
    }

    fn unauthenticated(&self, reason: &str, problem: &str) -> Denied {
        self.metrics.denied.with_label_values(&[reason]).inc();
        let refusal = Refusal::Unauthenticated { problem: problem.to_owned() };
        Denied { refusal, known: None }
    }

    /// Leaves the audit record of a changing call that a known principal may not make. Of those without
    /// good credentials there is none: anybody could have as many written as they like.
    fn record(&self, denied: &Denied, mut request: Request<Body>) {
        let Some(method) = methods::changing_at(request.uri().path()) else { return };
        if let Some(principal) = &denied.known {
            request.extensions_mut().insert(principal.clone());
            Asked::of(&self.audit, method, &request).denied(&self.audit, &denied.refusal);
        }
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = AuthenticateService<S>;

    fn layer(&self, inner: S) -> AuthenticateService<S> {
        AuthenticateService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct AuthenticateService<S> {
    inner: S,
    layer: AuthenticateLayer,
}

impl<S> Service<Request<Body>> for AuthenticateService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Either<Cut, Ready<Answer>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.layer.admit(request.uri().path(), request.headers(), &peer(&request)) {
            Ok(caller) => {
                let over = self.layer.stands(&request, &caller);
                if let Some(token) = request.headers_mut().remove(header::AUTHORIZATION) {
                    request.extensions_mut().insert(Credentials(token));
                }
                request.extensions_mut().insert::<Principal>(caller.principal.clone());
                request.extensions_mut().insert(caller);
                let answer = self.inner.call(request);
                match over {
                    None => Either::Left(answer),
                    Some(over) => Either::Right(Either::Left(Box::pin(cut(answer, over)))),
                }
            }
            Err(denied) => {
                self.layer.record(&denied, request);
                Either::Right(Either::Right(ready(Ok(denied.refusal.into_status().into_http()))))
            }
        }
    }
}

type Answer = Result<Response<Body>, Infallible>;
/// An answer that ends when its token does.
type Cut = Pin<Box<dyn Future<Output = Answer> + Send>>;

async fn cut(
    answer: impl Future<Output = Answer>,
    over: impl Future<Output = Refusal> + Send + 'static,
) -> Answer {
    Ok(answer.await?.map(|body| Body::new(CutBody::new(body, over))))
}

/// Who is at the other end of the connection that a call came by.
fn peer(request: &Request<Body>) -> Peer {
    request.extensions().get().cloned().unwrap_or_default()
}

/// The token that came with a call.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ()> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or(())?;
    if scheme.eq_ignore_ascii_case(b"bearer ") { Ok(Some(token)) } else { Err(()) }
}

#[cfg(test)]
mod tests;
