//! Who calls, and whether the method is theirs: before anything else is done for a call.
//!
//! Puts the caller into the request, where handlers and the layers below find it. What a caller may
//! see of what it asks for is asked of [`Caller`] by the handlers. Must never: let a method pass that
//! the table does not have, or say what a token is.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use fusion_core::session::Principal;
use fusion_core::time::Clock;
use fusion_proto::status::Refusal;
use futures_util::future::Either;
use http::{HeaderMap, Request, Response, header};
use tonic::body::Body;
use tower::{Layer, Service};

use super::Services;
use crate::access::tokens::NotGood;
use crate::access::{Caller, Least};
use crate::ops::metrics::Metrics;
use crate::tokens::Keyring;

/// What each method is for. One that is not here is for administrators.
const METHODS: &[(&str, Least)] = &[
    ("fusion.v1.SessionService/CreateSession", Least::Agent),
    ("fusion.v1.SessionService/Heartbeat", Least::Agent),
    ("fusion.v1.SessionService/EndSession", Least::Agent),
    ("fusion.v1.SessionService/GetSession", Least::AgentOrOperator),
    ("fusion.v1.SessionService/ListSessions", Least::Operator),
    ("fusion.v1.EventService/PushEvents", Least::Agent),
    ("fusion.v1.EventService/PushEventBatch", Least::Agent),
    ("fusion.v1.ViewService/ListViews", Least::Reader),
    ("fusion.v1.ViewService/GetView", Least::Reader),
    ("fusion.v1.ViewService/GetEntry", Least::Reader),
    ("fusion.v1.ViewService/ListEntries", Least::Reader),
    ("fusion.v1.ViewService/GetStats", Least::Reader),
    ("fusion.v1.ViewService/FindEntries", Least::Reader),
    ("fusion.v1.ViewService/GetBreakdown", Least::Reader),
    ("fusion.v1.ViewService/CompareViews", Least::Reader),
    ("fusion.v1.ViewService/WatchView", Least::Reader),
    ("fusion.v1.ViewService/ListChanges", Least::Reader),
    ("fusion.v1.ViewService/WaitQuiet", Least::Reader),
    ("fusion.v1.ViewService/ListSuspects", Least::Reader),
    ("fusion.v1.ViewService/ListBlindSpots", Least::Reader),
    ("fusion.v1.ViewService/ListTrash", Least::Reader),
    ("fusion.v1.ViewService/ExportEntries", Least::Reader),
    ("fusion.v1.ViewService/RestoreTrash", Least::Operator),
    ("fusion.v1.ViewService/PurgeTrash", Least::Operator),
    ("fusion.v1.ViewService/RefreshPath", Least::Operator),
    ("fusion.v1.JobService/CreateJob", Least::Operator),
    ("fusion.v1.JobService/GetJob", Least::Operator),
    ("fusion.v1.JobService/ListJobs", Least::Operator),
    ("fusion.v1.JobService/WatchJob", Least::Operator),
    ("fusion.v1.JobService/CancelJob", Least::Operator),
    ("fusion.v1.JobService/RetryJob", Least::Operator),
    ("fusion.v1.AdminService/GetServerInfo", Least::Admin),
    ("fusion.v1.AdminService/DeleteIdempotencyKey", Least::Operator),
    ("fusion.v1.AdminService/EvictSession", Least::Admin),
    ("fusion.v1.AdminService/ResetView", Least::Admin),
    ("fusion.v1.AdminService/AcceptRoot", Least::Admin),
    ("fusion.v1.AdminService/ListAuditRecords", Least::Admin),
    ("fusion.v1.AdminService/SetLogFilter", Least::Admin),
    // Of a view only who may see it is told.
    ("grpc.health.v1.Health/Check", Least::Anyone),
    ("grpc.health.v1.Health/Watch", Least::Anyone),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Least::Anyone),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Least::Anyone),
];

/// Who makes a call.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
}

#[derive(Clone)]
pub(super) struct AuthenticateLayer {
    /// Absent: no token is asked for.
    keyring: Option<Keyring>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl AuthenticateLayer {
    pub(super) fn new(services: &Services, keyring: Option<Keyring>) -> Self {
        let Services { clock, metrics, .. } = services.clone();
        Self { keyring, clock, metrics }
    }

    /// Who calls, if the method is theirs.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let Some(keyring) = &self.keyring else { return Ok(Caller::anonymous()) };
        let least = least(path);
        let token = match bearer(headers) {
            Ok(Some(token)) => token,
            Ok(None) if least == Least::Anyone => return Ok(Caller::nobody()),
            Ok(None) => return Err(self.unauthenticated("no_token", "a bearer token is needed")),
            Err(()) => {
                let problem = "authorization must be `Bearer TOKEN`, once";
                return Err(self.unauthenticated("malformed", problem));
            }
        };
        let caller = keyring.in_force().caller(token, self.clock.now());
        let caller = caller.map_err(|not_good| match not_good {
            NotGood::Unknown => self.unauthenticated("unknown_token", "the token is not known"),
            NotGood::Expired => self.unauthenticated("expired_token", "the token has expired"),
        })?;
        if !caller.role.is_some_and(|role| least.is_met_by(role)) {
            self.metrics.denied.with_label_values(&["role"]).inc();
            return Err(Refusal::PermissionDenied { permission: least.as_str().to_owned() });
        }
        Ok(caller)
    }

    fn unauthenticated(&self, reason: &str, problem: &str) -> Refusal {
        self.metrics.denied.with_label_values(&[reason]).inc();
        Refusal::Unauthenticated { problem: problem.to_owned() }
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
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.layer.admit(request.uri().path(), request.headers()) {
            Ok(caller) => {
                request.headers_mut().remove(header::AUTHORIZATION);
                request.extensions_mut().insert::<Principal>(caller.principal.clone());
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            Err(refusal) => Either::Right(ready(Ok(refusal.into_status().into_http()))),
        }
    }
}

fn least(path: &str) -> Least {
    let path = path.strip_prefix('/').unwrap_or(path);
    let row = METHODS.iter().find(|(method, _)| *method == path);
    row.map_or(Least::Admin, |(_, least)| *least)
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
